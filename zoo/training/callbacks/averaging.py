"""The mean of the last epochs' weights."""

from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.tasks.task import Task
from zoo.training.callbacks.checkpoints import AtomicCheckpointIO


class AverageOfLast(Callback):
    """Tests and releases the mean of the weights after each of the last epochs, not the last weights alone.

    Vaswani et al. 2017 average their last 5 checkpoints (Section 6.1). Each epoch's weights are a file in the run's
    checkpoints folder; a run that is killed and resumed writes the same ones again.

    Args:
        epochs: How many of the last epochs; fewer where the run is shorter.

    Raises:
        ZooError: `epochs` is below 1.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise ZooError(f"an average of {epochs} epochs is not possible: expected callbacks.average.epochs ≥ 1")
        self.epochs = epochs

    def _kept(self, trainer: Trainer) -> dict[int, Path]:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        return {int(path.stem.removeprefix("epoch_")): path for path in sorted(folder.glob("epoch_*.ckpt"))}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the weights, and removes those of the epoch that drops out."""
        assert isinstance(pl_module, Task)
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        path = Path(trainer.default_root_dir) / "checkpoints" / f"epoch_{epoch:04}.ckpt"
        AtomicCheckpointIO().save_checkpoint(dict(pl_module.model.state_dict()), path)
        for number, other in self._kept(trainer).items():
            if not epoch - self.epochs < number <= epoch:
                other.unlink()

    def load_average(self, trainer: Trainer, model: nn.Module) -> int:
        """Puts the mean into a model; what is no floating-point number is that of the last epoch.

        Returns:
            How many epochs it is the mean of.

        Raises:
            ZooError: No epoch was completed.
        """
        trainer.strategy.barrier()
        paths = list(self._kept(trainer).values())
        if not paths:
            raise ZooError("no epoch was completed: there are no weights to average")
        total: dict[str, Tensor] = {}
        for path in paths:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            for key, tensor in weights.items():
                total[key] = total.get(key, 0) + tensor.double() if tensor.is_floating_point() else tensor
        mean = {key: tensor / len(paths) if tensor.dtype == torch.float64 else tensor for key, tensor in total.items()}
        model.load_state_dict(mean)
        return len(paths)
