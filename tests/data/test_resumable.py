"""Positions: stored, come back to, and never beyond an epoch or in other data."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.resumable import ResumableLoader
from zoo.errors import ZooError


class Counting(ResumableLoader[tuple[int, int]]):
    """Batches that are their own positions."""

    def __init__(self, length: int = 5, contents: int | None = None) -> None:
        super().__init__(length, "numbers", contents)

    def _make(self, epoch: int, number: int) -> tuple[int, int]:
        return epoch, number


def test_the_position_moves_on_before_a_batch_is_handed_out():
    loader = Counting()
    states = [loader.state_dict() for _ in loader]
    assert states == [{"epoch": 0, "batch": n} for n in range(1, 5)] + [{"epoch": 1, "batch": 0}]


def test_who_never_asks_past_the_last_batch_gets_the_next_epoch():
    """Lightning takes `len(loader)` batches and drops the iterator without exhausting it."""
    loader, taken = Counting(), []
    for _ in range(2):
        stream = iter(loader)
        taken += [next(stream) for _ in range(len(loader))]
    assert taken == [(epoch, number) for epoch in range(2) for number in range(5)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(0, 40), st.integers(1, 9))
def test_passes_cut_short_or_restored_go_on_where_the_last_one_stopped(length: int, position: int, limit: int):
    loader = Counting(length)
    epoch, number = divmod(position, length)
    loader.load_state_dict({"epoch": epoch, "batch": number})
    taken = []
    for _ in range(3):
        stream = iter(loader)
        taken += [next(stream) for _ in range(min(limit, length))]
    assert taken == [divmod(position + later, length) for later in range(len(taken))]
    assert len(list(loader)) == length


def test_an_iterator_notices_a_restored_position():
    loader = Counting()
    stream = iter(loader)
    assert next(stream) == (0, 0)
    loader.load_state_dict({"epoch": 3, "batch": 2})
    assert next(stream) == (3, 2)


@pytest.mark.parametrize("state", [{"epoch": 0, "batch": 5}, {"epoch": -1, "batch": 0}, {"epoch": 0, "batch": -1}])
def test_a_position_beyond_an_epoch_is_refused_in_one_line(state, one_line):
    loader = Counting()
    with pytest.raises(ZooError, match=r"is not in epochs of 5 batches: resume with the numbers and") as error:
        loader.load_state_dict(state)
    assert one_line(error)
    assert loader.state_dict() == {"epoch": 0, "batch": 0}


def test_a_position_in_other_data_is_refused_in_one_line(one_line):
    loader, other = Counting(contents=1), Counting(contents=2)
    list(loader)
    with pytest.raises(ZooError, match="the numbers are not those that the run began with") as error:
        other.load_state_dict(loader.state_dict())
    assert one_line(error)
    (same := Counting(contents=1)).load_state_dict(loader.state_dict())
    assert next(iter(same)) == (1, 0)
