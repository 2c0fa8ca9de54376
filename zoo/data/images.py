"""Small image datasets that live in memory as one uint8 tensor: digits, MNIST, Fashion-MNIST."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.augmentation import Augmentation
from zoo.data.idx import parse_idx
from zoo.data.image_loader import EvaluationImageLoader, ImageStore, TrainingImageLoader
from zoo.data.registry import register_dataset
from zoo.data.sources import SourceFile, read
from zoo.data.spec import ImageSpec
from zoo.data.splits import stratified_split
from zoo.errors import ZooError

# Without gradients there is room for more images at once than a small training batch has.
_EVALUATION_BATCH = 256
_DIGIT_NAMES = tuple("0123456789")


class Split(NamedTuple):
    """Images `(N, C, H, W)` uint8 with their labels `(N,)` int64."""

    images: Tensor
    labels: Tensor


class Contents(NamedTuple):
    """What a dataset holds."""

    train: Split
    test: Split


def _statistics(key: str, given: list[float] | None, own: tuple[float, ...]) -> list[float]:
    values = list(own if given is None else given)
    if len(values) != len(own):
        raise ZooError(
            f"data.{key} has {len(values)} numbers, the images have {len(own)} channel(s): give one for each"
        )
    if key == "std" and min(values) <= 0:
        raise ZooError(f"data.std={values} is not possible: pixels are divided by it, expected numbers above 0")
    return [float(value) for value in values]


class InMemoryImages:
    """A dataset of images that fits into memory.

    Args:
        load: Reads and verifies the files.
        files: What `load` reads; none for embedded data.
        spec: What they hold.
        class_names: By class number.
        own_mean: The training pixels' mean per channel, in 0..1.
        own_std: Their standard deviation.
        ink: `"bright on dark"` where pictures are drawings, which a pipeline inverts if their border is bright.
        batch_size: Training samples in a step, over all ranks.
        seed: Of order and augmentation.
        validation: How many training images to hold out; which ones does not depend on `seed`.
        mean: Takes the place of `own_mean`.
        std: Takes the place of `own_std`.
        augment: Random changes of training images, the settings of `zoo.data.augmentation.Augmentation`.

    Raises:
        ZooError: A setting makes no sense.
    """

    def __init__(
        self,
        load: Callable[[], Contents],
        files: tuple[SourceFile, ...],
        spec: ImageSpec,
        class_names: tuple[str, ...],
        own_mean: tuple[float, ...],
        own_std: tuple[float, ...],
        *,
        ink: str | None = None,
        batch_size: int,
        seed: int,
        validation: int,
        mean: list[float] | None,
        std: list[float] | None,
        augment: dict[str, Any] | None,
    ) -> None:
        if batch_size < 1:
            raise ZooError(f"data.batch_size={batch_size} is not possible: expected 1 or more")
        if validation < 0:
            raise ZooError(f"data.validation={validation} is not possible: expected 0 or more images to hold out")
        self._load, self.files, self._spec, self._class_names, self._ink = load, files, spec, class_names, ink
        self._mean, self._std = _statistics("mean", mean, own_mean), _statistics("std", std, own_std)
        self._augmentation = Augmentation(augment)
        if len(self._augmentation.fill) not in (1, spec.channels):
            raise ZooError(f"data.augment.fill needs one number, or {spec.channels}: one for each channel")
        self._batch_size, self._seed, self._validation = batch_size, seed, validation
        self._contents: Contents | None = None
        self._stores: dict[tuple[str, str], ImageStore] = {}

    def prepare(self) -> ImageSpec:
        """Finds, downloads, verifies and reads the files; a second call does nothing.

        Raises:
            ZooError: A file is missing or damaged, or batch and validation split are larger than the data.
        """
        if self._contents is None:
            contents = self._load()
            total = len(contents.train.labels)
            if self._validation >= total:
                raise ZooError(f"data.validation={self._validation} leaves nothing of {total} training images")
            self._kept, self._held_out = stratified_split(contents.train.labels, self._validation)
            if self._batch_size > len(self._kept):
                raise ZooError(
                    f"data.batch_size={self._batch_size} is not possible: expected 1..{len(self._kept)} training images"
                )
            self._contents = contents
        return self._spec

    def _store(self, name: str, device: torch.device | str) -> ImageStore:
        """Returns a split's images on a device; a device gets one copy, however many loaders there are."""
        if self._contents is None:
            raise RuntimeError("prepare() comes first")
        key = (name, str(device))
        if key not in self._stores:
            split: Split = getattr(self._contents, name)
            self._stores[key] = ImageStore(split.images.to(device), split.labels.to(device), self._mean, self._std)
        return self._stores[key]

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> TrainingImageLoader:
        """Returns rank `rank`'s share of shuffled, augmented training batches.

        Raises:
            ZooError: `world` does not divide the batch size.
        """
        store = self._store("train", device)
        return TrainingImageLoader(store, self._kept, self._batch_size, self._seed, self._augmentation, rank, world)

    def validation_loader(
        self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> EvaluationImageLoader | None:
        """Returns rank `rank`'s share of the held-out training images, None where `validation` is 0."""
        store = self._store("train", device)
        return self._evaluation_loader(store, self._held_out, rank, world) if self._validation else None

    def test_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> EvaluationImageLoader:
        """Returns rank `rank`'s share of the test images."""
        store = self._store("test", device)
        return self._evaluation_loader(store, torch.arange(len(store.labels)), rank, world)

    def _evaluation_loader(self, store: ImageStore, indices: Tensor, rank: int, world: int) -> EvaluationImageLoader:
        return EvaluationImageLoader(store, indices, max(self._batch_size, _EVALUATION_BATCH), rank, world)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What turns a picture into what the test loader feeds: sizes, and statistics of pixels in 0..1."""
        return {
            "channels": self._spec.channels,
            "height": self._spec.height,
            "width": self._spec.width,
            "mean": list(self._mean),
            "std": list(self._std),
            "ink": self._ink,
        }

    @property
    def class_names(self) -> list[str]:
        """The names of the classes by their number."""
        return list(self._class_names)

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file's content, which `prepare` has verified."""
        return {file.path: file.sha256 for file in self.files}


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
    mean: list[float] | None = None,
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
    mean: list[float] | None = None,
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
    mean: list[float] | None = None,
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
