"""Figures from records: drawn where there are any, with the records' own numbers in them."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from zoo.training.paper_figures import (
    bleu_by_length,
    draw_figures,
    perplexity_curves,
    plain_and_residual,
    returns_and_values,
)
from zoo.training.records import all_records


def record(shift: float = 0.0, **more: Any) -> dict[str, Any]:
    curve = {"epoch": [1.0, 2.0], "train/error": [20.0 + shift, 6.0], "test/error": [22.0, 9.0 + shift]}
    return {"curve": curve, "claim": None, **more}


def details(*scores: float) -> dict[str, Any]:
    groups = [{"shortest": 4 * n, "longest": 4 * n + 3, "sentences": 50, "score": s} for n, s in enumerate(scores)]
    return {"details": {"bleu_by_source_length": groups}}


def test_plain_and_residual_networks_stand_side_by_side():
    figure = plain_and_residual({"plain20_cifar10": [record()], "resnet20_cifar10": [record(), record(1.0)]})
    plain, residual = figure.axes
    assert [line.get_linestyle() for line in plain.lines] == ["--", "-"]
    assert plain.lines[1].get_ydata().tolist() == [22.0, 9.0]
    # The mean over two seeds, and the space between them.
    assert residual.lines[0].get_ydata().tolist() == [20.5, 6.0]
    assert residual.lines[1].get_ydata().tolist() == [22.0, 9.5]
    assert len(residual.collections) == 2
    assert plain.get_ylabel() == residual.get_ylabel() == "error, %"
    (alone,) = plain_and_residual({"resnet20_cifar10": [record()]}).axes
    assert alone.get_title() == "residual networks"


def test_translators_are_compared_by_length():
    records = {"rnnencdec_small_multi30k_de_en": [record(**details(30, 10))],
               "rnnsearch_small_multi30k_de_en": [record(**details(34, 32)), record(**details(36, 30))]}  # fmt: skip
    (axes,) = bleu_by_length(records).axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[30, 10], [35, 31]]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0–3\n(50)", "4–7\n(50)"]


def test_returns_are_drawn_over_steps_each_seed_by_itself():
    group = [
        {
            "samples": 600,
            "curve": {"epoch": [1.0, 2.0, 3.0], "eval/return": [value, 2 * value, 30.0], "train/q": [None, 1.0, 2.0]},
        }
        for value in (10.0, 14.0)
    ]  # no update in the first epoch
    returns, values = returns_and_values("dqn_mlp_cartpole", {"dqn_mlp_cartpole": group}).axes
    assert [line.get_ydata().tolist() for line in returns.lines] == [[10, 20, 30], [14, 28, 30], [12, 24, 30]]
    assert returns.lines[0].get_xdata().tolist() == [200, 400, 600]
    assert values.lines[-1].get_xdata().tolist() == [400, 600]


@pytest.mark.parametrize(
    "draw", [plain_and_residual, perplexity_curves, bleu_by_length, partial(returns_and_values, "x")]
)
def test_without_records_there_is_no_figure(draw):
    assert draw({}) is None
    assert draw({"lenet5_mnist": [record()]}) is None


def test_the_shipped_records_are_drawn(tmp_path: Path):
    written = draw_figures(tmp_path / "figures")
    assert "perplexity_curves.png" in {path.name for path in written}
    for path in written:
        with Image.open(path) as image:
            assert min(image.size) > 300
    (axes,) = perplexity_curves(all_records()).axes
    last = [each["curve"]["val/perplexity"][-1] for each in all_records()["lstm_small_ptb"]]
    assert axes.lines[0].get_ydata()[-1] == pytest.approx(sum(last) / len(last), rel=1e-6)
