"""Streams of text: the very batches of the reference code, nothing lost between them, exact continuation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.text_loader import EvaluationTextLoader, TextBatch, TrainingTextLoader, as_streams
from zoo.errors import ZooError

quick = settings(max_examples=80, deadline=None)


def text(tokens: int) -> torch.Tensor:
    """A text whose tokens are their own places."""
    return torch.arange(tokens)


def epochs(count: int, loader: TrainingTextLoader) -> list[TextBatch]:
    return [batch for _ in range(count) for batch in loader]


def same(left: list[TextBatch], right: list[TextBatch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a.tokens, b.tokens) and torch.equal(a.targets, b.targets) and a.begins is b.begins
        for a, b in zip(left, right, strict=True)
    )


sizes = st.tuples(st.integers(1, 200), st.integers(1, 6), st.integers(1, 9)).filter(
    lambda size: size[0] >= size[1] * (size[2] + 1)
)


@quick
@given(sizes)
def test_batches_are_those_of_the_reference_code(size):
    """The arithmetic of Zaremba's and TensorFlow's readers, written out: epoch_size = (N // B - 1) // T."""
    tokens, streams, unroll = size
    data, length = list(range(tokens)), tokens // streams
    rows = [data[row * length : (row + 1) * length] for row in range(streams)]
    loader = TrainingTextLoader(text(tokens), streams, unroll)
    assert len(loader) == (length - 1) // unroll
    batches = list(loader)
    assert len(batches) == len(loader)
    for number, batch in enumerate(batches):
        start = number * unroll
        assert batch.tokens.tolist() == [row[start : start + unroll] for row in rows]
        assert batch.targets.tolist() == [row[start + 1 : start + unroll + 1] for row in rows]
        assert batch.begins is (number == 0)


@quick
@given(sizes, st.integers(0, 30))
def test_any_position_is_reached_by_state_alone(size, position: int):
    whole = TrainingTextLoader(text(size[0]), *size[1:])
    everything = epochs(4, whole)[: 2 * len(whole) + position % len(whole)]
    walked = TrainingTextLoader(text(size[0]), *size[1:])
    stream = (batch for _ in range(4) for batch in walked)
    before = [next(stream) for _ in range(position % (2 * len(whole)))]
    state = walked.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = TrainingTextLoader(text(size[0]), *size[1:])
    resumed.load_state_dict(state)
    assert same(before + epochs(3, resumed)[: len(everything) - len(before)], everything)


def test_position_moves_on_before_a_batch_is_handed_out():
    loader = TrainingTextLoader(text(41), 2, 5)
    states = [(loader.state_dict()["epoch"], loader.state_dict()["batch"]) for _ in loader]
    assert states == [(0, 1), (0, 2), (1, 0)]


def test_passes_cut_short_go_on_where_the_last_one_stopped():
    """As with a limit on the batches of an epoch: the state of a model goes on too, but where the text begins anew."""
    loader, taken = TrainingTextLoader(text(41), 2, 5), []
    for _ in range(3):
        stream = iter(loader)
        taken += [next(stream) for _ in range(2)]
    assert [batch.tokens[0, 0].item() for batch in taken] == [0, 5, 10, 0, 5, 10]
    assert [batch.begins for batch in taken] == [True, False, False, True, False, False]


@quick
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(0, 100))
def test_ranks_share_the_streams_in_turn(world: int, share: int, unroll: int, more: int):
    tokens, streams = share * world * (unroll + 1) + more, share * world
    for kind in (TrainingTextLoader, EvaluationTextLoader):
        if kind is EvaluationTextLoader and streams == 1:
            continue
        alone = kind(text(tokens), streams, unroll)
        ranks = [kind(text(tokens), streams, unroll, rank, world) for rank in range(world)]
        for batch, *parts in zip(alone, *ranks, strict=True):
            for rank, part in enumerate(parts):
                assert torch.equal(part.tokens, batch.tokens[rank::world])
                assert torch.equal(part.targets, batch.targets[rank::world])
                assert part.begins is batch.begins


@quick
@given(st.integers(2, 200), st.integers(1, 50), st.integers(1, 3))
def test_one_stream_is_read_whole_by_every_rank(tokens: int, unroll: int, world: int):
    for rank in range(world):
        loader = EvaluationTextLoader(text(tokens), 1, unroll, rank, world)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert torch.cat([batch.tokens[0] for batch in batches]).tolist() == list(range(tokens - 1))
        assert torch.cat([batch.targets[0] for batch in batches]).tolist() == list(range(1, tokens))
        assert [batch.begins for batch in batches] == [True] + [False] * (len(batches) - 1)


@quick
@given(sizes.filter(lambda size: size[1] > 1))
def test_validation_drops_the_remainder_as_the_reference_code_does(size):
    loader = EvaluationTextLoader(text(size[0]), *size[1:])
    assert same(list(loader), list(TrainingTextLoader(text(size[0]), *size[1:])))
    assert same(list(loader), list(loader)), "a second pass begins anew"


def test_streams_are_contiguous_pieces_of_the_text():
    assert as_streams(text(11), 3).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


@pytest.mark.parametrize(("tokens", "enough"), [(23, False), (24, True)])
def test_a_text_of_less_than_a_batch_is_refused(tokens: int, enough: bool):
    if enough:
        assert len(TrainingTextLoader(text(tokens), 4, 5)) == 1
        return
    with pytest.raises(ZooError, match=r"the training text has 23 tokens, fewer than the 24 of one batch"):
        TrainingTextLoader(text(tokens), 4, 5)


def test_streams_that_cannot_be_shared_are_refused():
    with pytest.raises(ZooError, match=r"data.batch_size=4 streams cannot be shared by 3 processes"):
        TrainingTextLoader(text(100), 4, 5, 0, 3)


def test_a_position_in_another_text_is_refused():
    changed = text(41)
    changed[40] = 0
    with pytest.raises(ZooError, match="not those that the run began with"):
        TrainingTextLoader(changed, 2, 5).load_state_dict(TrainingTextLoader(text(41), 2, 5).state_dict())
