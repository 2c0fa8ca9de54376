"""The mean of all training images, pixel by pixel, and how it stands in a release's card."""

import base64
import binascii
import math
import sys
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError

_AT_ONCE = 500  # images
_LARGEST = 3 * 1024 * 1024  # numbers


def mean_image(images: Tensor, indices: Tensor) -> Tensor:
    """Returns the mean of some images: `(C, H, W)`, float32 in 0..1; the same for the same images, to the last bit.

    Args:
        images: `(N, C, H, W)`, uint8, on the CPU.
        indices: Which of them count, int64, at least one.
    """
    # Whole numbers add up exactly, in whatever order.
    parts = [images[chosen].sum(0, dtype=torch.int32) for chosen in indices.split(_AT_ONCE)]
    total = torch.stack(parts).sum(0, dtype=torch.int64)
    return (total.double() / (255 * len(indices))).float()


def _little_endian(numbers: Tensor) -> Tensor:
    """Swaps the bytes `(N, 4)` of float32 numbers where the machine has the most significant one first."""
    return numbers.flip(1) if sys.byteorder == "big" else numbers


def encode(image: Tensor) -> dict[str, Any]:
    """Returns an image `(C, H, W)` as plain JSON: its shape, and its float32 numbers, little endian, in base64."""
    raw = _little_endian(image.detach().cpu().float().contiguous().view(-1, 1).view(torch.uint8))
    return {"shape": list(image.shape), "float32": base64.b64encode(bytes(raw.flatten().tolist())).decode("ascii")}


def decode(encoded: Any) -> Tensor:
    """Returns the image `(C, H, W)` that `encode` has written, float32 on the CPU.

    Raises:
        ZooError: It is malformed, absurdly large, or holds numbers that are not finite.
    """
    shape, text = (encoded.get("shape"), encoded.get("float32")) if isinstance(encoded, dict) else (None, None)
    sizes = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
    if not isinstance(shape, list) or not sizes or not isinstance(text, str):
        raise ZooError("the mean image is malformed: expected its shape [channels, height, width] and its float32 text")
    count = math.prod(shape)
    if count > _LARGEST:
        raise ZooError(f"the mean image is too large to be one: expected at most {_LARGEST:,} numbers")
    # Compared before anything is decoded: base64 writes three bytes as four characters.
    if len(text) != 4 * math.ceil(4 * count / 3):
        raise ZooError(f"the mean image does not hold the {count:,} numbers that its shape {shape} asks for")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ZooError(f"the mean image is malformed: no base64 ({error})") from error
    if len(content) != 4 * count:
        raise ZooError(f"the mean image does not hold the {count:,} numbers that its shape {shape} asks for")
    # A bytearray, since a tensor must not share memory with immutable bytes.
    raw = torch.frombuffer(bytearray(content), dtype=torch.uint8).view(-1, 4)
    image = _little_endian(raw).contiguous().view(torch.float32).view(shape)
    if not bool(image.isfinite().all()):
        raise ZooError("the mean image holds numbers that are not finite")
    return image
