"""Runs beside each other: grouped by configuration, ranked, drawn, told in one line when they cannot be."""

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from PIL import Image

from zoo.cli import main
from zoo.tasks.curves import PALETTE
from zoo.training.compare import Comparison, as_json, compare
from zoo.training.compare_figure import draw_comparison
from zoo.training.compose import compose
from zoo.training.run_folder import RunFolder, freeze, write_json
from zoo.training.start import checked_config


def make_run(
    parent: Path, *words: str, seed: int = 1, value: float | None = None, curve: tuple[float, ...] = ()
) -> Path:
    """A run folder as training leaves it, without the training; without a value, one that was killed."""
    config, typed = checked_config(compose([*words, f"seed={seed}", f"runs_dir={parent}"]))
    run = freeze(
        config, typed, parent / f"run_{len(list(parent.glob('run_*'))):03}" if parent.is_dir() else parent / "run_000"
    )
    if curve:
        lines = ["row,epoch,step,train/loss,test/error", "step,0,50,1.0,"]
        lines += [f"epoch,{epoch},100,0.5,{each}" for epoch, each in enumerate(curve)]
        run.metrics.write_text("\n".join(lines) + "\n")
    if value is not None:
        headline = {"metric": "test/error", "value": value, "direction": "min"}
        write_json(run.summary, {"status": "finished", "headline": headline, "seed": seed, "duration_s": 2.0})
    return run.path


def three_configurations(parent: Path) -> None:
    for seed, value in ((2, 6.0), (1, 4.0), (3, 5.0)):
        make_run(parent, "optimizer.lr=0.01", "data=mnist", seed=seed, value=value, curve=(9.0, value))
    make_run(parent, "optimizer.lr=0.02", "data=mnist", value=3.0, curve=(8.0, 3.0))
    make_run(parent, "data=mnist", value=7.0, curve=(10.0, 7.0))
    make_run(parent, "optimizer.lr=0.03", "data=mnist")


@pytest.fixture(scope="module")
def runs_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("compare") / "runs"
    three_configurations(place)
    return place


@pytest.fixture
def runs(runs_to_copy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(runs_to_copy, tmp_path / "runs")


def test_seeds_are_averaged_and_the_best_comes_first(runs: Path):
    found = compare([runs])
    assert [each.label for each in found.configurations] == ["optimizer.lr=0.02", "optimizer.lr=0.01", "(as shipped)"]
    best, middle, last = found.configurations
    assert (middle.mean, middle.deviation, middle.seeds, middle.values) == (5.0, 1.0, [1, 2, 3], [4.0, 6.0, 5.0])
    assert best.deviation is None
    assert best.command == "zoo train optimizer.lr=0.02 data=mnist seed=2"
    assert last.command == "zoo train data=mnist seed=2"
    assert len(found.unfinished) == 1


def test_a_higher_headline_is_better_where_it_says_so(runs: Path):
    for summary in runs.glob("*/summary.json"):
        content = json.loads(summary.read_text())
        content["headline"] |= {"metric": "test/accuracy", "direction": "max"}
        write_json(summary, content)
    assert [each.mean for each in compare([runs]).configurations] == [7.0, 5.0, 3.0]


def test_runs_sweeps_and_folders_of_sweeps_are_taken_and_none_twice(runs: Path):
    one = next(runs.glob("*/summary.json")).parent
    assert len(compare([one]).configurations) == 1
    assert compare([one]).configurations[0].label  # nothing distinguishes it: all of what was typed
    assert as_json(compare([runs, one])) == as_json(compare([runs])) == as_json(compare([runs.parent]))


def test_hardware_and_folders_are_no_configuration(tmp_path: Path):
    make_run(tmp_path / "a", "logger=none", value=1.0)
    make_run(tmp_path / "b", "name=other", seed=2, value=2.0)
    (only,) = compare([tmp_path / "a", tmp_path / "b"]).configurations
    assert only.seeds == [1, 2]


def test_the_figure_has_a_line_for_each_configuration_and_a_band_over_seeds(runs: Path):
    axes = draw_comparison(compare([runs])).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[8.0, 3.0], [9.0, 5.0], [10.0, 7.0]]
    assert axes.lines[0].get_xdata().tolist() == [1, 2]
    assert [to_hex(line.get_color()).upper() for line in axes.lines] == list(PALETTE[:3])
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 9.0
    assert {6.0, 4.0} <= set(band.get_paths()[0].vertices[:, 1])


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3])])
def test_its_ticks_are_whole_epochs(tmp_path: Path, epochs: int, ticks: list[int]):
    for number in range(2):
        make_run(tmp_path, f"optimizer.lr=0.0{number + 1}", value=3.0, curve=(5.0, 4.0, 3.0)[:epochs])
    figure = draw_comparison(compare([tmp_path]))
    figure.savefig(tmp_path / "drawn.png")
    (axes,) = figure.axes
    first, last = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if first <= tick <= last] == ticks


