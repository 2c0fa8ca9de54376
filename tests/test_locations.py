"""Files that a command was asked to write, and folders where they cannot be."""

from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.locations import cache_dir, output_file, shipped, writing


def test_what_is_written_inside_lies_there(tmp_path: Path):
    with writing("--out", str(tmp_path / "a.txt")) as path:
        path.write_text("whole", encoding="utf-8")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "whole"


def test_a_folder_that_is_not_there_is_told_before_anything_is_done(tmp_path: Path):
    message = f"--gif={tmp_path}/no/a.gif cannot be written: there is no folder {tmp_path}/no"
    with pytest.raises(ZooError) as told:
        output_file("--gif", f"{tmp_path}/no/a.gif")
    assert str(told.value) == message
    reached = False
    with pytest.raises(ZooError) as told, writing("--gif", f"{tmp_path}/no/a.gif"):
        reached = True
    assert not reached
    assert str(told.value) == message


def test_reasons_are_told_without_numbers_or_names_of_python(tmp_path: Path):
    with pytest.raises(ZooError) as told, writing("--out", tmp_path) as path:
        path.write_text("", encoding="utf-8")
    assert str(told.value) == f"--out={tmp_path} cannot be written: Is a directory"
    with pytest.raises(ZooError) as told, writing("--out", tmp_path / "a.docx"):
        raise ValueError("unknown file extension: .docx")
    assert str(told.value) == f"--out={tmp_path}/a.docx cannot be written: unknown file extension: .docx"
    with pytest.raises(ZooError, match=r"^a mistake of another kind$"), writing("--out", tmp_path / "a.png"):
        raise ZooError("a mistake of another kind")


def test_folders_of_the_installation_and_of_downloads(tmp_path: Path, monkeypatch):
    assert (shipped("configs") / "train.yaml").is_file()
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert cache_dir() == tmp_path / "cache"
