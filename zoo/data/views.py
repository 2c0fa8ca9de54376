"""Several views of a test image, whose answers are averaged."""

import torch
from torch import Tensor

from zoo.errors import ZooError


def centre_crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cuts the middle out of `(…, H, W)`: `(…, height, width)`, rounded as torchvision's `CenterCrop` rounds."""
    top, left = round((images.shape[-2] - height) / 2), round((images.shape[-1] - width) / 2)
    return images[..., top : top + height, left : left + width]


def ten_views(images: Tensor, height: int, width: int) -> Tensor:
    """Returns the centre and the four corners of each image, then the same mirrored (Krizhevsky et al. 2012, Sec. 4.1).

    Args:
        images: `(B, C, H, W)`.
        height: Of a view, at most H.
        width: Of a view, at most W.

    Returns:
        `(B, 10, C, height, width)`.
    """
    corners = [images[..., rows, columns] for rows in (slice(height), slice(images.shape[-2] - height, None))
               for columns in (slice(width), slice(images.shape[-1] - width, None))]  # fmt: skip
    views = torch.stack([centre_crop(images, height, width), *corners], dim=1)  # (B, 5, C, height, width)
    return torch.cat([views, views.flip(-1)], dim=1)


def check_views(views: int) -> None:
    """Refuses any number of views but 1 and 10.

    Raises:
        ZooError: Another number.
    """
    if views not in (1, 10):
        raise ZooError(f"data.views={views} is not possible: expected 1 (the centre) or 10 (corners, centre, mirrored)")
