"""Colour images in memory: statistics, mean images, windows, views; settings that make no sense."""

import json

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from zoo.data.colour import colour_axes
from zoo.data.mean_image import decode, encode
from zoo.data.registry import create_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError


def test_the_mean_image_is_subtracted_before_everything_else(tiny_dataset, tiny_cifar, all_of):
    """As the reference codes do: subtract, pad with zeros, cut a window, mirror."""
    dataset = tiny_dataset(mean="per_pixel", validation=20, augment={"crop_padding": 4, "flip": True})
    kept = dataset._kept.numpy()
    raw = tiny_cifar.train_images.numpy().astype(np.float64) / 255
    mean = raw[kept].mean(0)
    images, _ = all_of(dataset.test_loader())
    np.testing.assert_allclose(images.numpy(), tiny_cifar.test_images.numpy() / 255 - mean, atol=1e-6)
    # Each training image is one of those that can be cut out of some image, less the mean, within zeros.
    padded = np.pad(raw[kept] - mean, [(0, 0), (0, 0), (4, 4), (4, 4)])
    seen = set()
    for image in all_of(dataset.train_loader())[0][:40].numpy():
        windows = (
            (number, top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (1, -1)
            for number in np.flatnonzero(
                np.abs(padded[:, 0, top + 16, left : left + 32][:, ::mirrored] - image[0, 16]).max(1) < 1e-5
            )
        )
        number, top, left, mirrored = next(windows)
        window = padded[number, :, top : top + 32, left : left + 32][:, :, ::mirrored]
        np.testing.assert_allclose(image, window, atol=1e-6)
        seen.add(number)
    assert len(seen) == 40


def test_the_card_of_a_mean_image(tiny_dataset, all_of):
    dataset = tiny_dataset(mean="per_pixel", std=[0.5, 0.25, 1.0], crop=24)
    described = json.loads(json.dumps(dataset.preprocessing))
    image = decode(described.pop("mean_image"))
    sizes = {"channels": 3, "height": 24, "width": 24, "resize": 32}
    assert described == {**sizes, "mean": [0.0] * 3, "std": [0.5, 0.25, 1.0], "ink": None}
    assert image.shape == (3, 32, 32)
    # What the card says is what the test loader feeds.
    pixels = dataset._contents.test.images
    expected = tv.center_crop((pixels / 255 - image) / torch.tensor(described["std"]).view(-1, 1, 1), [24, 24])
    images, _ = all_of(dataset.test_loader())
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    # Other data can be prepared with this very image.
    again = tiny_dataset(mean=encode(image), std=[0.5, 0.25, 1.0], crop=24, validation=30)
    assert torch.equal(all_of(again.test_loader())[0], images)
    assert again.preprocessing == dataset.preprocessing


@pytest.mark.parametrize("padding", [0, 4])
def test_training_sees_random_windows_and_the_test_the_middle(tiny_dataset, tiny_cifar, padding, all_of):
    dataset = tiny_dataset(crop=24, augment={"crop_padding": padding, "fill": 0.5})
    assert dataset.prepare() == ImageSpec(3, 24, 24, 10)
    images, labels = all_of(dataset.train_loader())
    assert images.shape == (140, 3, 24, 24)
    # Half of the range is exactly 0 once 0.5 is subtracted.
    whole = tv.pad((tiny_cifar.train_images / 255 - 0.5) / 0.25, [padding] * 4)
    places = set()
    for image, label in zip(images, labels, strict=True):
        alike = whole[tiny_cifar.train_labels == label]
        # A row in the middle tells one from another, since it never lies in the border: (n, top, left, 24).
        rows = alike.unfold(2, 24, 1).unfold(3, 24, 1)[:, 0, :, :, 12]
        difference = (rows - image[0, 12]).abs().amax(3).numpy()
        number, top, left = np.unravel_index(difference.argmin(), difference.shape)
        torch.testing.assert_close(tv.crop(alike[number], top, left, 24, 24), image, rtol=0, atol=1e-6)
        places.add((int(top), int(left)))
    assert len(places) > 30
    highest = 8 + 2 * padding
    assert {0, highest} <= {place for pair in places for place in pair} <= set(range(highest + 1))
    assert next(iter(dataset.test_loader()))[0].is_contiguous()
    expected = tv.center_crop((tiny_cifar.test_images / 255 - 0.5) / 0.25, [24, 24])
    torch.testing.assert_close(all_of(dataset.test_loader())[0], expected, rtol=0, atol=1e-6)


def test_colours_shift_along_the_axes_of_the_training_images(tiny_dataset, all_of):
    plain, shifted = (tiny_dataset(validation=20, augment=augment) for augment in (None, {"pca_colour": 0.5}))
    before, after = (all_of(dataset.train_loader())[0] for dataset in (plain, shifted))
    shifts = (after - before).double() * 0.25  # back to pixels in 0..1
    assert (shifts.amax((2, 3)) - shifts.amin((2, 3))).max() < 1e-6, "one colour for all pixels of an image"
    axes = colour_axes(shifted._contents.train.images, shifted._kept)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(shifted._axes, axes, strict=True))
    amounts = shifts.mean((2, 3)) @ axes.vectors / axes.deviations
    assert 0.35 < amounts.std() < 0.65
    first, second = (all_of(loader)[0] for loader in [shifted.train_loader()] * 2)
    assert not torch.equal(first.mean((2, 3)).sort(0).values, second.mean((2, 3)).sort(0).values)
    assert torch.equal(all_of(plain.test_loader())[0], all_of(shifted.test_loader())[0])


