"""Small image datasets of one colour: scikit-learn's digits, MNIST, Fashion-MNIST."""

from typing import Any

import torch
from torch.nn import functional as F

from zoo.data.idx import parse_idx
from zoo.data.in_memory import Contents, InMemoryImages, Mean, Split
from zoo.data.registry import register_dataset
from zoo.data.sources import SourceFile, read
from zoo.data.spec import ImageSpec
from zoo.data.splits import stratified_split

_DIGIT_NAMES = tuple("0123456789")


def _load_digits() -> Contents:
    """Enlarges scikit-learn's 8x8 digits to 20x20 and centres them in a black field of 28x28, as MNIST's are."""
    from sklearn.datasets import load_digits

    images, target = load_digits(return_X_y=True)
    ink = torch.from_numpy(images).view(-1, 1, 8, 8) / 16  # (N, 1, 8, 8) in 0..1
    large = F.interpolate(ink, size=(20, 20), mode="bilinear", align_corners=False)
    pixels = F.pad(large, (4, 4, 4, 4)).mul(255).round().to(torch.uint8)  # (N, 1, 28, 28)
    labels = torch.from_numpy(target).long()
    train, test = stratified_split(labels, 360)
    return Contents(Split(pixels[train], labels[train]), Split(pixels[test], labels[test]))


@register_dataset
def digits(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: Mean = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
) -> InMemoryImages:
    """Scikit-learn's 1,797 real handwritten digits: 1,437 to train on, 360 to test on; `dir` is not needed.

    Raises:
        ZooError: A setting makes no sense.
    """
    return InMemoryImages(
        _load_digits,
        (),
        ImageSpec(1, 28, 28, 10),
        _DIGIT_NAMES,
        (0.1559,),
        (0.2774,),
        ink="bright on dark",
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
    )


# In the order of the official files: training images and labels, test images and labels.
_IDX_SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}


def _idx_files(folder: str, address: str, checksums: tuple[str, ...]) -> tuple[SourceFile, ...]:
    named = zip(_IDX_SIZES.items(), checksums, strict=True)
    return tuple(SourceFile(f"{folder}/raw/{name}", address, size, sha256) for (name, size), sha256 in named)


MNIST_FILES = _idx_files(
    "MNIST",
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
FASHION_MNIST_FILES = _idx_files(
    "FashionMNIST",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def load_idx(files: tuple[SourceFile, ...], directory: str | None) -> Contents:
    """Reads training images and labels, test images and labels from four IDX files.

    Raises:
        ZooError: A file is missing and cannot be downloaded, or is damaged.
    """
    values = [parse_idx(read(file, directory), file.path) for file in files]
    train = Split(values[0].unsqueeze(1), values[1].long())
    test = Split(values[2].unsqueeze(1), values[3].long())
    return Contents(train, test)


@register_dataset
def mnist(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: Mean = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
) -> InMemoryImages:
    """MNIST: 60,000 handwritten digits to train on, 10,000 to test on.

    Raises:
        ZooError: A setting makes no sense.
    """
    return InMemoryImages(
        lambda: load_idx(MNIST_FILES, dir),
        MNIST_FILES,
        ImageSpec(1, 28, 28, 10),
        _DIGIT_NAMES,
        (0.1307,),
        (0.3081,),
        ink="bright on dark",
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
    )


@register_dataset
def fashion_mnist(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: Mean = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
) -> InMemoryImages:
    """Fashion-MNIST: 60,000 pictures of clothes to train on, 10,000 to test on.

    Raises:
        ZooError: A setting makes no sense.
    """
    return InMemoryImages(
        lambda: load_idx(FASHION_MNIST_FILES, dir),
        FASHION_MNIST_FILES,
        ImageSpec(1, 28, 28, 10),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        (0.2860,),
        (0.3530,),
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
    )
