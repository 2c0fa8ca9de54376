"""The thin wrapper that hands any dataset of the zoo to Lightning."""

from typing import Any

import torch
from lightning.pytorch import LightningDataModule

from zoo.data.dataset import Dataset, Loader


class ZooData(LightningDataModule):
    """Hands out a dataset's loaders for this process's rank and device.

    Args:
        dataset: A prepared dataset.
        channels_last: Whether images get the channels-last memory order, as the model's weights do.
    """

    def __init__(self, dataset: Dataset, channels_last: bool) -> None:
        super().__init__()
        self.dataset = dataset
        self.channels_last = channels_last

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes the memory order of image batches where that is asked for."""
        if not self.channels_last:
            return batch
        images, *rest = batch
        return images.contiguous(memory_format=torch.channels_last), *rest

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        assert trainer is not None
        return {"rank": trainer.global_rank, "world": trainer.world_size, "device": trainer.strategy.root_device}

    def train_dataloader(self) -> Loader:
        """Returns the training loader, which keeps its position in checkpoints."""
        return self.dataset.train_loader(**self._place())

    def val_dataloader(self) -> Loader:
        """Returns the validation split, or where none is held out the test split, as a curve to look at."""
        held_out = self.dataset.validation_loader(**self._place())
        return self.dataset.test_loader(**self._place()) if held_out is None else held_out

    def test_dataloader(self) -> Loader:
        """Returns the test split."""
        return self.dataset.test_loader(**self._place())
