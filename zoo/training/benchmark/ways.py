"""Two ways of one training, ours and the usual script's, and how both are timed; `bare.py` has the third."""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from zoo.data.environments import EnvironmentData
from zoo.data.tokenizing import PAD
from zoo.models.lstm_lm import LSTMLanguageModel
from zoo.models.transformer import Transformer
from zoo.models.transformer_layers import EncoderLayer
from zoo.tasks.image_classification import ImageClassification
from zoo.tasks.language_modeling import LanguageModeling
from zoo.tasks.q_learning import QLearning
from zoo.tasks.task import Task
from zoo.tasks.translation import Translation
from zoo.training.benchmark import usual, usual_q_learning, usual_text, usual_translation
from zoo.training.benchmark.bare import optimizer_and_schedule
from zoo.training.benchmark.cases import Case
from zoo.training.benchmark.unpacked import unpacked_folder
from zoo.training.build import Built, build_all
from zoo.training.compose import compose
from zoo.training.interrupts import Interrupts
from zoo.training.run_folder import freeze
from zoo.training.start import checked_config

# Steps before the clock starts: memory is allocated, kernels are chosen, and what a DataLoader's two workers had
# fetched ahead, two batches each, is used up.
WARM_UP = 4


def built_for(
    words: tuple[str, ...], folder: Path, steps: int = 1, *watching: Callback
) -> tuple[Built, dict[str, Any]]:
    """Builds a run as `zoo train` does, with its logger and its checkpoints, one epoch long and without evaluation.

    Args:
        words: What is typed behind `zoo train`.
        folder: Where the run's folder goes.
        steps: How long the epoch is, besides the warm-up.
        watching: Callbacks that time it.
    """
    typed = [*words, f"runs_dir={folder}", "trainer.max_epochs=1", "trainer.limit_val_batches=0", "select=last",
             f"trainer.limit_train_batches={WARM_UP + steps}", "trainer.enable_progress_bar=false"]  # fmt: skip
    config, overrides = checked_config(compose(typed))
    return build_all(freeze(config, overrides), config, Interrupts(), watching), config


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def samples_per_second(steps: Iterator[int], how_many: int, device: torch.device) -> float:
    """Times some steps, each of which yields how many samples it took."""
    for _ in islice(steps, WARM_UP):
        pass
    _wait_for(device)
    start = time.perf_counter()
    samples = sum(islice(steps, how_many))
    _wait_for(device)
    return samples / (time.perf_counter() - start)


class Stopwatch(Callback):
    """Times our trainer from the end of the warm-up on.

    `seconds` end when the epoch's metrics and its checkpoint are written, `seconds_of_steps` with the last step.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.seconds = self.seconds_of_steps = 0.0
        self._start = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Starts after the last step of the warm-up; counts samples."""
        assert isinstance(pl_module, Task)
        if batch_idx < WARM_UP:
            _wait_for(pl_module.device)
            self._start = time.perf_counter()
        else:
            self.samples += pl_module.count_samples(batch)
            self.seconds_of_steps = time.perf_counter() - self._start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops."""
        _wait_for(pl_module.device)
        self.seconds = time.perf_counter() - self._start


def our_speed(case: Case, folder: Path) -> float:
    """Returns the samples per second of a fresh run of the shared trainer."""
    watch = Stopwatch()
    built, _ = built_for((*case.words, *case.settings), folder, case.steps, watch)
    built.trainer.fit(built.task, datamodule=built.data)
    return watch.samples / watch.seconds


def usual_steps(case: Case, folder: Path) -> Iterator[int]:
    """Trains for ever as the usual script does, with the case's network and optimizer.

    Yields:
        How many samples each step took.
    """
    built, config = built_for((*case.words, *case.usual_settings), folder)
    task, device = built.task, built.trainer.strategy.root_device
    if isinstance(task, LanguageModeling):
        ours = task.model
        assert isinstance(ours, LSTMLanguageModel)
        streams = torch.cat([batch.tokens for batch in built.data.dataset.train_loader()], dim=1)
        theirs = usual_text.WordLanguageModel(
            ours.embedding.num_embeddings, ours.embedding.embedding_dim, len(ours.layers), ours.dropout.p
        )
        return usual_text.training_steps(theirs, streams, config["data"]["unroll"], device)
    if isinstance(task, Translation):
        return _usual_translation(built, device)
    if isinstance(task, QLearning):
        return _usual_q_learning(task, built, config["data"], device)
    assert isinstance(task, ImageClassification)
    name, preprocessing = config["data"]["name"], built.data.dataset.preprocessing
    root = str(unpacked_folder(name, config["data"]["dir"]))
    images = usual.training_set(name, root, preprocessing["mean"], preprocessing["std"])
    model = task.to(device).model
    optimizer = _usual_optimizer(task)
    return usual.training_steps(model, task.loss, optimizer, images, config["data"]["batch_size"], device)


def _usual_optimizer(task: Task) -> Optimizer:
    """Returns the task's optimizer as PyTorch makes it of its own accord, which is what scripts do."""
    optimizer, _ = optimizer_and_schedule(task)
    for group in optimizer.param_groups:
        group.update({"fused": None} if "fused" in group else {})
    return optimizer


def _usual_translation(built: Built, device: torch.device) -> Iterator[int]:
    ours, loader = built.task.model, built.data.dataset.train_loader()
    assert isinstance(ours, Transformer)
    layer = ours.encoder[0]
    assert isinstance(layer, EncoderLayer)
    hidden = layer.feed_forward[0].out_features
    assert isinstance(hidden, int)
    theirs = usual_translation.TranslationModel(
        ours.target_embedding.num_embeddings, PAD, len(ours.encoder), ours.width, hidden, layer.attention.heads,
        ours.dropout.p,
    )  # fmt: skip
    pairs = [
        (source[source != PAD], target[target != PAD])
        for batch in loader
        for source, target in zip(batch.source, batch.target, strict=True)
    ]
    # As many pairs in a step as ours have in the mean.
    return usual_translation.training_steps(theirs, pairs, round(len(pairs) / len(loader)), device)


def _usual_q_learning(task: QLearning, built: Built, data: dict[str, Any], device: torch.device) -> Iterator[int]:
    dataset = built.data.dataset
    assert isinstance(dataset, EnvironmentData)
    seen = dataset.prepare().observation_shape
    (environment,) = dataset.vector(0, 1, training=True).environments
    frame = environment.observation_space.shape
    if frame is not None and frame != seen:
        frames = seen[0] // frame[0]
        environment = gymnasium.wrappers.FrameStackObservation(environment, frames)
        environment = gymnasium.wrappers.ReshapeObservation(environment, seen)
    settings = usual_q_learning.Settings(
        data["batch_size"], task.capacity, task.warmup, task.steps_per_update, task.target_every, task.discount,
        task.epsilon_first, task.epsilon_last, task.epsilon_steps,
    )  # fmt: skip
    optimizer = _usual_optimizer(task)
    return usual_q_learning.training_steps(task.model, optimizer, environment, settings, data["steps_per_tick"], device)
