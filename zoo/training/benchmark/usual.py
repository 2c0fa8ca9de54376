"""The training script that usually comes with a paper's code, to be compared with.

torchvision's dataset and transforms, sample by sample in the worker processes of a DataLoader, float32, and a loop of
six lines. It is written as one writes it well today; nothing in it is slow on purpose, nothing in it is ours.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

_DATASETS = {"mnist": datasets.MNIST, "cifar10": datasets.CIFAR10}
_AUGMENTATION: dict[str, list[Any]] = {
    "mnist": [],
    "cifar10": [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()],
}


def training_set(name: str, root: str, mean: list[float], std: list[float], augmented: bool = True) -> Any:
    """Returns torchvision's training images of `mnist` or `cifar10`, as the script sees them.

    Args:
        name: Which dataset.
        root: The folder that holds it as torchvision unpacks it.
        mean: Of pixels in 0..1, per channel.
        std: Likewise.
        augmented: Whether CIFAR's images are cropped and mirrored at random.
    """
    changes = _AUGMENTATION[name] if augmented else []
    transform = transforms.Compose([*changes, transforms.ToTensor(), transforms.Normalize(mean, std)])
    return _DATASETS[name](root, train=True, download=False, transform=transform)


def training_steps(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    images: Any,
    batch_size: int,
    device: torch.device,
) -> Iterator[int]:
    """Trains for ever, one step whenever the next one is asked for; yields how many images each took."""
    on_gpu = device.type == "cuda"
    # Two workers keep up with two cores; feeding a GPU takes all the cores there are, up to eight.
    workers = min(8, os.cpu_count() or 2) if on_gpu else 2
    loader = DataLoader(
        images, batch_size, shuffle=True, num_workers=workers, pin_memory=on_gpu, persistent_workers=True
    )
    model.to(device).train()
    while True:
        for inputs, labels in loader:
            inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            loss = loss_of(model(inputs), labels)
            loss.backward()
            optimizer.step()
            yield len(labels)
