"""Sheets of pictures: small ones keep their pixels, of large ones thin lines stay visible."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.tasks.adversarial_figures import grid


def drawn(images: torch.Tensor, dpi: int) -> np.ndarray:
    """Returns what a sheet of four columns looks like as a file, 0 to 255."""
    file = io.BytesIO()
    grid(images, columns=4).savefig(file, dpi=dpi)
    return np.asarray(Image.open(file).convert("L"))


@pytest.mark.parametrize("row", range(200, 206))
def test_a_thin_line_of_a_large_picture_stays(row: int):
    pictures = torch.ones(4, 1, 400, 600)
    pictures[:, :, row] = 0.0
    darkest = drawn(pictures, 120).min(axis=0)
    assert (darkest < 240).mean() > 0.8  # of all columns; a picture without the line is white


@pytest.mark.parametrize("side", [10, 28, 84])
def test_small_pictures_are_not_blurred(side: int):
    pictures = (torch.arange(side) % 2).float().expand(4, 1, side, side).clone()
    shades = drawn(pictures, 150)
    height = shades.shape[0] // 2
    assert ((shades[height] > 5) & (shades[height] < 250)).mean() < 0.05
