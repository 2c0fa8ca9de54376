"""Batches of sentence pairs: each pair once, no batch too large, little padding, exact continuation."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.pair_loader import EvaluationPairLoader, Pair, PairBatch, TrainingPairLoader, collate
from zoo.data.registry import create_dataset
from zoo.data.sentence_pairs import PairData
from zoo.data.tokenizing import BEGIN, END, PAD
from zoo.errors import ZooError

quick = settings(max_examples=80, deadline=None)
LONGEST = 12
LENGTHS = st.lists(st.tuples(st.integers(0, LONGEST), st.integers(0, LONGEST)), min_size=1, max_size=60)
# Tokens for each rank: enough for the longest target with its begin and end.
EACH = st.integers(LONGEST + 2, 80)
SEEDS = st.integers(0, 2**32 - 1)


def pairs_of(lengths: list[tuple[int, int]]) -> list[Pair]:
    """Pairs whose tokens tell which pair they are."""
    return [
        Pair([10 + place] * source, [10 + place] * target, (f"source {place}", f"target {place}"))
        for place, (source, target) in enumerate(lengths)
    ]


# 40 pairs of all lengths, in several batches of 60 tokens.
MANY = pairs_of([(place % 9, (5 * place) % 11) for place in range(40)])


def places(batches: list[PairBatch]) -> list[list[int]]:
    return [list(batch.places) for batch in batches]


def flat(batches: list[PairBatch]) -> list[int]:
    return [place for batch in places(batches) for place in batch]


def epochs(count: int, loader: TrainingPairLoader) -> list[PairBatch]:
    return [batch for _ in range(count) for batch in loader]


def test_sentences_stand_between_begin_and_end_and_are_filled_up():
    pairs = [Pair([5, 6, 7], [8], ("drei", "one")), Pair([9], [5, 6], ("eins", "two")), Pair([], [], ("", ""))]
    batch = collate(pairs, [1, 0, 2])
    assert batch.source.tolist() == [[9, END, PAD, PAD], [5, 6, 7, END], [END, PAD, PAD, PAD]]
    assert batch.target.tolist() == [[BEGIN, 5, 6, END], [BEGIN, 8, END, PAD], [BEGIN, END, PAD, PAD]]
    assert batch.places == (1, 0, 2)
    assert batch.texts == (("eins", "two"), ("drei", "one"), ("", ""))
    assert {tensor.dtype for tensor in batch[:2]} == {torch.int64}
    assert batch.tokens == int((batch.target[:, 1:] != PAD).sum()) == 6


@quick
@given(LENGTHS, EACH, SEEDS)
def test_each_pair_comes_once_an_epoch_as_it_is(lengths, each: int, seed: int):
    pairs = pairs_of(lengths)
    loader = TrainingPairLoader(pairs, each, seed)
    for _ in range(3):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert sorted(flat(batches)) == list(range(len(pairs)))
        for batch in batches:
            expected = collate(pairs, batch.places)
            assert torch.equal(batch.source, expected.source)
            assert torch.equal(batch.target, expected.target)
            assert batch.texts == expected.texts


@quick
@given(LENGTHS, EACH, SEEDS)
def test_no_batch_has_more_tokens_a_side_than_it_may(lengths, each: int, seed: int):
    for batch in TrainingPairLoader(pairs_of(lengths), each, seed):
        assert max(batch.source.numel(), batch.target.numel()) <= each


@quick
@given(LENGTHS, EACH, SEEDS, st.integers(2, 4))
def test_ranks_take_in_turn_the_rows_of_what_one_alone_would(lengths, each: int, seed: int, world: int):
    pairs = pairs_of(lengths)
    alone = TrainingPairLoader(pairs, each, seed)
    ranks = [TrainingPairLoader(pairs, each, seed, rank, world) for rank in range(world)]
    for _ in range(2):
        for whole, *shares in zip(places(list(alone)), *(places(list(rank)) for rank in ranks), strict=True):
            assert shares == [whole[rank::world] for rank in range(world)]


def test_a_rank_for_which_there_is_no_row_gets_one_of_padding():
    loader = TrainingPairLoader(pairs_of([(3, 10)]), 12, 0, 1, 2)
    (batch,) = loader
    assert batch.source.tolist() == [[END]]
    assert batch.target.tolist() == [[BEGIN, PAD]]
    assert batch.places == batch.texts == ()
    assert batch.tokens == 0


@quick
@given(LENGTHS, EACH, SEEDS, st.integers(0, 5))
def test_the_order_is_decided_by_seed_and_epoch_alone(lengths, each: int, seed: int, epoch: int):
    walked, jumped = (TrainingPairLoader(pairs_of(lengths), each, seed) for _ in range(2))
    epochs(epoch, walked)
    jumped.load_state_dict(jumped.state_dict() | {"epoch": epoch})
    assert places(list(walked)) == places(list(jumped))


def test_another_seed_or_epoch_is_another_order():
    loader, other = (TrainingPairLoader(pairs_of([(8, 8)] * 40), 60, seed) for seed in (0, 1))
    orders = [places(list(loader)), places(list(loader)), places(list(other))]
    # Not only whole batches change their places.
    one, later, of_another_seed = ({frozenset(batch) for batch in order} for order in orders)
    assert one != later
    assert of_another_seed not in (one, later)


def test_batches_hold_sentences_of_about_one_length():
    for batch in TrainingPairLoader(MANY, 60, 0):
        longer = [max(len(MANY[place].source) + 1, len(MANY[place].target) + 2) for place in batch.places]
        assert max(longer) - min(longer) <= 1


@quick
@given(LENGTHS, EACH, SEEDS, st.integers(0, 30))
def test_any_position_is_reached_by_state_alone(lengths, each: int, seed: int, position: int):
    whole = TrainingPairLoader(pairs_of(lengths), each, seed)
    everything = places(epochs(4, whole))
    walked = TrainingPairLoader(pairs_of(lengths), each, seed)
    stream = (batch for _ in range(4) for batch in walked)
    before = [next(stream) for _ in range(position % (2 * len(whole) + 1))]
    state = walked.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = TrainingPairLoader(pairs_of(lengths), each, seed)
    resumed.load_state_dict(state)
    after = [*places(before), *places(epochs(3, resumed))]
    assert after[: len(everything)] == everything[: len(after)]
    assert len(after) == len(before) + 3 * len(whole)


def test_a_position_in_other_sentences_is_refused_in_one_line(one_line):
    changed = [*MANY[:-1], Pair([9], [9])]
    with pytest.raises(ZooError, match="the sentences are not those that the run began with") as error:
        TrainingPairLoader(changed, 60, 0).load_state_dict(TrainingPairLoader(MANY, 60, 0).state_dict())
    assert one_line(error)


def test_a_pair_that_fits_into_no_batch_is_refused_in_one_line(one_line):
    pairs = pairs_of([(3, 10), (11, 3)])
    with pytest.raises(ZooError, match=r"data.batch_size=11 is less than the longest pair needs, 12 tokens") as error:
        TrainingPairLoader(pairs, 11, 0)
    assert one_line(error)


@quick
@given(LENGTHS, st.integers(1, 80), st.integers(1, 5))
def test_evaluation_takes_each_pair_once_at_one_rank(lengths, batch_size: int, world: int):
    pairs = pairs_of(lengths)
    if len(pairs) < world:
        with pytest.raises(ZooError, match=rf"^{len(pairs)} pairs to evaluate cannot be shared by {world} processes"):
            EvaluationPairLoader(pairs, batch_size, 0, world)
        return
    seen: list[int] = []
    for rank in range(world):
        loader = EvaluationPairLoader(pairs, batch_size, rank, world)
        batches = list(loader)
        assert len(batches) == len(loader) > 0, "a rank without batches would be waited for in vain"
        assert places(list(loader)) == places(batches), "a second pass begins anew"
        for batch in batches:
            assert len(batch.places) == 1 or max(batch.source.numel(), batch.target.numel()) <= batch_size
            expected = collate(pairs, batch.places)
            assert torch.equal(batch.source, expected.source)
            assert torch.equal(batch.target, expected.target)
        seen += flat(batches)
    assert sorted(seen) == list(range(len(pairs)))


def test_evaluation_fills_its_batches():
    loader = EvaluationPairLoader(pairs_of([(8, 8)] * 10), 40)
    assert places(list(loader)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.realdata
def test_little_of_multi30k_is_padding(real_data: Path):
    dataset = create_dataset("multi30k", dir=str(real_data), batch_size=4096)
    assert isinstance(dataset, PairData)
    dataset.prepare()
    batches = list(dataset.train_loader())
    assert sorted(flat(batches)) == list(range(29_000))
    assert max(max(batch.source.numel(), batch.target.numel()) for batch in batches) <= 4096
    sides = [side for batch in batches for side in (batch.source, batch.target)]
    assert sum(int((side == PAD).sum()) for side in sides) < 0.1 * sum(side.numel() for side in sides)
