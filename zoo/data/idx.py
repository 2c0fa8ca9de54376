"""The IDX format of MNIST: a big-endian header with type and sizes, then the values."""

import math
import struct

import torch
from torch import Tensor

from zoo.errors import ZooError

_UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, name: str) -> Tensor:
    """Returns the uint8 tensor that an IDX file holds.

    Args:
        content: The whole file, decompressed.
        name: The file's name, for the error.

    Raises:
        ZooError: It is no IDX file of bytes, or its length is not what its header says.
    """
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise ZooError(f"{name} is no IDX file of bytes: delete it, and a fresh copy is downloaded")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise ZooError(f"{name} ends within its header: delete it, and a fresh copy is downloaded")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + math.prod(shape):
        raise ZooError(
            f"{name} holds {len(content) - header:,} values where its header says {math.prod(shape):,}: "
            "delete it, and a fresh copy is downloaded"
        )
    # A bytearray, since a tensor must not share memory with immutable bytes.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).view(shape)
