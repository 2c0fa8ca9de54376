"""Splits keep each class's share and never change."""

import torch

from zoo.data.splits import stratified_split


def test_stratified_split_keeps_shares():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100, generator=torch.Generator())]
    for held_out in (0, 1, 10, 33, 99, 100):
        kept, held = stratified_split(labels, held_out)
        assert len(held) == held_out
        assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(100))
        shares = labels[held].bincount(minlength=3) - torch.tensor([0.5, 0.3, 0.2]) * held_out
        assert shares.abs().max() < 1


def test_split_is_the_same_for_good():
    assert stratified_split(torch.arange(12) % 3, 4)[1].tolist() == [0, 3, 5, 10]
