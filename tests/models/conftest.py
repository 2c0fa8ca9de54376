"""The papers' operations on tensors, for the tests that hold blocks and networks against them."""

from collections.abc import Callable, Iterator

import pytest
from torch import Tensor, nn


@pytest.fixture
def unlike_new() -> Callable[[nn.Module], nn.Module]:
    """Gives every normalisation gains, shifts and statistics of its own, so that none goes unnoticed."""

    def change(net: nn.Module) -> nn.Module:
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
                nn.init.uniform_(layer.running_mean, -0.2, 0.2)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
        return net

    return change


@pytest.fixture
def tensors(unlike_new: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], Iterator[Tensor]]:
    """Yields the parameters in float64, in order: a convolution's kernels, then a normalisation's gain and shift."""

    def of(block: nn.Module) -> Iterator[Tensor]:
        yield from unlike_new(block.double()).parameters()

    return of


@pytest.fixture
def normalised() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Batch normalisation in training (Ioffe, Szegedy 2015, Algorithm 1)."""

    def normalise(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * gain.view(-1, 1, 1) + shift.view(-1, 1, 1)

    return normalise


@pytest.fixture
def rectified() -> Callable[[Tensor], Tensor]:
    return lambda x: x * (x > 0)
