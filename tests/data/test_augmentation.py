"""Batch-wise changes agree with torchvision's, image by image; draws stay within their ranges and fill them."""

import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from zoo.data.augmentation import (
    Augmentation,
    affine,
    affine_matrices,
    crop_padded,
    draw_affine,
    draw_flips,
    draw_offsets,
    flip,
    normalise,
    unit_pixels,
)
from zoo.errors import ZooError

B = 40


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(channels=1, height=28, width=28):
    return torch.rand(B, channels, height, width, generator=generator(5))


def between(low, high, *shape):
    return torch.rand(*shape, generator=generator(6), dtype=torch.float64) * (high - low) + low


def as_torchvision(images, degrees, shifts, scales, shears, fill=None):
    return torch.stack(
        [
            tv.affine(
                image,
                angle=degrees[i].item(),
                translate=shifts[i].tolist(),
                scale=scales[i].item(),
                shear=[shears[i].item(), 0.0],
                interpolation=InterpolationMode.BILINEAR,
                fill=fill,
            )
            for i, image in enumerate(images)
        ]
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 17, 30)])
def test_affine_agrees_with_torchvision(shape):
    images = pictures(*shape)
    settings = between(-180, 180, B), between(-8, 8, B, 2), between(0.5, 2, B), between(-40, 40, B)
    ours = affine(images, affine_matrices(*settings))
    # Both interpolate in float32; coordinates of up to 30 pixels carry errors of a few millionths of a pixel.
    torch.testing.assert_close(ours, as_torchvision(images, *settings), rtol=0, atol=5e-5)


@pytest.mark.parametrize("part", ["degrees", "shifts", "scales", "shears"])
def test_each_part_of_affine_agrees_with_torchvision(part):
    settings = {"degrees": torch.zeros(B), "shifts": torch.zeros(B, 2), "scales": torch.ones(B)}
    settings["shears"] = torch.zeros(B)
    drawn = {"degrees": between(-90, 90, B), "shifts": between(-9, 9, B, 2), "scales": between(0.5, 2, B)}
    settings[part] = drawn.get(part, between(-30, 30, B))
    settings = {key: value.double() for key, value in settings.items()}
    ours = affine(pictures(), affine_matrices(**settings))
    torch.testing.assert_close(ours, as_torchvision(pictures(), *settings.values()), rtol=0, atol=5e-5)


def test_affine_that_changes_nothing_changes_nothing():
    matrices = draw_affine(B, 28, 28, generator())
    torch.testing.assert_close(affine(pictures(), matrices), pictures(), rtol=0, atol=1e-5)


def test_affine_fills_with_the_background():
    images = torch.full((B, 2, 20, 20), 0.25)
    images[:, 1] = 0.75
    settings = between(-90, 90, B), between(-9, 9, B, 2), between(0.3, 0.6, B), between(-20, 20, B)
    # An image of nothing but background stays one, at its border too.
    torch.testing.assert_close(affine(images, affine_matrices(*settings), [0.25, 0.75]), images)
    # Far from the border, where torchvision blends the fill in twice, both agree.
    theirs = as_torchvision(pictures(), *settings, fill=[0.4])
    ours = affine(pictures(), affine_matrices(*settings), 0.4)
    inside = as_torchvision(torch.ones_like(pictures()), *settings)
    sure = (inside < 1e-6) | (inside > 1 - 1e-6)
    torch.testing.assert_close(ours[sure], theirs[sure], rtol=0, atol=5e-5)


def test_squeezing_trades_width_for_height():
    square = torch.zeros(3, 1, 40, 40)
    square[:, :, 12:28, 12:28] = 1
    still = torch.zeros(3, dtype=torch.float64)
    stretches = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    matrices = affine_matrices(still, torch.zeros(3, 2, dtype=torch.float64), still + 1, still, stretches)
    changed = affine(square, matrices)
    sizes = [(int(c[0, 20].gt(0.5).sum()), int(c[0, :, 20].gt(0.5).sum())) for c in changed]
    assert sizes == [(32, 8), (8, 32), (16, 16)]


def inverse(matrices):
    """Returns the linear part and the shift of the way forward."""
    linear = torch.linalg.inv(matrices[:, :, :2])
    return linear, -(linear @ matrices[:, :, 2:]).squeeze(2)


def fills(values, low, high):
    """Says whether draws lie within their bounds and are spread over them evenly."""
    middle, width = (low + high) / 2, high - low
    within = values.min() >= low - 1e-9 and values.max() <= high + 1e-9
    even = abs(values.mean() - middle) < 0.03 * width and abs(values.std() - width / math.sqrt(12)) < 0.03 * width
    return bool(within and even and values.min() < low + 0.02 * width and values.max() > high - 0.02 * width)


N = 4000


def test_drawn_angles():
    linear, _ = inverse(draw_affine(N, 28, 28, generator(), degrees=15))
    assert fills(torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 0, 0])), -15, 15)


def test_drawn_shifts():
    linear, shifts = inverse(draw_affine(N, 20, 40, generator(), translate=[0.1, 0.2]))
    assert fills(shifts[:, 0], -4, 4)
    assert fills(shifts[:, 1], -4, 4)
    assert abs(torch.corrcoef(shifts.T)[0, 1]) < 0.05
    assert torch.allclose(linear, torch.eye(2, dtype=torch.float64).expand(N, 2, 2))


