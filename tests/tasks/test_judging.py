"""What is said of samples: the width of the windows is validation's, and points are counted near their centres."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.toy import gaussians_8, gaussians_25, points
from zoo.errors import ZooError
from zoo.metrics.parzen import SIGMAS, parzen
from zoo.tasks.judging import Judge, near_centres


def pixels(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_the_width_is_chosen_on_the_first_thousand_of_validation_and_kept_for_the_test():
    judge, samples = Judge(None), pixels(300, 0)
    held_out, test = pixels(1400, 1), pixels(800, 2) / 2
    for images in held_out.split(500):
        judge.collect(images)
    chosen = judge.judge(samples, choose=True)
    expected = parzen(held_out[:1000], samples, SIGMAS)
    assert (chosen["parzen"], chosen["parzen_sigma"]) == (expected.mean, expected.sigma)
    judge.collect(test)
    found = judge.judge(samples, choose=False)
    assert found["parzen_sigma"] == chosen["parzen_sigma"]
    assert found["parzen"] == parzen(test, samples, [expected.sigma]).mean
    assert found["parzen_error"] == pytest.approx(parzen(test, samples, [expected.sigma]).error)


def test_a_test_without_a_validation_is_refused():
    judge = Judge(None)
    judge.collect(pixels(10, 0))
    with pytest.raises(ZooError, match="no validation was run, on which the width of the Parzen windows is chosen"):
        judge.judge(pixels(10, 1), choose=False)


@pytest.mark.parametrize("data", [gaussians_8(), gaussians_25()], ids=["8", "25"])
def test_the_real_points_are_near(data):
    found = near_centres(points(data.centres, data.spread, 20_000, seed=0, epoch=0), data.centres, data.spread)
    assert found["modes"] == 100
    assert found["near"] == pytest.approx(100 * (1 - math.exp(-(3**2) / 2)), abs=0.3)  # Rayleigh's distribution


def test_points_between_the_centres_are_near_to_none():
    data = gaussians_8()
    angles = (torch.arange(8) + 0.5) * math.pi / 4
    ring = 0.5 + 0.35 * torch.stack([angles.cos(), angles.sin()], dim=1).view(8, 1, 1, 2)
    assert near_centres(ring, data.centres, data.spread) == {"near": 0, "modes": 0}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 24), min_size=1, max_size=40))
def test_modes_are_counted(chosen: list[int]):
    data = gaussians_25()
    samples = data.centres[chosen].view(-1, 1, 1, 2)
    expected = {"near": 100, "modes": pytest.approx(4 * len(set(chosen)))}
    assert near_centres(samples, data.centres, data.spread) == expected
