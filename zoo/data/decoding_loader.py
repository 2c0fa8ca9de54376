"""Loaders of images that are decoded while they are needed, by processes of their own.

A loader asks for pieces of batches; who decodes them, and in which order that is done, changes nothing: what an image
becomes depends on the seed, the epoch and the image's place in the epoch alone. What comes back is bytes; everything
that is quicker for a whole batch at once, on a GPU above all, is done here.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.data.augmentation import Augmentation, unit_pixels
from zoo.data.colour import ColourAxes
from zoo.data.decoding_workers import Chunk, Decoders, Request
from zoo.data.image_loader import Batch, ImageStore, TrainingImageLoader, check_shares, seeded_generator
from zoo.data.views import ten_views
from zoo.errors import ZooError

log = logging.getLogger("zoo")

# Small pieces keep all processes busy to the end of a batch, and little memory on its way between them:
# /dev/shm is often no larger than 64 MB.
_CHUNK = 16


class BrokenImages:
    """What to do about images that cannot be decoded, and which there were.

    Args:
        policy: `"error"` or `"skip"`.
        consequence: What becomes of a skipped one, for the log.
    """

    def __init__(self, policy: Literal["error", "skip"], consequence: str) -> None:
        self._policy, self._consequence = policy, consequence
        self._reasons: dict[str, str] = {}
        self._counted = 0

    def note(self, found: dict[str, str]) -> None:
        """Takes note of images, path -> reason; each is told once.

        Raises:
            ZooError: The policy is `"error"`.
        """
        for path, reason in found.items():
            if self._policy == "error":
                raise ZooError(
                    f"{path} cannot be decoded: {reason}; repair or remove it, or go on without with data.broken=skip"
                )
            if path not in self._reasons:
                log.warning("%s cannot be decoded: %s; %s", path, reason, self._consequence)
        self._reasons |= found

    def count(self) -> None:
        """Tells at the end of a pass how many there are, if there are more than were told before."""
        if len(self._reasons) > self._counted:
            self._counted = len(self._reasons)
            log.warning("%d images cannot be decoded; %s", self._counted, self._consequence)


def _chunks(samples: Sequence[int], places: Sequence[int], epoch: int) -> Iterator[Request]:
    for start in range(0, len(samples), _CHUNK):
        piece = slice(start, start + _CHUNK)
        yield Request(list(samples[piece]), list(places[piece]), epoch)


@dataclass(frozen=True)
class _Plan:
    """Which images are where in which batch of a rank.

    It knows nothing of the loader, which would else be kept, with its processes, by the requests they wait for.
    """

    count: int
    batch_size: int
    length: int  # batches in an epoch
    seed: int
    rank: int
    world: int

    def order(self, epoch: int) -> Tensor:
        """Draws the order of an epoch: `(count,)`."""
        return torch.randperm(self.count, generator=seeded_generator("order", self.seed, epoch))

    def global_batch(self, number: int) -> range:
        """Returns the places in an epoch's order that are a batch of all ranks."""
        end = (number + 1) * self.batch_size if number + 1 < self.length else self.count
        return range(number * self.batch_size, end)

    def requests(self, epoch: int, number: int) -> Iterator[Request]:
        """Yields this rank's pieces of a batch and of all that come after it, without end."""
        while True:
            order = self.order(epoch)
            for later in range(number, self.length):
                places = self.global_batch(later)[self.rank :: self.world]
                yield from _chunks(order[list(places)].tolist(), places, epoch)
            epoch, number = epoch + 1, 0


def _together(chunks: list[Chunk], device: torch.device) -> tuple[Tensor, Tensor]:
    """Puts the pieces of a batch together on a device: bytes `(B, C, H, W)` and labels `(B,)`."""
    on_gpu = device.type == "cuda"
    count = sum(len(chunk.pixels) for chunk in chunks)
    # From pinned memory a copy to the GPU goes on by itself while the next batch is being put together.
    pixels = torch.empty((count, *chunks[0].pixels.shape[1:]), dtype=torch.uint8, pin_memory=on_gpu)
    torch.cat([chunk.pixels for chunk in chunks], out=pixels)
    labels = torch.tensor([label for chunk in chunks for label in chunk.labels], dtype=torch.int64)
    labels = labels.pin_memory() if on_gpu else labels
    return pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class _ClosedByLightning:
    """Ends its processes when Lightning says so.

    At the end of a fit or a test Lightning sets this attribute of torch's DataLoader to None, wherever it finds it.
    """

    _decoders: Decoders

    @property
    def _iterator(self) -> None:
        return None

    @_iterator.setter
    def _iterator(self, nothing: None) -> None:
        self._decoders.close()


