"""Learning curves drawn from a run's metrics.csv."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's: told apart by colour-blind readers too.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
COLOURS = {"train": PALETTE[0], "val": PALETTE[2], "eval": PALETTE[2], "test": PALETTE[1]}


def epoch_curves(metrics_file: Path, over: str = "epoch") -> dict[str, tuple[list[int], list[float]]]:
    """Reads the metrics measured once an epoch: name -> (epochs counted from 1, or steps; values)."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    with metrics_file.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for values_of_row in rows:
            if values_of_row[:1] != ["epoch"]:  # most rows are steps
                continue
            row = dict(zip(header, values_of_row, strict=False))
            for name, text in row.items():
                if text and "/" in name:
                    epochs, values = found.setdefault(name, ([], []))
                    epochs.append(int(row[over]) + (over == "epoch"))
                    values.append(float(text))
    return found


def curves(metrics_file: Path, metrics: Sequence[str], labels: Mapping[str, str], over: str = "epoch") -> Figure | None:
    """Draws one panel per metric with a line for each split; None when no epoch was completed.

    Args:
        metrics_file: The run's metrics.csv.
        metrics: Names without the split, e.g. `["error", "loss"]`.
        labels: Text for each vertical axis, with its unit.
        over: What the horizontal axis counts, `"epoch"` or `"step"`.
    """
    found = epoch_curves(metrics_file, over)
    drawn = [metric for metric in metrics if any(name.endswith(f"/{metric}") for name in found)]
    if not drawn:
        return None
    figure = Figure(figsize=(5.2 * len(drawn), 3.8), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        for split, colour in COLOURS.items():
            if f"{split}/{metric}" in found:
                epochs, values = found[f"{split}/{metric}"]
                label = f"{split}, last {values[-1]:.3g}"
                # As in Figure 6 of He et al. 2015: training dashed, what is held out bold. A point alone is no line.
                dots = "o" if len(epochs) < 15 else ""
                dashed, bold = ("--", 1.2) if split == "train" else ("-", 2.0)
                axes.plot(epochs, values, dashed, color=colour, linewidth=bold, label=label, marker=dots, markersize=3)
        axes.set(xlabel=over, ylabel=labels[metric], title=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        if min(min(line.get_ydata(), default=0) for line in axes.lines) >= 0:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def step_size(metrics_file: Path) -> Figure | None:
    """Draws the learning rate over the optimizer steps; None when none was written."""
    with metrics_file.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("row") == "step" and row.get("lr")]
    if not rows:
        return None
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([int(row["step"]) for row in rows], [float(row["lr"]) for row in rows], color=COLOURS["train"])
    axes.set(xlabel="optimizer step", ylabel="learning rate", title="learning rate")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    return figure
