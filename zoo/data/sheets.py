"""Sheets of images: many side by side, for people to look at."""

import math
from pathlib import Path

import torch
from torch import Tensor


def sheet(images: Tensor, columns: int = 8) -> Tensor:
    """Puts images `(N, C, H, W)` side by side in rows, a pixel apart, as one `(C, H', W')`."""
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    whole = torch.ones(channels, rows * (height + 1) - 1, columns * (width + 1) - 1)
    for number, image in enumerate(images):
        top, left = number // columns * (height + 1), number % columns * (width + 1)
        whole[:, top : top + height, left : left + width] = image
    return whole


def write_png(images: Tensor, path: Path, columns: int = 8, scale: int = 3) -> None:
    """Writes a sheet of images, pixels from 0 to 1, each pixel enlarged."""
    from PIL import Image  # on first use

    pixels = (sheet(images, columns).clamp(0, 1) * 255).round().to(torch.uint8)
    pixels = pixels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(array).save(path)
