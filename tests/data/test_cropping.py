"""Photographs become squares as torchvision makes them: the same boxes from the same numbers, the same pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

from zoo.data.cropping import Centre, Geometry, RandomPart, RandomWindow, random_part
from zoo.data.image_file import ImageFile
from zoo.errors import ZooError

SCALE, RATIO = (0.08, 1.0), (0.75, 1.3333333333)
quick = settings(max_examples=50, deadline=None)
sides = st.integers(1, 600)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Noise, in which a pixel's shift is a large difference: upright, lying, square, and as JPEG."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(3)
    paths = []
    for number, (height, width) in enumerate([(61, 40), (37, 70), (50, 50), (45, 64)]):
        paths.append(folder / f"{number}.{'jpg' if number == 3 else 'png'}")
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(paths[-1])
    return paths


@quick
@given(width=sides, height=sides, seed=st.integers(0, 2**31), wide=st.booleans())
def test_a_random_part_is_the_one_that_torchvision_draws(width: int, height: int, seed: int, wide: bool):
    # Within the second ranges hardly any draw fits, so that the centre is taken in the end.
    scale, ratio = (SCALE, RATIO) if not wide else ((0.9, 1.0), (1.6, 1.7))
    torch.manual_seed(seed)
    top, left, down, across = transforms.RandomResizedCrop.get_params(Image.new("L", (width, height)), scale, ratio)
    assert random_part(width, height, scale, ratio, generator(seed)) == (left, top, left + across, top + down)


def test_random_parts_are_spread_as_they_should_be():
    stream = generator(1)
    boxes = [random_part(1000, 1000, (0.1, 0.4), (0.5, 2.0), stream) for _ in range(3000)]
    left, top, right, bottom = torch.tensor(boxes, dtype=torch.float64).T
    across, down = right - left, bottom - top
    # Such parts always fit: the area is uniform, and so is the logarithm of the proportions.
    for values, low, high in ((across * down / 1e6, 0.1, 0.4), ((across / down).log(), -np.log(2), np.log(2))):
        shares = ((values - low) / (high - low)).sort().values
        uniform = torch.arange(3000) / 3000
        assert (shares - uniform).abs().max() < 1.63 / 3000**0.5  # Kolmogorov and Smirnov at 1 %
    for free, begin in ((1000 - across, left), (1000 - down, top)):
        assert abs((begin / free).mean() - 0.5) < 0.02


@pytest.mark.parametrize("seed", range(12))
def test_the_part_is_scaled_as_torchvision_does(seed: int, photos: list[Path]):
    path = photos[seed % len(photos)]
    crop = RandomPart(24, SCALE, RATIO)
    with ImageFile(str(path)) as file:
        ours = crop(file, generator(seed))
        left, top, right, bottom = random_part(file.width, file.height, SCALE, RATIO, generator(seed))
    with Image.open(path) as image:
        theirs = F.resized_crop(image, top, left, bottom - top, right - left, [24, 24])
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_window_is_cut_from_what_torchvision_scales(seed: int, photos: list[Path]):
    path = photos[seed % len(photos)]
    with ImageFile(str(path)) as file:
        ours = RandomWindow(20, (24, 40))(file, generator(seed))
    stream = generator(seed)
    side = int(torch.randint(24, 41, (1,), generator=stream))
    with Image.open(path) as image:
        scaled = F.resize(image.copy(), side)
    top = int(torch.randint(0, scaled.height - 19, (1,), generator=stream))
    left = int(torch.randint(0, scaled.width - 19, (1,), generator=stream))
    assert np.array_equal(ours, F.crop(scaled, top, left, 20, 20))


def test_random_windows_reach_every_place_and_every_scale(tmp_path: Path):
    # Red tells the column, green the row, both in steps that survive the scaling.
    rows, columns = np.mgrid[0:60, 0:60]
    Image.fromarray(np.stack([columns * 4, rows * 4, rows * 0], 2).astype(np.uint8)).save(tmp_path / "a.png")
    stream, corners = generator(5), set()
    for _ in range(300):
        with ImageFile(str(tmp_path / "a.png")) as file:
            red, green, _ = np.asarray(RandomWindow(58, (60, 60))(file, stream))[0, 0]
        corners.add((int(red) // 4, int(green) // 4))
    assert corners == {(column, row) for column in range(3) for row in range(3)}
    spans = set()
    for _ in range(100):
        with ImageFile(str(tmp_path / "a.png")) as file:
            window = np.asarray(RandomWindow(58, (58, 64))(file, stream)).astype(int)
        spans.add(window[0, 57, 0] - window[0, 0, 0])
    assert max(spans) - min(spans) > 15  # a larger image shows less of itself


@quick
@given(
    width=st.integers(3, 90), height=st.integers(3, 90), size=st.integers(1, 40), more=st.integers(0, 30),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_the_centre_is_the_one_of_torchvision(
    width: int, height: int, size: int, more: int, seed: int, tmp_path_factory
):
    path = tmp_path_factory.getbasetemp() / "centre.png"
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    with ImageFile(str(path)) as file:
        ours = Centre(size, size + more)(file)
    theirs = F.center_crop(F.resize(Image.fromarray(values), size + more), size)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("crop", [RandomPart(24, (0.5, 1.0), RATIO), RandomWindow(24, (26, 40))])
def test_a_large_photo_gives_nearly_the_same_squares_for_less_work(crop: RandomPart | RandomWindow, tmp_path: Path):
    small = np.random.default_rng(2).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    photo = Image.fromarray(small).resize((480, 360), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "large.jpg", quality=95, subsampling=0)
    with Image.open(tmp_path / "large.jpg") as image:
        image.save(tmp_path / "large.bmp")  # the same pixels, which are always decoded in full
    for seed in range(10):
        squares = []
        for name in ("large.jpg", "large.bmp"):
            with ImageFile(str(tmp_path / name)) as file:
                squares.append(np.asarray(crop(file, generator(seed)), dtype=int))
        assert not np.array_equal(*squares)  # it was decoded at less than its size
        assert np.abs(squares[0] - squares[1]).mean() < 1


def geometry(**settings) -> Geometry:
    usual = {"size": 24, "resize": 32, "train_crop": "random_resized", "shorter_side": [32, 48],
             "scale": [0.08, 1.0], "ratio": [0.75, 1.33], "views": 1}  # fmt: skip
    return Geometry(**(usual | settings))


def test_settings_choose_the_crops():
    assert geometry().training == RandomPart(24, (0.08, 1.0), (0.75, 1.33))
    assert geometry(train_crop="random").training == RandomWindow(24, (32, 48))
    assert geometry().evaluation == Centre(24, 32)
    assert geometry(views=10).evaluation == Centre(32, 32)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 0}, "data.size=0"),
        ({"size": 5000}, "data.size=5000"),
        ({"size": 33}, "data.resize=32 is not possible: .*data.size=33.*expected 33"),
        ({"views": 5}, "data.views=5"),
        ({"train_crop": "centre"}, "data.train_crop='centre'"),
        ({"scale": [0.0, 1.0]}, "data.scale"),
        ({"scale": [0.5, 0.2]}, "data.scale=.*smaller one first"),
        ({"scale": [0.5, 1.2]}, "data.scale"),
        ({"ratio": [1.0]}, "data.ratio"),
        ({"train_crop": "random", "shorter_side": [20, 48]}, "data.shorter_side=.*data.size=24"),
        ({"train_crop": "random", "shorter_side": [48, 32]}, "data.shorter_side"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict, told: str):
    with pytest.raises(ZooError, match=told):
        geometry(**wrong)
