"""Loaders: every sample once, exact continuation, the same batches however many processes share them."""

from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.augmentation import Augmentation
from zoo.data.colour import ColourAxes
from zoo.data.image_loader import EvaluationImageLoader, ImageStore, TrainingImageLoader
from zoo.errors import ZooError

EVERYTHING = {
    "affine": {"degrees": 20, "translate": [0.1, 0.1], "squeeze": 0.2},
    "crop_padding": 2,
    "flip": True,
    "pca_colour": 0.3,
    "cutout": 3,
}
AXES = ColourAxes(torch.eye(3, dtype=torch.float64), torch.tensor([0.5, 0.3, 0.1], dtype=torch.float64))

quick = settings(max_examples=60, deadline=None)


def store(count, size=6):
    """Images of noise whose labels are their positions."""
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator())
    return ImageStore(images, torch.arange(count), [0.5] * 3, [0.25] * 3)


def loader(count=23, batch_size=5, seed=0, augment=EVERYTHING, rank=0, world=1, indices=None):
    chosen = torch.arange(count) if indices is None else indices
    return TrainingImageLoader(store(count), chosen, batch_size, seed, Augmentation(augment), rank, world, AXES)


def epochs(count, source):
    return [batch for _ in range(count) for batch in source]


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


def test_shapes_and_length():
    batches = list(source := loader())
    assert len(source) == len(batches) == 5
    assert [tuple(images.shape) for images, _ in batches] == [(5, 3, 6, 6)] * 4 + [(3, 3, 6, 6)]
    assert batches[0][0].dtype == torch.float32


def test_order_changes_with_seed_and_epoch_only():
    source = loader()
    first, second = (torch.cat([labels for _, labels in source]) for _ in range(2))
    assert not torch.equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(23))
    assert same(epochs(2, loader()), epochs(2, loader()))
    assert not same(list(loader()), list(loader(seed=1)))


def test_epochs_are_augmented_differently():
    source = loader(count=8, batch_size=8, augment={"affine": {"degrees": 40}})
    (first, labels), (second, again) = next(iter(source)), next(iter(source))
    assert not torch.allclose(first[labels.argsort()], second[again.argsort()], atol=1e-3)


def test_global_generator_plays_no_part():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = list(loader())
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(one, list(loader()))


@pytest.mark.parametrize("augment", [None, EVERYTHING])
@pytest.mark.parametrize("position", range(11))
def test_resumed_loader_gives_the_remaining_batches(position, augment):
    whole = epochs(3, loader(augment=augment))
    interrupted = loader(augment=augment)
    stream = (batch for _ in range(3) for batch in interrupted)
    seen = [next(stream) for _ in range(position)]
    state = interrupted.state_dict()
    assert all(type(value) is int for value in state.values())

    resumed = loader(augment=augment)
    resumed.load_state_dict(state)
    rest = epochs(3, resumed)[: len(whole) - position]
    assert same(seen + rest, whole)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, r"batch_size=0"),
        ({"batch_size": 24}, r"batch_size=24 is not possible: expected 1\.\.23"),
        ({"batch_size": 5, "world": 2}, "multiple of 2"),
        ({"batch_size": 4, "world": 2, "rank": 2}, "rank 2 of 2"),
    ],
)
def test_impossible_sharing_is_refused(settings, message):
    with pytest.raises(ZooError, match=message):
        loader(**settings)


@quick
@given(st.integers(1, 70), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_ranks_together_see_each_sample_once(count, share, world, seed):
    batch_size = share * world
    if batch_size > count:
        return
    ranks = [loader(count, batch_size, seed, None, rank, world) for rank in range(world)]
    assert len({len(rank) for rank in ranks}) == 1
    seen = sorted(label for rank in ranks for _, labels in rank for label in labels.tolist())
    assert len(seen) == len(set(seen)) == count
    assert all(len(labels) > 0 for rank in ranks for _, labels in rank), "a rank without images has no mean"


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(1, 4), st.sampled_from([2, 3]))
def test_global_batch_is_the_union_of_the_ranks_augmentation_included(count, share, world):
    batch_size = share * world
    if batch_size > count:
        return
    alone = loader(count, batch_size)
    shared = [loader(count, batch_size, rank=rank, world=world) for rank in range(world)]
    joined = 0 < count % batch_size < world  # a rest too small for all goes into the batch before it
    for (images, labels), *parts in islice(zip(alone, *shared, strict=False), len(shared[0]) - joined):
        for rank, (part_images, part_labels) in enumerate(parts):
            assert torch.equal(part_labels, labels[rank::world])
            torch.testing.assert_close(part_images, images[rank::world], rtol=0, atol=1e-5)


@quick
@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 80))
def test_any_position_is_reached_by_state_alone(count, batch_size, position):
    if batch_size > count:
        return
    walked = loader(count, batch_size, augment=None)
    epoch, batch = divmod(position % (3 * len(walked)), len(walked))
    stream = (labels for _ in range(4) for _, labels in walked)
    for _ in range(epoch * len(walked) + batch):
        next(stream)
    jumped = loader(count, batch_size, augment=None)
    jumped.load_state_dict({"epoch": epoch, "batch": batch})
    assert walked.state_dict() == jumped.state_dict()
    assert torch.equal(next(stream), next(iter(jumped))[1])


def test_only_the_given_indices_are_used():
    chosen = torch.tensor([3, 5, 8, 13, 21])
    source = loader(batch_size=2, indices=chosen)
    assert sorted(torch.cat([labels for _, labels in source]).tolist()) == chosen.tolist()


@quick
@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 4))
def test_evaluation_sees_every_sample_once_over_all_ranks(count, batch_size, world):
    if count < world > 1:
        with pytest.raises(ZooError, match=f"^{count} images to evaluate cannot be shared by {world} processes"):
            EvaluationImageLoader(store(count), torch.arange(count), batch_size, 0, world)
        return
    ranks = [EvaluationImageLoader(store(count), torch.arange(count), batch_size, rank, world) for rank in range(world)]
    for rank, source in enumerate(ranks):
        batches = list(source)
        assert len(batches) == len(source)
        labels = torch.cat([labels for _, labels in batches]) if batches else torch.empty(0, dtype=torch.int64)
        assert torch.equal(labels, torch.arange(count)[rank::world])
        assert same(batches, list(source))
