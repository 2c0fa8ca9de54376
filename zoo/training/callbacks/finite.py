"""Stops a run whose loss is no longer a number."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from zoo.errors import ZooError
from zoo.training.callbacks.checkpoints import describe_last


class FiniteLoss(Callback):
    """Raises within one step after the loss became NaN or infinite, before the next checkpoint is written.

    On CUDA the loss is read one step late, when its copy has arrived, so that the check never waits for the GPU.

    Args:
        checkpoints: The folder of the run's checkpoints, for the message.
    """

    def __init__(self, checkpoints: Path) -> None:
        self.checkpoints = checkpoints
        self._copy: tuple[int, Tensor, torch.cuda.Event] | None = None

    def _error(self, what: str, task: LightningModule) -> ZooError:
        # A task that makes its steps by itself has its gradients clipped by nobody.
        clip = " or set trainer.gradient_clip_val" if task.automatic_optimization else ""
        return ZooError(f"{what}: lower optimizer.lr{clip}; {describe_last(self.checkpoints)}")

    def _check(self, step: int, loss: Tensor, task: LightningModule) -> None:
        if not torch.isfinite(loss).all():
            raise self._error(f"the loss is {loss.item()} at step {step}", task)

    def _check_pending(self, task: LightningModule) -> None:
        if self._copy is not None:
            step, copy, arrived = self._copy
            self._copy = None
            arrived.synchronize()
            self._check(step, copy, task)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps NaN out of checkpoints: a finite loss can still have made an update that is not."""
        self._check_weights(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps NaN out of the best weights, of whose saving callbacks are not told."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._check_weights(trainer, pl_module)

    def _check_weights(self, trainer: Trainer, task: LightningModule) -> None:
        self._check_pending(task)
        for name, parameter in task.named_parameters():
            if not torch.isfinite(parameter).all():
                raise self._error(f"{name} is not finite after step {trainer.global_step}", task)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Checks the loss of this step (CPU) or of the one before (CUDA)."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if not isinstance(loss, Tensor):
            return
        step = trainer.global_step
        if loss.device.type != "cuda":
            self._check(step, loss, pl_module)
            return
        self._check_pending(pl_module)
        copy = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss.detach(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._copy = (step, copy, arrived)
