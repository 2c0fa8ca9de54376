"""What shipped models make, drawn."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.data.tokenizing import PAD, SentenceTokenizer
from zoo.models.registry import create_model
from zoo.pretrained.release import save_release
from zoo.training.records import experiments
from zoo.training.release_figures import (
    FIGURES,
    GERMAN,
    alignments,
    draw_release_figures,
    interpolations,
    samples,
    shipped_figures,
)


def test_the_releases_are_those_of_experiments():
    assert {figure.release for figure in FIGURES.values()} <= {each["release"] for each in experiments().values()}


@pytest.mark.parametrize("name", ["transformer_tiny", "rnnsearch_small"])
def test_four_sentences_are_aligned(name: str, tmp_path: Path):
    tokenizer = SentenceTokenizer.train(GERMAN, "bpe", 150)
    arguments = {"source_vocabulary_size": len(tokenizer), "target_vocabulary_size": len(tokenizer), "pad": PAD}
    card = {
        "name": name, "task": {"name": "translation", "beam": 1, "length_penalty": 0.0},
        "preprocessing": {}, "class_names": [],
    }  # fmt: skip
    torch.manual_seed(1)
    net = create_model(name, **arguments)
    files = {tokenizer.file_name: tokenizer.to_json()}
    figure = alignments(save_release(tmp_path / "release", net, name, arguments, card, files=files))
    assert len(figure.axes) == len(GERMAN)
    for axes in figure.axes:
        (image,) = axes.images
        assert image.get_array().sum(axis=1).tolist() == pytest.approx([1.0] * len(image.get_array()), abs=1e-5)


def test_samples_are_drawn(tmp_path: Path):
    torch.manual_seed(1)
    card = {"name": "gan", "task": "adversarial", "preprocessing": {}, "class_names": []}
    release = save_release(tmp_path / "release", create_model("gan_mlp"), "gan_mlp", {}, card)
    for draw, rows in ((samples, 5), (interpolations, 5)):
        (axes,) = draw(release).axes
        height, width = axes.images[0].get_array().shape
        assert height / width == pytest.approx(rows / 16, rel=0.02)


def test_what_is_shipped_is_drawn(tmp_path: Path):
    written = draw_release_figures(tmp_path)
    assert [path.stem for path in written] == list(shipped_figures())
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) >= 200
