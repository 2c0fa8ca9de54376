"""What all learning problems share: the model, its optimizer and schedule, and how the trainer talks to them."""

import inspect
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.errors import ZooError
from zoo.metrics.ranks import share_first
from zoo.metrics.totals import Totals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OptimizerFactory = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]


class Task(LightningModule):
    """One learning problem; subclasses add its loss, metrics and pictures.

    The keyword-only parameters of a subclass's constructor are the keys under `task:` in a config.

    Args:
        model: The network to train.
        class_names: What the outputs stand for; empty where that means nothing.
        optimizer: Builds the optimizer over the model's named parameters.
        scheduler: Builds the step-size schedule, or None.
        scheduler_interval: Whether the schedule advances each `"epoch"` or each `"step"`.
        watched: Prefix of the metrics measured after each epoch: `"val"` on a held-out split; `"test"` where there
            is none: a curve to look at, which chooses nothing.
        headline: The metric the run is judged by, e.g. `"test/error"`.
    """

    headlines: ClassVar[dict[str, str]] = {}  # metrics a run can be judged by -> "min" or "max"
    sample_unit: ClassVar[str] = "samples"

    def __init__(
        self,
        model: nn.Module,
        class_names: list[str],
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory | None,
        scheduler_interval: str,
        watched: str,
        *,
        headline: str,
    ) -> None:
        super().__init__()
        if headline not in self.headlines:
            raise ValueError(f"task.headline={headline} is not measured here; choose {', '.join(self.headlines)}")
        self.model = model
        self.class_names = class_names
        self.headline = headline
        self.headline_direction = self.headlines[headline]
        self.watched = watched
        self.max_steps = -1  # optimizer steps after which the run ends; -1 is no limit
        self.published: dict[str, float] = {}  # the last value of every metric, in full precision
        self.details: dict[str, Any] = {}  # what else is known of the test's metrics; plain JSON
        self.texts: dict[str, str] = {}  # what a model wrote after the epoch, by name
        self.pictures: dict[str, Tensor] = {}  # what it drew, `(N, C, H, W)`, pixels from 0 to 1
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._scheduler_interval = scheduler_interval
        self._ddp_params_and_buffers_to_ignore: list[str] = []  # torch's name for it, and Lightning's

    @classmethod
    def settings(cls) -> dict[str, inspect.Parameter]:
        """Returns the keyword-only parameters: the keys that a config may hold under `task:`."""
        parameters = inspect.signature(cls, eval_str=True).parameters
        return {name: p for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}

    @property
    def watched_headline(self) -> str:
        """The headline's counterpart that is measured after each epoch."""
        return f"{self.watched}/{self.headline.partition('/')[2]}"

    def setup(self, stage: str) -> None:
        """Keeps DDP from putting the first process's sums in place of all others' before each batch."""
        totals = [name for name, module in self.named_modules() if isinstance(module, Totals)]
        self._ddp_params_and_buffers_to_ignore = [f"{name}.sums" for name in totals]

    def on_validation_start(self) -> None:
        """Has all processes measure the same model: running statistics are each one's own until the next batch."""
        ignored = set(self._ddp_params_and_buffers_to_ignore)
        share_first([buffer for name, buffer in self.named_buffers() if name not in ignored])

    def on_test_start(self) -> None:
        """Does so for the test, which need not come after a validation."""
        self.on_validation_start()

    def configure_optimizers(self) -> Any:
        """Hands Lightning the optimizer and its schedule.

        Raises:
            ZooError: The schedule is one of so many steps, and the run takes more.
        """
        optimizer = self._optimizer(self.model.named_parameters())
        if self._scheduler is None:
            return optimizer
        schedule = self._schedule(self._scheduler, optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self._scheduler_interval}}

    def _schedule(self, scheduler: SchedulerFactory, optimizer: Optimizer) -> LRScheduler:
        schedule = scheduler(optimizer)
        length = getattr(schedule, "total_steps", None)  # of OneCycleLR, which goes no step further
        if length is not None and self._trainer is not None and length < (steps := self._schedule_steps()):
            raise ZooError(f"scheduler.total_steps={length} is over before the run, which takes {steps:g}: give "
                           f"scheduler.total_steps={steps:g}")  # fmt: skip
        return schedule

    def _schedule_steps(self) -> float:
        """Returns how often the schedule steps in the whole run, at most."""
        most = math.inf if self.max_steps == -1 else self.max_steps
        if self._scheduler_interval == "step":
            return min(most, self.trainer.estimated_stepping_batches)
        return most if self.trainer.max_epochs in (None, -1) else min(most, self.trainer.max_epochs)

    def publish(self, split: str, metrics: dict[str, float]) -> None:
        """Makes metrics known to the trainer, its callbacks and its loggers under `<split>/<name>`."""
        named = {f"{split}/{name}": value for name, value in metrics.items()}
        self.published |= named
        # For callbacks that watch a metric. The loggers get it from zoo.training.callbacks.recorder, before the
        # epoch's checkpoint is written.
        self.log_dict(named, logger=False)

    def count_samples(self, batch: Any) -> int:
        """Returns how many samples (`sample_unit`) a batch holds."""
        return len(batch[0])

    @property
    def curve_steps(self) -> int:
        """What curves count: optimizer steps."""
        return self.trainer.global_step

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws the task's pictures after the test; file name without ending -> figure."""
        return {}

    def animations(self) -> dict[str, Callable[[Path], None]]:
        """Returns what writes moving pictures after the test, given a `.gif` file; by name without ending."""
        return {}
