"""ImageNet is found where copies of it usually are; a part of it is taken for no more than it is."""

from pathlib import Path

import pytest
from PIL import Image
from torchvision.models import ResNet50_Weights

from zoo.data.catalog import DATASETS
from zoo.data.imagenet import CLASSES, TEST_IMAGES, TRAINING_IMAGES, distinct, english_names, imagenet
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

SOME = ["n01440764", "n02102040", "n02979186"]
SMALL = {"size": 8, "resize": 8, "batch_size": 2, "workers": 0}


def write(root: Path, wnids: list[str] = SOME, splits: tuple[str, ...] = ("train", "val")) -> Path:
    for split in splits:
        for wnid in wnids:
            (root / split / wnid).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(root / split / wnid / f"{wnid}_1.JPEG")
    return root


@pytest.mark.parametrize("below", ["", "imagenet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC"])
def test_it_is_found_in_its_usual_places(below: str, tmp_path: Path):
    write(tmp_path / below)
    dataset = imagenet(str(tmp_path), **SMALL)
    assert dataset.prepare() == ImageSpec(3, 8, 8, 3)
    assert len(list(dataset.test_loader())) == 2


def test_a_part_of_it_is_told_once_and_named_by_its_wnids(tmp_path: Path, capfd):
    dataset = imagenet(str(write(tmp_path)), **SMALL)
    dataset.prepare()
    dataset.prepare()
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("zoo: this is not all of ImageNet: 3 of 1,000 classes, 3 of 1,281,167 training images, 3 of")
    assert dataset.deviation == "3 of 1,000 classes, 3 of 1,281,167 training images, 3 of 50,000 test images"
    assert dataset.class_names == SOME


def test_only_the_first_of_several_processes_tells_it(tmp_path: Path, capfd, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    imagenet(str(write(tmp_path)), **SMALL).prepare()
    assert capfd.readouterr().err == ""


def test_the_catalog_speaks_of_all_of_it():
    assert DATASETS["imagenet"].spec == ImageSpec(3, 224, 224, CLASSES)
    assert (CLASSES, TRAINING_IMAGES, TEST_IMAGES) == (1_000, 1_281_167, 50_000)


def test_names_are_english_for_the_thousand_classes_only():
    # A thousand wnids, but not the ones that torchvision's names belong to.
    others = [f"n{number:08}" for number in range(1000)]
    assert english_names(others) == others
    assert english_names(SOME) == SOME


def test_no_two_names_are_alike():
    """Lists of ImageNet's names have had two cranes and two maillots."""
    wnids = ["n02012849", "n02123045", "n03126707"]
    assert distinct(["crane", "tabby", "crane"], wnids) == ["crane (n02012849)", "tabby", "crane (n03126707)"]
    names = ResNet50_Weights.DEFAULT.meta["categories"]
    assert len(set(distinct(names, [str(number) for number in range(1000)]))) == 1000


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        ((), "no ImageNet in .*https://image-net.org/download.php .*train/<wnid>/.*data.dir"),
        (("val",), "no ImageNet in"),
        (("train",), "holds no val/: expected train/<wnid>"),
    ],
)
def test_a_copy_that_is_not_whole(splits: tuple[str, ...], told: str, tmp_path: Path):
    write(tmp_path, splits=splits)
    with pytest.raises(ZooError, match=told):
        imagenet(str(tmp_path), **SMALL).prepare()


def test_without_a_folder_it_is_looked_for_and_the_places_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZooError, match=r"no ImageNet in .*cache.*it cannot be downloaded"):
        imagenet(**SMALL).prepare()
    write(tmp_path / "data/imagenet")
    assert imagenet(**SMALL).prepare().classes == 3
    with pytest.raises(ZooError, match=r"data.dir=.*/gone does not exist"):
        imagenet(str(tmp_path / "gone")).prepare()


def test_images_that_are_not_sorted_into_folders(tmp_path: Path):
    """As the official archive of the validation images unpacks."""
    write(tmp_path, splits=("train",))
    (tmp_path / "val").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "val/ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(ZooError, match="val holds no class folders: move each image into the folder of its wnid"):
        imagenet(str(tmp_path), **SMALL).prepare()


def test_folders_that_are_no_wnids(tmp_path: Path):
    write(tmp_path, wnids=["cat", "n01440764"])
    with pytest.raises(ZooError, match=r"train holds cat/, which is no wnid: .*data=imagefolder"):
        imagenet(str(tmp_path), **SMALL).prepare()


def test_splits_with_different_classes(tmp_path: Path):
    write(tmp_path, splits=("train",))
    write(tmp_path, wnids=SOME[:2], splits=("val",))
    with pytest.raises(ZooError, match="different classes: only train/ has n02979186"):
        imagenet(str(tmp_path), **SMALL).prepare()
