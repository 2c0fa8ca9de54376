"""Ends a run after a number of optimizer steps, and keeps an ended run ended."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Stopping(Callback):
    """Ends training after `max_steps` optimizer steps as at an epoch's end: validated, recorded, saved.

    Lightning's own `max_steps` leaves a last, partial epoch without validation, and a run that is resumed from an
    epoch's end would end that epoch a second time. Nor is it in Lightning's checkpoints that early stopping has ended
    a run: resumed, it would train one epoch more.

    Args:
        max_steps: Optimizer steps; -1 is no limit.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps
        self._trainer: Trainer | None = None
        self._stops_at_once = False

    def _at_limit(self, step: int) -> bool:
        return self.max_steps != -1 and step >= self.max_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers the trainer, which knows whether training was ended early."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Returns whether a callback has ended the training; the limit is looked at anew, it may have been raised."""
        trainer = self._trainer
        return {"stopped": trainer is not None and trainer.should_stop and not self._at_limit(trainer.global_step)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self._stops_at_once |= state_dict["stopped"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Looks whether the checkpoint is at the limit."""
        self._stops_at_once |= self._at_limit(checkpoint["global_step"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps an ended run ended."""
        trainer.should_stop = self._stops_at_once

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks the trainer to stop after the last step."""
        if self._at_limit(trainer.global_step):
            trainer.should_stop = True


def ends_epoch(trainer: Trainer, batch_idx: int) -> bool:
    """Tells whether a batch is the last of its epoch, because the data ends or because training does."""
    stops = trainer.should_stop and trainer.current_epoch >= (trainer.min_epochs or 0)
    return stops or batch_idx + 1 >= trainer.num_training_batches
