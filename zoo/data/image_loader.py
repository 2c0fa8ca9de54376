"""Loaders of images that live in memory: batches are cut out of one tensor, without worker processes."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.data.augmentation import Augmentation, normalise, unit_pixels
from zoo.data.colour import ColourAxes
from zoo.data.resumable import ResumableLoader
from zoo.data.views import centre_crop, ten_views
from zoo.errors import ZooError

Batch = tuple[Tensor, Tensor]


def seeded_generator(*numbers: int | str) -> torch.Generator:
    """Returns a CPU generator whose stream depends on all of the numbers and on nothing else."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _check_rank(rank: int, world: int) -> None:
    if not 0 <= rank < world:
        raise ZooError(f"rank {rank} of {world} processes is not possible: expected a rank in 0..{world - 1}")


def check_shares(count: int, world: int) -> None:
    """Refuses so few images to evaluate that a process would have none: the others would wait for it in vain.

    Raises:
        ZooError: They are.
    """
    if world > 1 and count < world:
        raise ZooError(f"{count} images to evaluate cannot be shared by {world} processes: take fewer processes")


class ImageStore:
    """Images and labels of one or more splits on one device, handed out as normalised batches.

    Args:
        images: `(N, C, H, W)`, uint8.
        labels: `(N,)`, int64, on the same device.
        mean: One number per channel, subtracted from pixels in 0..1.
        std: One number above 0 per channel, divides them.
        mean_image: `(C, H, W)`, subtracted from pixels in 0..1 before anything else happens to them.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: list[float],
        std: list[float],
        mean_image: Tensor | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.mean = torch.tensor(mean, device=images.device).view(-1, 1, 1)
        self.std = torch.tensor(std, device=images.device).view(-1, 1, 1)
        self.mean_image = None if mean_image is None else mean_image.to(images.device)

    def pixels(self, indices: Tensor) -> Tensor:
        """Returns the images at `indices` `(B,)` as float32 pixels in 0..1, less the mean image if there is one."""
        pixels = unit_pixels(self.images.index_select(0, indices))
        return pixels if self.mean_image is None else pixels.sub_(self.mean_image)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalises pixels in place."""
        return normalise(pixels, self.mean, self.std)


class TrainingImageLoader(ResumableLoader[Batch]):
    """Shuffled, augmented batches: `(images (B, C, H, W) float32, labels (B,) int64)`.

    An epoch's order is drawn from (seed, epoch), a batch's augmentation from (seed, epoch, number of the batch); the
    global generator plays no part. With several ranks, each takes every `world`-th sample of the same global batch.

    Args:
        store: Where the images are.
        indices: Which of them to train on, `(N,)`.
        batch_size: Samples over all ranks.
        seed: Of order and augmentation.
        augmentation: What happens to the images.
        rank: This process.
        world: How many processes share each batch.
        axes: Of the images' colours, for `pca_colour`.
        contents: As for `ResumableLoader`.

    Raises:
        ZooError: The batch is larger than the data, or `world` does not divide it.
    """

    def __init__(
        self,
        store: ImageStore,
        indices: Tensor,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        rank: int = 0,
        world: int = 1,
        axes: ColourAxes | None = None,
        contents: int | None = None,
    ) -> None:
        _check_rank(rank, world)
        if not 1 <= batch_size <= len(indices):
            raise ZooError(f"data.batch_size={batch_size} is not possible: expected 1..{len(indices)} training images")
        if batch_size % world:
            raise ZooError(
                f"data.batch_size={batch_size} cannot be shared by {world} processes: take a multiple of {world}"
            )
        full, rest = divmod(len(indices), batch_size)
        # A rest that would leave a rank with nothing to do goes into the batch before it.
        super().__init__(full + (rest >= world), "images", contents)
        self.batch_size = batch_size
        self._store, self._indices, self._augmentation, self._axes = store, indices.cpu(), augmentation, axes
        self._seed, self._rank, self._world = seed, rank, world
        self._drawn: tuple[int, Tensor] | None = None  # an epoch and its order

    def _order(self, epoch: int) -> Tensor:
        """Draws an epoch's order: `(N,)` positions in the store, on its device."""
        shuffled = torch.randperm(len(self._indices), generator=seeded_generator("order", self._seed, epoch))
        return self._indices[shuffled].to(self._store.images.device)

    def _make(self, epoch: int, number: int) -> Batch:
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._order(epoch)
        end = (number + 1) * self.batch_size if number + 1 < len(self) else None
        whole = self._drawn[1][number * self.batch_size : end]
        pixels, labels = self._read(whole[self._rank :: self._world], epoch, number)
        if not self._augmentation:
            return self._store.normalise(pixels), labels
        # Drawn for the whole global batch: however many processes share it, each image is changed alike.
        generator = seeded_generator("augmentation", self._seed, epoch, number)
        draws = self._augmentation.draw(len(whole), pixels.shape[2], pixels.shape[3], generator)
        draws = draws.share(self._rank, self._world)
        images = self._store.normalise(self._augmentation.apply(pixels, draws, self._axes))
        return self._augmentation.cover(images, draws), labels

    def _read(self, chosen: Tensor, epoch: int, number: int) -> Batch:
        """Returns this rank's images of a batch, `chosen` from the store, as pixels before augmentation; their labels.

        A loader without a store of images finds them by epoch and number instead.
        """
        return self._store.pixels(chosen), self._store.labels.index_select(0, chosen)


class EvaluationImageLoader:
    """Batches in a fixed order, unchanged by augmentation; every sample comes once, at exactly one rank.

    Args:
        store: Where the images are.
        indices: Which of them to evaluate, `(N,)`.
        batch_size: Samples of a batch on this rank.
        rank: This process.
        world: How many processes share the samples.
        crop: Side of the square that is cut out of each image; None leaves it whole.
        views: 1 for the centre of each image, 10 for those of `ten_views`.

    Raises:
        ZooError: There are fewer images than ranks.
    """

    def __init__(
        self,
        store: ImageStore,
        indices: Tensor,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        crop: int | None = None,
        views: int = 1,
    ) -> None:
        _check_rank(rank, world)
        self.batch_size = batch_size
        self._store = store
        self._crop, self._views = crop, views
        check_shares(len(indices), world)
        self._indices = indices[rank::world].to(store.images.device)

    def __len__(self) -> int:
        """Returns the number of batches of this rank."""
        return -(-len(self._indices) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yields `(images (B, C, H, W) or (B, views, C, H, W) float32, labels (B,) int64)`."""
        for start in range(0, len(self._indices), self.batch_size):
            chosen = self._indices[start : start + self.batch_size]
            images = self._store.normalise(self._store.pixels(chosen))
            if self._crop is not None:
                cut = ten_views if self._views == 10 else centre_crop
                images = cut(images, self._crop, self._crop).contiguous()
            yield images, self._store.labels.index_select(0, chosen)
