"""Stops a run whose loss is no longer a number."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
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

    def _check(self, step: int, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise ZooError(
                f"the loss is {loss.item()} at step {step}: lower optimizer.lr or set trainer.gradient_clip_val; "
                f"{describe_last(self.checkpoints)}"
            )

    def _check_pending(self) -> None:
        if self._copy is not None:
            step, copy, arrived = self._copy
            self._copy = None
            arrived.synchronize()
            self._check(step, copy)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps NaN out of checkpoints: a finite loss can still have made an update that is not."""
        self._check_pending()
        for name, parameter in pl_module.named_parameters():
            if not torch.isfinite(parameter).all():
                raise ZooError(
                    f"{name} is not finite after step {trainer.global_step}: lower optimizer.lr or set "
                    f"trainer.gradient_clip_val; {describe_last(self.checkpoints)}"
                )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Checks the loss of this step (CPU) or of the one before (CUDA)."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else None
        if not isinstance(loss, Tensor):
            return
        step = trainer.global_step
        if loss.device.type != "cuda":
            self._check(step, loss)
            return
        self._check_pending()
        copy = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(loss.detach(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        self._copy = (step, copy, arrived)
