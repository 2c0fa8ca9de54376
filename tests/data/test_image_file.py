"""Image files of every kind come out upright, in RGB and in 8 bits; damaged ones are told in one line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from zoo.data.image_file import ImageFile
from zoo.errors import ZooError


def noise(*shape: int, most: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(1).integers(0, most, shape).astype(dtype)


def smooth(width: int, height: int) -> Image.Image:
    """A picture without fine detail, which scaling and JPEG leave nearly as it is."""
    return Image.fromarray(noise(6, 8, 3)).resize((width, height), Image.Resampling.BICUBIC)


def loaded(path: Path, at_least: tuple[int, int] | None = None) -> Image.Image:
    with ImageFile(str(path)) as file:
        image = file.load(at_least)
        assert image.mode == "RGB"
        if at_least is None:
            assert image.size == (file.width, file.height)
        return image


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotation_mark_is_obeyed_as_pillow_does(ending: str, orientation: int, tmp_path: Path):
    path = tmp_path / f"photo.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth(20, 12).save(path, exif=exif)
    with Image.open(path) as image:
        expected = ImageOps.exif_transpose(image)
    assert expected.size == ((20, 12) if orientation < 5 else (12, 20))
    assert np.array_equal(loaded(path), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_rotation_mark_does_not_spoil_the_pixels(tmp_path: Path):
    path = tmp_path / "photo.jpg"
    smooth(20, 12).save(path, exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xffgarbage")
    with Image.open(path) as image:
        assert np.array_equal(loaded(path), image.convert("RGB"))


def test_grey(tmp_path: Path):
    values = noise(5, 7)
    Image.fromarray(values).save(tmp_path / "grey.png")
    assert np.array_equal(loaded(tmp_path / "grey.png"), np.stack([values] * 3, axis=2))


def test_black_and_white(tmp_path: Path):
    values = noise(5, 7) > 127
    Image.fromarray(values).save(tmp_path / "one_bit.png")
    assert np.array_equal(loaded(tmp_path / "one_bit.png"), np.stack([values * 255] * 3, axis=2))


def test_sixteen_bits_are_scaled(tmp_path: Path):
    values = noise(5, 7, most=65536, dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = np.rint(values / 65535 * 255)
    assert np.array_equal(np.asarray(loaded(tmp_path / "deep.png"))[..., 0], expected)


@pytest.mark.parametrize("ending", ["png", "webp"])
def test_what_is_transparent_lies_on_white(ending: str, tmp_path: Path):
    values = noise(5, 7, 4)
    Image.fromarray(values).save(tmp_path / f"glass.{ending}", lossless=True, exact=True)
    share = values[..., 3:] / 255
    expected = values[..., :3] * share + 255 * (1 - share)
    assert np.abs(np.asarray(loaded(tmp_path / f"glass.{ending}")) - expected).max() <= 1


def test_a_palette_with_a_transparent_colour(tmp_path: Path):
    image = Image.fromarray(noise(5, 7, most=3), mode=None).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "palette.png", transparency=1)
    colours = np.array([[10, 20, 30], [255, 255, 255], [70, 80, 90]])
    assert np.array_equal(loaded(tmp_path / "palette.png"), colours[np.asarray(image)])


def test_print_colours(tmp_path: Path):
    Image.fromarray(noise(16, 16, 4), mode="CMYK").save(tmp_path / "print.jpg")
    with Image.open(tmp_path / "print.jpg") as image:
        assert image.mode == "CMYK"
        assert np.array_equal(loaded(tmp_path / "print.jpg"), image.convert("RGB"))


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photo_is_decoded_at_less_than_its_size(orientation: int, tmp_path: Path):
    path = tmp_path / "large.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth(640, 480).save(path, quality=95, exif=exif)
    whole = loaded(path)
    enough = (whole.width // 5, whole.height // 5)
    small = loaded(path, enough)
    assert (whole.width / small.width, whole.height / small.height) == (4, 4)
    expected = np.asarray(whole.resize(small.size, Image.Resampling.BOX), dtype=int)
    assert np.abs(np.asarray(small) - expected).mean() < 1
    # Other formats are decoded in full.
    smooth(64, 48).save(tmp_path / "large.png")
    assert loaded(tmp_path / "large.png", (8, 6)).size == (64, 48)


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    smooth(64, 48).save(folder / "whole.jpg")
    content = (folder / "whole.jpg").read_bytes()
    files = {
        "truncated": (content[: len(content) // 2], "truncated"),
        "no image": (b"These are words.", "no image that Pillow knows"),
        "empty": (b"", "no image that Pillow knows"),
        "damaged": (b"\x89PNG\r\n\x1a\n" + content, "."),
    }
    made = {}
    for name, (damaged, reason) in files.items():
        path = folder / f"{name}.jpg"
        path.write_bytes(damaged)
        made[name] = (path, reason)
    made["missing"] = (folder / "missing.jpg", "No such file")
    made["folder"] = (folder, "Is a directory")
    return made


@pytest.mark.parametrize("kind", ["truncated", "no image", "empty", "damaged", "missing", "folder"])
def test_a_broken_file_is_told_in_one_line_without_its_name(kind: str, tmp_path: Path):
    path, reason = broken_files(tmp_path)[kind]
    with pytest.raises(ZooError, match=reason) as told:
        loaded(path)
    assert str(tmp_path) not in str(told.value)
    assert "\n" not in str(told.value)
