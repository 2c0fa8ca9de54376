"""Reading and writing `model.safetensors`: everything the file says is checked before anything is allocated.

The format is eight bytes that hold the length of a JSON header, the header (name -> dtype, shape, place), and the raw
numbers without gaps. Nothing in it can be executed; what is left to fear are absurd sizes and numbers that belong to
another model.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from zoo.errors import ZooError
from zoo.pretrained.card import anew

_LARGEST_HEADER = 16 * 2**20  # a tensor takes about a hundred bytes in it
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "BOOL": torch.bool,
}  # fmt: skip
# Floats of up to 32 bits are stored as the release's dtype, and cast to the model's own when loaded.
_STORED_AS_CHOSEN = (torch.float32, torch.float16, torch.bfloat16)
STORED_DTYPES = {"float32": torch.float32, "float16": torch.float16}

# What people take for weights, by its first bytes.
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, probably torch.save's; such files can run code when read and are never opened",
    b"\x80": "a pickle; such files can run code when read and are never opened",
    b"version https://git-lfs": "a Git LFS pointer and not the file itself: run git lfs pull",
    b"\x89HDF": "an HDF5 file",
    b"<": "a web page: the download went wrong",
}


def encode_weights(state: Mapping[str, Any], dtype: str) -> bytes:
    """Returns the content of `model.safetensors`.

    Args:
        state: A state dict of tensors of any shape, on any device. Floats of 16 and 32 bits are stored as `dtype`, all
            others (float64, integers, booleans) as they are.
        dtype: `"float32"` or `"float16"`.

    Raises:
        ZooError: Another dtype, something that is no tensor, or a weight too large for float16.
    """
    if dtype not in STORED_DTYPES:
        raise ZooError(f"dtype={dtype} is not possible: weights are stored as {' or '.join(STORED_DTYPES)}")
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ZooError(f"{name} of the model's state is no tensor: a release holds tensors only")
        stored = STORED_DTYPES[dtype] if value.dtype in _STORED_AS_CHOSEN else value.dtype
        if stored not in _DTYPES.values():
            raise ZooError(f"{name} is of {stored}: a release cannot hold it")
        tensor = value.detach().to("cpu", stored)
        if stored != value.dtype and bool((tensor.isinf() & value.detach().cpu().isfinite()).any()):
            raise ZooError(f"{name} holds numbers too large for {dtype}: store this release as float32")
        # Cloned: safetensors refuses tensors that share memory, such as tied weights.
        tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    return safetensors.torch.save(tensors)


def read_weights(path: Path, expected: Mapping[str, Tensor], sha256: str) -> dict[str, Tensor]:
    """Reads weights for a model after checking that they fit it to the last byte.

    Args:
        path: A `model.safetensors`.
        expected: The model's state dict, possibly on the `meta` device: names, shapes and dtypes.
        sha256: Of the whole file.

    Returns:
        Tensors by name, as stored.

    Raises:
        ZooError: The file is missing, truncated, foreign, damaged, or belongs to another model.
    """
    if not path.is_file():
        raise ZooError(f"{path.parent} is no complete release: {path.name} is missing; {anew(path.parent)}")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            header = _read_header(file, size, path)
            _check_places(header, size - file.tell(), path)
            _check_fit(header, expected, path)
            file.seek(0)
            content = file.read(size)
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ZooError(f"{path} is damaged: its sha256 is not the one in card.json; {anew(path.parent)}")
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ZooError(f"{path} is damaged: {error}; {anew(path.parent)}") from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        raise ValueError("a name comes twice")
    return parsed


def _read_header(file: BinaryIO, size: int, path: Path) -> dict[str, Any]:
    """Returns the header's entries by tensor name and leaves the file where the numbers begin."""
    start = file.read(24)
    for magic, what in _FOREIGN.items():
        # A header length may begin with any byte; real files go on with "{".
        if start.startswith(magic) and start[8:9] != b"{":
            raise ZooError(f"{path} is {what}; expected safetensors")
    length = int.from_bytes(start[:8], "little")
    if len(start) < 10 or start[8:9] != b"{":
        raise ZooError(f"{path} is no safetensors file (or its first bytes are lost); {anew(path.parent)}")
    if length > min(size - 8, _LARGEST_HEADER):
        raise ZooError(
            f"{path} is damaged or truncated: it announces a header of {length:,} bytes in a file of {size:,}"
        )
    file.seek(8)
    try:
        header = json.loads(file.read(length).decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is damaged (its header is no JSON: {error}); {anew(path.parent)}") from error
    header.pop("__metadata__", None)
    return header


def _described(entry: Any) -> tuple[str, list[int], tuple[int, int]] | None:
    """Returns dtype, shape and place of a header's entry, None where it is malformed."""
    if not isinstance(entry, dict):
        return None
    dtype, shape, place = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        return None
    if not isinstance(shape, list) or not isinstance(place, list):
        return None
    # Bounded, because products of thousands of long numbers would take forever.
    if len(shape) > 64 or len(place) != 2 or not all(type(n) is int and 0 <= n < 2**63 for n in (*shape, *place)):
        return None
    return dtype, shape, (place[0], place[1])


def _check_places(header: dict[str, Any], data_bytes: int, path: Path) -> None:
    """Checks that every entry is well formed and that the tensors fill the rest of the file without gap or overlap."""
    places = []
    for name, entry in header.items():
        described = _described(entry)
        if described is None:
            raise ZooError(f"{path} is damaged: its header describes {name[:80]!r} wrongly; {anew(path.parent)}")
        dtype, shape, place = described
        if math.prod(shape) * _DTYPES[dtype].itemsize != place[1] - place[0]:
            raise ZooError(f"{path} is damaged: {name[:80]!r} has another size than its shape; {anew(path.parent)}")
        places.append(place)
    end = 0
    for first, last in sorted(places):
        if first != end:
            raise ZooError(f"{path} is damaged: its tensors overlap or leave gaps; {anew(path.parent)}")
        end = last
    if end != data_bytes:
        what = "truncated" if data_bytes < end else "longer than it should be"
        raise ZooError(f"{path} is {what}: it holds {data_bytes:,} bytes of weights instead of {end:,}; "
                       f"{anew(path.parent)}")  # fmt: skip


def _check_fit(header: dict[str, Any], expected: Mapping[str, Tensor], path: Path) -> None:
    """Checks names, shapes and dtypes against the model's own."""
    missing = [name for name in expected if name not in header]
    extra = [name for name in header if name not in expected]
    for names, what in ((missing, "lacks"), (extra, "holds")):
        if names:
            more = f" and {len(names) - 2} more" if len(names) > 2 else ""
            listed = ", ".join(name[:80] for name in names[:2])
            raise ZooError(f"{path} belongs to another model: it {what} {listed}{more}")
    for name, tensor in expected.items():
        shape, dtype = tuple(header[name]["shape"]), _DTYPES[header[name]["dtype"]]
        if shape != tuple(tensor.shape):
            raise ZooError(f"{path} belongs to another model: {name} is {shape}, the model's is {tuple(tensor.shape)}")
        accepted = STORED_DTYPES.values() if tensor.dtype in _STORED_AS_CHOSEN else (tensor.dtype,)
        if dtype not in accepted:
            raise ZooError(f"{path} belongs to another model: {name} is {dtype}, the model's is {tensor.dtype}")
