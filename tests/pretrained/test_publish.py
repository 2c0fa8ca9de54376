"""Publishing puts a run's release among the shipped ones, rounded to float16 and within its bounds."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.hub import list_pretrained, load_pretrained
from zoo.pretrained.publish import publish
from zoo.pretrained.release import load_release, read_card, save_release
from zoo.training import records


@pytest.fixture
def script() -> ModuleType:
    """scripts/publish.py as a module."""
    path = Path(__file__).parents[2] / "scripts" / "publish.py"
    spec = importlib.util.spec_from_file_location("publish_script", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def bulky(registered) -> Iterator[None]:
    """Registers a model of a million numbers per unit of `size`."""

    def bulky_model(size: int = 4) -> nn.Linear:
        return nn.Linear(1000, 1000 * size, bias=False)

    with registered(bulky_model):
        yield


def test_a_run_is_published_in_float16(run: Path, shelf: Path, lenet: nn.Module):
    folder = publish(run)
    assert folder == shelf / "lenet5_modern-test"
    assert [entry.name for entry in list_pretrained("lenet*")] == ["lenet5_modern-test"]
    card, before = read_card(folder), read_card(run / "release")
    changed = {key for key in card if card[key] != before[key]}
    assert changed == {"dtype", "sha256"}
    assert (folder / "model.safetensors").stat().st_size < 0.52 * (run / "release" / "model.safetensors").stat().st_size
    loaded = load_pretrained("lenet5_modern-test")
    assert torch.equal(loaded.c5.weight, lenet.c5.weight.half().float())
    assert sorted(path.name for path in shelf.iterdir()) == ["lenet5_modern-test"]


def test_name_and_dtype_can_be_chosen(run: Path, shelf: Path, lenet: nn.Module):
    folder = publish(run, "another-digits", "float32")
    assert read_card(folder)["name"] == "another-digits"
    assert torch.equal(load_release(folder)[0].c5.weight, lenet.c5.weight)
    # Published again it replaces the one before.
    publish(run, "another-digits")
    assert read_card(folder)["dtype"] == "float16"


def test_float32_is_kept_where_rounding_would_change_the_headline(run: Path, shelf: Path):
    def by_dtype(folder: Path) -> dict[str, float]:
        return {"test/error": 0.93 if read_card(folder)["dtype"] == "float32" else 0.94}

    assert read_card(publish(run, measure=by_dtype))["dtype"] == "float32"
    assert read_card(publish(run, measure=lambda _: {"test/error": 0.93}))["dtype"] == "float16"


def test_a_rounding_that_nobody_could_see_is_no_change_and_the_card_tells_it(run: Path, shelf: Path):
    def by_dtype(folder: Path) -> dict[str, float]:
        return {"test/error": 0.93 if read_card(folder)["dtype"] == "float32" else 0.93 * (1 + 2e-6)}

    card = read_card(publish(run, measure=by_dtype))
    assert card["dtype"] == "float16"
    assert card["metrics"]["test/error"] == card["headline"]["value"] == 0.93 * (1 + 2e-6)


@pytest.mark.parametrize("name", ["../up", "Big", "a b", ".hidden", "a/b", "-x"])
def test_names_that_are_none(run: Path, shelf: Path, name: str):
    with pytest.raises(ZooError, match="cannot name a release"):
        publish(run, name)


def test_names_that_are_missing_or_taken(run: Path, shelf: Path, lenet: nn.Module):
    with pytest.raises(ZooError, match="is a model"):
        publish(run, "lenet5")
    save_release(run / "release", lenet, "lenet5_modern", {}, {"task": "image_classification", "release": None})
    with pytest.raises(ZooError, match="--name"):
        publish(run)
    assert list(shelf.iterdir()) == []


def test_a_run_without_a_release_is_refused(run: Path, shelf: Path, tmp_path: Path):
    (run / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    with pytest.raises(ZooError, match="resume="):
        publish(run)
    with pytest.raises(ZooError, match="there is no folder"):
        publish(tmp_path / "nowhere")


@pytest.mark.usefixtures("bulky")
def test_sizes_are_bounded(tmp_path: Path, shelf: Path):
    headline = {"metric": "test/error", "value": 1.0, "direction": "min"}
    card = {"task": "image_classification", "data": {"name": "digits"}, "metrics": {}, "headline": headline}
    source = save_release(tmp_path / "bulky", create_model("bulky_model", size=4), "bulky_model", {"size": 4}, card)
    with pytest.raises(ZooError, match=r"takes 16\.0 MB, more than 12 MB"):
        publish(source, "bulky-a", "float32")
    assert list(shelf.iterdir()) == []
    publish(source, "bulky-a")  # 8 MB
    with (shelf / "bulky-a" / "figure.png").open("wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(ZooError, match=r"all releases take 46\.0 MB, more than 40 MB"):
        publish(source, "bulky-b")
    assert [path.name for path in shelf.iterdir()] == ["bulky-a"]
    # What is replaced does not count.
    publish(source, "bulky-a")
    publish(source, "bulky-b")


def test_the_card_tells_the_metrics_of_the_weights_as_they_are_stored(run: Path, shelf: Path):
    def loss_changes(folder: Path) -> dict[str, float]:
        return {"test/error": 0.93, "test/loss": 0.5 if read_card(folder)["dtype"] == "float32" else 0.51}

    assert read_card(publish(run, measure=loss_changes))["metrics"] == {"test/error": 0.93, "test/loss": 0.51}


def test_weights_that_do_not_measure_what_their_run_did_are_refused(run: Path, shelf: Path):
    with pytest.raises(ZooError, match=r"is not published: measured again, test/error is 0\.95, its run says 0\.93"):
        publish(run, measure=lambda _: {"test/error": 0.95})
    with pytest.raises(ZooError, match="test/error is missing"):
        publish(run, measure=lambda _: {"test/loss": 0.1})
    assert list(shelf.iterdir()) == []


@pytest.fixture
def recorded(trained, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The record of the run that was trained, as scripts/publish.py finds it."""
    card = read_card(trained.run.release)
    record = {"seed": card["seed"], "headline": card["headline"]}
    monkeypatch.setattr(records, "all_records", lambda: {card["experiment"]: [record]})
    return record


