"""Photographs of any size and kind come to a model as the test loaders of colour images feed them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, Resize

from zoo.data.in_memory import Contents, InMemoryImages, Split
from zoo.data.mean_image import encode
from zoo.data.pictures import cut_centre, pixels_of, scale_shorter_side
from zoo.data.registry import create_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def classifier(preprocessing: dict[str, Any]) -> ImageClassificationPipeline:
    model = create_model("lenet5_modern", num_classes=2, in_channels=3).eval()
    return ImageClassificationPipeline(model, {"preprocessing": preprocessing, "class_names": ["cat", "dog"]})


def prepared(**changes: Any) -> dict[str, Any]:
    return {"channels": 3, "height": 24, "width": 24, "resize": 32, "mean": MEAN, "std": STD, "ink": None} | changes


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90), width=st.integers(1, 90), side=st.integers(1, 50), share=st.floats(0, 1),
    grey=st.booleans(),
)  # fmt: skip
def test_scaling_and_cutting_are_torchvision_s(height: int, width: int, side: int, share: float, grey: bool):
    picture = Image.fromarray(noise(height, width) if grey else noise(height, width, 3))
    cut = max(1, round(share * side))
    expected = np.asarray(Compose([Resize(side), CenterCrop(cut)])(picture))
    ours = cut_centre(scale_shorter_side(picture, side), cut, cut)
    assert np.array_equal(np.asarray(ours), expected)
    assert torch.equal(pixels_of(ours), torch.from_numpy(expected.reshape(cut, cut, -1).copy()).permute(2, 0, 1))


def test_a_strip_is_refused_before_it_fills_the_memory():
    with pytest.raises(ZooError, match="a picture of 1 x 5000 pixels is too narrow"):
        classifier(prepared()).prepare([noise(5000, 1, 3)])


def test_pictures_lie_upright_in_the_middle():
    """A white square in the middle of a grey strip is all that is seen of it."""
    strip = np.full((100, 300, 3), 90, np.uint8)
    strip[:, 100:200] = 255
    seen = classifier(prepared(height=30, width=30, mean=[0, 0, 0], std=[1, 1, 1])).prepare([strip])
    assert torch.equal(seen, torch.ones(1, 3, 30, 30))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(5, 70), width=st.integers(5, 70))
def test_a_mean_image_is_subtracted_before_the_cut(seed: int, height: int, width: int):
    mean_image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed))
    picture = Image.fromarray(noise(height, width, 3, seed=seed))
    square = np.asarray(Compose([Resize(32), CenterCrop(32)])(picture)).astype(np.float64) / 255
    expected = (square - mean_image.permute(1, 2, 0).double().numpy())[4:28, 4:28]
    expected = (expected - np.array(MEAN)) / np.array(STD)
    seen = classifier(prepared(mean_image=encode(mean_image))).prepare([picture])
    assert np.abs(seen[0].permute(1, 2, 0).numpy() - expected).max() < 1e-5


def test_a_mean_image_without_a_cut():
    mean_image = torch.rand(3, 20, 22, generator=torch.Generator().manual_seed(1))
    given_ = prepared(height=20, width=22, resize=None, mean=[0, 0, 0], std=[1, 1, 1], mean_image=encode(mean_image))
    pixels = noise(20, 22, 3)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255 - mean_image
    assert torch.allclose(classifier(given_).prepare([pixels])[0], expected, atol=1e-6)


def in_memory(pictures: Tensor, **settings_: Any) -> InMemoryImages:
    split = Split(pictures, torch.arange(len(pictures)) % 2)
    chosen = {"mean": None, "std": None, "augment": None, "batch_size": 4, "seed": 0, "validation": 0} | settings_
    spec = ImageSpec(3, 32, 32, 2)
    return InMemoryImages(lambda: Contents(split, split), (), spec, ("cat", "dog"), tuple(MEAN), tuple(STD), **chosen)


@pytest.mark.parametrize("crop", [None, 32, 24, 10])
@pytest.mark.parametrize("mean", [None, "per_pixel", [0.1, 0.2, 0.3]])
@pytest.mark.parametrize("std", [None, [0.5, 0.25, 0.3]])
def test_small_pictures_are_fed_as_their_loader_does(tmp_path: Path, crop: int | None, mean: Any, std: Any):
    pictures = noise(6, 32, 32, 3)
    dataset = in_memory(torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), crop=crop, mean=mean, std=std)
    dataset.prepare()
    ((fed, _),) = dataset.test_loader()
    classify = classifier(dataset.preprocessing)
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    assert torch.equal(classify.prepare(paths), fed)
    assert torch.equal(classify.prepare(pictures), fed)


def odd_pictures(folder: Path) -> None:
    """Photographs and drawings of many modes, sizes and formats, some lying on their sides."""
    folder.mkdir(parents=True)
    colour = Image.fromarray(noise(45, 61, 3))
    colour.save(folder / "a.jpg", quality=95)
    colour.save(folder / "b.png")
    Image.fromarray(noise(70, 33)).save(folder / "c.png")
    Image.fromarray(noise(40, 41, 4)).save(folder / "d.png")
    Image.fromarray(noise(50, 32, 4), "CMYK").save(folder / "e.jpg")
    colour.quantize(16).save(folder / "f.png")
    Image.fromarray(noise(39, 34).astype(np.uint16) * 257).save(folder / "g.png")
    Image.fromarray(noise(64, 80) > 127).save(folder / "h.png")
    lying = Image.Exif()
    lying[0x0112] = 6
    colour.save(folder / "i.jpg", exif=lying)
    colour.save(folder / "j.webp", lossless=True)
    Image.fromarray(noise(9, 12, 3)).save(folder / "k.bmp")


@pytest.mark.parametrize("resize", [24, 25, 27, 40])
def test_photographs_are_fed_as_their_loader_does(tmp_path: Path, resize: int):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            odd_pictures(tmp_path / split / name)
    dataset = create_dataset("imagefolder", dir=str(tmp_path), batch_size=22, size=24, resize=resize, workers=0)
    dataset.prepare()
    ((fed, labels),) = dataset.test_loader()
    assert dataset.preprocessing["resize"] == resize
    classify = classifier(dataset.preprocessing)
    paths = sorted((tmp_path / "val").glob("*/*"))
    assert labels.tolist() == [int(path.parent.name == "dog") for path in paths]
    assert torch.equal(classify.prepare(paths), fed)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": 23}, {"resize": 0}, {"resize": 10**6}, {"resize": "large"}, {"resize": [32]}, {"width": 40},
        {"mean_image": 3}, {"mean_image": {"shape": [3, 32, 32], "float32": "AAAA"}},
    ],
)  # fmt: skip
def test_a_card_that_makes_no_sense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ZooError, match=r"preprocessing|mean image"):
        classifier(prepared(**wrong))


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 32, 32), (3, 32, 31)])
def test_a_mean_image_of_another_size_is_refused(shape: tuple[int, int, int]):
    with pytest.raises(ZooError, match=r"the card's mean image is .*, expected \(3, 32, 32\)"):
        classifier(prepared(mean_image=encode(torch.zeros(shape))))


def test_large_pictures_come_to_the_model_few_at_a_time():
    seen: list[int] = []
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    model.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    classify = ImageClassificationPipeline(model, {"preprocessing": prepared(height=500, width=500, resize=500)})
    pictures = [noise(50, 60, 3, seed=seed) for seed in range(9)]
    answers = classify(pictures)
    assert seen == [4, 4, 1]
    assert [answer.label for answer in answers] == [classify(picture).label for picture in pictures]
