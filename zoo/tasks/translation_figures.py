"""Pictures of a translator: how it fares with long sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure


def names_of_groups(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    """Writes the lengths of each group of sentences, and how many it has, for below an axis."""
    ends = [dict.fromkeys((str(group["shortest"]), str(group["longest"]))) for group in groups]
    return [f"{'–'.join(each)}\n({group['sentences']})" for each, group in zip(ends, groups, strict=True)]


def draw_bleu_by_length(groups: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws BLEU over the length of the source, as Figure 2 of Bahdanau et al. 2014.

    Args:
        groups: Each with `shortest`, `longest` (words), `sentences` and `score`.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axes = figure.subplots()
    scores = [group["score"] for group in groups]
    axes.plot(range(len(groups)), scores, "o-", color="#0072B2")
    axes.set_xticks(range(len(groups)), names_of_groups(groups))
    axes.set(xlabel="words of the source (sentences)", ylabel="BLEU", title="BLEU by length of the source")
    axes.set_ylim(0, max([*scores, 1.0]) * 1.15)
    axes.grid(alpha=0.3)
    return figure
