"""`scripts/prepare_data.py` as a process of its own, against the loopback server."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.data.preparation import prepare_all, print_prepared
from zoo.errors import ZooError

SCRIPT = Path(__file__).parents[2] / "scripts/prepare_data.py"


def prepare(*words, **environment):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def the_error(done):
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("prepare_data: ")
    return lines[0]


def test_list_shows_every_dataset():
    done = prepare("--list")
    assert done.returncode == 0
    for word in ("digits", "mnist", "fashion_mnist", "12 MB", "cifar10", "170 MB", "cifar100", "169 MB"):
        assert word in done.stdout


def test_unknown_name_stops_before_anything_is_downloaded(server):
    line = the_error(prepare("mnist", "fashion", ZOO_MIRROR=server.address))
    assert "did you mean fashion_mnist" in line
    assert server.requests == []


def test_missing_file_is_one_line(server, tmp_path):
    line = the_error(prepare("mnist", "--dir", str(tmp_path / "new"), ZOO_MIRROR=server.address))
    assert "the server answers 404" in line
    assert f"{server.address}/MNIST/raw/train-images-idx3-ubyte.gz" in line
    assert str(tmp_path / "new") in line


def test_wrong_file_is_refused(server, monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", server.address)
    server.files["/MNIST/raw/train-images-idx3-ubyte.gz"] = b"no gzip"
    with pytest.raises(ZooError, match="what came is not the file"):
        prepare_all(["mnist"])


def test_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "occupied").write_text("a file")
    with pytest.raises(ZooError, match="cannot be made"):
        prepare_all(["mnist"], str(tmp_path / "occupied/data"))


def test_embedded_data_needs_nothing(monkeypatch, capsys):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9")
    rows = prepare_all(["digits"])
    assert [(row.name, row.folder, row.files) for row in rows] == [("digits", "embedded", 0)]
    print_prepared(rows)
    assert "1x28x28 images of 10 classes" in capsys.readouterr().out


@pytest.fixture
def as_cifar10(server, tiny_cifar, monkeypatch):
    """Lets `cifar10` be a tiny dataset that is downloaded from the loopback server."""
    archive = dataclasses.replace(tiny_cifar.archive, address=f"{server.address}/files")
    server.files["/files/tiny-python.tar.gz"] = (tiny_cifar.folder / "tiny-python.tar.gz").read_bytes()
    monkeypatch.setattr("zoo.data.cifar.CIFAR10_ARCHIVE", archive)
    return tiny_cifar


def test_an_archive_is_downloaded_into_the_named_folder_and_found_again(as_cifar10, server, tmp_path):
    server.faults = [("cut", 10_000)]
    for downloaded in (1, 0):
        row = prepare_all(["cifar10"], str(tmp_path / "new"))[0]
        assert (row.files, row.downloaded, row.folder) == (1, downloaded, str(tmp_path / "new/tiny-batches-py"))
        assert row.content == "3x32x32 images of 10 classes"
    assert [asked for _, asked in server.requests] == [None, "bytes=10000-"]
    assert {path.name for path in (tmp_path / "new").rglob("*")} == {
        "tiny-python.tar.lock", "tiny-batches-py", *(path.split("/")[1] for path in as_cifar10.files)
    }  # fmt: skip
    assert not (tmp_path / "cache").exists()


def test_an_archive_of_the_user_s_is_unpacked_into_the_cache(as_cifar10, server, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(as_cifar10.folder))
    row = prepare_all(["cifar10"])[0]
    assert (row.files, row.downloaded, row.folder) == (1, 0, str(tmp_path / "cache/data/tiny-batches-py"))
    assert [path.name for path in as_cifar10.folder.iterdir()] == ["tiny-python.tar.gz"]
    assert server.requests == []


@pytest.mark.realdata
def test_real_files_are_downloaded_continued_verified_and_found_again(server, real_data, tmp_path, monkeypatch):
    for path in (real_data / "MNIST/raw").iterdir():
        server.files[f"/MNIST/raw/{path.name}"] = path.read_bytes()
    server.faults = [("cut", 5_000_000), 500]
    folder = tmp_path / "new"
    words = ("mnist", "--dir", str(folder))
    done = prepare(*words, ZOO_MIRROR=server.address)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "4 verified, 4 downloaded" in done.stdout
    assert str(folder / "MNIST/raw") in done.stdout
    assert [asked for _, asked in server.requests[:3]] == [None, *["bytes=5000000-"] * 2]
    assert len(list((folder / "MNIST/raw").glob("*.gz"))) == 4
    assert not list(folder.rglob("*.part"))

    seen = len(server.requests)
    monkeypatch.setenv("ZOO_MIRROR", server.address)
    assert prepare_all(["mnist"], str(folder))[0].downloaded == 0
    assert len(server.requests) == seen


@pytest.mark.realdata
def test_folder_of_the_environment_is_looked_in_first(real_data, monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9")
    row = prepare_all(["mnist"])[0]
    assert (row.files, row.downloaded, row.folder) == (4, 0, str(real_data / "MNIST/raw"))
