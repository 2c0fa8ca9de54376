"""Keeps the states of the random number generators in checkpoints."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from zoo.data.seeds import derived_seed
from zoo.metrics.ranks import of_all_ranks, of_this_rank


class GeneratorStates(Callback):
    """Saves and restores the global generators of Python, NumPy, torch and the GPU: dropout goes on where it stopped.

    Each of several processes has its own, so that what is dropped is not the same in all their shares of a batch. Of a
    machine's GPUs it is the one that the process trains on, which may have another number when the run goes on.
    Loaders draw from generators of their own; they are not kept here.
    """

    def __init__(self) -> None:
        self._to_restore: dict[str, Any] | None = None
        self._device = torch.device("cpu")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Learns on which device the process trains."""
        self._device = trainer.strategy.root_device

    def state_dict(self) -> dict[str, Any]:
        """Returns the states as plain Python and tensors, so that the checkpoint loads without running code."""
        version, words, gauss = random.getstate()
        numpy_state: dict[str, Any] = dict(np.random.get_state(legacy=False))  # noqa: NPY002
        key = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
        own = {
            "python": [version, list(words), gauss],
            "numpy": {**numpy_state, "state": {"key": key, "pos": int(numpy_state["state"]["pos"])}},
            "torch": torch.get_rng_state(),
            "cuda": [torch.cuda.get_rng_state(self._device)] if self._device.type == "cuda" else [],
        }
        return of_all_ranks(own)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remembers the states until training starts: building the run draws numbers too."""
        self._to_restore = of_this_rank(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restores the states."""
        if self._to_restore is None:
            if trainer.world_size > 1:
                # The 1 at the end tells them from the seeds of data, which have fewer numbers.
                _seed(derived_seed(torch.initial_seed(), trainer.global_rank, 0, 1))
            return
        state, self._to_restore = self._to_restore, None
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        key = state["numpy"]["state"]["key"].numpy().astype(np.uint32)
        np.random.set_state({**state["numpy"], "state": {"key": key, "pos": state["numpy"]["state"]["pos"]}})  # noqa: NPY002
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"][0].cpu(), self._device)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
