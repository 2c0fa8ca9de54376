"""Step sizes: papers' tables and formulas, PyTorch's MultiStepLR, exact resume."""

import io
from bisect import bisect_right

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import MultiStepLR

from zoo.optim.schedules import InverseSquareRoot, PiecewiseConstant


def make_optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (1.0,)]
    return torch.optim.SGD(groups, momentum=0.9)


def rates_of(optimizer, scheduler, steps):
    """The step sizes in use during each of `steps` epochs, one tuple for all groups."""
    seen = []
    for _ in range(steps):
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        scheduler.step()
    return seen


def test_the_schedule_of_section_iii_b():
    optimizer = make_optimizer(5e-4)
    scheduler = PiecewiseConstant(optimizer, milestones=[2, 5, 8, 12], factors=[0.4, 0.2, 0.1, 0.02])
    printed = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    assert [rate for (rate,) in rates_of(optimizer, scheduler, 20)] == pytest.approx(printed, rel=1e-12)


def test_a_warm_up_begins_with_the_first_update():
    optimizer = make_optimizer(0.1)
    scheduler = PiecewiseConstant(optimizer, milestones=[0, 4, 8, 10], factors=[0.1, 1.0, 0.1, 0.01])
    assert scheduler.get_last_lr() == pytest.approx([0.01])
    expected = [0.01] * 4 + [0.1] * 4 + [0.01] * 2 + [0.001] * 2
    assert [rate for (rate,) in rates_of(optimizer, scheduler, 12)] == pytest.approx(expected, rel=1e-12)


def test_equals_multi_step_where_factors_are_powers():
    ours, theirs = make_optimizer(0.1, 0.03), make_optimizer(0.1, 0.03)
    milestones = [3, 4, 9]
    seen = rates_of(ours, PiecewiseConstant(ours, milestones, [0.1, 0.01, 0.001]), 12)
    expected = rates_of(theirs, MultiStepLR(theirs, milestones, gamma=0.1), 12)
    for a, b in zip(seen, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-12)


def test_without_milestones_nothing_changes():
    optimizer = make_optimizer(0.3)
    assert set(rates_of(optimizer, PiecewiseConstant(optimizer, [], []), 5)) == {(0.3,)}


@settings(deadline=None)
@given(
    table=st.dictionaries(st.integers(0, 30), st.floats(0, 10), max_size=5),
    stop=st.integers(0, 30),
)
def test_resumes_exactly_anywhere(table, stop):
    milestones, factors = sorted(table), [table[key] for key in sorted(table)]
    expected = [factors[bisect_right(milestones, e) - 1] if e >= min(table, default=99) else 1.0 for e in range(32)]

    first = make_optimizer(1.0)
    scheduler = PiecewiseConstant(first, milestones, factors)
    before = rates_of(first, scheduler, stop)
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)

    second = make_optimizer(1.0)
    resumed = PiecewiseConstant(second, milestones, factors)
    second.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["scheduler"])
    assert [rate for (rate,) in before + rates_of(second, resumed, 32 - stop)] == expected


@pytest.mark.parametrize(
    ("milestones", "factors", "message"),
    [
        ([1, 2], [0.5], "one factor per milestone: got 2 milestones and 1 factors"),
        ([2, 2], [0.5, 0.1], "rise strictly"),
        ([3, 2], [0.5, 0.1], "rise strictly"),
        ([-1], [0.5], "from 0 or more"),
        ([1.5], [0.5], "whole numbers"),
        ([True], [0.5], "whole numbers"),
        ([1], [-0.5], "at least 0"),
        ([1], [float("nan")], "finite numbers"),
    ],
)
def test_wrong_tables_are_refused(milestones, factors, message):
    with pytest.raises(ValueError, match=message):
        PiecewiseConstant(make_optimizer(), milestones, factors)


def equation_3(update: int, width: int = 512, warmup: int = 4000) -> float:
    """The step size of an update, the first of which is number 1 (Vaswani et al. 2017, Section 5.3)."""
    return width**-0.5 * min(update**-0.5, update * warmup**-1.5)


def test_the_inverse_square_root_is_the_paper_s_equation():
    optimizer = make_optimizer(equation_3(4000))
    seen = [rate for (rate,) in rates_of(optimizer, InverseSquareRoot(optimizer, warmup=4000), 12_000)]
    assert seen == pytest.approx([equation_3(update) for update in range(1, 12_001)], rel=1e-12, abs=0)
    assert seen.index(max(seen)) + 1 == 4000
    assert max(seen) == pytest.approx(7.0e-4, rel=0.002)


def test_without_a_warm_up_the_first_update_has_the_highest_step_size():
    optimizer = make_optimizer(0.3, 0.1)
    seen = rates_of(optimizer, InverseSquareRoot(optimizer, warmup=1), 4)
    for first, rates in zip((0.3, 0.1), zip(*seen, strict=True), strict=True):
        assert rates == pytest.approx([first, first / 2**0.5, first / 3**0.5, first / 2], rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(warmup=st.integers(1, 20), stop=st.integers(0, 30))
def test_the_inverse_square_root_resumes_exactly_anywhere(warmup: int, stop: int):
    whole = make_optimizer(0.7)
    expected = rates_of(whole, InverseSquareRoot(whole, warmup), 32)

    first = make_optimizer(0.7)
    scheduler = InverseSquareRoot(first, warmup)
    before = rates_of(first, scheduler, stop)
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)

    second = make_optimizer(0.7)
    resumed = InverseSquareRoot(second, warmup)
    second.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["scheduler"])
    assert before + rates_of(second, resumed, 32 - stop) == expected


@pytest.mark.parametrize("warmup", [0, -3, 0.5])
def test_a_warm_up_of_less_than_an_update_is_refused(warmup: float):
    with pytest.raises(ValueError, match=rf"^warmup is a number of updates of at least 1, got {warmup}$"):
        InverseSquareRoot(make_optimizer(), warmup)
