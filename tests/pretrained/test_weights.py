"""Weights that are not what they claim to be are refused in a line; nothing in them is ever executed."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from zoo.pretrained.release import load_release

FILES = ("model.safetensors", "model.json", "card.json")


def forge_weights(forger, folder: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / FILES[0]).write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    forger.vouch(folder, FILES[0])


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("how", ["pickle", "oldest pickle", "torch.save", "torch.save as of old"])
def test_a_pickle_in_disguise_is_never_executed(forger, release: Path, tmp_path: Path, file: str, how: str):
    marker = tmp_path / "executed"
    if how == "pickle":
        (release / file).write_bytes(pickle.dumps(Payload(marker)))
    elif how == "oldest pickle":
        (release / file).write_bytes(pickle.dumps(Payload(marker), protocol=0))
    else:
        torch.save(Payload(marker), release / file, _use_new_zipfile_serialization=how == "torch.save")
    pickle_file = (release / file).read_bytes()
    if file != "card.json":
        forger.vouch(release, file)
    refusal = forger.message(release)
    assert not marker.exists()
    if file == FILES[0] and how != "oldest pickle":
        assert "can run code" in refusal
    # The payload would have worked.
    if how == "pickle":
        pickle.loads(pickle_file)
        assert marker.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "HDF5"),
        (b"", "no safetensors file"),
        (b"\xff" * 8, "no safetensors file"),
        (b"\0" * 100, "no safetensors file"),
    ],
)
def test_foreign_weights_are_named(forger, release: Path, content: bytes, told: str):
    (release / FILES[0]).write_bytes(content)
    forger.vouch(release, FILES[0])
    assert told in forger.message(release)


def entry(dtype: str = "F32", shape: Any = (2,), place: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


@pytest.mark.parametrize(
    ("header", "data", "length", "told"),
    [
        ({"a": entry()}, bytes(8), 2**63, "announces a header of 9,223,372,036,854,775,808 bytes"),
        ({"a": entry()}, bytes(8), 10_000, "announces a header of 10,000 bytes"),
        (b"{" * 100_000, b"", None, "no JSON"),
        (b'{"a": 1}', b"", None, "describes 'a' wrongly"),
        (b'{"a": 1, "a": 1}', b"", None, "comes twice"),
        (b"{" + b" " * 50 + b"\xff\xfe", b"", None, "no JSON"),
        ({"a": entry(shape=[2**40], place=[0, 2**42])}, bytes(8), None, "truncated"),
        ({"a": entry(shape=[2**62, 2**62], place=[0, 8])}, bytes(8), None, "another size"),
        ({"a": entry(shape=[10**4000], place=[0, 8])}, bytes(8), None, "wrongly"),
        ({"a": entry(shape=[-2], place=[0, 8])}, bytes(8), None, "wrongly"),
        ({"a": entry(shape=[True], place=[0, 4])}, bytes(4), None, "wrongly"),
        ({"a": entry(shape=[1.0], place=[0, 4])}, bytes(4), None, "wrongly"),
        ({"a": entry(shape="2")}, bytes(8), None, "wrongly"),
        ({"a": entry(dtype="F31")}, bytes(8), None, "wrongly"),
        ({"a": entry(dtype=["F32"])}, bytes(8), None, "wrongly"),
        ({"a": entry(place=[8, 0])}, bytes(8), None, "another size"),
        ({"a": entry(place=[0, 8]), "b": entry(place=[4, 12])}, bytes(12), None, "overlap or leave gaps"),
        ({"a": entry(place=[4, 12])}, bytes(12), None, "overlap or leave gaps"),
        ({"a": entry()}, bytes(9), None, "longer than it should be"),
        ({"a": entry()}, bytes(7), None, "truncated"),
        ({"a": entry()}, bytes(8), None, "belongs to another model: it lacks c1.weight, c1.bias and 8 more"),
        ({}, b"", None, "belongs to another model"),
    ],
)
def test_absurd_headers_are_refused(forger, release: Path, header: Any, data: bytes, length: int | None, told: str):
    forge_weights(forger, release, header, data, length)
    assert told in forger.message(release)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.update({"c9.weight": torch.zeros(1)}), "holds c9.weight"),
        (lambda state: state.update({"c1.bias": torch.zeros(7)}), "c1.bias is (7,), the model's is (6,)"),
        (lambda state: state.update({"c1.bias": torch.zeros(6, dtype=torch.int32)}), "c1.bias is torch.int32"),
        (lambda state: state.update({"c1.bias": torch.zeros(6, dtype=torch.float64)}), "c1.bias is torch.float64"),
    ],
)
def test_weights_of_another_model_are_refused(forger, release: Path, change: Callable[[Any], Any], told: str):
    state = safetensors.torch.load_file(release / FILES[0])
    change(state)
    (release / FILES[0]).write_bytes(safetensors.torch.save(state))
    forger.vouch(release, FILES[0])
    assert told in forger.message(release)


def test_a_number_changed_behind_the_card_s_back_is_noticed(forger, release: Path):
    state = safetensors.torch.load_file(release / FILES[0])
    state["c1.bias"][0] += 1
    (release / FILES[0]).write_bytes(safetensors.torch.save(state))
    assert "its sha256 is not the one in card.json" in forger.message(release)
    forger.vouch(release, FILES[0])
    load_release(release)
    forger.rewrite(release, "model.json", lambda recipe: recipe.update(note="hello"), keep_sum=True)
    assert "its sha256 is not the one in card.json" in forger.message(release)
