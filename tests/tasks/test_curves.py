"""Curves out of a run's metrics.csv: epochs, splits, whole ticks."""

from pathlib import Path

import pytest

from zoo.tasks.curves import COLOURS, curves, epoch_curves


@pytest.fixture
def metrics_file(tmp_path: Path) -> Path:
    """Three epochs, with a validation in the last two."""
    lines = [
        "row,epoch,step,train/loss,val/loss",
        "step,0,50,9.0,", "epoch,0,100,3.0,",
        "step,1,150,8.0,", "epoch,1,200,2.0,2.5",
        "epoch,2,300,1.0,1.5",
    ]  # fmt: skip
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "metrics.csv"


def test_epochs_are_counted_from_one_and_steps_as_they_are(metrics_file: Path):
    assert epoch_curves(metrics_file) == {"train/loss": ([1, 2, 3], [3, 2, 1]), "val/loss": ([2, 3], [2.5, 1.5])}
    assert epoch_curves(metrics_file, "step")["val/loss"] == ([200, 300], [2.5, 1.5])


def test_each_split_is_a_line(metrics_file: Path):
    (axes,) = curves(metrics_file, ["loss", "error"], {"loss": "loss, nats"}).axes
    assert axes.get_ylabel() == "loss, nats"
    assert {line.get_color(): line.get_ydata().tolist() for line in axes.lines} == {
        COLOURS["train"]: [3, 2, 1], COLOURS["val"]: [2.5, 1.5],
    }  # fmt: skip


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_ticks_are_whole_epochs(metrics_file: Path, epochs: int):
    kept = [line for line in metrics_file.read_text().splitlines() if not line.startswith("step")][: epochs + 1]
    metrics_file.write_text("\n".join(kept) + "\n")
    figure = curves(metrics_file, ["loss"], {"loss": "loss"})
    figure.savefig(metrics_file.with_suffix(".png"))
    (axes,) = figure.axes
    first, last = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if first <= tick <= last] == list(range(1, epochs + 1))


def test_without_an_epoch_there_is_no_figure(metrics_file: Path):
    assert curves(metrics_file, ["error"], {"error": "error"}) is None
    metrics_file.write_text("")
    assert curves(metrics_file, ["loss"], {"loss": "loss"}) is None