def test_cutout_leaves_a_square_of_zeros(tiny_dataset, all_of):
    plain, cut = (tiny_dataset(augment=augment) for augment in (None, {"cutout": 9}))
    before, after = (all_of(dataset.train_loader())[0] for dataset in (plain, cut))
    changed = (before != after).any(1)
    assert (after * changed.unsqueeze(1)).abs().max() == 0
    assert changed.sum((1, 2)).max() == 81
    assert changed.sum((1, 2)).min() < 81, "some squares reach beyond the border"


def test_ten_views_in_evaluation_only(tiny_dataset, all_of):
    dataset, plain = tiny_dataset(crop=24, views=10, validation=20), tiny_dataset(validation=20)
    assert next(iter(dataset.train_loader()))[0].shape == (20, 3, 24, 24)
    for name in ("validation_loader", "test_loader"):
        images, labels = all_of(getattr(dataset, name)())
        whole, same = all_of(getattr(plain, name)())
        assert torch.equal(labels, same)
        assert images.shape == (20, 10, 3, 24, 24)
        # torchvision has the centre last, and names the corners after mirroring.
        theirs = torch.stack(tv.ten_crop(whole, [24, 24]), dim=1)[:, [4, 0, 1, 2, 3, 9, 6, 5, 8, 7]]
        assert torch.equal(images, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 33}, "data.crop=33 is not possible: expected 1..32"),
        ({"crop": 0}, "data.crop=0 is not possible: expected 1..32"),
        ({"views": 3, "crop": 24}, "data.views=3 is not possible: expected 1 (the centre) or 10"),
        ({"views": 10}, "data.views=10 would be the whole image each time: give data.crop"),
        ({"views": 10, "crop": 32}, "data.views=10 would be the whole image each time: give data.crop"),
        ({"mean": "per_channel"}, "data.mean=per_channel is not possible: expected one number per channel, or per_p"),
        ({"mean": {"shape": [3, 32, 32]}}, "the mean image is malformed"),
        ({"mean": encode(torch.zeros(1, 28, 28))}, "data.mean is an image of 1x28x28 numbers, the data's are 3x32x32"),
        ({"mean": "per_pixel", "std": [1.0]}, "data.std has 1 numbers, the images have 3 channel(s)"),
        ({"augment": {"cutoff": 3}}, "unknown key data.augment.cutoff: did you mean data.augment.cutout?"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings, message):
    with pytest.raises(ZooError) as error:
        create_dataset("cifar10", **settings)
    assert message in str(error.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mean", [None, "per_pixel"])
def test_batches_on_the_device_are_those_of_the_cpu(tiny_dataset, mean, all_of):
    augment = {"crop_padding": 4, "flip": True, "fill": 0.25, "pca_colour": 0.1, "cutout": 8}
    dataset = tiny_dataset(mean=mean, augment=augment, crop=24, views=10)
    for name in ("train_loader", "test_loader"):
        on_cpu, on_gpu = (all_of(getattr(dataset, name)(device=device)) for device in ("cpu", "cuda"))
        assert on_gpu[0].is_cuda
        assert torch.equal(on_cpu[1], on_gpu[1].cpu())
        torch.testing.assert_close(on_cpu[0], on_gpu[0].cpu(), rtol=0, atol=1e-5)
