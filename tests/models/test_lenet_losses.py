"""LeNet-5's losses and probabilities are equations 8 and 9 of LeCun et al. 1998, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.models.lenet import lenet5


def _reference_losses(distances, labels, j):
    """Equations 8 and 9 with loops; `distances` are the y of the paper."""
    mse = discriminative = 0.0
    for y, label in zip(distances, labels, strict=True):
        mse += y[label]
        discriminative += y[label] + math.log(math.exp(-j) + sum(math.exp(-y_i) for y_i in y))
    return mse / len(labels), discriminative / len(labels)


@settings(deadline=None, max_examples=50)
@given(
    distances=st.lists(st.lists(st.floats(0, 300), min_size=10, max_size=10), min_size=1, max_size=5),
    j=st.floats(1e-3, 100),
    data=st.data(),
)
def test_losses_are_equations_8_and_9(distances, j, data):
    labels = data.draw(st.lists(st.integers(0, 9), min_size=len(distances), max_size=len(distances)))
    scores = -torch.tensor(distances, dtype=torch.float64)
    mse, discriminative = _reference_losses(distances, labels, j)
    target = torch.tensor(labels)
    assert lenet5().loss(scores, target).item() == pytest.approx(mse, rel=1e-12, abs=1e-12)
    assert lenet5("discriminative", j=j).loss(scores, target).item() == pytest.approx(
        discriminative, rel=1e-10, abs=1e-10
    )


@pytest.mark.parametrize("distances", [[0.5, *[3.0] * 9], [20.0] * 10, [1000.0] * 10])
def test_the_posterior_is_that_of_equation_9(distances: list[float]):
    likelihoods = [math.exp(-distance) for distance in distances]
    evidence = math.exp(-10.0) + sum(likelihoods)
    posterior = lenet5("discriminative", j=10.0).posterior(-torch.tensor([distances], dtype=torch.float64))
    assert posterior[0].tolist() == pytest.approx([each / evidence for each in likelihoods], rel=1e-12)
    even = lenet5().posterior(-torch.tensor([distances], dtype=torch.float64))
    assert float(even.sum()) == pytest.approx(1)


def test_the_loss_is_that_of_the_posterior():
    scores, labels = -30 * torch.rand(6, 10, dtype=torch.float64), torch.arange(6)
    net = lenet5("discriminative", j=10.0)
    torch.testing.assert_close(net.loss(scores, labels), F.nll_loss(net.posterior(scores).log(), labels))


def test_discriminative_loss_without_rubbish_class_is_cross_entropy():
    scores = -300 * torch.rand(6, 10, dtype=torch.float64)
    labels = torch.arange(6)
    loss = lenet5("discriminative", j=700.0).loss(scores, labels)
    torch.testing.assert_close(loss, F.cross_entropy(scores, labels))


def test_discriminative_loss_stays_finite_far_from_all_targets():
    scores = torch.full((2, 10), -1e4, requires_grad=True)
    loss = lenet5("discriminative").loss(scores, torch.tensor([0, 1]))
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
