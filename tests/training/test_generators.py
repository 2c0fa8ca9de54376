"""The global generators go on from a checkpoint where they stopped."""

import random
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from zoo.training.callbacks.generators import GeneratorStates


def draw() -> tuple[float, float, list[float]]:
    return random.random(), float(np.random.random()), torch.rand(3).tolist()  # noqa: NPY002


class Drawing(LightningModule):
    """Learns nothing; draws when training starts."""

    automatic_optimization = False

    def on_train_start(self) -> None:
        self.drawn = draw()

    def training_step(self, batch: torch.Tensor) -> None:
        draw()

    def configure_optimizers(self) -> None:
        pass


def fit(epochs: int, checkpoint: Path | None = None) -> tuple[Trainer, Drawing]:
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False,
                      enable_progress_bar=False, callbacks=[GeneratorStates()])  # fmt: skip
    module = Drawing()
    # What is in a checkpoint loads without running code.
    trainer.fit(module, DataLoader(torch.zeros(2, 1)), ckpt_path=checkpoint, weights_only=True)
    return trainer, module


def test_every_global_generator_goes_on_where_it_stopped(tmp_path):
    trainer, _ = fit(epochs=1)
    trainer.save_checkpoint(tmp_path / "states.ckpt")
    expected = draw()
    draw()
    assert fit(epochs=2, checkpoint=tmp_path / "states.ckpt")[1].drawn == expected
