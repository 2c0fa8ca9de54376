"""Releases are found by name and by path; what is none of them gets a line that helps."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.pretrained.hub import PretrainedEntry, find_release, list_pretrained, load_pretrained, pretrained_card


@pytest.fixture
def filled(shelf: Path, release: Path) -> Path:
    """Two shipped releases, and things that are none."""
    for name in ("lenet5_modern-mnist", "lenet5_modern-digits"):
        shutil.copytree(release, shelf / name)
    shutil.copytree(release, shelf / ".lenet5_modern-mnist.12ab.part")
    (shelf / ".gitkeep").touch()
    (shelf / "empty").mkdir()
    return shelf


def refusal(name: str | Path) -> str:
    with pytest.raises(ZooError) as refused:
        find_release(name)
    return str(refused.value)


def shipped_entries(pattern: str = "*") -> list[PretrainedEntry]:
    return [entry for entry in list_pretrained(pattern) if entry.source == "zoo"]


def test_list_pretrained(filled: Path):
    first, second = shipped_entries()
    assert (first.name, second.name) == ("lenet5_modern-digits", "lenet5_modern-mnist")
    assert (first.task, first.metric) == ("image_classification", "test/error 0.93 %")
    assert first.bytes == sum(file.stat().st_size for file in (filled / first.name).iterdir())
    assert first.folder == filled / first.name
    assert [entry.name for entry in list_pretrained("*-mnist")] == ["lenet5_modern-mnist"]
    assert list_pretrained("no_such_*") == []
    names = [entry.name for entry in list_pretrained()]
    assert names == sorted(names)


def test_nothing_is_shipped_where_there_is_no_folder(shelf: Path):
    shelf.rmdir()
    assert shipped_entries() == []
    assert "unknown release 'lenet5-mnist'" in refusal("lenet5-mnist")


def test_a_damaged_shipped_release_is_named(filled: Path):
    (filled / "lenet5_modern-mnist" / "card.json").write_text("{")
    with pytest.raises(ZooError, match="lenet5_modern-mnist"):
        list_pretrained()


def test_found_by_name_by_path_and_in_a_run(filled: Path, release: Path, run: Path, lenet: nn.Module, monkeypatch):
    assert find_release("lenet5_modern-mnist") == filled / "lenet5_modern-mnist"
    assert find_release(release) == release
    assert find_release(run) == find_release(run / "release") == run / "release"
    monkeypatch.chdir(run.parent)
    assert find_release(run.name).resolve() == run / "release"
    for place in ("lenet5_modern-mnist", str(release), run):
        loaded = load_pretrained(place)
        assert torch.equal(loaded.c1.weight, lenet.c1.weight)
        assert not loaded.training
        assert pretrained_card(place)["name"] == "lenet5_modern-test"


def test_a_name_beats_a_folder_that_happens_to_be_called_so(filled: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lenet5_modern-mnist").mkdir()
    assert find_release("lenet5_modern-mnist") == filled / "lenet5_modern-mnist"


@pytest.mark.parametrize("look", [load_pretrained, pretrained_card, find_release])
def test_what_is_no_name_is_told(look):
    with pytest.raises(ZooError, match="expected the name of a release or a path, not None, of the type NoneType"):
        look(None)


def test_an_unknown_name_names_the_nearest(filled: Path):
    assert "did you mean lenet5_modern-mnist" in refusal("lenet5_modern-mnits")
    assert "zoo list pretrained" in refusal("lenet5_modern-mnits")
    for name in ("..", ".gitkeep", "empty", "", "a" * 5000, "a\0b", "~nobody-of-this-name"):
        assert refusal(name)


def test_a_run_that_has_not_ended_well_has_no_release(run: Path):
    (run / "summary.json").write_text(json.dumps({"status": "failed"}))
    assert "ended as 'failed'" in refusal(run)
    for content in ("{", "[]"):
        (run / "summary.json").write_text(content)
        assert f"zoo train resume={run}" in refusal(run)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "release")
    assert f"{run} has not finished" in refusal(run)
    (run / "summary.json").write_text(json.dumps({"status": "finished"}))
    assert "has lost its release" in refusal(run)


def test_paths_that_are_neither(run: Path, release: Path, tmp_path: Path, shelf: Path):
    assert f"did you mean its run {run}?" in refusal(run.parent)
    assert "neither a release" in refusal(shelf)
    assert "is a file" in refusal(release / "model.safetensors")
    assert "there is no folder" in refusal(tmp_path / "nowhere")


def test_finding_and_listing_import_no_torch():
    code = (
        "import sys; from zoo.pretrained.hub import list_pretrained; list_pretrained();"
        "assert not {'torch', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
