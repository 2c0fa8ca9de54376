"""How a folder of images is laid out: which class folders are the training split, and which the test split."""

import re
from pathlib import Path
from typing import NamedTuple

from zoo.data.class_folders import ImageFiles, class_folders, fingerprint, list_images
from zoo.data.splits import stratified_split
from zoo.errors import ZooError

# Names of a split's folder, in capitals too. Of several that may be the test split, the first that is there is it.
_TRAIN_FOLDERS = ("train", "training")
_TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")


class Layout(NamedTuple):
    """Where the class folders are: in `root/train` and `root/test`; a name may be empty, and `test` missing."""

    root: Path
    train: str
    test: str | None


class Splits(NamedTuple):
    """The images that are there, class by class."""

    classes: list[str]
    train: ImageFiles
    test: ImageFiles
    sha256: str


def _names(classes: set[str]) -> str:
    shown = sorted(classes)
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _find_split(root: Path, folders: list[str], names: tuple[str, ...]) -> str | None:
    """Returns the folder of that name; one that holds images, not folders, is a class: of vehicles, say."""
    of_name = {folder.lower(): folder for folder in folders if class_folders(root / folder)}
    return next((of_name[name] for name in names if name in of_name), None)


def find_layout(directory: str | None) -> Layout:
    """Looks how a folder is laid out.

    Raises:
        ZooError: None is named, or it is no folder of class folders.
    """
    if not directory:
        raise ZooError("data.dir is missing: name the folder that holds train/ and val/, or a folder for each class")
    root = Path(directory).expanduser()
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise ZooError(f"data.dir={directory} {kind}: name a folder that holds a folder of images for each class")
    folders = class_folders(root)
    if train := _find_split(root, folders, _TRAIN_FOLDERS):
        return Layout(root, train, _find_split(root, folders, _TEST_FOLDERS))
    if len(folders) < 2:
        found = f"only the class {folders[0]}" if folders else "no class folders"
        raise ZooError(f"{root} holds {found}: expected train/<class>/ and val/<class>/, or a folder for each class")
    for folder in folders:
        if re.search(r"(?<![a-z])train(ing)?(?![a-z])", folder.lower()) and class_folders(root / folder):
            raise ZooError(f"{root / folder} holds folders, as a training split does: name it train, the other test")
    return Layout(root, "", None)


def read_splits(layout: Layout, test_share: float) -> Splits:
    """Lists the images of both splits.

    Args:
        layout: Where they are.
        test_share: Of each class's images that are the test split where the layout has none; always the same ones.

    Raises:
        ZooError: There is one class only, a class has no images, or the splits have different classes.
    """
    root, train, test = layout
    classes = class_folders(root / train)
    if len(classes) < 2:
        raise ZooError(f"{root / train} holds only the class {classes[0]}: there is nothing to tell it from")
    if test is None:
        files = list_images(root, train, classes)
        held_out = round(test_share * len(files))
        if not 0 < held_out < len(files):
            raise ZooError(f"data.test_share={test_share} of {len(files)} images leaves one side without any")
        kept, others = stratified_split(files.labels, held_out)
        return Splits(classes, files.subset(kept), files.subset(others), fingerprint([files]))
    here, there = set(classes), set(class_folders(root / test))
    if here != there:
        only = [
            f"only {name}/ has {_names(more)}" for name, more in ((train, here - there), (test, there - here)) if more
        ]
        raise ZooError(f"{root}: {train}/ and {test}/ have different classes: {'; '.join(only)}")
    training, tested = (list_images(root, name, classes) for name in (train, test))
    return Splits(classes, training, tested, fingerprint([training, tested]))
