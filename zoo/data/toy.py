"""Points in the plane around a few centres: distributions that can be looked at (Gulrajani et al. 2017, Figure 1)."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from zoo.data.registry import register_dataset
from zoo.data.resumable import ResumableLoader
from zoo.data.seeds import derived_seed
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

_EVALUATED = 10_000  # points of the validation and of the test split
_VALIDATION, _TEST = 2**31 - 1, 2**31 - 2  # epochs that training never comes to


def points(centres: Tensor, spread: float, count: int, seed: int, epoch: int, batch: int = 0) -> Tensor:
    """Returns `(count, 1, 1, 2)`: each around one of the centres, as Gaussian noise of this spread."""
    draw = torch.Generator().manual_seed(derived_seed(seed, epoch, batch))
    chosen = torch.randint(len(centres), (count,), generator=draw)
    return (centres[chosen] + spread * torch.randn(count, 2, generator=draw)).view(count, 1, 1, 2)


class PointLoader(ResumableLoader[tuple[Tensor, Tensor]]):
    """Batches of points, new ones in each epoch.

    Args:
        centres: `(K, 2)`.
        spread: Of the noise around them.
        batch_size: Points of a batch, over all ranks.
        batches: That make an epoch.
        seed: Decides the points.
        rank: This process.
        world: How many processes share a batch.
        device: Where batches go.
    """

    def __init__(
        self, centres: Tensor, spread: float, batch_size: int, batches: int, seed: int, rank: int = 0, world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        super().__init__(batches, "points")
        self.batch_size = batch_size
        self._centres, self._spread, self._seed = centres, spread, seed
        self._share, self._device = slice(rank, None, world), device

    def _make(self, epoch: int, number: int) -> tuple[Tensor, Tensor]:
        made = points(self._centres, self._spread, self.batch_size, self._seed, epoch, number)[self._share]
        return made.to(self._device), torch.zeros(len(made), dtype=torch.int64, device=self._device)


class FixedPoints:
    """One batch of points, always the same ones.

    Args:
        made: `(N, 1, 1, 2)`: this rank's points.
    """

    def __init__(self, made: Tensor) -> None:
        self._batch = made, torch.zeros(len(made), dtype=torch.int64, device=made.device)

    def __len__(self) -> int:
        """Returns 1."""
        return 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batch."""
        yield self._batch


class ToyData:
    """Points around centres, in the unit square.

    Args:
        centres: `(K, 2)`.
        spread: Of the noise around them.
        batch_size: Points of a batch.
        batches: That make an epoch.
        seed: Decides the points.

    Raises:
        ZooError: A setting makes no sense.
    """

    files = ()

    def __init__(self, centres: Tensor, spread: float, *, batch_size: int, batches: int, seed: int) -> None:
        for key, value in (("batch_size", batch_size), ("batches", batches)):
            if value < 1:
                raise ZooError(f"data.{key}={value} is not possible: expected 1 or more")
        self.centres, self.spread = centres, spread
        self._batch_size, self._batches, self._seed = batch_size, batches, seed

    def prepare(self) -> ImageSpec:
        """Returns what a point is: an image of two pixels, one beside the other."""
        return ImageSpec(1, 1, 2, 1)

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> PointLoader:
        """Returns the batches of training.

        Raises:
            ZooError: A batch has fewer points than there are processes.
        """
        if self._batch_size < world:
            raise ZooError(
                f"data.batch_size={self._batch_size} cannot be shared by {world} processes: take {world} or more"
            )
        sizes = self._batch_size, self._batches
        return PointLoader(self.centres, self.spread, *sizes, self._seed, rank, world, device)

    def validation_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> FixedPoints:
        """Returns 10,000 points, always the same ones."""
        return self._fixed(_VALIDATION, rank, world, device)

    def test_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> FixedPoints:
        """Returns 10,000 others."""
        return self._fixed(_TEST, rank, world, device)

    def _fixed(self, epoch: int, rank: int, world: int, device: torch.device | str) -> FixedPoints:
        return FixedPoints(points(self.centres, self.spread, _EVALUATED, 0, epoch)[rank::world].to(device))

    @property
    def preprocessing(self) -> dict[str, Any]:
        """None: points are as they are."""
        return {"channels": 1, "height": 1, "width": 2, "mean": [0.0], "std": [1.0]}

    @property
    def class_names(self) -> list[str]:
        """One: a point."""
        return ["point"]

    @property
    def checksums(self) -> dict[str, str]:
        """None: nothing is read."""
        return {}


@register_dataset
def gaussians_8(dir: str | None = None, batch_size: int = 256, seed: int = 0, batches: int = 1000) -> ToyData:
    """Eight Gaussians on a circle."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    return ToyData(0.5 + 0.35 * centres, 0.0035, batch_size=batch_size, batches=batches, seed=seed)


@register_dataset
def gaussians_25(dir: str | None = None, batch_size: int = 256, seed: int = 0, batches: int = 1000) -> ToyData:
    """Twenty-five Gaussians on a grid."""
    places = torch.linspace(0.1, 0.9, 5)
    return ToyData(torch.cartesian_prod(places, places), 0.005, batch_size=batch_size, batches=batches, seed=seed)
