"""Pictures of a classifier: its first-layer filters, what it confuses, and where it is most wrong."""

import math
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
from matplotlib.figure import Figure
from torch import Tensor


def _grid(pictures: Sequence[Tensor], columns: int, width: float, height: float, titles: Sequence[str] = ()) -> Figure:
    """Draws pictures (H, W) or (H, W, 3) in rows on one pair of axes: thirty pairs took most of the end of a short run.

    Args:
        pictures: From 0 to 1.
        columns: How many stand in a row.
        width: Of a picture with the space around it, in inches; the picture has nine tenths of it.
        height: The same; what it is more than the width is for the title.
        titles: Text above each picture.
    """
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.5), layout="constrained")
    axes = figure.subplots()
    for place, picture in enumerate(pictures):
        left, bottom = width * (place % columns), -height * (place // columns + 1)
        high, wide = (0.9 * width * side / max(picture.shape[:2]) for side in picture.shape[:2])
        axes.imshow(picture.numpy(), cmap="gray", extent=(left, left + wide, bottom, bottom + high))
        if titles:
            axes.text(
                left + wide / 2, bottom + high + 0.03 * width, titles[place], ha="center", va="bottom", fontsize=8
            )
    axes.set(xlim=(0, width * columns), ylim=(-height * rows, 0), aspect="equal")
    axes.set_axis_off()
    return figure


def _picture(image: Tensor) -> Tensor:
    """Scales an image (C, H, W) to 0..1 and turns it into (H, W) or (H, W, 3)."""
    image = image.float()
    low, high = image.amin(), image.amax()
    image = (image - low) / (high - low).clamp_min(1e-12)
    return image.permute(1, 2, 0) if image.shape[0] == 3 else image[0]


def first_layer_filters(weight: Tensor, most: int = 96) -> Figure:
    """Draws the kernels of the first convolution, each scaled to its own range.

    Args:
        weight: Shape (filters, C, height, width); colour for C = 3, otherwise the first input channel in grey.
        most: How many filters are shown at the most.
    """
    filters = weight[:most]
    figure = _grid([_picture(kernel) for kernel in filters], min(len(filters), 12), 0.9, 0.9)
    figure.suptitle(f"first-layer filters, {weight.shape[2]}x{weight.shape[3]}", fontsize=10)
    return figure


def confusion_matrix(counts: Tensor, class_names: Sequence[str]) -> Figure:
    """Draws how many samples of each class (rows) got each answer (columns), in percent of the row.

    Args:
        counts: Shape (classes, classes), whole numbers.
        class_names: Names along both axes; left out beyond 40 classes.
    """
    classes = len(counts)
    share = 100 * counts.double() / counts.sum(1, keepdim=True).clamp_min(1)
    # Right answers would drown the mistakes: colour shows the mistakes only.
    mistakes = share.clone().fill_diagonal_(0)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(mistakes.numpy(), cmap="Oranges", vmin=0, vmax=max(10.0, mistakes.max().item()))
    figure.colorbar(shown, ax=axes, label="wrong answers, % of the class", shrink=0.8)
    if classes <= 40:
        axes.set_xticks(range(classes), class_names, rotation=90 if max(map(len, class_names)) > 2 else 0)
        axes.set_yticks(range(classes), class_names)
    if classes <= 12:
        ink = max(10.0, mistakes.max().item()) * 0.6
        for row in range(classes):
            for column in range(classes):
                if count := int(counts[row, column]):
                    colour = "0.55" if row == column else "white" if mistakes[row, column] > ink else "black"
                    axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    axes.set(xlabel="answer", ylabel="truth", title="confusion matrix (counts)")
    return figure


def worst_mistakes(mistakes: Sequence[tuple[float, Tensor, int, int]], class_names: Sequence[str]) -> Figure:
    """Draws the wrong answers the network was surest of.

    Args:
        mistakes: (probability of the wrong answer, image (C, H, W), truth, answer), surest first; not empty.
        class_names: Names of the classes.
    """
    titles = [
        f"{class_names[truth]} → {class_names[answer]}\n{100 * sure:.4g} %" for sure, _, truth, answer in mistakes
    ]
    pictures = [_picture(image) for _, image, _, _ in mistakes]
    figure = _grid(pictures, min(len(mistakes), 8), 1.35, 1.65, titles)
    figure.suptitle("surest mistakes: truth → answer, with its probability", fontsize=10)
    return figure
