from itertools import islice

import torch

from zoo.data.registry import create_dataset
from zoo.training.data_module import FirstBatches


def first_batches() -> FirstBatches:
    dataset = create_dataset("digits", batch_size=100, augment={"affine": {"degrees": 10}})
    dataset.prepare()
    return FirstBatches(dataset.train_loader(), 3)


def take(loader: FirstBatches, count: int) -> list[torch.Tensor]:
    return [images for images, _ in islice(loader, count)]


def test_the_same_batches_come_every_epoch():
    loader = first_batches()
    once, again = take(loader, 3), take(loader, 3)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert not torch.equal(once[0], once[1])


def test_a_restored_position_is_kept_for_one_pass():
    loader, whole = first_batches(), take(first_batches(), 3)
    other = first_batches()
    iterator = iter(loader)
    next(iterator)
    other.load_state_dict(loader.state_dict())
    assert torch.equal(take(other, 2)[0], whole[1])
    assert torch.equal(take(other, 2)[0], whole[0])


def test_after_a_whole_pass_a_restored_loader_begins_anew():
    loader, other = first_batches(), first_batches()
    whole = take(loader, 3)
    other.load_state_dict(loader.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(take(other, 3), whole, strict=True))


def test_a_share_of_an_epoch_is_repeated_from_its_beginning():
    loader, other = first_batches(), first_batches()
    shared, resumed = (FirstBatches(each._loader, 1.0) for each in (loader, other))
    whole = take(shared, len(shared))
    resumed.load_state_dict(shared.state_dict())
    assert torch.equal(take(resumed, 1)[0], whole[0])
