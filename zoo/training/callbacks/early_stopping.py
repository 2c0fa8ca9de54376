"""Early stopping that knows what a run is judged by."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer, callbacks

from zoo.errors import ZooError
from zoo.tasks.task import Task


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, which watches the headline on the validation split where nothing else is said.

    Args:
        monitor: The metric that is watched; None is the headline, whatever the task's is.
        mode: Whether smaller (`"min"`) or larger (`"max"`) is better; None with the headline, which knows.
        patience: Validations without improvement before the run ends.
        min_delta: A change smaller than this is no improvement.
        stopping_threshold: The run ends as soon as this is reached.
        divergence_threshold: The run ends as soon as it is worse than this.

    Raises:
        ValueError: A metric without a mode.
    """

    def __init__(
        self,
        monitor: str | None = None,
        mode: str | None = None,
        patience: int = 10,
        min_delta: float = 0.0,
        stopping_threshold: float | None = None,
        divergence_threshold: float | None = None,
    ) -> None:
        if monitor and not mode:
            raise ValueError(f"is smaller or larger better? Beside monitor={monitor} give mode=min or mode=max")
        self._settings: dict[str, Any] = {
            "patience": patience,
            "min_delta": min_delta,
            "stopping_threshold": stopping_threshold,
            "divergence_threshold": divergence_threshold,
        }
        super().__init__(monitor or "", mode=mode or "min", **self._settings)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Looks up the headline, before a checkpoint's state comes back.

        Raises:
            ZooError: There is no validation split.
        """
        if stage == "fit" and not self.monitor:
            assert isinstance(pl_module, Task)
            if pl_module.watched == "test":
                raise ZooError("callbacks=early_stopping needs a validation split: hold one out with data.validation=…")
            super().__init__(pl_module.watched_headline, mode=pl_module.headline_direction, **self._settings)
        super().setup(trainer, pl_module, stage)
