"""Pictures in whatever form they come, as Pillow images of 8-bit pixels."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL import Image

    Picture: TypeAlias = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor


def is_batch(given: Any) -> bool:
    """Says whether this is several pictures: a list or tuple, or an array or tensor with a batch dimension.

    An array `(a, b, c)` is one picture if `c` can be a number of channels (1, 3, 4), else a batch `(B, H, W)`; a tensor
    of three dimensions is always one picture `(C, H, W)`.
    """
    if isinstance(given, np.ndarray):
        return given.ndim == 4 or (given.ndim == 3 and given.shape[2] not in (1, 3, 4))
    if isinstance(given, Tensor):
        return given.ndim == 4
    return isinstance(given, list | tuple)


def open_picture(given: "Picture") -> "Image.Image":
    """Returns one picture as a Pillow image in mode L or RGB.

    Transparent parts come to lie on white, pixels of 16 bits are scaled to 8, a photo's rotation mark is obeyed, floats
    in 0..1 are rounded to the 256 levels that the datasets have.

    Args:
        given: A file's path; a Pillow image; an array `(H, W)`, `(H, W, 1)`, `(H, W, 3)` or `(H, W, 4)`; a tensor
            `(H, W)`, `(1, H, W)` or `(3, H, W)`. Arrays and tensors hold uint8, or floats in 0..1.

    Raises:
        ZooError: The file cannot be read as a picture, or the object is not one of these.
    """
    from PIL import Image, ImageOps

    if isinstance(given, str | Path):
        return _read(Path(given))
    if isinstance(given, Image.Image):
        return _flat(ImageOps.exif_transpose(given))
    if isinstance(given, Tensor):
        if given.ndim == 3:
            if given.shape[0] not in (1, 3):
                raise ZooError(f"a tensor {tuple(given.shape)} is no picture: expected (H, W), (1, H, W) or (3, H, W)")
            given = given.permute(1, 2, 0)
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()
    if isinstance(given, np.ndarray):
        return _from_array(given)
    raise ZooError(f"a {type(given).__name__} is no picture: expected a path, a Pillow image, an array or a tensor")


def _read(path: Path) -> "Image.Image":
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(os.path.expanduser(path))
    if not os.path.exists(path):
        raise ZooError(f"there is no picture {path}")
    if not path.is_file():
        raise ZooError(f"{path} is no file: expected a picture, not a folder or a pipe")
    try:
        with Image.open(path) as image:
            image.load()
            return _flat(ImageOps.exif_transpose(image))
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    except UnidentifiedImageError as error:
        raise ZooError(f"{path} is no picture that Pillow knows: expected PNG, JPEG or the like") from error
    # Pillow's decoders meet damaged files with OSError, ValueError, SyntaxError, struct.error and more.
    except Exception as error:
        raise ZooError(f"{path} cannot be read as a picture: {error}") from error


def _from_array(array: "np.ndarray[Any, Any]") -> "Image.Image":
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
    return _flat(Image.fromarray(np.ascontiguousarray(array)))


def _flat(image: "Image.Image") -> "Image.Image":
    """Returns the image in mode L or RGB."""
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
        return _from_array(np.asarray(image))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        ground = Image.new("RGBA", opaque.size, "white")
        image = Image.alpha_composite(ground, opaque)
    return image.convert("RGB")


def to_pixels(image: "Image.Image", channels: int, height: int, width: int) -> Tensor:
    """Turns a picture grey or coloured as asked, scales it without regard to its proportions, and returns its pixels.

    Args:
        image: In mode L or RGB.
        channels: 1 (grey by ITU-R 601, as Pillow and torchvision do) or 3.
        height: Of the result; a picture of the right size keeps its pixels.
        width: Of the result.

    Returns:
        uint8, `(channels, height, width)`.
    """
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow smooths where it shrinks
    pixels = torch.from_numpy(np.array(image))  # (H, W) or (H, W, 3)
    return pixels.reshape(height, width, channels).permute(2, 0, 1)
