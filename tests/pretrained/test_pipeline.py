"""A pipeline feeds exactly what the test loader feeds, whatever form a picture comes in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from zoo.data.catalog import DATASETS
from zoo.data.image_loader import EvaluationImageLoader, ImageStore
from zoo.data.registry import create_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.pipelines import pipeline
from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline, Prediction
from zoo.pretrained.release import read_card, save_release


@pytest.fixture
def classify(release: Path) -> ImageClassificationPipeline:
    return pipeline(release)


def a_digit(seed: int = 0, height: int = 28, width: int = 28) -> np.ndarray[Any, Any]:
    """Random bright ink on a dark ground, uint8 (H, W)."""
    picture = np.zeros((height, width), np.uint8)
    inner = np.random.default_rng(seed).integers(0, 256, (height - 8, width - 8), dtype=np.uint8)
    picture[4:-4, 4:-4] = inner
    return picture


def colour_pipeline(**preprocessing: Any) -> ImageClassificationPipeline:
    given = {"channels": 3, "height": 32, "width": 30, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "ink": None}
    card = {"preprocessing": given | preprocessing, "class_names": ["cat", "dog"]}
    return ImageClassificationPipeline(create_model("lenet5_modern", num_classes=2, in_channels=3).eval(), card)


def test_the_model_sees_what_the_test_loader_feeds(classify: ImageClassificationPipeline, tmp_path: Path):
    pictures = np.stack([a_digit(seed) for seed in range(5)])
    card = classify.card["preprocessing"]
    store = ImageStore(
        torch.from_numpy(pictures).unsqueeze(1), torch.zeros(5, dtype=torch.int64), card["mean"], card["std"]
    )
    (fed, _), *_ = EvaluationImageLoader(store, torch.arange(5), 8)
    paths = []
    for number, picture in enumerate(pictures):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    assert torch.equal(classify.prepare(paths), fed)
    assert torch.equal(classify.prepare(pictures), fed)
    with torch.inference_mode():
        expected = classify.model(fed).softmax(1)
    for prediction, shares in zip(classify(paths), expected, strict=True):
        assert prediction.label == str(int(shares.argmax()))
        assert torch.tensor([prediction.probabilities[str(k)] for k in range(10)]).allclose(shares)


def check_against_test_split(name: str, variants: Sequence[dict[str, Any]] = ({},), **settings: Any) -> None:
    """Prepares every test picture from its pixels, and compares with what the test loader feeds, bit for bit."""
    spec = DATASETS[name].spec
    assert isinstance(spec, ImageSpec)
    plain = create_dataset(name, mean=[0.0] * spec.channels, std=[1.0] * spec.channels, **settings)
    plain.prepare()
    pixels = torch.cat([images for images, _ in plain.test_loader()]).mul(255).round().byte()
    for variant in variants:
        dataset = create_dataset(name, **settings, **variant)
        dataset.prepare()
        classify = ImageClassificationPipeline(create_model("lenet5_modern"), {"preprocessing": dataset.preprocessing})
        done = 0
        for fed, _ in dataset.test_loader():
            assert torch.equal(classify.prepare(pixels[done : done + len(fed)]), fed)
            done += len(fed)
        assert done == len(pixels)


def test_the_embedded_digits_are_fed_as_the_loader_does():
    check_against_test_split("digits", batch_size=128)


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_pictures_are_fed_as_the_loader_does(name: str, real_data: Path):
    check_against_test_split(name, dir=str(real_data), batch_size=1000)


@pytest.mark.slow
@pytest.mark.realdata
def test_real_colour_pictures_are_fed_as_the_loader_does(real_data: Path):
    """In one test, since each has a cache of its own into which the archive is unpacked."""
    per_pixel: dict[str, Any] = {"mean": "per_pixel"}
    cut = {"crop": 24}
    variants = [{}, per_pixel, cut, per_pixel | cut | {"std": [0.25, 0.25, 0.25]}]
    check_against_test_split("cifar10", variants, dir=str(real_data), batch_size=1000)


def test_colour_pictures_are_fed_as_the_loader_does():
    classify = colour_pipeline()
    pictures = np.random.default_rng(1).integers(0, 256, (4, 32, 30, 3), dtype=np.uint8)
    store = ImageStore(
        torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), torch.zeros(4, dtype=torch.int64),
        classify.preprocessing.mean, classify.preprocessing.std,
    )  # fmt: skip
    (fed, _), *_ = EvaluationImageLoader(store, torch.arange(4), 4)
    assert torch.equal(classify.prepare(pictures), fed)
    assert torch.equal(classify.prepare([Image.fromarray(picture) for picture in pictures]), fed)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(9, 60), width=st.integers(9, 60), bright=st.booleans())
def test_every_form_of_a_picture_gives_the_same_answer(
    seed: int, height: int, width: int, bright: bool, tmp_path_factory: pytest.TempPathFactory
):
    classify = shared_pipeline()
    grey = a_digit(seed, height, width)
    if bright:
        grey = 255 - grey
    path = tmp_path_factory.mktemp("picture") / "digit.png"
    Image.fromarray(grey).save(path)
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    forms: list[Any] = [
        path, str(path), Image.fromarray(grey), Image.fromarray(rgb), grey, grey[:, :, None], rgb, grey / 255,
        (grey / 255).astype(np.float32), torch.from_numpy(grey), torch.from_numpy(grey)[None],
        torch.from_numpy(grey)[None] / 255, torch.from_numpy(rgb).permute(2, 0, 1),
        Image.fromarray(grey.astype(np.uint16) * 257),
        np.dstack([rgb, np.full_like(grey, 255)]), Image.fromarray(grey).convert("RGBA"),
    ]  # fmt: skip
    first, *others = (classify.prepare([form]) for form in forms)
    assert all(torch.equal(first, other) for other in others)
    answers = classify(forms)
    assert {answer.label for answer in answers} == {classify(path).label}
    assert {answer.inverted for answer in answers} == {bright}
    assert classify(grey) == classify([grey])[0]


_SHARED: list[ImageClassificationPipeline] = []


def shared_pipeline() -> ImageClassificationPipeline:
    if not _SHARED:
        preprocessing = {"channels": 1, "height": 28, "width": 28, "mean": [0.1], "std": [0.3], "ink": "bright on dark"}
        _SHARED.append(
            ImageClassificationPipeline(create_model("lenet5_modern").eval(), {"preprocessing": preprocessing})
        )
    return _SHARED[0]


def test_batches(classify: ImageClassificationPipeline):
    pictures = np.stack([a_digit(seed) for seed in range(260)])
    answers = classify(pictures)
    assert len(answers) == 260  # more than one pass takes
    for form in (list(pictures), tuple(pictures), torch.from_numpy(pictures)[:, None], pictures[..., None]):
        assert classify(form) == answers
    one = classify(pictures[7])
    assert isinstance(one, Prediction)
    assert one.label == answers[7].label
    assert one.probability == pytest.approx(answers[7].probability, abs=1e-5)
    assert classify([]) == []
    assert len(classify(pictures[:1])) == 1


def test_dark_ink_on_bright_paper_is_inverted_and_told(classify: ImageClassificationPipeline):
    picture = a_digit(3)
    bright, dark = classify([255 - picture, picture])
    assert (bright.label, bright.inverted, dark.inverted) == (dark.label, True, False)
    assert "black and white swapped" in str(bright)
    assert "swapped" not in str(dark)
    assert torch.equal(classify.prepare([255 - picture]), classify.prepare([picture]))


def test_pictures_of_things_are_never_inverted(release: Path, lenet: nn.Module):
    card = read_card(release)
    card["preprocessing"] = {**card["preprocessing"], "ink": None}
    classify = ImageClassificationPipeline(lenet, card)
    white = np.full((28, 28), 255, np.uint8)
    assert not classify(white).inverted
    assert torch.allclose(classify.prepare([white]), torch.tensor((1 - 0.1307) / 0.3081))


def test_what_is_transparent_lies_on_white(classify: ImageClassificationPipeline, tmp_path: Path):
    ink = a_digit(5)
    drawn = np.dstack([np.zeros((28, 28, 3), np.uint8), ink])  # black ink whose strength is its opacity
    Image.fromarray(drawn, "RGBA").save(tmp_path / "drawn.png")
    answer = classify(tmp_path / "drawn.png")
    assert answer.inverted
    assert torch.allclose(classify.prepare([tmp_path / "drawn.png"]), classify.prepare([ink]), atol=0.02)


def test_shrinking_smooths(classify: ImageClassificationPipeline):
    stripes = np.zeros((28 * 8, 28 * 8), np.uint8)
    stripes[:, ::2] = 200
    seen = classify.prepare([stripes])
    assert seen[0, 0, 5:-5, 5:-5].std() < 0.01  # grey all over, not stripes of another width
    assert seen.shape == (1, 1, 28, 28)


def test_a_photo_s_rotation_is_obeyed(classify: ImageClassificationPipeline, tmp_path: Path):
    upright = Image.fromarray(a_digit(2))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.png", exif=exif)
    assert torch.equal(classify.prepare([tmp_path / "photo.png"]), classify.prepare([upright]))


def test_a_prediction_reads_well():
    shares = {"7": 0.9, "two": 0.06, "3": 0.02, "4": 0.01, "5": 0.007, "6": 0.003}
    lines = str(Prediction("7", 0.9, shares)).splitlines()
    assert lines[0] == "7 (90.0%)"
    assert lines[1] == "  7    90.0%  ██████████████████████"
    assert lines[2] == "  two   6.0%  █"
    assert len(lines) == 6
    assert len(Prediction("7", 0.9, shares).top(2).splitlines()) == 3


def test_probabilities_come_best_first_and_sum_to_one(classify: ImageClassificationPipeline):
    answer = classify(a_digit())
    values = list(answer.probabilities.values())
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1)
    assert (answer.label, answer.probability) == next(iter(answer.probabilities.items()))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no picture"),
        (b"", "no picture that Pillow knows"),
        (b"hello", "no picture that Pillow knows"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "nothing.png"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    classify: ImageClassificationPipeline, tmp_path: Path, content: bytes | None, told: str
):
    path = tmp_path / "nothing.png"
    if content is not None:
        path.write_bytes(content)
    for given_ in (path, str(path), [a_digit(), path]):
        with pytest.raises(ZooError, match=told) as refused:
            classify(given_)
        assert str(path) in str(refused.value)
    with pytest.raises(ZooError, match="is no file"):
        classify(tmp_path)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_picture_files_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    kind = data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff"]))
    path = tmp_path_factory.mktemp("damaged") / f"picture.{kind}"
    Image.fromarray(a_digit()).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    refusals = []
    try:
        shared_pipeline()(path)
    except ZooError as error:
        refusals.append(str(error))
    assert all(str(path) in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (np.zeros((28, 28), np.int64), "expected uint8, or floats in 0..1"),
        (np.full((28, 28), 255.0), "divide pixels of 0..255 by 255"),
        (np.full((28, 28), np.nan), "float pixels lie in 0..1"),
        (np.zeros(28, np.uint8), "is no picture"),
        (np.zeros((0, 28), np.uint8), "is no picture"),
        (np.zeros((1, 28, 28, 5), np.uint8), "picture 0 of the batch: an array"),
        (torch.zeros(5, 28, 28), "a tensor"),
        (torch.zeros(2, 2, 28, 28), "picture 0 of the batch: a tensor"),
        (torch.full((28, 28), -0.1), "float pixels lie in 0..1"),
        (None, "a NoneType is no picture"),
        ({"path": "x.png"}, "a dict is no picture"),
        ([[0, 1], [1, 0]], "picture 0 of the batch: a list is no picture"),
    ],
)
def test_what_is_no_picture_is_refused(classify: ImageClassificationPipeline, picture: Any, told: str):
    with pytest.raises(ZooError) as refused:
        classify(picture)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    [
        None, "x", {}, {"channels": 2}, {"mean": [0.1, 0.2]}, {"std": [0]}, {"std": [float("nan")]}, {"height": 0},
        {"height": 10**9}, {"width": "wide"}, {"ink": "invisible"}, {"mean": None},
    ],
)  # fmt: skip
def test_a_card_without_usable_preprocessing_is_refused(release: Path, lenet: nn.Module, wrong: Any):
    card = read_card(release)
    card["preprocessing"] = {**card["preprocessing"], **wrong} if isinstance(wrong, dict) and wrong else wrong
    with pytest.raises(ZooError, match="preprocessing"):
        ImageClassificationPipeline(lenet, card)


def test_class_names_must_fit_the_model(release: Path, lenet: nn.Module):
    card = read_card(release)
    with pytest.raises(ZooError, match="names 2 classes, its model tells 10 apart"):
        ImageClassificationPipeline(lenet, {**card, "class_names": ["a", "b"]})(a_digit())
    with pytest.raises(ZooError, match="same name"):
        ImageClassificationPipeline(lenet, {**card, "class_names": ["a"] * 10})
    with pytest.raises(ZooError, match="class_names are 7: expected a list"):
        ImageClassificationPipeline(lenet, {**card, "class_names": 7})
    assert ImageClassificationPipeline(lenet, {**card, "class_names": []})(a_digit()).label in map(str, range(10))


def test_scores_that_are_no_numbers_are_told(release: Path):
    model = create_model("lenet5_modern").eval()
    model.output.bias.data.fill_(float("nan"))
    with pytest.raises(ZooError, match="not finite"):
        ImageClassificationPipeline(model, read_card(release))(a_digit())


def test_a_task_without_a_pipeline_is_told(tmp_path: Path, lenet: nn.Module):
    folder = save_release(tmp_path / "r", lenet, "lenet5_modern", {}, {"task": "juggling"})
    with pytest.raises(ZooError, match=r"'juggling'.*zoo\.load_pretrained"):
        pipeline(folder)
