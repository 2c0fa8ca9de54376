"""Random changes of training images: drawn per image, applied to the whole batch at once.

Each change comes in two halves. `draw_…` draws one setting per image from a generator of its own, on the CPU, so
that the same numbers come up whatever device the images are on and however many processes share a batch; the
other half applies the settings and is deterministic. Here they are put in order as a config asks for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from zoo.data.affine import affine, draw_affine
from zoo.data.colour import ColourAxes, draw_colour, shift_colour
from zoo.data.windows import crop_padded, cut_out, draw_centres, draw_flips, draw_offsets, flip
from zoo.errors import ZooError, unknown_key


def unit_pixels(images: Tensor) -> Tensor:
    """Turns bytes of any shape into float32 pixels in 0..1."""
    return images.to(torch.float32).div_(255)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Subtracts `mean` from pixels in 0..1 and divides by `std`, in place.

    Args:
        images: `(B, C, H, W)`, floats.
        mean: `(C, 1, 1)`.
        std: `(C, 1, 1)`, above 0.

    Returns:
        The same tensor.
    """
    return images.sub_(mean).div_(std)


def _number(key: str, value: Any, low: float, high: float, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ZooError(f"data.augment.{key}={value!r} is not possible: expected {expected}")
    return float(value)


def _whole(key: str, value: Any, high: int, expected: str) -> int:
    if type(value) is not int or not 0 <= value <= high:
        raise ZooError(f"data.augment.{key}={value!r} is not possible: expected {expected}")
    return value


def _pair(key: str, value: Any, low: float, high: float, expected: str) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ZooError(f"data.augment.{key}={value!r} is not possible: expected {expected}")
    first, second = (_number(key, part, low, high, expected) for part in value)
    return first, second


def _check_keys(where: str, given: Any, known: Sequence[str]) -> None:
    if not isinstance(given, dict):
        raise ZooError(f"{where}={given!r} is not possible: expected keys out of {', '.join(known)}")
    for key in given:
        if key not in known:
            raise unknown_key(where, str(key), known)


def _affine_settings(given: Any) -> dict[str, Any]:
    """Checks the keys and values under `augment.affine`; a missing or null one changes nothing."""
    _check_keys("data.augment.affine", given, ("degrees", "translate", "scale", "shear", "squeeze"))
    settings: dict[str, Any] = {}
    for key, value in given.items():
        if value is None:
            continue
        name = f"affine.{key}"
        if key == "translate":
            settings[key] = _pair(name, value, 0, 1, "two shares in 0..1, of width and of height, such as [0.1, 0.1]")
        elif key == "scale":
            settings[key] = _pair(name, value, 0.01, 100, "two factors above 0, such as [0.9, 1.1]")
            if settings[key][0] > settings[key][1]:
                raise ZooError(f"data.augment.{name}={value!r} is not possible: the smaller factor comes first")
        elif key == "squeeze":
            settings[key] = _number(name, value, 0, 10, "a number of at least 0; 0.1 is up to ten percent")
        else:
            settings[key] = _number(name, value, 0, 180 if key == "degrees" else 89, "degrees, 0 or more")
    return settings


@dataclass(frozen=True)
class Draws:
    """The settings drawn for a batch, one per image; None for changes that are switched off."""

    affine: Tensor | None
    offsets: Tensor | None
    flips: Tensor | None
    colour: Tensor | None = None
    centres: Tensor | None = None

    def share(self, rank: int, world: int) -> "Draws":
        """Returns the settings of every `world`-th image from `rank` on."""
        drawn = (getattr(self, field.name) for field in fields(self))
        return Draws(*(None if each is None else each[rank::world] for each in drawn))


class Augmentation:
    """The changes a config asks for, in this order: affine, crop_padding with crop, flip, pca_colour, cutout.

    Args:
        settings: Plain keys: `affine` (the keywords of `draw_affine`), `crop_padding` (pixels), `flip` (true or
            false), `fill` (what lies beyond the edge, in 0..1, one value or one per channel), `pca_colour` (standard
            deviation of the draws of `zoo.data.colour`; 0.1 in Krizhevsky et al. 2012, Sec. 4.1), `cutout` (side of
            a square set to the mean, in pixels; 16 for CIFAR-10 in DeVries & Taylor 2017). None changes nothing.
        crop: Height and width of a random window that is left of each image; by default all of it is left.

    Raises:
        ZooError: An unknown key or a value that makes no sense.
    """

    def __init__(self, settings: dict[str, Any] | None, crop: int | None = None) -> None:
        keys = ("affine", "crop_padding", "flip", "fill", "cutout", "pca_colour")
        _check_keys("data.augment", {} if settings is None else settings, keys)
        given = {key: value for key, value in (settings or {}).items() if value is not None}
        self.affine = _affine_settings(given["affine"]) if "affine" in given else None
        self.padding = _whole("crop_padding", given.get("crop_padding", 0), 64, "pixels in 0..64")
        self.crop = crop
        self.flip = given.get("flip", False)
        if type(self.flip) is not bool:
            raise ZooError(f"data.augment.flip={self.flip!r} is not possible: expected true or false")
        fill = given.get("fill", 0.0)
        values = [_number("fill", v, 0, 1, "0..1") for v in (fill if isinstance(fill, list | tuple) else [fill])]
        self.fill: list[float] = values
        self.pca_colour = _number("pca_colour", given.get("pca_colour", 0.0), 0, 10, "a number of at least 0, or 0.1")
        self.cutout = _whole("cutout", given.get("cutout", 0), 1024, "the side of a square in pixels, in 0..1024")

    def __bool__(self) -> bool:
        """Says whether anything is changed at all."""
        changes = (self.affine, self.padding, self.crop, self.flip, self.pca_colour, self.cutout)
        return any(bool(change) for change in changes)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Draws the settings for `count` images of `height` x `width` pixels."""
        rows, columns = (side + 2 * self.padding - (self.crop or side) for side in (height, width))
        # What came later is drawn later: an older config still gets the numbers it always got.
        return Draws(
            affine=draw_affine(count, height, width, generator, **self.affine) if self.affine else None,
            offsets=draw_offsets(count, rows, columns, generator) if self.padding or self.crop else None,
            flips=draw_flips(count, generator) if self.flip else None,
            colour=draw_colour(count, self.pca_colour, generator) if self.pca_colour else None,
            centres=draw_centres(count, self.crop or height, self.crop or width, generator) if self.cutout else None,
        )

    def apply(self, images: Tensor, draws: Draws, axes: ColourAxes | None = None) -> Tensor:
        """Changes pixels before they are normalised: all but cutout.

        Args:
            images: `(B, C, H, W)`, floats in 0..1, or less their mean.
            draws: From `draw`, for these images.
            axes: Of the data's colours; needed for pca_colour.

        Returns:
            As many images, of the size of the crop.
        """
        if draws.affine is not None:
            images = affine(images, draws.affine, self.fill)
        if draws.offsets is not None:
            size, flips = self.crop, draws.flips
            images = crop_padded(images, draws.offsets, self.padding, self.fill, height=size, width=size, flips=flips)
        elif draws.flips is not None:
            images = flip(images, draws.flips)
        if draws.colour is not None:
            if axes is None:
                raise ValueError("pca_colour needs the colour axes of the data")
            images = shift_colour(images, draws.colour, axes)
        return images

    def cover(self, images: Tensor, draws: Draws) -> Tensor:
        """Cuts squares out of images `(B, C, H, W)` that are normalised already, in place: the last change."""
        return images if draws.centres is None else cut_out(images, draws.centres, self.cutout)
