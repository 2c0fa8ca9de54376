"""Windows cut out of images, mirroring, and squares blanked out: drawn per image, applied to a whole batch at once.

`draw_…` draws on the CPU; the other half of each change applies what was drawn, on whatever device the images are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def per_channel(value: float | Sequence[float], images: Tensor) -> Tensor:
    """Returns one value, or one per channel, as a tensor `(1 or C, 1, 1)` of the images' kind."""
    return to_device(torch.as_tensor(value, dtype=images.dtype).reshape(-1, 1, 1), images.device)


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Moves what was drawn on the CPU to the images' device, where that can be without waiting for its other work."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn.to(device)


def draw_offsets(count: int, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Draws where each window begins: `(count, 2)`, uniform in 0…`rows` and 0…`columns`, both included."""
    if rows == columns:
        return torch.randint(0, rows + 1, (count, 2), generator=generator)
    drawn = [torch.randint(0, highest + 1, (count,), generator=generator) for highest in (rows, columns)]
    return torch.stack(drawn, dim=1)


def crop_padded(
    images: Tensor,
    offsets: Tensor,
    padding: int,
    fill: float | Sequence[float] = 0.0,
    *,
    height: int | None = None,
    width: int | None = None,
    flips: Tensor | None = None,
) -> Tensor:
    """Pads each image on all sides and cuts a window out of it.

    Args:
        images: `(B, C, H, W)`, any dtype.
        offsets: `(B, 2)` from `draw_offsets`: row and column of the padded image where the window begins.
        padding: Width of the border in pixels.
        fill: What the border holds, one value or one per channel.
        height: Of the window; by default that of the images.
        width: Of the window; by default that of the images.
        flips: Booleans `(B,)` from `draw_flips`: the windows to mirror, as `flip` would.

    Returns:
        `(B, C, height, width)`.
    """
    batch, channels, old_height, old_width = images.shape
    height, width = height or old_height, width or old_width
    if padding:
        values = list(fill) if isinstance(fill, Sequence) else [fill]
        padded = images.new_full((batch, channels, old_height + 2 * padding, old_width + 2 * padding), values[0])
        if len(values) > 1:
            padded[:] = per_channel(values, images)
        padded[:, :, padding : padding + old_height, padding : padding + old_width] = images
        images = padded
    offsets = to_device(offsets, images.device)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    if flips is not None:
        columns = torch.where(to_device(flips, images.device).unsqueeze(1), columns.flip(1), columns)
    rows = offsets[:, :1] + torch.arange(height, device=images.device)  # (B, height)
    columns = offsets[:, 1:] + columns  # (B, width)
    source = rows.unsqueeze(2) * images.shape[3] + columns.unsqueeze(1)  # (B, height, width)
    # One gather for cropping and mirroring; indexing with several tensors does the same at twice the cost.
    source = source.view(batch, 1, -1).expand(batch, channels, -1)
    return images.flatten(2).gather(2, source).view(batch, channels, height, width)


def draw_flips(count: int, generator: torch.Generator, probability: float = 0.5) -> Tensor:
    """Draws which images are mirrored: booleans `(B,)`."""
    return torch.rand(count, generator=generator) < probability


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirrors the chosen images of `(B, C, H, W)` left to right; `flips` holds booleans `(B,)`."""
    return torch.where(to_device(flips, images.device).view(-1, 1, 1, 1), images.flip(3), images)


def draw_centres(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draws one pixel of each image: `(count, 2)` rows and columns, uniform in 0…height - 1 and 0…width - 1."""
    return draw_offsets(count, height - 1, width - 1, generator)


def cut_out(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Sets a square of each image to 0, in place: Cutout (DeVries & Taylor 2017, arXiv 1708.04552, Sec. 3).

    Args:
        images: `(B, C, H, W)`, normalised, so that 0 is the mean.
        centres: `(B, 2)` from `draw_centres`; a square that reaches beyond the border is clipped.
        side: Of the square in pixels; half of it, rounded down, lies above and left of the centre.

    Returns:
        The same tensor.
    """
    first = to_device(centres, images.device) - side // 2  # (B, 2)
    within = []
    for axis in (0, 1):
        distance = torch.arange(images.shape[2 + axis], device=images.device) - first[:, axis : axis + 1]
        within.append((distance >= 0) & (distance < side))
    hole = within[0].unsqueeze(2) & within[1].unsqueeze(1)  # (B, H, W)
    # Faster than `masked_fill_` with a mask that all channels share.
    return images.mul_((~hole).to(images.dtype).unsqueeze(1))
