"""Random shifts of colour along the principal components of the pixels (Krizhevsky et al. 2012, Sec. 4.1).

To each pixel of an image the paper adds [p1, p2, p3] [a1 s1, a2 s2, a3 s3]^T: p are the eigenvectors of the 3x3
covariance matrix of the training pixels' red, green and blue, a is drawn once per image and epoch from a Gaussian of
mean 0 and standard deviation 0.1. For s the paper prints the eigenvalues, but on pixels of 0..255 these are in the
thousands and every image would be washed out. The author's released code multiplies by what it calls the standard
deviations (`color_stdevs` in `convdata.py` of cuda-convnet2), the roots of the eigenvalues, and so does this. That
code also divides the shifted images by 1 + 0.1, of which the paper says nothing; this does not.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.windows import to_device

_AT_ONCE = 100  # images


class ColourAxes(NamedTuple):
    """The principal components of red, green and blue.

    Attributes:
        vectors: `(3, 3)`, one eigenvector of length 1 in each column.
        deviations: `(3,)`, the pixels' standard deviation along each, in units of pixels in 0..1.
    """

    vectors: Tensor
    deviations: Tensor


def colour_axes(images: Tensor, indices: Tensor) -> ColourAxes:
    """Returns the principal components of the pixels of some images, the largest first.

    Args:
        images: `(N, 3, H, W)`, uint8, on the CPU.
        indices: Which of them count, int64.

    Returns:
        The same axes for the same images, to the last bit; in float64. Of the two directions of an eigenvector it is
        the one in which its largest component is positive.
    """
    products, sums = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for chosen in indices.split(_AT_ONCE):
        pixels = images[chosen].transpose(0, 1).flatten(1).double()  # (3, n H W)
        # Sums of whole numbers below 2^53 are exact, so that their order does not matter.
        products += pixels @ pixels.T
        sums += pixels.sum(1)
    count = len(indices) * images.shape[2] * images.shape[3]
    mean = sums / count / 255
    values, vectors = torch.linalg.eigh(products / count / 255**2 - mean.outer(mean))  # rising order
    values, vectors = values.flip(0), vectors.flip(1)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))  # (1, 3)
    # A colour that is missing altogether has variance 0, or by rounding a little less.
    return ColourAxes(vectors * largest.sign(), values.clamp(min=0).sqrt())


def draw_colour(count: int, deviation: float, generator: torch.Generator) -> Tensor:
    """Draws how far each image is shifted along each axis, in standard deviations of the pixels: `(count, 3)`."""
    return torch.randn(count, 3, generator=generator, dtype=torch.float64) * deviation


def shift_colour(images: Tensor, amounts: Tensor, axes: ColourAxes) -> Tensor:
    """Adds one colour to all pixels of each image.

    Args:
        images: `(B, 3, H, W)`, floats in units in which the pixels' range is 1; whether a mean is subtracted does not
            matter. The result may leave that range, as in the paper.
        amounts: `(B, 3)` from `draw_colour`.
        axes: On the CPU.

    Returns:
        Images of the same shape.
    """
    shifts = (amounts * axes.deviations.to(amounts)) @ axes.vectors.to(amounts).T  # (B, 3)
    return images + to_device(shifts.to(images.dtype), images.device)[:, :, None, None]
