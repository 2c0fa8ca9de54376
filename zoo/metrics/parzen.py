"""Parzen windows: how likely samples make what was held out (Goodfellow et al. 2014, Section 5)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SIGMAS: tuple[float, ...] = tuple(
    torch.logspace(-1, 0, 10, dtype=torch.float64).tolist()
)  # the ten that the authors' script tries
_BLOCK = 500  # points whose distances to all samples are held at once


class Parzen(NamedTuple):
    """Mean log-likelihood in nats, its standard error over the points, and the width of the kernels."""

    mean: float
    error: float
    sigma: float


def log_likelihoods(points: Tensor, samples: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Returns the log-densities of points under Gaussian kernels on samples, float64 `(len(sigmas), N)`.

    Args:
        points: `(N, D)`.
        samples: `(M, D)`.
        sigmas: Standard deviations of the kernels, the same in every direction.
    """
    samples = samples.double()
    count, size = samples.shape
    found = []
    for block in points.double().split(_BLOCK):
        squares = torch.cdist(block, samples, compute_mode="use_mm_for_euclid_dist").square()
        found.append(torch.stack([torch.logsumexp(-squares / (2 * sigma**2), dim=1) for sigma in sigmas]))
    scale = math.log(count) + size * torch.tensor([math.log(sigma * math.sqrt(2 * math.pi)) for sigma in sigmas])
    return torch.cat(found, dim=1) - scale[:, None].to(samples)


def parzen(points: Tensor, samples: Tensor, sigmas: Sequence[float] = SIGMAS) -> Parzen:
    """Returns how likely points are, under that of the widths under which they are likeliest.

    Args:
        points: `(N, …)`, pixels from 0 to 1.
        samples: `(M, …)`.
        sigmas: The widths to choose from: one alone where it was chosen on other points.
    """
    each = log_likelihoods(points.flatten(1), samples.flatten(1), sigmas)
    best = int(each.mean(dim=1).argmax())
    error = float(each[best].std(correction=0)) / math.sqrt(each.shape[1])
    return Parzen(float(each[best].mean()), error, sigmas[best])
