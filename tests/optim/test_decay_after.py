"""A step size that is kept and then divided in each epoch: the paper's table, and PyTorch's own multiplication."""

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import LambdaLR

from zoo.optim.schedules import DecayAfter


def make_optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (1.0,)]
    return torch.optim.SGD(groups)


def rates_of(optimizer, scheduler, epochs: int) -> list[tuple[float, ...]]:
    seen = []
    for _ in range(epochs):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return seen


# Zaremba et al. 2014, Section 4.1: epochs at 1, divisor, all epochs.
@pytest.mark.parametrize(("epochs", "divisor", "total"), [(4, 2.0, 13), (6, 1.2, 39), (14, 1.15, 55)])
def test_the_three_schedules_of_section_4_1(epochs: int, divisor: float, total: int):
    optimizer = make_optimizer()
    expected, rate = [], 1.0
    for epoch in range(total):
        if epoch >= epochs:
            rate /= divisor
        expected.append(rate)
    seen = [rate for (rate,) in rates_of(optimizer, DecayAfter(optimizer, epochs, divisor), total)]
    assert seen == pytest.approx(expected, rel=1e-12)
    assert seen[:epochs] == [1.0] * epochs
    assert seen[epochs] == pytest.approx(1 / divisor)


@settings(deadline=None, max_examples=50)
@given(epochs=st.integers(0, 20), divisor=st.floats(1, 10), stop=st.integers(0, 25))
def test_it_is_the_formula_of_tensorflow_s_port_and_resumes_anywhere(epochs: int, divisor: float, stop: int):
    other = make_optimizer(1.0, 0.3)
    formula = LambdaLR(other, lambda epoch: (1 / divisor) ** max(epoch + 1 - epochs, 0))
    expected = rates_of(other, formula, 30)

    first = make_optimizer(1.0, 0.3)
    scheduler = DecayAfter(first, epochs, divisor)
    before = rates_of(first, scheduler, stop)
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = make_optimizer(1.0, 0.3)
    resumed = DecayAfter(second, epochs, divisor)
    second.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["scheduler"])
    for ours, theirs in zip(before + rates_of(second, resumed, 30 - stop), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(
    ("epochs", "divisor", "told"),
    [
        (-1, 2.0, "epochs is a whole number of at least 0, not -1"),
        (1.5, 2.0, "whole number"),
        (True, 2.0, "whole number"),
        (4, 0.5, "divisor is a finite number of at least 1, not 0.5"),
        (4, float("inf"), "finite"),
        (4, float("nan"), "finite"),
    ],
)
def test_numbers_that_make_no_sense(epochs, divisor, told):
    with pytest.raises(ValueError, match=told):
        DecayAfter(make_optimizer(), epochs, divisor)