class DecodingTrainingLoader(_ClosedByLightning, TrainingImageLoader):
    """Shuffled, augmented batches of image files that can be continued from any position.

    Order, position and sharing among ranks are those of `TrainingImageLoader`. The part that is cut out of an image is
    drawn from (seed, epoch, place in the epoch's order), so it is the same however many processes decode or share a
    batch. They work ahead beyond the batch that is asked for, past an epoch's edge too; the position does not.

    Args:
        decoders: They decode the training images.
        count: How many images there are.
        batch_size: Samples over all ranks.
        seed: Of order and augmentation.
        augmentation: What happens to the squares.
        store: Holds no images, but the device they go to and the scaling they get.
        broken: What to do about images that cannot be decoded.
        rank: This process.
        world: How many processes share each batch.
        axes: Of the images' colours, for `pca_colour`.
        contents: A number that tells these files from others, kept with the position.

    Raises:
        ZooError: The batch is larger than the data, or `world` does not divide it.
    """

    def __init__(
        self,
        decoders: Decoders,
        count: int,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        store: ImageStore,
        broken: BrokenImages,
        rank: int = 0,
        world: int = 1,
        axes: ColourAxes | None = None,
        contents: int | None = None,
    ) -> None:
        super().__init__(store, torch.arange(count), batch_size, seed, augmentation, rank, world, axes, contents)
        self._decoders, self._broken = decoders, broken
        self._plan = _Plan(count, batch_size, len(self), seed, rank, world)
        self._coming: Iterator[Chunk] | None = None
        self._comes: tuple[int, int] | None = None  # the batch that begins with the next chunk

    def _order(self, epoch: int) -> Tensor:
        return self._plan.order(epoch)

    def _read(self, chosen: Tensor, epoch: int, number: int) -> Batch:
        """Returns this rank's images of a batch, which its decoders know by their places; `chosen` only counts them."""
        if self._coming is None or self._comes != (epoch, number) or not self._decoders.running:
            self._coming = self._decoders.decode(self._plan.requests(epoch, number))
        self._comes = None  # until the batch is whole: an error or Ctrl-C may come between
        chunks = []
        with self._decoders.closed_by_errors():
            for _ in range(0, len(chosen), _CHUNK):
                chunks.append(next(self._coming))
                self._broken.note(chunks[-1].broken)
            if sum(len(chunk.labels) for chunk in chunks) < len(chosen):
                last = [path for chunk in chunks for path in chunk.broken][-1]
                raise ZooError(f"no image of {last}'s class can be decoded: remove the class, or repair its images")
        self._comes = self._after(epoch, number)
        if number + 1 == len(self):
            self._broken.count()
        pixels, labels = _together(chunks, self._store.images.device)
        return unit_pixels(pixels), labels


class DecodingEvaluationLoader(_ClosedByLightning):
    """Batches of image files in their order, unchanged by augmentation; every image comes once, at exactly one rank.

    Images that cannot be decoded and are skipped are missing from their batches.

    Args:
        decoders: They decode the images.
        count: How many images there are.
        batch_size: Images of a batch on this rank.
        size: Side of what the model sees.
        views: 1, or 10 to cut ten views out of each square.
        store: Holds no images, but the device they go to and the scaling they get.
        broken: What to do about images that cannot be decoded.
        rank: This process.
        world: How many processes share the images.

    Raises:
        ZooError: There are fewer images than ranks.
    """

    def __init__(
        self,
        decoders: Decoders,
        count: int,
        batch_size: int,
        size: int,
        views: int,
        store: ImageStore,
        broken: BrokenImages,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self._decoders, self._broken, self._store = decoders, broken, store
        self._size, self._views = size, views
        check_shares(count, world)
        self._samples = range(rank, count, world)

    def __len__(self) -> int:
        """Returns the number of batches of this rank, if no image is left out of all of one."""
        return -(-len(self._samples) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yields `(images (B, C, H, W) float32, labels (B,) int64)`; images `(B, V, C, H, W)` where there are views."""
        starts = range(0, len(self._samples), self.batch_size)
        batches = [self._samples[start : start + self.batch_size] for start in starts]
        coming = self._decoders.decode(request for batch in batches for request in _chunks(batch, batch, 0))
        for batch in batches:
            with self._decoders.closed_by_errors():
                chunks = [next(coming) for _ in range(0, len(batch), _CHUNK)]
                for chunk in chunks:
                    self._broken.note(chunk.broken)
            if chunks := [chunk for chunk in chunks if chunk.labels]:
                pixels, labels = _together(chunks, self._store.images.device)
                images = self._store.normalise(unit_pixels(pixels))
                yield (ten_views(images, self._size, self._size) if self._views == 10 else images), labels
        self._broken.count()
