"""Pictures of a generator: what it makes, the training images nearest to it, and what its critic thinks of a plane."""

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from zoo.data.sheets import sheet
from zoo.tasks.adversarial import SHOWN, Adversarial
from zoo.tasks.curves import curves

_INCHES = 0.8  # of an image's side on paper
_LARGE = 2 * _INCHES * 100  # pixels: more than any figure is saved with


def grid(images: Tensor, columns: int = 8) -> Figure:
    """Draws images `(N, C, H, W)`, pixels from 0 to 1, in rows."""
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(_INCHES * columns, _INCHES * rows), layout="constrained")
    axes = figure.subplots()
    whole = sheet(images, columns)
    shown = whole.permute(1, 2, 0) if len(whole) == 3 else whole[0]
    # Pixels stay square; of pictures that have to shrink, thin lines must not get lost.
    interpolation = "nearest" if images.shape[-1] < _LARGE else "hanning"
    axes.imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
    axes.set_axis_off()
    return figure


def neighbours(samples: Tensor, training: Tensor) -> Figure:
    """Draws samples above the training images that are nearest to them, pixel by pixel: not memorised, or memorised."""
    training = training.to(samples)
    nearest = torch.cdist(samples.flatten(1), training.flatten(1)).argmin(dim=1)
    figure = grid(torch.cat([samples, training[nearest]]), columns=len(samples))
    figure.suptitle("above: samples; below: the nearest training images", fontsize=9)
    return figure


@torch.no_grad()
def draw_surface(axes: Axes, critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor | None = None) -> None:
    """Draws the levels of a critic over the unit square, real points, and generated ones if there are any.

    Args:
        axes: Where.
        critic: Maps points `(B, 1, 1, 2)` to scores `(B, 1)`.
        real: `(N, 1, 1, 2)`, of the dtype and on the device of the critic.
        made: As `real`.
    """
    places = torch.linspace(-0.1, 1.1, 121, dtype=real.dtype, device=real.device)
    grid = torch.cartesian_prod(places, places).view(-1, 1, 1, 2)
    levels = critic(grid).view(121, 121).t().cpu()
    axes.contour(places.cpu(), places.cpu(), levels, levels=24, cmap="viridis", linewidths=0.8)
    for points, colour, label in ((real, "#D55E00", "real"), (made, "#0072B2", "generated")):
        if points is not None:
            across, up = points.view(-1, 2).t().cpu()
            axes.scatter(across, up, s=3, color=colour, label=label, zorder=2)
    axes.set(xticks=(), yticks=(), aspect="equal")


def surface(critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor) -> Figure:
    """Draws what `draw_surface` does as a figure of its own."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    draw_surface(axes, critic, real, made)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.set_title("levels of the critic", fontsize=9)
    return figure


def figures(task: Adversarial, metrics_file: Path) -> dict[str, Figure]:
    """Draws curves, samples, paths between them, and the training images that are nearest to them; of points the plane.

    Args:
        task: What was trained.
        metrics_file: The run's metrics.csv.
    """
    labels = {"parzen": "log-likelihood, nats", "real": "mean score", "discriminator_loss": "loss"}
    drawn = {"curves": curves(metrics_file, list(labels), labels)}
    if task.points is not None:
        (real, _), made = next(iter(task.dataset.train_loader())), task.made(1000)
        drawn["critic"] = surface(task.networks.discriminator, task.pixels(real).to(made), made)
    else:
        paths = task.networks.draw_paths(8, 8, torch.Generator().manual_seed(1))
        drawn["samples"] = grid(task.made(SHOWN).cpu())
        drawn["interpolation"] = grid(task.from_noise(paths).cpu())
        drawn["neighbours"] = neighbours(task.made(12).cpu(), task.training_images().cpu())
    return {name: figure for name, figure in drawn.items() if figure is not None}
