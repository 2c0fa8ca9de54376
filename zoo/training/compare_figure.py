"""Curves of several configurations in one picture."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from zoo.locations import writing
from zoo.tasks.curves import PALETTE, epoch_curves
from zoo.training.compare import Comparison, Configuration

Curve = tuple[list[int], list[float]]

_SPLITS = ("val", "eval", "test", "train")  # whose curve is drawn: the first of them that was measured each epoch


def _seeds(configuration: Configuration, metric: str) -> list[Curve]:
    """Returns the headline's curve of each seed: epochs and values."""
    name = metric.partition("/")[2]
    found = []
    for run in configuration.runs:
        curves = epoch_curves(run.metrics) if run.metrics.is_file() else {}
        measured = [f"{split}/{name}" for split in _SPLITS if f"{split}/{name}" in curves]
        found += [curves[measured[0]]] if measured else []
    return found


def _draw(
    axes: Axes, seeds: Sequence[tuple[list[int], list[float]]], label: str | None, colour: str, width: float
) -> None:
    epochs = [epoch for epoch in seeds[0][0] if all(epoch in each[0] for each in seeds)]
    columns = [[values[own.index(epoch)] for own, values in seeds] for epoch in epochs]
    dots = "o" if len(epochs) < 15 else ""
    means = [sum(column) / len(column) for column in columns]
    axes.plot(epochs, means, color=colour, label=label, linewidth=width, marker=dots, markersize=3)
    if len(seeds) > 1 and label:
        axes.fill_between(epochs, [*map(min, columns)], [*map(max, columns)], color=colour, alpha=0.2, linewidth=0)


def draw_comparison(comparison: Comparison) -> Figure | None:
    """Draws the mean of each configuration's curve over its seeds, and between which values they lie.

    The best configurations have a colour of their own, the others are grey. None when there is no curve.
    """
    drawn = [(each, _seeds(each, comparison.metric)) for each in comparison.configurations]
    drawn = [(each, seeds) for each, seeds in drawn if seeds]
    if not drawn:
        return None
    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    axes = figure.subplots()
    for _, seeds in drawn[len(PALETTE) :]:
        _draw(axes, seeds, None, "0.8", 0.8)
    for (each, seeds), colour in zip(drawn, PALETTE, strict=False):
        label = f"{shorten(each.label, 60, placeholder=' …')}: {each.mean:.4g}"
        _draw(axes, seeds, label, colour, 2.0)
    if len(drawn) > len(PALETTE):
        axes.plot([], [], color="0.8", label=f"{len(drawn) - len(PALETTE)} more")
    name = comparison.metric.partition("/")[2]
    axes.set(xlabel="epoch", ylabel=name, title=f"{name} over the epochs; behind each name its {comparison.metric}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8)
    return figure


def save_comparison(comparison: Comparison, path: Path) -> Path | None:
    """Writes the figure; returns where, or None when there is no curve.

    Raises:
        ZooError: The picture cannot be written there.
    """
    if (figure := draw_comparison(comparison)) is None:
        return None
    with writing("--out", path):
        figure.savefig(path, dpi=150)
    return path
