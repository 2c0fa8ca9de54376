"""Points around centres: where they lie, the same ones for evaluation, each exactly once over all ranks."""

import pytest
import torch

from zoo.data.toy import gaussians_8, gaussians_25
from zoo.errors import ZooError


@pytest.mark.parametrize(("make", "centres"), [(gaussians_8, 8), (gaussians_25, 25)])
def test_points_lie_around_all_centres(make, centres: int):
    data = make(batch_size=1000, batches=2)
    first, second = (points for points, _ in data.train_loader())
    assert first.shape == (1000, 1, 1, 2)
    assert not torch.equal(first, second)
    distances, nearest = torch.cdist(first.view(-1, 2), data.centres).min(dim=1)
    assert sorted(nearest.unique().tolist()) == list(range(centres))
    assert float(distances.max()) < 6 * data.spread


@pytest.mark.parametrize("which", ["validation_loader", "test_loader"])
def test_evaluation_has_the_same_points_every_time_shared_out_over_ranks(which: str):
    data = gaussians_8(batch_size=50, batches=3, seed=1)
    loader = getattr(data, which)()
    assert len(loader) == 1
    [(whole, _)] = loader
    assert whole.shape == (10_000, 1, 1, 2)
    assert torch.equal(whole, next(iter(loader))[0])
    shares = [next(iter(getattr(data, which)(rank, 3)))[0] for rank in range(3)]
    together = torch.cat([share.view(-1, 2) for share in shares])
    assert torch.equal(together.sort(dim=0).values, whole.view(-1, 2).sort(dim=0).values)


def test_ranks_share_a_training_batch():
    data = gaussians_25(batch_size=51, batches=1)
    [(whole, _)] = data.train_loader()
    [(first, _)], [(second, _)] = (data.train_loader(rank, 2) for rank in range(2))
    assert torch.equal(whole[::2], first)
    assert torch.equal(whole[1::2], second)


def test_a_batch_too_small_to_be_shared_is_refused():
    with pytest.raises(ZooError, match=r"data\.batch_size=2 cannot be shared by 3 processes: take 3 or more"):
        gaussians_8(batch_size=2, batches=1).train_loader(0, 3)


@pytest.mark.parametrize("key", ["batch_size", "batches"])
def test_no_batch_is_refused(key: str):
    with pytest.raises(ZooError, match=rf"data\.{key}=0 is not possible: expected 1 or more"):
        gaussians_8(**{key: 0})
