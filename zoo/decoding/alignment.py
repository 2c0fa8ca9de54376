"""Pictures of what the words of a translation are aligned with."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Aligned = tuple[Sequence[str], Sequence[str], Tensor]


def draw_alignments(aligned: Sequence[Aligned]) -> "Figure | None":
    """Draws the weights of attention as Figure 3 of Bahdanau et al. 2014; None for a model that does not align.

    Args:
        aligned: Of each sentence the S source tokens, the T target tokens, and weights `(T, S)`, rows summing to 1.
    """
    import matplotlib  # on first use

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = [each for each in aligned if each[2].numel()]
    if not drawn:
        return None
    columns = min(2, len(drawn))
    rows = -(-len(drawn) // columns)
    longest = max(max(len(source), len(target)) for source, target, _ in drawn)
    side = 1.6 + 0.19 * longest  # inches: tokens in small letters do not touch
    figure = Figure(figsize=(side * columns, side * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, (source, target, weights) in zip(panels, drawn, strict=False):
        axes.imshow(weights.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(source)), source, rotation=90, fontsize=8)
        axes.set_yticks(range(len(target)), target, fontsize=8)
    for axes in panels[len(drawn) :]:
        axes.set_axis_off()
    figure.suptitle("each row a translated token,\nwhite where it looks", fontsize=9)  # as wide as one small panel
    return figure
