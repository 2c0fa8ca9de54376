"""DeepMind's RMSProp against its formulas in float64."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.optim.deepmind_rmsprop import DeepMindRMSprop


@settings(deadline=None, max_examples=20)
@given(lr=st.floats(1e-5, 0.1), decay=st.floats(0.0, 0.99), floor=st.floats(1e-4, 1.0), seed=st.integers(0, 99))
def test_it_is_the_formula(lr: float, decay: float, floor: float, seed: int):
    draw = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64)) for shape in ((3, 2), (4,))]
    expected = [parameter.detach().clone() for parameter in parameters]
    means, squares = ([torch.zeros_like(each) for each in expected] for _ in range(2))
    optimizer = DeepMindRMSprop(parameters, lr, decay, floor)
    for _ in range(5):
        for number, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            means[number] = decay * means[number] + (1 - decay) * parameter.grad
            squares[number] = decay * squares[number] + (1 - decay) * parameter.grad**2
            expected[number] -= lr * parameter.grad / (squares[number] - means[number] ** 2 + floor).sqrt()
        optimizer.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value)


def test_pytorchs_own_is_another_one():
    """There the floor is added to the root: the first step of a small gradient is larger."""
    ours, theirs = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    for parameter in (ours, theirs):
        parameter.grad = torch.full((1,), 0.01)
    DeepMindRMSprop([ours], 0.1, 0.95, 0.01).step()
    torch.optim.RMSprop([theirs], 0.1, 0.95, 0.01, centered=True).step()
    assert ours.item() == pytest.approx(-0.1 * 0.01 / (0.05 * 1e-4 - (0.05 * 0.01) ** 2 + 0.01) ** 0.5)
    assert abs(theirs.item()) > 5 * abs(ours.item())


def test_it_goes_on_from_its_state():
    def made() -> tuple[nn.Parameter, DeepMindRMSprop]:
        parameter = nn.Parameter(torch.ones(3))
        return parameter, DeepMindRMSprop([parameter])

    (ours, one), (theirs, other) = made(), made()
    gradients = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    for gradient in gradients[:3]:
        ours.grad = gradient
        one.step()
    theirs.data.copy_(ours.data)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for gradient in gradients[3:]:
        ours.grad = theirs.grad = gradient
        one.step()
        other.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"decay": 1.0}, {"floor": 0.0}])
def test_numbers_out_of_range_are_refused(wrong: dict):
    with pytest.raises(ValueError, match="expected lr > 0, decay in"):
        DeepMindRMSprop([nn.Parameter(torch.ones(1))], **wrong)
