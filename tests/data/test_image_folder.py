"""A folder of class folders becomes a dataset: layouts, splits, settings, and torchvision's own pixels."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from zoo.data.image_folder import imagefolder
from zoo.data.image_loader import TrainingImageLoader
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def write(root: Path, names: list[str], seed: int = 0) -> Path:
    """Writes small pictures of noise, some of them grey."""
    random = np.random.default_rng(seed)
    for index, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (18 + index % 5, 16 + index % 7) + ((3,) if index % 4 else ())
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(root / name)
    return root


def split(name: str, counts: dict[str, int]) -> list[str]:
    return [f"{name}{label}/{number}.png" for label, count in counts.items() for number in range(count)]


COUNTS = {"cat": 10, "ant": 5, "bee": 20}
SMALL = {"size": 12, "resize": 14, "batch_size": 4, "workers": 0}


def prepared(directory: Path, **settings):
    dataset = imagefolder(str(directory), **(SMALL | settings))
    return dataset, dataset.prepare()


def labels_of(loader) -> torch.Tensor:
    return torch.cat([labels for _, labels in loader])


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "val"), ("train", "valid"), ("train", "validation"), ("train", "test"), ("Training", "Testing"),
     ("TRAIN", "Test")],
)  # fmt: skip
def test_splits_in_folders_of_their_own(train: str, test: str, tmp_path: Path):
    write(tmp_path, split(f"{train}/", COUNTS) + split(f"{test}/", {"cat": 2, "ant": 3, "bee": 1}))
    dataset, spec = prepared(tmp_path)
    assert spec == ImageSpec(3, 12, 12, 3)
    assert dataset.class_names == ["ant", "bee", "cat"]
    assert torch.bincount(labels_of(dataset.train_loader())).tolist() == [5, 20, 10]
    assert labels_of(dataset.test_loader()).tolist() == [0, 0, 0, 1, 2, 2]
    assert dataset.validation_loader() is None
    assert dataset.files == ()


def test_a_split_named_test_is_the_test_split(tmp_path: Path):
    write(tmp_path, [*split("train/", COUNTS), *split("val/", {"cat": 9}), *split("test/", dict.fromkeys(COUNTS, 2))])
    assert len(labels_of(prepared(tmp_path)[0].test_loader())) == 6
    # One without class folders, as some are handed out, is none.
    for path in (tmp_path / "test").glob("*/*"):
        path.rename(tmp_path / "test" / f"{path.parent.name}{path.name}")
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    with pytest.raises(ZooError, match="train/ and val/ have different classes"):
        prepared(tmp_path)


@pytest.mark.parametrize("below", ["", "train/"])
def test_a_share_of_each_class_is_held_out_where_there_is_no_test_split(below: str, tmp_path: Path):
    write(tmp_path, split(below, COUNTS))
    dataset, _ = prepared(tmp_path)
    assert torch.bincount(labels_of(dataset.test_loader())).tolist() == [1, 4, 2]
    assert torch.bincount(labels_of(dataset.train_loader())).tolist() == [4, 16, 8]
    assert torch.bincount(labels_of(prepared(tmp_path, test_share=0.4)[0].test_loader())).tolist() == [2, 8, 4]


def test_the_splits_are_the_same_whatever_the_seed_and_share_no_image(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    found = []
    for seed in (0, 1):
        dataset, _ = prepared(tmp_path, seed=seed, validation=7)
        files = (dataset._train, dataset._held_out, dataset._prepared().test)
        found.append([{part.path(index) for index in range(len(part))} for part in files])
    assert found[0] == found[1]
    assert [len(part) for part in found[0]] == [21, 7, 7]
    assert len(set.union(*found[0])) == 35
    validation = dataset.validation_loader()
    assert validation is not None
    assert torch.bincount(labels_of(validation)).tolist() == [1, 4, 2]


def test_a_class_named_train(tmp_path: Path):
    write(tmp_path, split("", {"train": 5, "ship": 5}))
    assert prepared(tmp_path)[0].class_names == ["ship", "train"]
    write(tmp_path, split("trains/", {"steam": 5, "diesel": 5}))
    assert prepared(tmp_path)[0].class_names == ["ship", "train", "trains"]


def torchvision_s(folder: Path, size: int, resize: int) -> list[tuple[torch.Tensor, int]]:
    steps = [transforms.Resize(resize), transforms.CenterCrop(size), transforms.ToTensor()]
    return list(datasets.ImageFolder(str(folder), transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])))


def assert_same(loader, theirs: list[tuple[torch.Tensor, int]]) -> None:
    position = 0
    for images, labels in loader:
        for image, label in zip(images, labels.tolist(), strict=True):
            assert label == theirs[position][1]
            assert torch.allclose(image, theirs[position][0], atol=1e-6)
            position += 1
    assert position == len(theirs)


def test_the_test_split_is_what_torchvision_makes_of_it(tmp_path: Path):
    write(tmp_path, split("train/", COUNTS) + split("val/", COUNTS))
    for settings in ({}, {"size": 14}, {"size": 9, "resize": 24}):
        dataset, _ = prepared(tmp_path, **settings)
        shape = dataset.preprocessing
        assert_same(dataset.test_loader(), torchvision_s(tmp_path / "val", shape["width"], shape["resize"]))


def test_held_out_images_are_prepared_like_test_images(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    dataset, _ = prepared(tmp_path, validation=7)
    held_out = {dataset._held_out.path(index) for index in range(7)}
    theirs = datasets.ImageFolder(str(tmp_path)).samples
    chosen = [each for each, (path, _) in zip(torchvision_s(tmp_path, 12, 14), theirs, strict=True) if path in held_out]
    assert_same(dataset.validation_loader(), chosen)


def test_what_a_card_says(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    assert prepared(tmp_path)[0].preprocessing == {
        "channels": 3, "height": 12, "width": 12, "resize": 14, "mean": MEAN, "std": STD, "ink": None,
    }  # fmt: skip
    own = prepared(tmp_path, mean=[0.5, 0.5, 0.5], std=[1, 1, 1])[0].preprocessing
    assert (own["mean"], own["std"]) == ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])


def test_colours_shift_along_imagenet_s_axes(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    plain, shifted = (prepared(tmp_path, batch_size=28, mean=[0, 0, 0], std=[1, 1, 1], augment=augment)[0]
                      for augment in (None, {"pca_colour": 2.0}))  # fmt: skip
    before, after = (next(iter(dataset.train_loader()))[0] for dataset in (plain, shifted))
    shifts = (after - before).flatten(2)
    assert torch.allclose(shifts, shifts[:, :, :1].expand_as(shifts), atol=1e-5)  # one colour an image
    red, green, blue = shifts[:, :, 0].double().T
    # The first axis is nearly grey and by far the longest.
    assert torch.corrcoef(torch.stack([red, green, blue])).min() > 0.95
    assert 0.5 < red.std() / (2.0 * 0.2175 * 0.5675) < 1.5


def test_ten_views_and_the_batches_they_come_in(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    dataset, _ = prepared(tmp_path, views=10, batch_size=20)
    shapes = [tuple(images.shape) for images, _ in dataset.test_loader()]
    assert shapes == [(2, 10, 3, 12, 12)] * 3 + [(1, 10, 3, 12, 12)]  # as many squares as a training batch has


def test_both_ways_to_train(tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    for settings in ({}, {"train_crop": "random", "shorter_side": [12, 20]}):
        loader = prepared(tmp_path, **settings)[0].train_loader()
        assert {tuple(images.shape[1:]) for images, _ in loader} == {(3, 12, 12)}


def test_a_fingerprint_of_paths_and_sizes(tmp_path: Path):
    write(tmp_path / "a", split("", COUNTS))
    write(tmp_path / "b", split("", COUNTS))
    first, second = (prepared(tmp_path / name)[0].checksums for name in "ab")
    assert first == second
    assert len(first["paths and sizes"]) == 64
    (tmp_path / "b/cat/0.png").unlink()
    assert prepared(tmp_path / "b")[0].checksums != first


FOLDERS = {
    "nothing": ([], "holds no class folders: expected train/<class>/"),
    "images only": (["1.png"], "holds no class folders"),
    "one class": (split("", {"cat": 3}), "holds only the class cat"),
    "one class to train on": (split("train/", {"cat": 3}), "train holds only the class cat"),
    "splits of another name": (
        split("seg_train/seg_train/", {"cat": 3, "ant": 3}) + split("seg_test/seg_test/", {"cat": 3, "ant": 3}),
        "seg_train holds folders, as a training split does: name it train, the other test",
    ),
    "an empty class": ([*split("", {"cat": 3, "ant": 3}), "bee/notes/.hidden.png"], "/bee holds no image"),
    "other classes": (
        split("train/", {"cat": 2, "ant": 2}) + split("val/", {"cat": 2, "bee": 2}),
        "train/ and val/ have different classes: only train/ has ant; only val/ has bee",
    ),
    "more classes": (
        split("train/", dict.fromkeys("abcdefg", 1)) + split("test/", {"a": 1}),
        "only train/ has b, c, d and 3 more",
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_that_is_not_what_it_should_be(kind: str, tmp_path: Path):
    names, told = FOLDERS[kind]
    write(tmp_path, names)
    with pytest.raises(ZooError, match=told):
        prepared(tmp_path)


def test_a_folder_must_be_named_and_be_there(tmp_path: Path):
    for missing in (None, ""):
        dataset = imagefolder(missing)
        with pytest.raises(ZooError, match=r"data\.dir is missing"):
            dataset.prepare()
    with pytest.raises(ZooError, match=r"data.dir=.*/gone does not exist"):
        prepared(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="is not a folder"):
        prepared(tmp_path / "file")
    with pytest.raises(RuntimeError, match=r"prepare\(\) comes first"):
        imagefolder(str(tmp_path)).train_loader()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"batch_size": 29}, r"data.batch_size=29 is not possible: expected 1\.\.28"),
        ({"validation": -1}, "data.validation=-1"),
        ({"validation": 28}, "data.validation=28 leaves nothing of 28"),
        ({"workers": -1}, "data.workers=-1"),
        ({"broken": "ignore"}, "data.broken='ignore'"),
        ({"test_share": 0}, "data.test_share=0 "),
        ({"test_share": 0.001}, "data.test_share=0.001 of 35 images leaves one side without any"),
        ({"mean": [0.5]}, "data.mean has 1 numbers, the images have 3"),
        ({"std": [1, 1, 0]}, "data.std=.*above 0"),
        ({"size": 20}, "data.resize=14 .* data.size=20"),
        ({"augment": {"flop": True}}, "unknown key data.augment.flop"),
        ({"augment": {"fill": [0.1, 0.2]}}, "data.augment.fill needs one number, or 3"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict, told: str, tmp_path: Path):
    write(tmp_path, split("", COUNTS))
    with pytest.raises(ZooError, match=told):
        prepared(tmp_path, **wrong)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photographs")


@pytest.mark.realdata
def test_real_photographs(real_data: Path, photographs: Path):
    with tarfile.open(real_data / "imagefolder-mini.tar") as archive:
        archive.extractall(photographs, filter="data")
    root = photographs / "imagefolder-mini"
    dataset = imagefolder(str(root), batch_size=100, size=224, resize=256, workers=2)
    assert dataset.prepare() == ImageSpec(3, 224, 224, 10)
    assert torch.bincount(dataset._train.labels).tolist() == [140] * 10
    images, labels = next(iter(dataset.train_loader()))
    assert (images.shape, labels.shape) == ((100, 3, 224, 224), (100,))
    theirs = datasets.ImageFolder(str(root / "val"))
    assert dataset.class_names == theirs.classes
    grey = [index for index, (path, _) in enumerate(theirs.samples) if Image.open(path).mode == "L"]
    assert grey  # they are in colour for the model
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    prepare, images = transforms.Compose(steps), torch.cat([images for images, _ in dataset.test_loader()])
    for index in [*range(0, 350, 25), *grey]:
        assert torch.allclose(images[index], prepare(theirs[index][0]), atol=1e-6)


def test_a_position_is_that_of_the_same_files_only(tmp_path: Path):
    def loader() -> TrainingImageLoader:
        dataset = imagefolder(str(tmp_path), batch_size=2, workers=0)
        dataset.prepare()
        return dataset.train_loader()

    write(tmp_path, split("", {"a": 5, "b": 5}))
    state = loader().state_dict()
    loader().load_state_dict(state)
    write(tmp_path, ["a/new.png"])
    with pytest.raises(ZooError, match="the images are not those that the run began with"):
        loader().load_state_dict(state)
