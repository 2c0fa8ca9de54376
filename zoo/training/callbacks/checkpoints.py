"""Checkpoints that a kill at any moment cannot damage."""

import math
import os
import pickle
import re
import time
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from zoo.errors import ZooError
from zoo.metrics.ranks import largest
from zoo.tasks.task import Task
from zoo.training.callbacks.stopping import ends_epoch
from zoo.training.interrupts import Interrupts
from zoo.training.run_folder import BEST, LAST, PREVIOUS


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes aside, flushes to disk, renames: a reader finds the old checkpoint or the new one, never a part."""

    def __init__(self) -> None:
        self._read_back = False

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Saves a checkpoint.

        Raises:
            ZooError: It could not be written, or holds what could never be read again; what was there before is
                untouched.
        """
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            self._check_that_it_can_be_read(aside)
            # The last but one stays: should the disk damage this one, there is another to go on from.
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))
            aside.replace(path)
        except (OSError, RuntimeError) as error:
            # torch's writer wraps a failed write into a RuntimeError.
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "the write failed, disk full?"
            raise ZooError(f"cannot write {path}: {reason}; {describe_last(path.parent)}") from error
        finally:
            aside.unlink(missing_ok=True)

    def _check_that_it_can_be_read(self, path: Path) -> None:
        """Reads the first checkpoint of the process back: hours later would be too late to learn that none can be."""
        if self._read_back:
            return
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error))
            raise ZooError("the run cannot be stored: a callback's or the optimizer's state holds "
                           f"{found[1] if found else 'something'}, where only numbers, text, lists, dicts and tensors "
                           "can be read again") from error  # fmt: skip
        self._read_back = True


def _intact(path: Path) -> dict[str, Any] | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # A damaged file can fail anywhere in the reader; whatever it is, the file is not intact.
        return None


def describe_last(folder: Path) -> str:
    """Says in a few words which checkpoint there is to go on from."""
    newest = next((folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()), None)
    return f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"


def newest_intact(folder: Path) -> tuple[Path, dict[str, Any], list[Path]] | None:
    """Finds the checkpoint to go on from.

    Returns:
        Its path, its content, and newer ones that are damaged; None when there is no checkpoint at all.

    Raises:
        ZooError: There are checkpoints, but none can be read.
    """
    present = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    damaged: list[Path] = []
    for path in present:
        if (content := _intact(path)) is not None:
            return path, content, damaged
        damaged.append(path)
    if present:
        raise ZooError(f"no checkpoint in {folder} can be read ({', '.join(p.name for p in damaged)} damaged): "
                       "start a new run with from_run=…")  # fmt: skip
    return None


class Checkpoints(Checkpoint):
    """Writes `last.ckpt` at each epoch's end and every few minutes, and `best.ckpt` when that is what is selected.

    Args:
        folder: Where they go.
        identity: What the run is (`model`, `config_hash`), to be compared when it is resumed.
        every_minutes: Minutes between checkpoints within an epoch; 0 writes one after each step.
        select_best: Whether to keep the epoch with the best validation headline.
        interrupts: Tells whether the run has been asked to stop.
    """

    def __init__(
        self, folder: Path, identity: dict[str, Any], every_minutes: float, select_best: bool, interrupts: Interrupts
    ) -> None:
        self.folder = folder
        self.identity = identity
        self.every_seconds = 60 * every_minutes
        self.select_best = select_best
        self.interrupts = interrupts
        self.best: dict[str, Any] | None = None
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Returns the best score so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores it."""
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what the run is, and how many processes share it."""
        checkpoint["zoo"] = self.identity | {"processes": trainer.world_size}

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.folder / LAST)
        self._saved_at = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time or the run is told to stop, never between the batches of one step."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        # Gradients that are not yet applied are in no checkpoint, a validation that follows would be skipped by a
        # resumed run, and an epoch's end saves anyway.
        # Lightning counts the batches of all epochs for it where epochs do not matter.
        number = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        validates = trainer.val_check_batch and (number + 1) % trainer.val_check_batch == 0
        if accumulating or validates or ends_epoch(trainer, batch_idx):
            return
        due = trainer.is_global_zero and time.monotonic() - self._saved_at >= self.every_seconds
        # All must agree, since saving waits for all of them: one clock decides, and a signal may have come to one only.
        if any(agreed := largest(self.interrupts.received or 0, due)):
            self._save_and_stop(trainer, agreed[0])

    def _save_and_stop(self, trainer: Trainer, received: int) -> None:
        """Saves, and stops the run if it was told to: `received` is the signal, the same in all processes, or 0."""
        self._save(trainer)
        if received:  # one that comes during the save is agreed upon after the next batch
            self.interrupts.received = received
            self.interrupts.raise_if_received()

    def _improved(self, trainer: Trainer, task: Task) -> bool:
        if not self.select_best or task.watched_headline not in task.published:
            return False
        value = task.published[task.watched_headline]
        sign = 1 if task.headline_direction == "min" else -1
        if not math.isfinite(value) or (self.best is not None and sign * value >= sign * self.best["value"]):
            return False
        self.best = {"metric": task.watched_headline, "value": value, "epoch": trainer.current_epoch}
        return True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the weights that were just measured if they are the best.

        Killed before the next `last.ckpt`, a run repeats the steps, the validation and this comparison.
        """
        assert isinstance(pl_module, Task)
        if trainer.state.fn != TrainerFn.FITTING:
            return
        improved = self._improved(trainer, pl_module)
        if any(largest(improved and trainer.is_global_zero)):  # saving waits for all
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)  # nobody goes on from it

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves."""
        self._save_and_stop(trainer, largest(self.interrupts.received or 0)[0])
