"""From photographs of any size to squares of one size: random parts to train on, the centre to test on.

Sizes, rounding and interpolation are those of torchvision on Pillow images, whose import is not needed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from zoo.data.image_file import ImageFile
from zoo.data.pictures import cut_centre, scale_shorter_side
from zoo.data.views import check_views
from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom

# A JPEG decoded at less than its full size keeps this many times the resolution that is needed: what is then scaled
# down differs by less than a level from what the full size gives.
_RESERVE = 2
_ATTEMPTS = 10


def random_part(
    width: int, height: int, scale: Sequence[float], ratio: Sequence[float], generator: torch.Generator
) -> Box:
    """Draws a part of an image: its share of the area uniform, the logarithm of width divided by height uniform.

    Ten draws are tried until one lies within the image; after them the largest centre whose proportions are within
    `ratio` is taken (Szegedy et al. 2015, Section 6, as torchvision's RandomResizedCrop draws it).

    Args:
        width: Of the image.
        height: Of the image.
        scale: Bounds of the share of the area.
        ratio: Bounds of width divided by height.
        generator: Where the random numbers come from.
    """
    bounds = torch.log(torch.tensor(ratio)).tolist()
    for _ in range(_ATTEMPTS):
        area = width * height * torch.empty(1).uniform_(*scale, generator=generator).item()
        shape = torch.exp(torch.empty(1).uniform_(*bounds, generator=generator)).item()
        across, down = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < across <= width and 0 < down <= height:
            top = int(torch.randint(0, height - down + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - across + 1, (1,), generator=generator))
            return left, top, left + across, top + down
    across, down = width, height
    if width / height < min(ratio):
        down = round(width / min(ratio))
    elif width / height > max(ratio):
        across = round(height * max(ratio))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


@dataclass(frozen=True)
class RandomPart:
    """Cuts a random part out of an image and scales it to a square of `size`."""

    size: int
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def __call__(self, file: ImageFile, generator: torch.Generator) -> "Image.Image":
        """Returns the square.

        Raises:
            ZooError: The content is damaged.
        """
        from PIL import Image

        box = left, top, right, bottom = random_part(file.width, file.height, self.scale, self.ratio, generator)
        enough = _RESERVE * self.size
        image = file.load((
            math.ceil(file.width * enough / (right - left)),
            math.ceil(file.height * enough / (bottom - top)),
        ))  # fmt: skip
        square = self.size, self.size
        if image.size == (file.width, file.height):
            return image.crop(box).resize(square, Image.Resampling.BILINEAR)
        across, down = image.width / file.width, image.height / file.height
        smaller = left * across, top * down, right * across, bottom * down
        return image.resize(square, Image.Resampling.BILINEAR, box=smaller)  # to fractions of its pixels


@dataclass(frozen=True)
class RandomWindow:
    """Scales an image's shorter side to a random integer of a range and cuts a random window of `size` out of it."""

    size: int
    shorter_side: tuple[int, int]

    def __call__(self, file: ImageFile, generator: torch.Generator) -> "Image.Image":
        """Returns the window.

        Raises:
            ZooError: The content is damaged, or too long and narrow.
        """
        low, high = self.shorter_side
        side = int(torch.randint(low, high + 1, (1,), generator=generator))
        image = scale_shorter_side(file.load((_RESERVE * side, _RESERVE * side)), side)
        top = int(torch.randint(0, image.height - self.size + 1, (1,), generator=generator))
        left = int(torch.randint(0, image.width - self.size + 1, (1,), generator=generator))
        return image.crop((left, top, left + self.size, top + self.size))


@dataclass(frozen=True)
class Centre:
    """Scales an image's shorter side to `resize` and cuts the central square of `size` out of it."""

    size: int
    resize: int

    def __call__(self, file: ImageFile) -> "Image.Image":
        """Returns the square; the file is decoded in full.

        Raises:
            ZooError: The content is damaged, or too long and narrow.
        """
        return cut_centre(scale_shorter_side(file.load(), self.resize), self.size, self.size)


def _range(key: str, value: Sequence[float], low: float, high: float, expected: str) -> None:
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ZooError(f"data.{key}={list(value)} is not possible: expected two {expected}, the smaller one first")


@dataclass(frozen=True)
class Geometry:
    """The settings under `data` that say how photographs become squares.

    Args:
        size: Side of the squares that the model sees.
        resize: What the shorter side of a test image is scaled to.
        train_crop: `"random_resized"` (`RandomPart`) or `"random"` (`RandomWindow`).
        shorter_side: Of `RandomWindow`.
        scale: Of `RandomPart`.
        ratio: Of `RandomPart`.
        views: Of a test image: 1, the centre; or 10, of the central square of `resize`.

    Raises:
        ZooError: A setting makes no sense.
    """

    size: int
    resize: int
    train_crop: Literal["random_resized", "random"]
    shorter_side: Sequence[int]
    scale: Sequence[float]
    ratio: Sequence[float]
    views: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ZooError(f"data.size={self.size} is not possible: expected pixels in 1..4096")
        if not self.size <= self.resize <= 4096:
            raise ZooError(
                f"data.resize={self.resize} is not possible: a square of data.size={self.size} is cut out of a test "
                f"image whose shorter side has so many pixels; expected {self.size}..4096"
            )
        check_views(self.views)
        if self.train_crop == "random":
            _range(
                "shorter_side", self.shorter_side, self.size, 4096, f"numbers of pixels, data.size={self.size}..4096"
            )
        elif self.train_crop == "random_resized":
            _range("scale", self.scale, 1e-6, 1, "shares of the area above 0 and up to 1")
            _range("ratio", self.ratio, 1e-3, 1e3, "ratios of width to height in 0.001..1000")
        else:
            raise ZooError(f"data.train_crop={self.train_crop!r} is not possible: expected random_resized or random")

    @property
    def training(self) -> RandomPart | RandomWindow:
        """What happens to training images."""
        if self.train_crop == "random":
            return RandomWindow(self.size, (self.shorter_side[0], self.shorter_side[1]))
        return RandomPart(self.size, (self.scale[0], self.scale[1]), (self.ratio[0], self.ratio[1]))

    @property
    def evaluation(self) -> Centre:
        """What happens to test images; of ten views, before they are cut out."""
        return Centre(self.size if self.views == 1 else self.resize, self.resize)
