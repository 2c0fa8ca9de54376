"""Keeps the training loader's position in checkpoints."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class LoaderPosition(Callback):
    """Saves and restores where the training loader stands.

    Lightning does so too, but not for a checkpoint that was written at an epoch's end: resumed from one, the loader
    would begin with its first epoch again.
    """

    def __init__(self) -> None:
        self._trainer: Trainer | None = None
        self._to_restore: dict[str, Any] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers the trainer, which has the loader."""
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the next batch."""
        loader = self._trainer.train_dataloader if self._trainer else None
        return {"loader": loader.state_dict()} if loader is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the position until the loader exists."""
        self._to_restore = state_dict["loader"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Moves the loader to the stored position."""
        if self._to_restore is not None and trainer.train_dataloader is not None:
            trainer.train_dataloader.load_state_dict(self._to_restore)
        self._to_restore = None
