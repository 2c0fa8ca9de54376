"""Batch-wise changes agree with torchvision's, image by image; draws stay within their ranges and fill them."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from zoo.data.affine import affine, affine_matrices, draw_affine
from zoo.data.augmentation import Augmentation, normalise, unit_pixels
from zoo.data.windows import crop_padded, cut_out, draw_centres, draw_flips, draw_offsets, flip
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
    offsets = draw_offsets(B, 8, 8, generator())
    fill = [7, 8, 9][:channels]
    ours = crop_padded(images, offsets, 4, fill)
    for image, (top, left), changed in zip(images, offsets.tolist(), ours, strict=True):
        padded = tv.pad(image, [4, 4, 4, 4], fill=fill)
        assert torch.equal(changed, tv.crop(padded, top, left, 12, 15))


@pytest.mark.parametrize("padding", [0, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (12, 1)])
def test_smaller_windows_and_mirrored_ones_agree_with_torchvision(padding, height, width):
    images = pictures(3, 12, 15)
    offsets = draw_offsets(B, 12 + 2 * padding - height, 15 + 2 * padding - width, generator())
    flips = draw_flips(B, generator())
    ours = crop_padded(images, offsets, padding, 0.3, height=height, width=width, flips=flips)
    assert ours.is_contiguous()
    for image, (top, left), mirrored, changed in zip(images, offsets.tolist(), flips, ours, strict=True):
        window = tv.crop(tv.pad(image, [padding] * 4, fill=0.3), top, left, height, width)
        assert torch.equal(changed, tv.horizontal_flip(window) if mirrored else window)


def test_offsets_of_square_images_are_drawn_as_they_always_were():
    """The numbers of recorded runs: rows and columns out of one call."""
    assert torch.equal(draw_offsets(N, 8, 8, generator()), torch.randint(0, 9, (N, 2), generator=generator()))


def test_drawn_offsets_of_oblong_images_keep_to_their_side():
    offsets = draw_offsets(N, 2, 6, generator())
    assert set(offsets[:, 0].tolist()) == {0, 1, 2}
    assert set(offsets[:, 1].tolist()) == set(range(7))
    assert offsets[:, 1].bincount().min() > 0.8 * N / 7
    assert abs(torch.corrcoef(offsets.T.double())[0, 1]) < 0.05


def test_drawn_offsets_cover_all_windows_evenly():
    offsets = draw_offsets(9000, 2, 2, generator())
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


@pytest.mark.parametrize("side", [1, 2, 5, 16, 40])
def test_cutout_is_the_reference_s(side):
    """With numpy, as the code of DeVries & Taylor 2017 does for even sides: centre - side/2 up to centre + side/2."""
    images, centres = pictures(3, 12, 15), draw_centres(B, 12, 15, generator())
    expected = images.numpy().copy()
    for image, (row, column) in zip(expected, centres.tolist(), strict=True):
        top, left = row - side // 2, column - side // 2
        image[
            :, np.clip(top, 0, 12) : np.clip(top + side, 0, 12), np.clip(left, 0, 15) : np.clip(left + side, 0, 15)
        ] = 0
    ours = images.clone()
    assert cut_out(ours, centres, side) is ours
    assert np.array_equal(ours.numpy(), expected)


def test_centres_of_cutout_are_any_pixel():
    centres = draw_centres(9000, 3, 4, generator())
    counts = (centres[:, 0] * 4 + centres[:, 1]).bincount(minlength=12)
    assert len(counts) == 12
    assert counts.min() > 640


def test_normalise_agrees_with_torchvision():
    raw = (pictures(3) * 255).to(torch.uint8)
    mean, std = [0.49, 0.48, 0.45], [0.2, 0.25, 0.3]
    ours = normalise(unit_pixels(raw), torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1))
    theirs = torch.stack([tv.normalize(tv.to_dtype(image, torch.float32, scale=True), mean, std) for image in raw])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


EVERYTHING = {"affine": {"degrees": 5}, "crop_padding": 2, "flip": True, "cutout": 8, "pca_colour": 0.1}


def test_draws_come_from_the_given_generator_alone():
    augmentation = Augmentation(EVERYTHING)
    before = torch.get_rng_state()
    first, second, other = (augmentation.draw(B, 28, 28, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for part in ("affine", "offsets", "flips", "colour", "centres"):
        assert torch.equal(getattr(first, part), getattr(second, part))
        assert not torch.equal(getattr(first, part), getattr(other, part))


def test_what_came_later_leaves_earlier_draws_as_they_were():
    old = Augmentation({key: EVERYTHING[key] for key in ("affine", "crop_padding", "flip")})
    for added in ({"cutout": 8}, {"pca_colour": 0.1}, {"cutout": 8, "pca_colour": 0.1}):
        new = Augmentation({**EVERYTHING, "cutout": 0, "pca_colour": 0, **added})
        before, after = (each.draw(B, 28, 28, generator()) for each in (old, new))
        for part in ("affine", "offsets", "flips"):
            assert torch.equal(getattr(before, part), getattr(after, part))
        assert (before.colour, before.centres) == (None, None)


@pytest.mark.parametrize("crop", [None, 20])
def test_whole_augmentation_is_the_sequence_of_its_parts(crop):
    settings = {"affine": {"degrees": 15, "squeeze": 0.1}, "crop_padding": 3, "flip": True, "fill": 0.2, "cutout": 6}
    augmentation = Augmentation(settings, crop)
    draws = augmentation.draw(B, 28, 28, generator())
    expected = affine(pictures(), draws.affine, 0.2)
    expected = flip(crop_padded(expected, draws.offsets, 3, 0.2, height=crop, width=crop), draws.flips)
    assert expected.shape[2:] == (crop or 28, crop or 28)
    changed = augmentation.apply(pictures(), draws)
    assert torch.equal(changed, expected)
    assert draws.centres.max() == (crop or 28) - 1
    assert torch.equal(augmentation.cover(changed, draws), cut_out(expected, draws.centres, 6))


def test_a_share_of_the_draws_is_every_so_many_th():
    draws = Augmentation(EVERYTHING).draw(12, 28, 28, generator())
    for rank in range(3):
        share = draws.share(rank, 3)
        for part in ("affine", "offsets", "flips", "colour", "centres"):
            assert torch.equal(getattr(share, part), getattr(draws, part)[[rank, rank + 3, rank + 6, rank + 9]])


@pytest.mark.parametrize("settings", [None, {}, {"affine": None}, {"flip": False, "crop_padding": 0},
                                      {"cutout": 0, "pca_colour": 0.0}])  # fmt: skip
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
        ({"crop_padding": 65}, r"crop_padding=65 is not possible: expected pixels in 0\.\.64"),
        ({"cutout": -1}, r"cutout=-1 is not possible: expected the side of a square"),
        ({"cutout": 8.0}, r"cutout=8\.0"),
        ({"cutoff": 8}, r"unknown key data\.augment\.cutoff: did you mean data\.augment\.cutout\?"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ZooError, match=message):
        Augmentation(settings)
