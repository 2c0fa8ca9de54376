"""Photographs and drawings as Pillow images of 8-bit pixels, grey or in colour, scaled and cut as a test image is.

Scaling is Pillow's bilinear filter, which smooths where it shrinks. Sizes and places are rounded as by torchvision's
`Resize` and `CenterCrop`: the same picture gives the same pixels.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL import Image

_LONGEST = 100  # scaled up, a strip one pixel wide would fill the memory


def read_picture(path: Path) -> "Image.Image":
    """Reads a picture's file and turns it upright where it carries a camera's rotation mark.

    Returns:
        An image in mode L or RGB, as `plain_picture` makes it.

    Raises:
        ZooError: There is no such file, or it cannot be read as a picture.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(os.path.expanduser(path))
    if not os.path.exists(path):
        raise ZooError(f"there is no picture {path}")
    if not path.is_file():
        raise ZooError(f"{path} is no file: expected a picture, not a folder or a pipe")
    try:
        with Image.open(path) as image:
            image.load()
            return plain_picture(ImageOps.exif_transpose(image))
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise ZooError(f"{path} is no picture that Pillow knows: expected PNG, JPEG or the like") from error
    # Pillow's decoders meet damaged files with OSError, ValueError, SyntaxError, struct.error and more.
    except Exception as error:
        raise ZooError(f"{path} cannot be read as a picture: {error}") from error


def plain_picture(image: "Image.Image") -> "Image.Image":
    """Returns an image of any mode in mode L or RGB.

    Transparent parts come to lie on white, pixels of 16 bits are scaled to 8.

    Raises:
        ZooError: Its pixels are out of the range of its mode.
    """
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I"):
        # PNGs of 16 bits; Pillow's own conversion would clip them to white.
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 0xFFFF:
            raise ZooError(f"pixels of mode {image.mode} are out of range: expected 0..65535")
        return Image.fromarray(np.rint(wide / 257).astype(np.uint8))
    if image.mode == "F":
        return picture_from_array(np.asarray(image))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        ground = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(ground, opaque)
    return image.convert("RGB")


def picture_from_array(array: "np.ndarray[Any, Any]") -> "Image.Image":
    """Returns an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)` as an image in mode L or RGB.

    Raises:
        ZooError: It has another shape, or holds something else than uint8, booleans, or floats in 0..1.
    """
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ZooError(f"an array {array.shape} is no picture: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        # NaN fails the comparison too.
        if not (array.min() >= 0 and array.max() <= 1):
            raise ZooError("float pixels lie in 0..1; divide pixels of 0..255 by 255, or give them as uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ZooError(f"pixels of {array.dtype} are ambiguous: expected uint8, or floats in 0..1")
    return plain_picture(Image.fromarray(np.ascontiguousarray(array)))


def in_channels(image: "Image.Image", channels: int) -> "Image.Image":
    """Turns an image grey (`channels` 1, by ITU-R 601 as Pillow and torchvision do) or coloured (3)."""
    return image.convert("L" if channels == 1 else "RGB")


def scale_shorter_side(image: "Image.Image", side: int) -> "Image.Image":
    """Scales an image so that its shorter side has `side` pixels; its proportions stay, the longer side rounds down.

    Raises:
        ZooError: It is a strip more than a hundred times as long as wide.
    """
    from PIL import Image

    width, height = image.size
    shorter = min(width, height)
    if max(width, height) > _LONGEST * shorter:
        raise ZooError(f"a picture of {width} x {height} pixels is too narrow: expected at most 1:{_LONGEST}")
    if shorter == side:
        return image
    return image.resize((side * width // shorter, side * height // shorter), Image.Resampling.BILINEAR)


def cut_centre(image: "Image.Image", height: int, width: int) -> "Image.Image":
    """Cuts the middle out of an image that is at least as large; half a pixel is rounded to the even one."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def pixels_of(image: "Image.Image") -> Tensor:
    """Returns the pixels of an image in mode L or RGB: uint8 `(1, H, W)` or `(3, H, W)`."""
    pixels = torch.from_numpy(np.array(image))  # (H, W) or (H, W, 3)
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
