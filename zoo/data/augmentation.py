"""Random changes of training images: drawn per image, applied to the whole batch at once.

Each change comes in two halves. `draw_…` draws one setting per image from a generator of its own, on the CPU, so
that the same numbers come up whatever device the images are on and however many processes share a batch; the
other half applies the settings and is deterministic. Geometry works on pixels in 0..1, before normalisation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.errors import ZooError, nearest


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64) * (high - low) + low


def affine_matrices(
    degrees: Tensor, shifts: Tensor, scales: Tensor, shears: Tensor, stretches: Tensor | None = None
) -> Tensor:
    """Returns the matrices that lead from a pixel of the changed image back to where it comes from.

    An image is first stretched, then sheared horizontally, scaled, rotated, and shifted, all about its centre; with
    `stretches` left out this is torchvision's `affine` with shear `[s, 0]`.

    Args:
        degrees: Angles, clockwise on screen, `(B,)`.
        shifts: To the right and down in pixels, `(B, 2)`.
        scales: Factors above 0, `(B,)`.
        shears: Angles in degrees within (-90, 90), `(B,)`.
        stretches: Factors above 0 by which width grows and height shrinks, `(B,)`.

    Returns:
        `(B, 2, 3)` on pixel coordinates `(x, y, 1)` counted from the centre.
    """
    angle, tangent = torch.deg2rad(degrees), torch.tan(torch.deg2rad(shears))
    cos, sin = torch.cos(angle), torch.sin(angle)
    # The inverse of R(angle) [[1, -tan], [0, 1]] scale: its rows give the source's x and y.
    rows = torch.stack([cos - tangent * sin, sin + tangent * cos, -sin, cos], dim=1).view(-1, 2, 2)  # (B, 2, 2)
    rows = rows / scales.view(-1, 1, 1)
    # Subtracting the shift after the linear part needs the shift seen through it.
    back = -(rows @ shifts.unsqueeze(2))  # (B, 2, 1)
    matrices = torch.cat([rows, back], dim=2)
    if stretches is not None:
        matrices = matrices * torch.stack([1 / stretches, stretches], dim=1).unsqueeze(2)
    return matrices


def draw_affine(
    count: int,
    height: int,
    width: int,
    generator: torch.Generator,
    *,
    degrees: float = 0.0,
    translate: Sequence[float] = (0.0, 0.0),
    scale: Sequence[float] = (1.0, 1.0),
    shear: float = 0.0,
    squeeze: float = 0.0,
) -> Tensor:
    """Draws one affine distortion per image: LeCun et al. 1998, Sec. III.B, and rotation besides.

    Args:
        count: How many to draw, B.
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        generator: Where the random numbers come from.
        degrees: Rotation by an angle uniform in ±degrees.
        translate: Largest shift to either side, as shares of width and of height.
        scale: Bounds of the common factor of width and height.
        shear: Horizontal shearing by an angle uniform in ±shear degrees.
        squeeze: Horizontal compression with vertical elongation by the same factor, or the reverse; the factor is
            at most 1 + squeeze, its logarithm uniform.

    Returns:
        Matrices `(B, 2, 3)` for `affine`.
    """
    # Every number is drawn even where its range is empty: switching one distortion off leaves the others as they were.
    turn = _uniform(count, -degrees, degrees, generator)
    across = _uniform(count, -translate[0] * width, translate[0] * width, generator)
    down = _uniform(count, -translate[1] * height, translate[1] * height, generator)
    size = _uniform(count, scale[0], scale[1], generator)
    slant = _uniform(count, -shear, shear, generator)
    widest = math.log1p(squeeze)
    stretch = _uniform(count, -widest, widest, generator).exp()
    return affine_matrices(turn, torch.stack([across, down], dim=1), size, slant, stretch)


def _per_channel(value: float | Sequence[float], images: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=images.dtype, device=images.device).reshape(-1, 1, 1)


def affine(images: Tensor, matrices: Tensor, fill: float | Sequence[float] = 0.0) -> Tensor:
    """Applies one affine distortion to each image, with bilinear interpolation.

    Args:
        images: `(B, C, H, W)`, floats.
        matrices: `(B, 2, 3)` from `affine_matrices` or `draw_affine`.
        fill: What lies beyond the edge, one value or one per channel.

    Returns:
        Images of the same shape.
    """
    height, width = images.shape[-2:]
    half = torch.tensor([width / 2, height / 2], dtype=matrices.dtype)
    # grid_sample counts in halves of width and height.
    theta = (matrices / half.view(2, 1)).to(images.device, images.dtype)  # (B, 2, 3)
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    target = torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)  # (3, HW)
    # One product for the whole batch: F.affine_grid does the same four times slower.
    grid = (theta @ target).view(-1, 2, height, width).permute(0, 2, 3, 1)  # (B, H, W, 2)
    if not any(fill if isinstance(fill, Sequence) else [fill]):
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # grid_sample knows no other border than 0, so the background is made 0 meanwhile.
    background = _per_channel(fill, images)
    moved = F.grid_sample(images - background, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved + background


def draw_offsets(count: int, padding: int, generator: torch.Generator) -> Tensor:
    """Draws where each crop begins within its padded image: `(B, 2)` rows and columns, uniform in 0…2 x padding."""
    return torch.randint(0, 2 * padding + 1, (count, 2), generator=generator)


def crop_padded(images: Tensor, offsets: Tensor, padding: int, fill: float | Sequence[float] = 0.0) -> Tensor:
    """Pads each image on all sides and cuts a window of the old size out of it.

    Args:
        images: `(B, C, H, W)`, any dtype.
        offsets: `(B, 2)` from `draw_offsets`: row and column where the window begins.
        padding: Width of the border in pixels.
        fill: What the border holds, one value or one per channel.

    Returns:
        Images of the same shape.
    """
    batch, channels, height, width = images.shape
    padded = images.new_empty(batch, channels, height + 2 * padding, width + 2 * padding)
    padded[:] = _per_channel(fill, images)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (B, C, 2P+1, 2P+1, H, W), a view
    offsets = offsets.to(images.device)
    return windows[torch.arange(batch, device=images.device), :, offsets[:, 0], offsets[:, 1]]


def draw_flips(count: int, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Draws which images are mirrored: booleans `(B,)`."""
    return torch.rand(count, generator=generator) < probability


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirrors the chosen images of `(B, C, H, W)` left to right; `flips` holds booleans `(B,)`."""
    return torch.where(flips.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


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
            close = nearest(str(key), known, 1)
            hint = f"did you mean {where}.{close[0]}?" if close else f"it takes {', '.join(known)}."
            raise ZooError(f"unknown key {where}.{key}: {hint}")


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

    def share(self, rank: int, world: int) -> "Draws":
        """Returns the settings of every `world`-th image from `rank` on."""
        drawn = (getattr(self, field.name) for field in fields(self))
        return Draws(*(None if each is None else each[rank::world] for each in drawn))


class Augmentation:
    """The changes a config asks for, in this order: affine, crop_padding, flip.

    Args:
        settings: Plain keys: `affine` (the keywords of `draw_affine`), `crop_padding` (pixels), `flip` (true or
            false), `fill` (what lies beyond the edge, in 0..1, one value or one per channel). None changes nothing.

    Raises:
        ZooError: An unknown key or a value that makes no sense.
    """

    def __init__(self, settings: dict[str, Any] | None) -> None:
        given = {key: value for key, value in (settings or {}).items() if value is not None}
        _check_keys("data.augment", given, ("affine", "crop_padding", "flip", "fill"))
        self.affine = _affine_settings(given["affine"]) if "affine" in given else None
        self.padding = given.get("crop_padding", 0)
        if type(self.padding) is not int or not 0 <= self.padding <= 64:
            raise ZooError(f"data.augment.crop_padding={self.padding!r} is not possible: expected pixels in 0..64")
        self.flip = given.get("flip", False)
        if type(self.flip) is not bool:
            raise ZooError(f"data.augment.flip={self.flip!r} is not possible: expected true or false")
        fill = given.get("fill", 0.0)
        values = [_number("fill", v, 0, 1, "0..1") for v in (fill if isinstance(fill, list | tuple) else [fill])]
        self.fill: list[float] = values

    def __bool__(self) -> bool:
        """Says whether anything is changed at all."""
        return bool(self.affine or self.padding or self.flip)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """Draws the settings for `count` images of `height` x `width` pixels."""
        return Draws(
            affine=draw_affine(count, height, width, generator, **self.affine) if self.affine else None,
            offsets=draw_offsets(count, self.padding, generator) if self.padding else None,
            flips=draw_flips(count, generator) if self.flip else None,
        )

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Changes pixels in 0..1 of shape `(B, C, H, W)` as drawn and returns as many of the same shape."""
        if draws.affine is not None:
            images = affine(images, draws.affine, self.fill)
        if draws.offsets is not None:
            images = crop_padded(images, draws.offsets, self.padding, self.fill)
        if draws.flips is not None:
            images = flip(images, draws.flips)
        return images
