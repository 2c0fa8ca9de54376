"""Parzen windows against scikit-learn's kernel densities."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KernelDensity

from zoo.metrics.parzen import SIGMAS, log_likelihoods, parzen


def drawn(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.rand(count, size, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=20)
@given(
    points=st.integers(1, 1100), samples=st.integers(1, 60), size=st.integers(1, 30), sigma=st.floats(0.1, 1.0),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_scikit_learns_density(points: int, samples: int, size: int, sigma: float, seed: int):
    one, other = drawn(points, size, seed), drawn(samples, size, seed + 1)
    expected = KernelDensity(kernel="gaussian", bandwidth=sigma).fit(other.numpy()).score_samples(one.numpy())
    np.testing.assert_allclose(log_likelihoods(one, other, [sigma])[0].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_width_is_the_one_under_which_the_points_are_likeliest():
    points, samples = drawn(200, 9, 0), drawn(300, 9, 1)
    each = {sigma: parzen(points, samples, [sigma]) for sigma in SIGMAS}
    best = parzen(points, samples)
    assert best == max(each.values(), key=lambda found: found.mean)
    assert best.sigma in SIGMAS[1:-1]
    assert len(SIGMAS) == 10
    assert (SIGMAS[0], SIGMAS[-1]) == (pytest.approx(0.1), pytest.approx(1.0))


def test_the_error_is_that_of_the_mean_over_the_points():
    points, samples = drawn(400, 3, 0), drawn(50, 3, 1)
    each = log_likelihoods(points, samples, [0.3])[0].numpy()
    found = parzen(points.view(400, 1, 1, 3), samples.view(50, 1, 1, 3), [0.3])
    assert found.mean == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std() / 20)
