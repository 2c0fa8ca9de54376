"""Keeps in checkpoints what each of several processes has counted."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from zoo.metrics.ranks import of_all_ranks, of_this_rank
from zoo.metrics.totals import Totals


class TotalsOfRanks(Callback):
    """Saves and restores the running sums of each process: those in a checkpoint's weights are the first one's."""

    def _sums(self, pl_module: LightningModule) -> dict[str, torch.Tensor]:
        return {name: module.sums for name, module in pl_module.named_modules() if isinstance(module, Totals)}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds them."""
        if trainer.world_size > 1:
            sums = {name: each.tolist() for name, each in self._sums(pl_module).items()}
            checkpoint["totals"] = of_all_ranks(sums)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes this process's back, after the weights."""
        if "totals" in checkpoint:
            kept = of_this_rank(checkpoint["totals"])
            for name, each in self._sums(pl_module).items():
                each.copy_(torch.tensor(kept[name], dtype=torch.float64))
