"""Figures that the papers printed of what their models make, ours drawn from the shipped releases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from zoo.data.rendering import write_gif
from zoo.decoding.alignment import draw_alignments
from zoo.locations import shipped
from zoo.metrics.probabilities import class_probabilities
from zoo.pretrained.pipelines import pipeline
from zoo.pretrained.release import load_release
from zoo.tasks.adversarial_figures import grid
from zoo.tasks.classification_figures import worst_mistakes
from zoo.tasks.image_classification import worst, wrong_answers

GERMAN = (
    "Ein brauner Hund rennt durch den tiefen Schnee.",
    "Zwei Frauen sitzen auf einer Bank und lesen ein Buch.",
    "Ein kleiner Junge spielt im Garten mit einem roten Ball.",
    "Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster.",
)


def alignments(release: Path) -> Figure:
    """Bahdanau et al. 2014, Figure 3: what each token of a translation looks at, four sentences."""
    translated = pipeline(release)(GERMAN)
    figure = draw_alignments([(each.source_tokens, each.target_tokens, each.alignment) for each in translated])
    assert figure is not None
    return figure


def samples(release: Path) -> Figure:
    """Goodfellow et al. 2014, Figure 2: samples, not chosen by hand."""
    return grid(pipeline(release)(80, seed=1), columns=16)


def interpolations(release: Path) -> Figure:
    """Radford et al. 2015, Figure 4: images on straight lines between two points of noise, eight on each."""
    return grid(pipeline(release).interpolate(6, seed=1), columns=8)  # a line a row


def game(release: Path) -> list[np.ndarray]:
    """The pictures of a game that a release plays, not chosen by hand."""
    return pipeline(release).film(seed=1)


def first_layer_filters(release: Path) -> Figure:
    """Krizhevsky et al. 2012, Figure 3: the kernels of the first convolution, each stretched to the range of pixels."""
    model, _ = load_release(release)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    kernels = first.weight.detach()
    low, high = kernels.amin(dim=(1, 2, 3), keepdim=True), kernels.amax(dim=(1, 2, 3), keepdim=True)
    return grid((kernels - low) / (high - low), columns=4)


def filmstrip(release: Path) -> Figure:
    """A game from its first picture to its last, row by row."""
    frames = pipeline(release).film(seed=1)
    chosen = np.linspace(0, len(frames) - 1, 24).round().astype(int)
    return grid(torch.from_numpy(np.stack([frames[place] for place in chosen])).permute(0, 3, 1, 2) / 255)


@torch.inference_mode()
def mistakes(release: Path, dataset: Any) -> Figure:
    """LeCun et al. 1998, Figure 8: test images that a release takes for something else, the surest answers first."""
    model, card = load_release(release)
    found = []
    for images, labels in dataset.test_loader():
        found += wrong_answers(images, labels, *class_probabilities(model, model(images)).max(1))
    return worst_mistakes(worst(found), card["class_names"])


class ReleaseFigure(NamedTuple):
    """A figure, or the pictures of a film, that is drawn where a release is shipped, and what stands below it."""

    release: str
    draw: Callable[[Path], Figure | list[np.ndarray]]
    caption: str
    ending: str = "png"


FIGURES = {
    "alignments_rnnsearch": ReleaseFigure(
        "rnnsearch_small-multi30k_de_en", alignments,
        "What RNNsearch looks at while it translates (after Bahdanau et al. 2014, Figure 3)",
    ),
    "alignments_transformer": ReleaseFigure(
        "transformer_tiny-multi30k_de_en", alignments,
        "The same of the Transformer, the mean over the heads of its last layer",
    ),
    "game_dqn_mlp_cartpole": ReleaseFigure("dqn_mlp-cartpole", game, "A game of dqn_mlp on CartPole", "gif"),
    "samples_gan_mlp": ReleaseFigure(
        "gan_mlp-mnist", samples, "Samples of gan_mlp, not chosen (after Goodfellow et al. 2014, Figure 2)"
    ),
    "samples_dcgan": ReleaseFigure("dcgan-mnist", samples, "Samples of dcgan, not chosen"),
    "interpolations_dcgan": ReleaseFigure(
        "dcgan-mnist", interpolations,
        "Between two points of noise, row by row, dcgan (after Radford et al. 2015, Figure 4)",
    ),
    "filters_resnet20": ReleaseFigure(
        "resnet20-cifar10", first_layer_filters,
        "The 16 kernels of resnet20's first layer, 3x3 pixels in colour (as Krizhevsky et al. 2012, Figure 3)",
    ),
    "filmstrip_dqn_mlp": ReleaseFigure(
        "dqn_mlp-cartpole", filmstrip,
        "A game of dqn_mlp in 24 pictures at equal intervals, row by row: CartPole",
    ),
    "filmstrip_dqn_minatar": ReleaseFigure(
        "dqn_minatar-breakout_short", filmstrip, "A game of dqn_minatar, likewise: MinAtar's Breakout"
    ),
}  # fmt: skip


def shipped_figures() -> dict[str, ReleaseFigure]:
    """Returns those figures whose release is shipped, by the name of their file without its ending."""
    folder = shipped("pretrained")
    return {name: figure for name, figure in FIGURES.items() if (folder / figure.release / "card.json").is_file()}


def draw_release_figures(folder: Path) -> list[Path]:
    """Draws every figure whose release is shipped into a folder, and returns the files."""
    written = []
    for name, figure in shipped_figures().items():
        written.append(folder / f"{name}.{figure.ending}")
        drawn = figure.draw(shipped("pretrained") / figure.release)
        if isinstance(drawn, Figure):
            drawn.savefig(written[-1], dpi=120)
        else:
            write_gif(drawn, written[-1])
    return written
