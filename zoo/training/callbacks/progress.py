"""Shows how training goes: a bar in a terminal, a line per epoch elsewhere."""

import logging
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from zoo.tasks.task import Task
from zoo.training.callbacks.recorder import MetricsRecorder, shown_loss

REFRESH_SECONDS = 0.25

log = logging.getLogger("zoo")


class TrainingProgress(Checkpoint):
    """Loss, headline and samples per second, refreshed a few times a second so that it costs nothing.

    It is a `Checkpoint` because those are called last, when the metrics of the epoch are known.

    Args:
        recorder: Counts the samples.
        max_steps: Optimizer steps after which the run ends; -1 is no limit.
    """

    def __init__(self, recorder: MetricsRecorder, max_steps: int) -> None:
        self.recorder = recorder
        self.max_steps = max_steps
        self.console = Console()
        self._bar: Progress | None = None
        self._rows: dict[str, TaskID] = {}
        self._shown_at = 0.0
        self._loss = float("nan")

    def _open(self) -> Progress | None:
        if self._bar is None and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[metrics]}"),
            )
            self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
            self._bar.start()
        return self._bar

    def _show(self, row: str, description: str, total: float, completed: int, metrics: str) -> None:
        if (bar := self._open()) is None:
            return
        length = None if total == float("inf") else int(total)
        if row not in self._rows:
            self._rows[row] = bar.add_task(description, total=length, metrics=metrics)
        bar.update(
            self._rows[row], description=description, total=length, completed=completed, metrics=metrics, visible=True
        )

    def _hide(self, row: str) -> None:
        if self._bar is not None and row in self._rows:
            self._bar.update(self._rows[row], visible=False)

    def _close(self) -> None:
        if self._bar is not None:
            for row in self._rows:
                self._hide(row)
            self._bar.stop()
            self._bar, self._rows = None, {}

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._shown_at < REFRESH_SECONDS:
            return False
        self._shown_at = now
        return True

    def _epoch(self, trainer: Trainer) -> str:
        """Says how far a run is: by epochs, or by steps where those are limited and epochs are not."""
        epoch = f"epoch {trainer.current_epoch + 1}"
        if trainer.max_epochs is not None and trainer.max_epochs > 0:
            return f"{epoch}/{trainer.max_epochs}"
        return f"{epoch}, step {trainer.global_step:,}/{self.max_steps:,}" if self.max_steps > 0 else epoch

    def _metrics(self, trainer: Trainer, task: Task) -> str:
        parts = [f"loss {self._loss:.4g}"]
        if (headline := task.published.get(task.watched_headline)) is not None:
            parts.append(f"{task.watched_headline} {headline:.4g}")
        parts.append(f"{self.recorder.samples_per_second:,.0f} {task.sample_unit}/s")
        return "  ".join(parts)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refreshes the bar, now and then."""
        assert isinstance(pl_module, Task)
        if not trainer.is_global_zero or not self._due():
            return
        if (loss := shown_loss(outputs, trainer)) is not None:
            self._loss = loss.item()
        epoch = self._epoch(trainer)
        self._show("train", epoch, trainer.num_training_batches, batch_idx + 1, self._metrics(trainer, pl_module))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Refreshes the bar of the evaluation, now and then."""
        if trainer.is_global_zero and self._due():
            self._show("evaluation", "  evaluating", sum(trainer.num_val_batches), batch_idx + 1, "")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar of the evaluation away."""
        self._hide("evaluation")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prints the epoch's line, above the bar where there is one."""
        assert isinstance(pl_module, Task)
        self._loss = pl_module.published.get("train/loss", self._loss)
        if not trainer.is_global_zero:
            return
        line = f"{self._epoch(trainer)}  {self._metrics(trainer, pl_module)}"
        log.info(line)
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.console.print(line, highlight=False)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Shows how far the test has come."""
        if trainer.is_global_zero and self._due():
            self._show("test", "testing", sum(trainer.num_test_batches), batch_idx + 1, "")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar away."""
        self._close()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar away."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Takes the bar away, so that the error's line stands alone."""
        self._close()
