"""ImageNet: the 1,000 classes of ILSVRC 2012 (Russakovsky et al. 2015), from the user's own copy.

It cannot be downloaded by a program: who wants it signs in at image-net.org and agrees to its terms of access.
"""

import hashlib
import logging
import os
import re
import sys
from collections import Counter
from typing import Any, Literal

from zoo.data.class_folders import class_folders
from zoo.data.cropping import Geometry
from zoo.data.folder_layout import Layout
from zoo.data.image_folder import RATIO, SCALE, SHORTER_SIDE, ImageFolder
from zoo.data.registry import register_dataset
from zoo.data.sources import places
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

log = logging.getLogger("zoo")

CLASSES, TRAINING_IMAGES, TEST_IMAGES = 1_000, 1_281_167, 50_000

# sha256 of the 1,000 sorted wnids, one a line, without an end of line behind the last.
WNIDS_SHA256 = "385e0240499426c022b773be1ae4da780f057b89c9694c7f47199f62746b6edd"

# Where copies lie below a folder of datasets; the last is that of the archive as Kaggle hands it out.
_FOLDERS = ("", "imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k", "ILSVRC/Data/CLS-LOC")
_WNID = re.compile(r"n\d{8}")
_EXPECTED = "expected train/<wnid>/*.JPEG and val/<wnid>/*.JPEG"


def find_imagenet(directory: str | None) -> Layout:
    """Looks for a copy of ImageNet, in the folder that is named and in its usual places below it.

    Raises:
        ZooError: There is none, or it is not laid out as expected.
    """
    folders = [folder / name for folder in places(directory) for name in _FOLDERS]
    root = next((folder for folder in folders if (folder / "train").is_dir()), None)
    if root is None:
        where = directory or " or ".join(str(folder) for folder in places(directory))
        raise ZooError(
            f"no ImageNet in {where}: it cannot be downloaded by a program; get ILSVRC 2012 from "
            f"https://image-net.org/download.php ({_EXPECTED}) and name its folder with data.dir"
        )
    for split in ("train", "val"):
        if not (root / split).is_dir():
            raise ZooError(f"{root} holds no {split}/: {_EXPECTED}")
        wnids = class_folders(root / split)
        if not wnids:
            raise ZooError(
                f"{root / split} holds no class folders: move each image into the folder of its wnid, {_EXPECTED}"
            )
        if others := [name for name in wnids if not _WNID.fullmatch(name)]:
            raise ZooError(f"{root / split} holds {others[0]}/, which is no wnid: {_EXPECTED}; of another dataset "
                           "data=imagefolder makes classes of any name")  # fmt: skip
    return Layout(root, "train", "val")


def english_names(wnids: list[str]) -> list[str]:
    """Returns the usual English names of all 1,000 classes; of any others the wnids themselves.

    Args:
        wnids: Sorted.
    """
    if hashlib.sha256("\n".join(wnids).encode()).hexdigest() != WNIDS_SHA256:
        return wnids
    from torchvision.models import ResNet50_Weights

    return distinct(ResNet50_Weights.DEFAULT.meta["categories"], wnids)


def distinct(names: list[str], wnids: list[str]) -> list[str]:
    """Returns names of which no two are alike: those that are get their wnid behind them, as in crane (n02012849)."""
    times = Counter(names)
    return [name if times[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True)]


class ImageNet(ImageFolder):
    """ImageNet, or a part of it: fewer classes are taken for what they are, with a notice."""

    def _layout(self) -> Layout:
        return find_imagenet(self._directory)

    def prepare(self) -> ImageSpec:
        """Lists the files, and says so if they are not all of ImageNet's; a second call does nothing.

        Raises:
            ZooError: As `ImageFolder.prepare`.
        """
        fresh = self._splits is None
        spec = super().prepare()
        if fresh and self.deviation:
            notice = f"this is not all of ImageNet: {self.deviation}; results on it are none on ImageNet"
            log.info(notice)
            if all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK")):
                print(f"zoo: {notice}", file=sys.stderr, flush=True)
        return spec

    @property
    def deviation(self) -> str:
        """What is missing from ImageNet, or more than it has; empty where it is all there."""
        splits = self._prepared()
        found = {
            "classes": (len(splits.classes), CLASSES),
            "training images": (len(splits.train), TRAINING_IMAGES),
            "test images": (len(splits.test), TEST_IMAGES),
        }
        return ", ".join(f"{here:,} of {there:,} {what}" for what, (here, there) in found.items() if here != there)

    @property
    def class_names(self) -> list[str]:
        """English names where all 1,000 classes are there, else the wnids; by class number."""
        return english_names(super().class_names)


@register_dataset
def imagenet(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
    size: int = 224,
    resize: int = 256,
    train_crop: Literal["random_resized", "random"] = "random_resized",
    shorter_side: list[int] = SHORTER_SIDE,
    scale: list[float] = SCALE,
    ratio: list[float] = RATIO,
    views: int = 1,
    workers: int | None = None,
    broken: Literal["error", "skip"] = "error",
) -> ImageNet:
    """ImageNet (ILSVRC 2012): 1,281,167 photographs of 1,000 classes to train on, the 50,000 of `val` to test on.

    Raises:
        ZooError: A setting makes no sense.
    """
    return ImageNet(
        dir,
        Geometry(size, resize, train_crop, shorter_side, scale, ratio, views),
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
        workers=workers,
        broken=broken,
        test_share=0.2,
    )
