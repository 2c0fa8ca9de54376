"""A classifier's look at samples: none other than the real images, collapsed to one class, and the distance by hand."""

from pathlib import Path

import pytest
import torch

import zoo
from zoo.data.registry import create_dataset
from zoo.tasks.looking import Features, looked_at


@pytest.fixture(scope="module")
def classifier():
    return zoo.pipeline("lenet5_modern-mnist")


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = create_dataset("digits", batch_size=1000, mean=[0.0], std=[1.0])
    data.prepare()
    images, labels = zip(*data.test_loader(), strict=True)
    return torch.cat(images).clamp(0, 1), torch.cat(labels)


def test_real_images_are_at_no_distance_from_themselves(classifier, digits):
    found, shares = looked_at(classifier, digits[0], digits[0])
    assert list(shares) == list("0123456789")
    assert sum(shares.values()) == pytest.approx(100)
    assert found["fid_lenet"] == pytest.approx(0, abs=1e-3)
    assert found["classes"] == 100
    assert 0 <= found["class_divergence"] < 0.3


def test_digits_are_told_apart(classifier, digits):
    """The classifier sees them as it was trained to: most answers are right."""
    images, labels = digits
    assert float((Features(classifier).labels(images) == labels).double().mean()) > 0.8


def test_collapse_shows(classifier, digits):
    images, labels = digits
    whole, _ = looked_at(classifier, images, images)
    one = images[labels == 0][:1].expand(50, -1, -1, -1)
    found, shares = looked_at(classifier, images, one)
    assert found["classes"] == 10
    assert shares["0"] == 100
    assert found["class_divergence"] == pytest.approx(torch.tensor(10.0).log().item())
    assert found["fid_lenet"] > whole["fid_lenet"] + 10


def test_a_class_that_is_seen_once_in_a_while_does_not_occur(classifier, digits):
    """Even noise is now and then taken for each of the digits."""
    images, labels = digits
    rare = torch.cat([images[labels == 0][:1].expand(300, -1, -1, -1), images[labels == 1][:2]])
    found, shares = looked_at(classifier, images, rare)
    assert 0 < sum(shares[name] for name in "123456789") < 1
    assert found["classes"] == 10


def test_the_distance_is_frechet_s(classifier, digits):
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½), of what the last linear layer reads."""
    images = digits[0]
    look = Features(classifier)
    with torch.no_grad():
        one, other = look(images[:150]).double(), look(images[150:300]).double()
        scores = classifier.model(classifier.preprocessing.scale((images[:150] * 255).round().byte()))
        torch.testing.assert_close(look.last(look(images[:150])), scores)
    first, second = torch.cov(one.T), torch.cov(other.T)
    roots = torch.linalg.eigvals(first @ second).real.clamp_min(0).sqrt().sum()
    expected = (one.mean(0) - other.mean(0)).square().sum() + first.trace() + second.trace() - 2 * roots
    found = looked_at(classifier, images[:150], images[150:300])[0]["fid_lenet"]
    assert found == pytest.approx(float(expected), rel=1e-3)


def _one_of_two(rank: int, store: str, images: torch.Tensor, expected: float) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    found, _ = looked_at(zoo.pipeline("lenet5_modern-mnist"), images[:30], images[30:60])
    torch.distributed.destroy_process_group()
    assert found["fid_lenet"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_two_processes_that_have_all_images_count_each_once(classifier, digits, tmp_path: Path):
    images = digits[0]
    alone = looked_at(classifier, images[:30], images[30:60])[0]["fid_lenet"]
    torch.multiprocessing.spawn(_one_of_two, (str(tmp_path / "store"), images, alone), nprocs=2)
