"""torchvision's published ImageNet weights as releases: downloaded, verified and converted on first use.

Such a release is named `<model>-imagenet`, or `<model>-imagenet_v2` for torchvision's second recipe. A release that the
zoo trained itself may have the same name: it then goes first, and `<name>_torchvision` names torchvision's in any case.

A file is kept as a release of the usual form in the folder `torchvision` of the cache; what was downloaded is deleted.
A file that the user has put into that folder is used instead of a download, and is left there.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.locations import cache_dir
from zoo.models.catalog import MODELS
from zoo.pretrained.card import CARD

ADDRESS = "https://download.pytorch.org"
SUFFIX = "_torchvision"
CLASSES = 1000
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class TorchvisionWeights:
    """What torchvision says about a file of weights; a test holds it equal to the installed torchvision.

    Attributes:
        model: The zoo's.
        file: Its sha256 begins with the eight digits at the end of its name.
        mebibytes: Its size.
        accuracy: On ImageNet's validation images, one centre cut of each, in percent.
        top5_accuracy: Likewise.
        version: torchvision's name for the weights.
        resize: Pixels to which the shorter side of a picture is scaled before a square of 224 is cut out.
    """

    model: str
    file: str
    mebibytes: float
    accuracy: float
    top5_accuracy: float
    version: str = "IMAGENET1K_V1"
    resize: int = 256

    @property
    def url(self) -> str:
        """Where the file is downloaded: the official place, or under the mirror `ZOO_MIRROR`."""
        return f"{(os.environ.get('ZOO_MIRROR') or ADDRESS).rstrip('/')}/models/{self.file}"

    @property
    def bytes(self) -> int:
        """The size of the file, to a thousandth of a mebibyte."""
        return round(self.mebibytes * 2**20)


def _second(model: str, file: str, mebibytes: float, accuracy: float, top5_accuracy: float) -> TorchvisionWeights:
    return TorchvisionWeights(model, file, mebibytes, accuracy, top5_accuracy, "IMAGENET1K_V2", 232)


WEIGHTS = {
    "alexnet-imagenet": TorchvisionWeights("alexnet", "alexnet-owt-7be5be79.pth", 233.087, 56.522, 79.066),
    "vgg11-imagenet": TorchvisionWeights("vgg11", "vgg11-8a719046.pth", 506.84, 69.02, 88.628),
    "vgg11_bn-imagenet": TorchvisionWeights("vgg11_bn", "vgg11_bn-6002323d.pth", 506.881, 70.37, 89.81),
    "vgg13-imagenet": TorchvisionWeights("vgg13", "vgg13-19584684.pth", 507.545, 69.928, 89.246),
    "vgg13_bn-imagenet": TorchvisionWeights("vgg13_bn", "vgg13_bn-abd245e5.pth", 507.59, 71.586, 90.374),
    "vgg16-imagenet": TorchvisionWeights("vgg16", "vgg16-397923af.pth", 527.796, 71.592, 90.382),
    "vgg16_bn-imagenet": TorchvisionWeights("vgg16_bn", "vgg16_bn-6c64b313.pth", 527.866, 73.36, 91.516),
    "vgg19-imagenet": TorchvisionWeights("vgg19", "vgg19-dcbb9e9d.pth", 548.051, 72.376, 90.876),
    "vgg19_bn-imagenet": TorchvisionWeights("vgg19_bn", "vgg19_bn-c79401a0.pth", 548.143, 74.218, 91.842),
    "resnet18-imagenet": TorchvisionWeights("resnet18", "resnet18-f37072fd.pth", 44.661, 69.758, 89.078),
    "resnet34-imagenet": TorchvisionWeights("resnet34", "resnet34-b627a593.pth", 83.275, 73.314, 91.42),
    "resnet50_v1_5-imagenet": TorchvisionWeights("resnet50_v1_5", "resnet50-0676ba61.pth", 97.781, 76.13, 92.862),
    "resnet101_v1_5-imagenet": TorchvisionWeights("resnet101_v1_5", "resnet101-63fe2227.pth", 170.511, 77.374, 93.546),
    "resnet152_v1_5-imagenet": TorchvisionWeights("resnet152_v1_5", "resnet152-394f9c45.pth", 230.434, 78.312, 94.046),
    "resnet50_v1_5-imagenet_v2": _second("resnet50_v1_5", "resnet50-11ad3fa6.pth", 97.79, 80.858, 95.434),
    "resnet101_v1_5-imagenet_v2": _second("resnet101_v1_5", "resnet101-cd907fc2.pth", 170.53, 81.886, 95.78),
    "resnet152_v1_5-imagenet_v2": _second("resnet152_v1_5", "resnet152-f82ba261.pth", 230.474, 82.284, 96.002),
}


def known_as(name: str) -> str | None:
    """Returns the key in `WEIGHTS` that a release's name stands for, None if it is not torchvision's."""
    plain = name.removesuffix(SUFFIX)
    return plain if plain in WEIGHTS else None


def class_names() -> list[str]:
    """Returns torchvision's names of ImageNet's classes, all different, by their number."""
    return Path(__file__).with_name("imagenet_classes.txt").read_text(encoding="utf-8").splitlines()


def accuracy_text(name: str) -> str:
    """Returns the accuracy that torchvision prints, which is not measured here."""
    return f"test/accuracy {WEIGHTS[name].accuracy:.4g} %"


def card(name: str) -> dict[str, Any]:
    """Returns what is known about a release before it is downloaded: its card without checksums.

    Args:
        name: A key of `WEIGHTS`.
    """
    weights = WEIGHTS[name]
    prepared = {"resize": weights.resize, "mean": MEAN, "std": STD}
    return {
        "name": name,
        "source": "torchvision",
        "url": f"{ADDRESS}/models/{weights.file}",
        "model": weights.model,
        "arguments": {"num_classes": CLASSES},
        "parameters": MODELS[weights.model].parameters,
        "task": {"name": "image_classification", "headline": "test/error", "label_smoothing": 0.0},
        "data": {"name": "imagenet", "size": 224, **prepared},
        "preprocessing": {"channels": 3, "height": 224, "width": 224, **prepared, "ink": None},
        "class_names": class_names(),
        "metrics": {},
        "reported": {
            "by": f"torchvision, {weights.version}; not measured here",
            "test/accuracy": weights.accuracy,
            "test/top5_accuracy": weights.top5_accuracy,
        },
        "claim": None,
        "seed": None,
        "licence": "BSD-3-Clause (torchvision's weights; ImageNet under its own terms)",
    }


def place(name: str) -> Path:
    """Returns the folder in the cache where a release stands once it is downloaded."""
    return cache_dir() / "torchvision" / name


def is_downloaded(name: str) -> bool:
    """Says whether a release stands in the cache."""
    return (place(name) / CARD).is_file()


def get(name: str) -> Path:
    """Returns the folder of a release; the first time it is downloaded, verified and converted.

    Processes that want the same release wait for one another.

    Args:
        name: A key of `WEIGHTS`.

    Raises:
        ZooError: It cannot be downloaded or kept, or the file is not what torchvision published.
    """
    from filelock import FileLock

    from zoo.data.download import DownloadError

    folder, weights = place(name), WEIGHTS[name]
    if is_downloaded(name):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not is_downloaded(name):
                _make(name, folder)
    except DownloadError as error:
        raise ZooError(
            f"{name}: {weights.file} is not in {folder.parent} and cannot be downloaded from {weights.url}: {error}; "
            "put the file there yourself, or name a mirror with the environment variable ZOO_MIRROR"
        ) from error
    except OSError as error:
        raise ZooError(
            f"{name} cannot be kept in {folder.parent}: {error.strerror or error}; name another cache folder with the "
            "environment variable ZOO_CACHE"
        ) from error
    return folder


def _make(name: str, folder: Path) -> None:
    weights = WEIGHTS[name]
    own = folder.parent / weights.file
    if own.is_file():
        if damage := _damage(weights, own):
            raise ZooError(f"{own} is not torchvision's file: {damage}; delete it, or put the right one there")
        _convert(name, own, folder)
        return
    part = own.with_name(f"{own.name}.part")
    _download(weights, part)
    _convert(name, part, folder)
    part.unlink()


def _download(weights: TorchvisionWeights, part: Path) -> None:
    """Downloads into `part`, which stays behind to be continued if the line breaks.

    Raises:
        DownloadError: It cannot be downloaded, or what came is another file.
    """
    from zoo.data.download import download, fetch_verified

    fetch = partial(download, weights.url, part, weights.bytes + (1 << 20))
    fetch_verified(fetch, part, partial(_damage, weights))


def _damage(weights: TorchvisionWeights, path: Path) -> str:
    """Says what is wrong with a file; an empty string if nothing is."""
    expected = weights.file.removesuffix(".pth")[-8:]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found.startswith(expected) else f"its sha256 begins with {found[:8]} instead of {expected}"


def _convert(name: str, path: Path, folder: Path) -> None:
    """Writes torchvision's file as a release."""
    import torch

    from zoo.models.registry import create_model
    from zoo.pretrained.convert import from_torchvision
    from zoo.pretrained.release import save_release

    try:
        state_dict = torch.load(path, map_location="cpu", weights_only=True)
    # What a pickle of something else meets is not foreseeable; weights_only lets none of it run.
    except Exception as error:
        raise ZooError(f"{path} cannot be read as weights: {(str(error) or repr(error)).splitlines()[0]}") from error
    described = card(name)
    # On the meta device a model has no numbers of its own that would be drawn in vain.
    with torch.device("meta"):
        model = create_model(described["model"], **described["arguments"])
    model.load_state_dict(from_torchvision(described["model"], state_dict), assign=True)
    if folder.is_dir():  # what is left of one that has lost its card
        shutil.rmtree(folder)
    save_release(folder, model, described["model"], described["arguments"], described)
