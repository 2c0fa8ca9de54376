"""What shipped models make, drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.registry import create_dataset
from zoo.data.tokenizing import PAD, SentenceTokenizer
from zoo.models.registry import create_model
from zoo.pretrained.pipelines import pipeline
from zoo.pretrained.release import save_release
from zoo.training.records import experiments
from zoo.training.release_figures import (
    FIGURES,
    GERMAN,
    alignments,
    draw_release_figures,
    filmstrip,
    first_layer_filters,
    interpolations,
    mistakes,
    samples,
    shipped_figures,
)


def test_what_a_classifier_gets_wrong(tmp_path: Path):
    digits = create_dataset("digits")
    digits.prepare()
    torch.manual_seed(0)
    model = create_model("lenet5_modern").eval()
    card = {"name": "guessing", "task": "image_classification", "class_names": list("abcdefghij"), "preprocessing": {}}
    figure = mistakes(save_release(tmp_path / "release", model, "lenet5_modern", {}, card), digits)
    drawn = [text.get_text() for text in figure.axes[0].texts]
    assert len(drawn) == 24
    shares = [float(title.split("\n")[1].removesuffix(" %")) for title in drawn]
    assert shares == sorted(shares, reverse=True)
    assert all(title[0] != title[4] and set(title[0] + title[4]) <= set("abcdefghij") for title in drawn)


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
    for draw, share in ((samples, 5 / 16), (interpolations, 6 / 8)):
        (axes,) = draw(release).axes
        height, width = axes.images[0].get_array().shape
        assert height / width == pytest.approx(share, rel=0.02)


def test_kernels_are_stretched_to_the_range_of_pixels(tmp_path: Path):
    torch.manual_seed(1)
    net = create_model("resnet20")
    card = {"name": "net", "task": "image_classification", "preprocessing": {}, "class_names": []}
    (axes,) = first_layer_filters(save_release(tmp_path / "release", net, "resnet20", {}, card)).axes
    shown = axes.images[0].get_array()
    assert shown.shape == (4 * 3 + 3, 4 * 3 + 3, 3)  # 16 kernels of 3x3, a pixel apart
    kernel = next(net.parameters())[5].detach().permute(1, 2, 0)
    assert shown[4:7, 4:7].min() == 0
    assert shown[4:7, 4:7].max() == 1
    assert np.corrcoef(shown[4:7, 4:7].flatten(), kernel.flatten())[0, 1] == pytest.approx(1)


def test_a_film_begins_and_ends_with_the_game(tmp_path: Path):
    torch.manual_seed(1)
    card = {
        "name": "player", "task": {"name": "q_learning", "evaluation_epsilon": 0.0}, "data": {"name": "cartpole"},
        "preprocessing": {}, "class_names": [],
    }  # fmt: skip
    arguments = {"actions": 2, "features": 4}
    release = save_release(tmp_path / "release", create_model("dqn_mlp", **arguments), "dqn_mlp", arguments, card)
    player = pipeline(release)
    frames = player.film(seed=1)
    assert len(frames) == player(seed=1)[0].length  # one before each action
    (axes,) = filmstrip(release).axes
    shown = axes.images[0].get_array()
    height, width, _ = frames[0].shape
    assert np.allclose(shown[:height, :width], frames[0] / 255, atol=1e-6)
    assert np.allclose(shown[-height:, -width:], frames[-1] / 255, atol=1e-6)


def test_what_is_shipped_is_drawn(tmp_path: Path):
    written = draw_release_figures(tmp_path)
    assert [path.stem for path in written] == list(shipped_figures())
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) >= 200
