"""Affine distortions of images: drawn per image, applied to the whole batch at once.

They work on pixels in 0..1, before normalisation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.windows import per_channel, to_device


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
    theta = to_device((matrices / half.view(2, 1)).to(images.dtype), images.device)  # (B, 2, 3)
    x = torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2
    y = torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    target = torch.stack([columns, rows, torch.ones_like(rows)]).flatten(1)  # (3, HW)
    # One product for the whole batch: F.affine_grid does the same four times slower.
    grid = (theta @ target).view(-1, 2, height, width).permute(0, 2, 3, 1)  # (B, H, W, 2)
    if not any(fill if isinstance(fill, Sequence) else [fill]):
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    # grid_sample knows no other border than 0, so the background is made 0 meanwhile.
    background = per_channel(fill, images)
    moved = F.grid_sample(images - background, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved + background
