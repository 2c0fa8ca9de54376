"""Figures that the papers printed, ours drawn from the records and from nothing else."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from zoo.tasks.curves import PALETTE
from zoo.tasks.translation_figures import names_of_groups
from zoo.training.records import all_records, claims_of, curve_of

Records = Mapping[str, Sequence[Mapping[str, Any]]]  # of each experiment, in order of the seeds


def _draw_seeds(axes: Axes, records: Sequence[Mapping[str, Any]], metric: str, label: str, **line: Any) -> None:
    """Draws the mean of a curve over the seeds, and between which values the seeds lie."""
    epochs = curve_of(records[0], metric)[0]
    columns = list(zip(*(curve_of(record, metric)[1] for record in records), strict=False))
    mean = [sum(values) / len(values) for values in columns]
    axes.plot(epochs[: len(mean)], mean, label=label, **line)
    if len(records) > 1:
        low, high = zip(*((min(values), max(values)) for values in columns), strict=True)
        axes.fill_between(epochs[: len(mean)], low, high, color=line.get("color"), alpha=0.2, linewidth=0)


def plain_and_residual(records: Records) -> Figure | None:
    """He et al. 2015, Figure 6: error on CIFAR-10 of plain and of residual networks, training dashed, test bold."""
    depths = (20, 32, 44, 56, 110)
    titles = {"plain": "plain networks", "resnet": "residual networks"}
    there = {name for name in records if re.fullmatch(r"(plain|resnet)\d+_cifar10", name)}
    families = [family for family in titles if any(name.startswith(family) for name in there)]
    if not families:
        return None
    figure = Figure(figsize=(5.2 * len(families), 4.0), layout="constrained")
    panels = figure.subplots(1, len(families), sharey=True, squeeze=False)[0]
    for axes, family in zip(panels, families, strict=True):
        for colour, depth in zip(PALETTE, depths, strict=False):
            if (name := f"{family}{depth}_cifar10") in there:
                group = records[name]
                _draw_seeds(axes, group, "train/error", f"{depth} layers, training", color=colour, linestyle="--")
                _draw_seeds(axes, group, "test/error", f"{depth} layers, test", color=colour, linewidth=2.0)
        axes.set(xlabel="epoch", ylabel="error, %", title=titles[family], ylim=(0, 25))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    return figure


def perplexity_curves(records: Records) -> Figure | None:
    """Zaremba et al. 2014, Table 1: validation perplexity on Penn Treebank over the epochs, and the paper's number."""
    there = [name for name in ("lstm_small_ptb", "lstm_medium_ptb", "lstm_large_ptb") if name in records]
    if not there:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, name in zip(PALETTE, there, strict=False):
        group = records[name]
        label = f"{name}, {len(group)} seed{'s' if len(group) > 1 else ''}"
        _draw_seeds(axes, group, "val/perplexity", label, color=colour, linewidth=2.0)
        for claim in claims_of(dict(group[0])):
            if claim["metric"] == "val/perplexity":
                axes.axhline(claim["reported"], color=colour, linestyle=":", label=f"the paper's {claim['reported']}")
    axes.set(xlabel="epoch", ylabel="perplexity", title="Penn Treebank, validation")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def bleu_by_length(records: Records) -> Figure | None:
    """Bahdanau et al. 2014, Figure 2: BLEU over the length of the source, with attention and without."""
    there = [name for name in records if "bleu_by_source_length" in records[name][0].get("details", {})]
    there = [name for name in there if name.endswith("_de_en")]
    if not there:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, name in zip(PALETTE, there, strict=False):
        groups = [record["details"]["bleu_by_source_length"] for record in records[name]]
        means = [sum(group["score"] for group in column) / len(column) for column in zip(*groups, strict=True)]
        names = names_of_groups(groups[0])
        axes.plot(range(len(means)), means, "o-", color=colour, label=name, linewidth=2.0)
        axes.set_xticks(range(len(names)), names)
    axes.set(
        xlabel="words of the source (sentences)", ylabel="BLEU", title="Multi30k, German to English, test_2016_flickr"
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure


def returns_and_values(experiment: str, records: Records) -> Figure | None:
    """Mnih et al. 2015, Figure 2: returns and predicted values of actions over the steps, each seed thin."""
    if experiment not in records:
        return None
    group = records[experiment]
    figure = Figure(figsize=(10.4, 4.0), layout="constrained")
    panels = (("eval/return", "return in evaluation"), ("train/q", "mean value of the best action"))
    for axes, (metric, label), colour in zip(figure.subplots(1, 2), panels, PALETTE, strict=False):
        an_epoch = group[0]["samples"] / group[0]["curve"]["epoch"][-1]
        steps = [epoch * an_epoch for epoch in curve_of(group[0], metric)[0]]
        curves = [curve_of(record, metric)[1] for record in group]
        for curve in curves:
            axes.plot(steps[: len(curve)], curve, color=colour, alpha=0.4, linewidth=1.0)
        mean = [sum(values) / len(values) for values in zip(*curves, strict=False)]
        axes.plot(
            steps[: len(mean)],
            mean,
            color=colour,
            linewidth=2.2,
            label=f"mean of {len(group)} seeds" if len(group) > 1 else "one seed",
        )
        axes.set(xlabel="environment steps", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    figure.suptitle(experiment)
    return figure


class PaperFigure(NamedTuple):
    """A figure, drawn where there are records for it, and what stands below it."""

    draw: Callable[[Records], Figure | None]
    caption: str


FIGURES = {
    "plain_and_residual": PaperFigure(
        plain_and_residual, "Error on CIFAR-10 over the epochs (after He et al. 2015, Figure 6)"
    ),
    "perplexity_curves": PaperFigure(
        perplexity_curves, "Validation perplexity on Penn Treebank, beside the numbers of Zaremba et al. 2014, Table 1"
    ),
    "bleu_by_length": PaperFigure(
        bleu_by_length, "BLEU by length of the source (after Bahdanau et al. 2014, Figure 2)"
    ),
} | {
    f"returns_{experiment}": PaperFigure(
        partial(returns_and_values, experiment),
        f"Returns and predicted values, {experiment} (after Mnih et al. 2015, Figure 2)",
    )
    for experiment in (
        "dqn_mlp_cartpole",
        "dqn_minatar_breakout_short",
        "dqn_minatar_breakout",
        "dqn_nature_atari_pong_fast",
    )
}


def draw_figures(folder: Path, records: Records | None = None) -> list[Path]:
    """Draws every figure that there are records for into a folder, and returns the files."""
    records = all_records() if records is None else records
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (draw, _) in FIGURES.items():
        if (figure := draw(records)) is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=120)
            written.append(path)
    return written
