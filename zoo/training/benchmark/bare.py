"""The bare loop that our trainer is compared with: the same model, data and optimizer, and nothing else."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.data.pair_loader import PairBatch
from zoo.data.text_loader import TextBatch
from zoo.tasks.adversarial import Adversarial
from zoo.tasks.image_classification import ImageClassification
from zoo.tasks.label_smoothing import smoothed_loss
from zoo.tasks.language_modeling import LanguageModeling
from zoo.tasks.objectives import OBJECTIVES
from zoo.tasks.task import Task
from zoo.tasks.translation import Translation
from zoo.training.build import Built


def optimizer_and_schedule(task: Task) -> tuple[Optimizer, LRScheduler | None]:
    """Returns the optimizer, and its schedule where that advances each step."""
    configured = task.configure_optimizers()
    if not isinstance(configured, dict):
        return configured, None
    each_step = configured["lr_scheduler"]["interval"] == "step"
    return configured["optimizer"], configured["lr_scheduler"]["scheduler"] if each_step else None


def _image_loss(task: ImageClassification, order: torch.memory_format) -> Callable[[Any], Tensor]:
    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return task.loss(task.model(images.contiguous(memory_format=order)), labels)

    return loss_of


def _text_loss(task: LanguageModeling) -> Callable[[Any], Tensor]:
    state: tuple[Tensor, ...] | None = None

    def loss_of(batch: TextBatch) -> Tensor:
        nonlocal state
        logits, after = task.model(batch.tokens, None if batch.begins else state)
        state = tuple(part.detach() for part in after)
        assert task.own_loss is not None
        return task.own_loss(logits, batch.targets)

    return loss_of


def _translation_loss(task: Translation) -> Callable[[Any], Tensor]:
    def loss_of(batch: PairBatch) -> Tensor:
        logits = task.model(batch.source, batch.target[:, :-1])
        smoothed, _ = smoothed_loss(logits, batch.target[:, 1:], task.label_smoothing)
        return smoothed / task.count_samples(batch)

    return loss_of


def bare_steps(built: Built, config: dict[str, Any]) -> Iterator[int]:
    """Trains for ever with the same model, loader, optimizer, precision and memory order in a plain loop.

    Yields:
        How many samples each step took.
    """
    task, device = built.task, built.trainer.strategy.root_device
    task.to(device).model.train()
    step = _adversarial_step(task, built) if isinstance(task, Adversarial) else _supervised_step(task, config, device)
    length = config["trainer"]["limit_train_batches"]  # every pass is as ours: the smaller last batch is not reached
    while True:
        for batch in islice(built.data.dataset.train_loader(device=device), length):
            step(batch)
            yield task.count_samples(batch)


def _supervised_step(task: Task, config: dict[str, Any], device: torch.device) -> Callable[[Any], None]:
    optimizer, schedule = optimizer_and_schedule(task)
    largest_norm = config["trainer"]["gradient_clip_val"]
    mixed = config["trainer"]["precision"] == "bf16-mixed"
    if isinstance(task, LanguageModeling):
        loss_of = _text_loss(task)
    elif isinstance(task, Translation):
        loss_of = _translation_loss(task)
    else:
        assert isinstance(task, ImageClassification)
        loss_of = _image_loss(task, torch.channels_last if config["channels_last"] else torch.contiguous_format)

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            loss = loss_of(batch)
        loss.backward()
        if largest_norm is not None:
            clip_grad_norm_(task.parameters(), largest_norm)
        optimizer.step()
        if schedule is not None:
            schedule.step()

    return step


def _adversarial_step(task: Adversarial, built: Built) -> Callable[[Any], None]:
    """Updates discriminator and generator, after one pass or in turn."""
    networks, objective = task.networks, OBJECTIVES[task.objective]
    generator, discriminator = networks.generator, networks.discriminator
    configured = task.configure_optimizers()
    optimizers, schedules = configured if isinstance(configured, tuple) else (configured, [])
    of_generator, of_discriminator = optimizers
    prepared = built.data.dataset.preprocessing
    mean, std = (torch.tensor(prepared[key]).view(-1, 1, 1).to(task.device) for key in ("mean", "std"))

    if task.marginals:
        everything = torch.cat([images for images, _ in built.data.dataset.train_loader(device=task.device)])
        task.start_at_marginals((everything * std + mean).clamp(0, 1))

    def learn(network: nn.Module, optimizer: Optimizer, loss: Tensor) -> None:
        network.zero_grad()
        loss.backward(inputs=list(network.parameters()))
        optimizer.step()

    def made(count: int) -> Tensor:
        return generator(networks.draw(count).to(task.device))

    def step(batch: tuple[Tensor, Tensor]) -> None:
        real = networks.images(batch[0] * std + mean)
        if task.simultaneous:
            of_fake, of_real = discriminator(made(len(real))), discriminator(real)
            losses = objective.discriminator(of_real, of_fake), objective.generator(of_fake)
            discriminator.zero_grad()
            losses[0].backward(inputs=list(discriminator.parameters()), retain_graph=True)
            learn(generator, of_generator, losses[1])
            of_discriminator.step()
        else:
            with torch.no_grad():
                fake = made(len(real))
            learn(discriminator, of_discriminator, objective.discriminator(discriminator(real), discriminator(fake)))
            learn(generator, of_generator, objective.generator(discriminator(made(len(real)))))
        if task.mean_generator is not None:
            task.mean_generator.update_parameters(generator)
        for schedule in schedules:
            schedule["scheduler"].step()

    return step