def test_more_configurations_than_colours_are_grey(tmp_path: Path):
    for number in range(9):
        make_run(tmp_path, f"optimizer.lr=0.0{number + 1}", value=float(number), curve=(5.0, float(number)))
    axes = draw_comparison(compare([tmp_path])).axes[0]
    assert sum(to_hex(line.get_color()) == "#cccccc" for line in axes.lines) == 3 + 1  # and the one in the legend
    assert axes.get_legend_handles_labels()[1][-1] == "3 more"


def test_the_command(runs: Path, capsys, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", str(runs)]) == 0
    told = capsys.readouterr().out
    assert "1     3      " in told
    assert "5 ± 1" in told
    assert "not finished, 1 of them: " in told
    assert "the best: zoo train optimizer.lr=0.02 data=mnist seed=2" in told
    with Image.open(tmp_path / "comparison.png") as image:
        assert min(image.size) > 500
    (tmp_path / "comparison.png").unlink()
    assert main(["compare", str(runs), "--json"]) == 0
    assert [each["mean"] for each in json.loads(capsys.readouterr().out)] == [3.0, 5.0, 7.0]
    assert main(["compare", str(runs), "--csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["seeds"] for row in rows] == ["1", "1 2 3", "1"]
    assert not (tmp_path / "comparison.png").exists()
    assert main(["compare", str(runs), "--json", "--out", "curves.png"]) == 0
    json.loads(capsys.readouterr().out)
    assert (tmp_path / "curves.png").exists()


def test_mistakes_are_told_in_one_line(runs: Path, one_line_error, tmp_path: Path):
    assert "nowhere is no folder" in one_line_error("compare", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no run" in one_line_error("compare", str(tmp_path / "empty"))
    told = one_line_error("compare", str(runs), "--out", str(tmp_path / "no" / "where.png"))
    assert f"--out={tmp_path}/no/where.png cannot be written: there is no folder {tmp_path}/no" in told
    assert "not allowed with" in one_line_error("compare", str(runs), "--json", "--csv")
    killed = [run for run in runs.iterdir() if not RunFolder(run).finished]
    assert "none of the 1 runs has finished" in one_line_error("compare", str(killed[0]))
    other = shutil.copytree(compare([runs]).configurations[0].runs[0].path, tmp_path / "other")
    summary = json.loads((other / "summary.json").read_text())
    summary["headline"]["metric"] = "test/perplexity"
    write_json(other / "summary.json", summary)
    told = one_line_error("compare", str(runs), str(other))
    assert "judged by different metrics: test/error" in told
    assert "test/perplexity" in told


def test_runs_without_curves_have_no_figure(tmp_path: Path, monkeypatch, capsys):
    make_run(tmp_path / "runs", value=1.0)
    found = compare([tmp_path / "runs"])
    assert isinstance(found, Comparison)
    assert draw_comparison(found) is None
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "runs"]) == 0
    assert "comparison.png" not in capsys.readouterr().out


def test_runs_on_other_data_and_repeated_seeds_are_not_averaged(tmp_path: Path):
    for place, value in (("one", 1.0), ("two", 5.0), ("two", 7.0)):
        make_run(tmp_path / "runs", "data=imagefolder", f"data.dir={tmp_path / place}", "model=resnet18", value=value)
    one, two = compare([tmp_path / "runs"]).configurations
    assert (one.values, two.values) == ([1.0], [7.0])  # of two runs with one seed the later one
    assert f"data.dir={tmp_path / 'one'}" in one.command


def test_headlines_that_are_not_finite_are_ranked_last(tmp_path: Path, capsys):
    for seed in (1, 2):
        make_run(tmp_path / "runs", "optimizer.lr=9", seed=seed, value=float("inf"))
        make_run(tmp_path / "runs", seed=seed, value=float(seed))
    assert main(["compare", str(tmp_path / "runs")]) == 0
    first, last = compare([tmp_path / "runs"]).configurations
    assert (first.mean, last.mean) == (1.5, math.inf)
    assert math.isnan(last.deviation)
