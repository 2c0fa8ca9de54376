"""Ends a run after a number of optimizer steps, and keeps an ended run ended."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from zoo.errors import ZooError


def ends_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Tells whether a batch is the last of its epoch, because the data ends or because training does."""
    held_back = trainer.current_epoch < (trainer.min_epochs or 0) or trainer.global_step < (trainer.min_steps or 0)
    return (trainer.should_stop and not held_back) or batch_idx + 1 >= trainer.num_training_batches


class Stopping(Callback):
    """Ends training after `max_steps` optimizer steps as at an epoch's end: validated, recorded, saved.

    Lightning's own `max_steps` leaves a last, partial epoch without validation, and a run that is resumed from an
    epoch's end would end that epoch a second time. Nor is it in Lightning's checkpoints that early stopping has ended
    a run: resumed, it would train one epoch more.

    Steps and time are limits that a resumed run may raise, but not once they have ended an epoch before its time: a run
    that had the higher limit from the beginning would not have ended it there.

    Args:
        max_steps: Optimizer steps; -1 is no limit.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self._trainer: Trainer | None = None
        self._stopped = False
        self._within_epoch = False
        self._step = 0

    def _at_limit(self, trainer: Trainer, step: int) -> bool:
        callbacks = vars(trainer)["callbacks"]  # which Lightning does not declare
        timers = [callback for callback in callbacks if isinstance(callback, Timer)]
        late = any(remaining is not None and remaining <= 0 for remaining in (t.time_remaining() for t in timers))
        return late or (self.max_steps != -1 and step >= self.max_steps)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers the trainer, which knows whether training was ended early."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Returns whether a callback has ended the training, and whether a limit has, in the middle of an epoch."""
        trainer = self._trainer
        if trainer is None or not trainer.should_stop:
            return {"stopped": False, "within_epoch": False}
        limit = self._at_limit(trainer, trainer.global_step)
        return {"stopped": not limit, "within_epoch": limit and self._within_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self._stopped, self._within_epoch = state_dict["stopped"], state_dict["within_epoch"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remembers where the checkpoint stands."""
        self._step = checkpoint["global_step"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps an ended run ended.

        Raises:
            ZooError: A limit that has ended an epoch before its time was raised.
        """
        trainer.should_stop = self._stopped or self._at_limit(trainer, self._step)
        if self._within_epoch and not trainer.should_stop:
            raise ZooError(f"this run ended at step {self._step:,}, within an epoch, and cannot go on exactly: start a "
                           "new run with the higher limit, or with init_from=…")  # fmt: skip

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks the trainer to stop after the last step."""
        if self.max_steps != -1 and trainer.global_step >= self.max_steps:
            trainer.should_stop = True
        self._within_epoch = batch_idx + 1 < trainer.num_training_batches
