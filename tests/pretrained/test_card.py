"""Cards that are newer, missing, foreign or incomplete are refused in a line."""

import os
from pathlib import Path
from typing import Any

import pytest

from zoo.pretrained.release import RELEASE_FORMAT, load_release

FILES = ("model.safetensors", "model.json", "card.json")


@pytest.mark.parametrize("file", FILES[1:])
def test_a_newer_format_asks_for_an_upgrade(forger, release: Path, file: str):
    forger.rewrite(release, file, lambda content: content.update(format=RELEASE_FORMAT + 1))
    assert f"has format {RELEASE_FORMAT + 1}, this zoo reads up to {RELEASE_FORMAT}" in forger.message(release)


@pytest.mark.parametrize("number", [0, -1, "1", None, 1.5, True, [1]])
def test_a_format_that_is_no_number_is_refused(forger, release: Path, number: Any):
    forger.rewrite(release, "card.json", lambda content: content.update(format=number))
    assert "expected a JSON object with a format number" in forger.message(release)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(forger, release: Path, file: str):
    (release / file).unlink()
    assert file in forger.message(release)


def test_a_pipe_in_place_of_a_file_does_not_hang(forger, release: Path):
    for file in FILES:
        content = (release / file).read_bytes()
        (release / file).unlink()
        os.mkfifo(release / file)
        forger.message(release)
        (release / file).unlink()
        (release / file).write_bytes(content)


@pytest.mark.parametrize(
    "content", [b"[]", b"null", b"[" * 200_000, b'{"format": 1', b"\xff", b'{"format": ' + b"9" * 5000 + b"}"]
)
@pytest.mark.parametrize("file", FILES[1:])
def test_json_that_is_no_card_is_refused(forger, release: Path, file: str, content: bytes):
    (release / file).write_bytes(content)
    if file == "model.json":
        forger.vouch(release, file)
    forger.message(release)


def test_a_huge_card_is_not_read(forger, release: Path):
    with (release / "card.json").open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk
    assert "larger than 16 MiB" in forger.message(release)


@pytest.mark.parametrize("key", ["model", "arguments", "task", "sha256"])
@pytest.mark.parametrize("value", [None, 3, "x", [], {}, {"name": 4}])
def test_a_card_that_lacks_something_is_refused(forger, release: Path, key: str, value: Any):
    forger.rewrite(release, "card.json", lambda card: card.update({key: value}))
    # Some of these are well formed, but not true.
    if (key, value) in (("task", "x"), ("arguments", {})):
        load_release(release)
    else:
        assert str(release) in forger.message(release)