def test_the_script_publishes_what_is_recorded_and_nothing_else(
    trained, shelf: Path, script: ModuleType, recorded: dict[str, Any], capsys
):
    recorded["headline"] = recorded["headline"] | {"value": 1.5}
    assert script.main([str(trained.run.path)]) == 2
    assert "it is another run's" in capsys.readouterr().err
    recorded["seed"] += 1
    assert script.main([str(trained.run.path)]) == 2
    assert "there is no record of lenet5_modern_tiny seed 1" in capsys.readouterr().err
    assert list(shelf.iterdir()) == []


def test_the_script_fills_a_hub(trained, shelf: Path, script: ModuleType, recorded, tmp_path: Path):
    assert script.main([str(trained.run.path), "--to", str(tmp_path / "hub")]) == 0
    index = json.loads((tmp_path / "hub" / "index.json").read_text())
    assert set(index["releases"]) == {"lenet5_modern-tiny"}
    assert list(shelf.iterdir()) == []


@pytest.mark.usefixtures("recorded")
def test_the_script_measures_a_run_and_publishes_it(trained, shelf: Path, script: ModuleType, capsys):
    assert script.main([str(trained.run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(shelf / "lenet5_modern-tiny")
    card, before = read_card(shelf / "lenet5_modern-tiny"), read_card(trained.run.release)
    assert card["headline"] == before["headline"]
    assert card["metrics"]["test/error"] == pytest.approx(before["metrics"]["test/error"], abs=1e-6)
    assert script.main([str(trained.run.path), "--name", "named-digits", "--dtype", "float32"]) == 0
    assert read_card(shelf / "named-digits")["dtype"] == "float32"


@pytest.mark.usefixtures("recorded")
def test_the_script_refuses_other_weights_and_tells_what_is_missing(
    trained, shelf: Path, script: ModuleType, tmp_path: Path, monkeypatch, capsys
):
    other = tmp_path / "other"
    model, card = load_release(trained.run.release)
    with torch.no_grad():
        next(model.parameters()).mul_(-1)
    save_release(other, model, card["model"], card["arguments"], card)
    assert script.main([str(other)]) == 2
    assert "its run says" in capsys.readouterr().err
    save_release(other, model, card["model"], card["arguments"], {**card, "data": {**card["data"], "name": "mnist"}})
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9/nothing")
    assert script.main([str(other)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("publish: ")
    assert "t10k" in told or "train-images" in told
    assert len(told.splitlines()) == 1
    assert script.main([str(shelf)]) == 2
    assert list(shelf.iterdir()) == []
