"""Writes metrics to metrics.csv and to every logger, in step with the checkpoints."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from zoo.data.sheets import write_png
from zoo.metrics.ranks import rank, total, world
from zoo.tasks.task import Task
from zoo.training import loggers
from zoo.training.callbacks.stopping import ends_epoch
from zoo.training.metrics_file import MetricsFile
from zoo.training.run_folder import write_atomically


def shown_loss(outputs: Any, trainer: Trainer) -> Tensor | None:
    """Returns the loss of a batch as people read it: what a task calls `shown`, else what is minimised."""
    if not isinstance(outputs, dict) or not isinstance(outputs.get("loss"), Tensor):
        return None
    return outputs["shown"] if "shown" in outputs else outputs["loss"] * trainer.accumulate_grad_batches


class MetricsRecorder(Checkpoint):
    """Records the metrics of logged steps and of each epoch.

    Lightning hands epoch metrics to loggers after the checkpoint of that epoch was written, so that a run killed
    in between would lose them. This callback writes them itself and is a `Checkpoint` because those are called last:
    when all metrics are known, but before `zoo.training.callbacks.checkpoints.Checkpoints`, which follows it.

    Args:
        file: The run's metrics.csv.
        every_steps: Optimizer steps between two rows within an epoch.
    """

    def __init__(self, file: MetricsFile, every_steps: int) -> None:
        self.file = file
        self.every_steps = every_steps
        self.epochs = 0  # that have ended: Lightning's count is one behind in a run that has nothing left to train
        self.samples = 0  # of all processes, as of the last row
        self.training_seconds = 0.0
        self._own_samples = 0  # of this process; those of all are added up when they are needed
        self._rows: int | None = None  # up to the checkpoint
        self._clock: float | None = None
        self._counted_at = 0.0
        self._logged_at = (0, 0.0)
        self._validated = False
        self._within_epoch = False

    def state_dict(self) -> dict[str, Any]:
        """Returns how much has been written and how long training took."""
        return {
            "rows": self.file.rows,
            "epochs": self.epochs,
            "samples": self._count(),
            "training_seconds": self._elapsed(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes back to the checkpoint."""
        self._rows = state_dict["rows"]
        self.epochs = state_dict["epochs"]
        self.samples = state_dict["samples"]
        self._own_samples = self.samples if rank() == 0 else 0
        self.training_seconds = state_dict["training_seconds"]
        self._counted_at = self.training_seconds
        self._logged_at = (self.samples, self.training_seconds)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drops the rows that were written after the checkpoint, once nothing refuses to go on from it."""
        if self._rows is not None and trainer.is_global_zero:
            self.file.truncate(self._rows)
        self._rows = None

    def _elapsed(self) -> float:
        return self.training_seconds + (time.perf_counter() - self._clock if self._clock is not None else 0.0)

    def _count(self) -> int:
        self.samples, self._counted_at = int(total(self._own_samples)[0]), self._elapsed()
        return self.samples

    def _stop_clock(self) -> None:
        self.training_seconds, self._clock = self._elapsed(), None

    @property
    def samples_per_second(self) -> float:
        """Training samples per second so far, validation and checkpoints of an epoch's end not counted."""
        return self.samples / self._counted_at if self.samples else 0.0

    def _write(self, trainer: Trainer, row: str, metrics: dict[str, float]) -> None:
        if trainer.is_global_zero:
            task = trainer.lightning_module
            assert isinstance(task, Task)
            step = task.curve_steps
            self.file.append({"row": row, "epoch": self.epochs, "step": step, **metrics})
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": self.epochs, **metrics}, step=step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._clock = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Starts the clock when the run was resumed within an epoch or comes from a validation."""
        if self._clock is None:
            self._clock = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts samples; writes a row for every n-th optimizer step."""
        assert isinstance(pl_module, Task)
        self._own_samples += pl_module.count_samples(batch)
        if world() == 1:  # several count together only now and then
            self._count()
        self._within_epoch = not ends_epoch(trainer, batch_idx)
        last = batch_idx + 1 >= trainer.num_training_batches  # which Lightning makes a step of, however few they are
        stepped = last or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        # Lightning does not count the steps of a task that makes them by itself: its rows are by batches.
        done = trainer.global_step if pl_module.automatic_optimization else trainer.fit_loop.total_batch_idx + 1
        if not stepped or done % self.every_steps:
            return
        samples, seconds = self._logged_at
        self._logged_at = (self._count(), self._elapsed())
        speed = (self.samples - samples) / max(self._logged_at[1] - seconds, 1e-9)
        row = {"samples_per_s": round(speed, 1)}
        if (loss := shown_loss(outputs, trainer)) is not None:
            row["train/batch_loss"] = total(loss.item())[0] / world()
        if trainer.optimizers:
            row["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        self._write(trainer, "step", row)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._stop_clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the metrics of a validation within an epoch; those at its end go into the epoch's row."""
        assert isinstance(pl_module, Task)
        if trainer.state.fn != TrainerFn.FITTING:  # that of the weights that are tested, which belongs to no epoch
            return
        # Texts at once: those of a validation within an epoch are in no checkpoint that may follow it.
        if trainer.is_global_zero:
            self._write_texts(trainer, pl_module.texts)
        if self._within_epoch:
            self._write(trainer, "validation", self._published(pl_module, pl_module.watched))
        else:
            self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the epoch's row."""
        self._stop_clock()
        self._count()
        assert isinstance(pl_module, Task)
        metrics = self._published(pl_module, *(["train", pl_module.watched] if self._validated else ["train"]))
        self._validated = False
        if trainer.is_global_zero:
            self._write_pictures(pl_module.pictures)
        self._write(trainer, "epoch", {"elapsed_s": round(self.training_seconds, 3), **metrics})
        self.epochs += 1

    def _write_texts(self, trainer: Trainer, texts: dict[str, str]) -> None:
        """Writes `samples/epoch-<n>.txt` beside metrics.csv, which a resumed run writes again the same."""
        for name, text in texts.items():
            path = self.file.path.parent / "samples" / f"epoch-{self.epochs + 1:03d}.txt"
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, text.rstrip() + "\n")
            loggers.write_text(trainer.loggers, name, text, trainer.global_step)

    def _write_pictures(self, pictures: dict[str, Tensor]) -> None:
        """Writes `samples/epoch-<n>.png` beside metrics.csv."""
        for images in pictures.values():
            path = self.file.path.parent / "samples" / f"epoch-{self.epochs + 1:03d}.png"
            path.parent.mkdir(exist_ok=True)
            write_png(images, path)

    def _published(self, task: Task, *splits: str) -> dict[str, float]:
        return {name: value for name, value in task.published.items() if name.split("/")[0] in splits}

    def write_test(self, trainer: Trainer, metrics: dict[str, float]) -> None:
        """Writes the row of the final test."""
        self._write(trainer, "test", metrics)