def test_drawn_scales():
    linear, _ = inverse(draw_affine(N, 28, 28, generator(), scale=[0.8, 1.3]))
    assert fills(linear[:, 0, 0], 0.8, 1.3)
    assert torch.allclose(linear[:, 0, 0], linear[:, 1, 1])


def test_drawn_shears_are_horizontal():
    linear, _ = inverse(draw_affine(N, 28, 28, generator(), shear=20))
    assert fills(torch.rad2deg(torch.atan(linear[:, 0, 1])), -20, 20)
    assert linear[:, 1, 0].abs().max() < 1e-12


def test_drawn_squeezes_keep_the_area():
    linear, _ = inverse(draw_affine(N, 28, 28, generator(), squeeze=0.25))
    assert fills(linear[:, 0, 0].log(), -math.log(1.25), math.log(1.25))
    assert torch.allclose(torch.linalg.det(linear), torch.ones(N, dtype=torch.float64))


def test_switching_one_distortion_off_leaves_the_others():
    both = draw_affine(N, 28, 28, generator(), translate=[0.1, 0.1], scale=[0.8, 1.2])
    one = draw_affine(N, 28, 28, generator(), translate=[0.1, 0.1])
    assert torch.allclose(inverse(both)[1], inverse(one)[1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_crop_agrees_with_torchvision(dtype, channels):
    images = (pictures(channels, 12, 15) * 255).to(dtype)
    offsets = draw_offsets(B, 4, generator())
    fill = [7, 8, 9][:channels]
    ours = crop_padded(images, offsets, 4, fill)
    for image, (top, left), changed in zip(images, offsets.tolist(), ours, strict=True):
        padded = tv.pad(image, [4, 4, 4, 4], fill=fill)
        assert torch.equal(changed, tv.crop(padded, top, left, 12, 15))


def test_drawn_offsets_cover_all_windows_evenly():
    offsets = draw_offsets(9000, 1, generator())
    counts = (offsets[:, 0] * 3 + offsets[:, 1]).bincount(minlength=9)
    assert len(counts) == 9
    assert counts.min() > 850


def test_flip_agrees_with_torchvision():
    flips = draw_flips(B, generator())
    ours = flip(pictures(3), flips)
    for image, flipped, changed in zip(pictures(3), flips, ours, strict=True):
        assert torch.equal(changed, tv.horizontal_flip(image) if flipped else image)


def test_half_of_the_images_are_flipped():
    assert 0.47 < draw_flips(N, generator()).float().mean() < 0.53
    assert draw_flips(N, generator(), 0.0).sum() == 0


def test_normalise_agrees_with_torchvision():
    raw = (pictures(3) * 255).to(torch.uint8)
    mean, std = [0.49, 0.48, 0.45], [0.2, 0.25, 0.3]
    ours = normalise(unit_pixels(raw), torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1))
    theirs = torch.stack([tv.normalize(tv.to_dtype(image, torch.float32, scale=True), mean, std) for image in raw])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_draws_come_from_the_given_generator_alone():
    augmentation = Augmentation({"affine": {"degrees": 5}, "crop_padding": 2, "flip": True})
    before = torch.get_rng_state()
    first, second, other = (augmentation.draw(B, 28, 28, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for part in ("affine", "offsets", "flips"):
        assert torch.equal(getattr(first, part), getattr(second, part))
        assert not torch.equal(getattr(first, part), getattr(other, part))


def test_whole_augmentation_is_the_sequence_of_its_parts():
    settings = {"affine": {"degrees": 15, "squeeze": 0.1}, "crop_padding": 3, "flip": True, "fill": 0.2}
    augmentation = Augmentation(settings)
    draws = augmentation.draw(B, 28, 28, generator())
    expected = affine(pictures(), draws.affine, 0.2)
    expected = flip(crop_padded(expected, draws.offsets, 3, 0.2), draws.flips)
    assert torch.equal(augmentation.apply(pictures(), draws), expected)


@pytest.mark.parametrize("settings", [None, {}, {"affine": None}, {"flip": False, "crop_padding": 0}])
def test_nothing_asked_for_is_nothing_done(settings):
    assert not Augmentation(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flips": True}, r"unknown key data\.augment\.flips: did you mean data\.augment\.flip\?"),
        ({"affine": {"rotate": 3}}, r"unknown key data\.augment\.affine\.rotate"),
        ({"affine": 3}, r"data\.augment\.affine=3 is not possible"),
        ({"affine": {"degrees": -1}}, r"affine\.degrees=-1"),
        ({"affine": {"degrees": "ten"}}, r"affine\.degrees='ten'"),
        ({"affine": {"translate": 0.1}}, r"affine\.translate=0\.1 is not possible: expected two shares"),
        ({"affine": {"translate": [0.1, 2]}}, r"affine\.translate=2"),
        ({"affine": {"scale": [1.1, 0.9]}}, "smaller factor comes first"),
        ({"affine": {"scale": [0, 1]}}, r"affine\.scale=0"),
        ({"affine": {"shear": 90}}, r"affine\.shear=90"),
        ({"affine": {"squeeze": True}}, r"affine\.squeeze=True"),
        ({"crop_padding": 1.5}, r"crop_padding=1\.5"),
        ({"crop_padding": True}, r"crop_padding=True"),
        ({"flip": 1}, r"flip=1 is not possible: expected true or false"),
        ({"fill": "mean"}, r"fill='mean'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ZooError, match=message):
        Augmentation(settings)
