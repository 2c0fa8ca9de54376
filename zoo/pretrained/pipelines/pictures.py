"""Pictures in whatever form they come, as Pillow images of 8-bit pixels."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from torch import Tensor

from zoo.data.pictures import in_channels, picture_from_array, pixels_of, plain_picture, read_picture
from zoo.errors import ZooError

if TYPE_CHECKING:
    from PIL import Image

    Picture: TypeAlias = str | Path | Image.Image | np.ndarray[Any, Any] | Tensor


def is_batch(given: Any) -> TypeGuard[Iterable[Any]]:
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
        return read_picture(Path(given))
    if isinstance(given, Image.Image):
        return plain_picture(ImageOps.exif_transpose(given))
    if isinstance(given, Tensor):
        if given.ndim == 3:
            if given.shape[0] not in (1, 3):
                raise ZooError(f"a tensor {tuple(given.shape)} is no picture: expected (H, W), (1, H, W) or (3, H, W)")
            given = given.permute(1, 2, 0)
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()
    if isinstance(given, np.ndarray):
        return picture_from_array(given)
    raise ZooError(f"a {type(given).__name__} is no picture: expected a path, a Pillow image, an array or a tensor")


def to_pixels(image: "Image.Image", channels: int, height: int, width: int) -> Tensor:
    """Turns a picture grey or coloured as asked, scales it without regard to its proportions, and returns its pixels.

    Args:
        image: In mode L or RGB.
        channels: 1 or 3.
        height: Of the result; a picture of the right size keeps its pixels.
        width: Of the result.

    Returns:
        uint8, `(channels, height, width)`.
    """
    from PIL import Image

    image = in_channels(image, channels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)  # Pillow smooths where it shrinks
    return pixels_of(image)
