"""Pictures of a generator: what it makes, and the training images that are nearest to it."""

import math

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib.figure import Figure
from torch import Tensor

from zoo.data.sheets import sheet


def grid(images: Tensor, columns: int = 8) -> Figure:
    """Draws images `(N, C, H, W)`, pixels from 0 to 1, in rows."""
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(0.8 * columns, 0.8 * rows), layout="constrained")
    axes = figure.subplots()
    whole = sheet(images, columns)
    shown = whole.permute(1, 2, 0) if len(whole) == 3 else whole[0]
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    return figure


def neighbours(samples: Tensor, training: Tensor) -> Figure:
    """Draws samples above the training images that are nearest to them, pixel by pixel: not memorised, or memorised."""
    nearest = torch.cdist(samples.flatten(1), training.flatten(1)).argmin(dim=1)
    figure = grid(torch.cat([samples, training[nearest]]), columns=len(samples))
    figure.suptitle("above: samples; below: the nearest training images", fontsize=9)
    return figure
