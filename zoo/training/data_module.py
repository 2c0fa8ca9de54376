"""The thin wrapper that hands any dataset of the zoo to Lightning."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from zoo.data.dataset import Dataset, Loader, TrainingLoader


class FirstBatches:
    """The first batches of the first epoch, again and again: what `trainer.overfit_batches` trains on.

    Args:
        loader: A training loader; Lightning stops asking it after so many batches.
        batches: How many these are, or their share of an epoch where it is a float.
    """

    def __init__(self, loader: TrainingLoader, batches: float) -> None:
        self.batch_size = loader.batch_size
        self._loader = loader
        self._beginning = loader.state_dict()
        self._batches = min(batches, len(loader)) if isinstance(batches, int) else int(batches * len(loader))
        self._taken = 0  # of them, in this pass
        self._resumed = False

    def __len__(self) -> int:
        """Returns the number of batches in a whole epoch."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        """Yields batches from the first one on, or from a position that was just restored."""
        if not self._resumed:
            self._loader.load_state_dict(self._beginning)
            self._taken = 0
        self._resumed = False
        for batch in self._loader:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Returns the position of the next batch, and how many the pass has had."""
        return self._loader.state_dict() | {"taken": self._taken}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Moves to a position; after the last batch of a pass the next one begins anew."""
        self._loader.load_state_dict(state_dict)
        self._taken = state_dict.get("taken", 0)  # there is none of a run that had no limit before
        self._resumed = 0 < self._taken < self._batches


class ZooData(LightningDataModule):
    """Hands out a dataset's loaders for this process's rank and device.

    Args:
        dataset: A prepared dataset.
        channels_last: Whether images get the channels-last memory order, as the model's weights do.
        repeated: The first batches, or the share of an epoch, that each epoch repeats (`trainer.overfit_batches`).
    """

    def __init__(self, dataset: Dataset, channels_last: bool, repeated: float = 0) -> None:
        super().__init__()
        self.dataset = dataset
        self.channels_last = channels_last
        self.repeated = repeated

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Changes the memory order of image batches where that is asked for."""
        if not self.channels_last or not isinstance(batch[0], Tensor) or batch[0].ndim < 4:  # no images
            return batch
        images, *rest = batch
        if images.ndim == 5:  # several views of each image, which the task lays side by side
            views = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            return views.unflatten(0, images.shape[:2]), *rest
        return images.contiguous(memory_format=torch.channels_last), *rest

    def _place(self) -> dict[str, Any]:
        trainer = self.trainer
        assert trainer is not None
        return {"rank": trainer.global_rank, "world": trainer.world_size, "device": trainer.strategy.root_device}

    def train_dataloader(self) -> TrainingLoader:
        """Returns the training loader, which keeps its position in checkpoints."""
        loader = self.dataset.train_loader(**self._place())
        return FirstBatches(loader, self.repeated) if self.repeated else loader

    def val_dataloader(self) -> Loader:
        """Returns the validation split, or where none is held out the test split, as a curve to look at."""
        held_out = self.dataset.validation_loader(**self._place())
        return self.dataset.test_loader(**self._place()) if held_out is None else held_out

    def test_dataloader(self) -> Loader:
        """Returns the test split."""
        return self.dataset.test_loader(**self._place())
