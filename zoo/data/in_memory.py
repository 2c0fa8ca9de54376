"""Image datasets that live in memory as one uint8 tensor."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from zoo.data.augmentation import Augmentation
from zoo.data.colour import ColourAxes, colour_axes
from zoo.data.image_loader import EvaluationImageLoader, ImageStore, TrainingImageLoader
from zoo.data.mean_image import decode, encode, mean_image
from zoo.data.sources import Source
from zoo.data.spec import ImageSpec
from zoo.data.splits import stratified_split
from zoo.data.views import check_views
from zoo.errors import ZooError

# Without gradients there is room for more images at once than a small training batch has.
_EVALUATION_BATCH = 256

# What `data.mean` may be: a number per channel; the word, for the mean training image; that image as
# `zoo.data.mean_image.encode` writes it; None for the dataset's own numbers.
Mean = list[float] | Literal["per_pixel"] | dict[str, Any] | None


class Split(NamedTuple):
    """Images `(N, C, H, W)` uint8 with their labels `(N,)` int64."""

    images: Tensor
    labels: Tensor


class Contents(NamedTuple):
    """What a dataset holds; `class_names` where the files tell them."""

    train: Split
    test: Split
    class_names: tuple[str, ...] = ()


def _statistics(key: str, given: list[float] | None, own: tuple[float, ...]) -> list[float]:
    values = list(own if given is None else given)
    if len(values) != len(own):
        raise ZooError(
            f"data.{key} has {len(values)} numbers, the images have {len(own)} channel(s): give one for each, "
            f"or data.{key}=null for the dataset's own"
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
        class_names: By class number; those that `load` returns take their place.
        own_mean: The training pixels' mean per channel, in 0..1.
        own_std: Their standard deviation.
        ink: `"bright on dark"` where pictures are drawings, which a pipeline inverts if their border is bright.
        batch_size: Training samples in a step, over all ranks.
        seed: Of order and augmentation.
        validation: How many training images to hold out; which ones does not depend on `seed`.
        mean: Takes the place of `own_mean`. `"per_pixel"` subtracts the mean image of those trained on, before any
            augmentation, so that a `fill` of 0 stands for the mean; an encoded mean image does that with this one.
        std: Takes the place of `own_std`, or beside a mean image of 1.
        augment: Random changes of training images, the settings of `zoo.data.augmentation.Augmentation`.
        crop: Side of what a model sees: in training a random window of each image (padded by `crop_padding`), in
            evaluation its centre. None is all of it.
        views: Of each image in evaluation, in batches `(B, views, C, H, W)` if there are 10: see `zoo.data.views`.

    Raises:
        ZooError: A setting makes no sense.
    """

    def __init__(
        self,
        load: Callable[[], Contents],
        files: tuple[Source, ...],
        spec: ImageSpec,
        class_names: tuple[str, ...],
        own_mean: tuple[float, ...],
        own_std: tuple[float, ...],
        *,
        ink: str | None = None,
        batch_size: int,
        seed: int,
        validation: int,
        mean: Mean,
        std: list[float] | None,
        augment: dict[str, Any] | None,
        crop: int | None = None,
        views: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ZooError(f"data.batch_size={batch_size} is not possible: expected 1 or more")
        if validation < 0:
            raise ZooError(f"data.validation={validation} is not possible: expected 0 or more images to hold out")
        self._load, self.files, self._spec, self._class_names, self._ink = load, files, spec, class_names, ink
        self._batch_size, self._seed, self._validation = batch_size, seed, validation
        self._set_statistics(mean, std, own_mean, own_std)
        self._set_views(crop, views)
        self._augmentation = Augmentation(augment, self._crop)
        if len(self._augmentation.fill) not in (1, spec.channels):
            raise ZooError(f"data.augment.fill needs one number, or {spec.channels}: one for each channel")
        if self._augmentation.pca_colour and spec.channels != 3:
            raise ZooError("data.augment.pca_colour is for colour images, these are grey: leave it out")
        self._axes: ColourAxes | None = None
        self._contents: Contents | None = None
        self._stores: dict[tuple[str, str], ImageStore] = {}

    def _set_statistics(
        self, mean: Mean, std: list[float] | None, own_mean: tuple[float, ...], own_std: tuple[float, ...]
    ) -> None:
        spec = self._spec
        if isinstance(mean, str) and mean != "per_pixel":
            raise ZooError(f"data.mean={mean} is not possible: expected one number per channel, or per_pixel")
        self._per_pixel = mean == "per_pixel"
        self._mean_image = decode(mean) if isinstance(mean, dict) else None
        shape = (spec.channels, spec.height, spec.width)
        if self._mean_image is not None and self._mean_image.shape != shape:
            sizes = ["x".join(map(str, size)) for size in (self._mean_image.shape, shape)]
            raise ZooError(
                f"data.mean is an image of {sizes[0]} numbers, the data's are {sizes[1]}: give one of that size"
            )
        if isinstance(mean, str | dict):
            mean, own_mean, own_std = None, (0.0,) * spec.channels, (1.0,) * spec.channels
        self._mean, self._std = _statistics("mean", mean, own_mean), _statistics("std", std, own_std)

    def _set_views(self, crop: int | None, views: int) -> None:
        height, width = self._spec.height, self._spec.width
        if crop is not None and not 1 <= crop <= min(height, width):
            raise ZooError(f"data.crop={crop} is not possible: expected 1..{min(height, width)}, a part of the images")
        check_views(views)
        if views > 1 and (crop is None or crop == height == width):
            raise ZooError(f"data.views={views} would be the whole image each time: give data.crop, a smaller side")
        self._crop, self._views = crop, views
        if crop is not None:
            self._spec = ImageSpec(self._spec.channels, crop, crop, self._spec.classes)
        # The shorter side that a picture is scaled to before its centre is cut out.
        self._resize = min(height, width)

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
            if self._per_pixel:
                self._mean_image = mean_image(contents.train.images, self._kept)
            self._class_names = contents.class_names or self._class_names
            self._contents = contents
        return self._spec

    def _prepared(self) -> Contents:
        if self._contents is None:
            raise RuntimeError("prepare() comes first")
        return self._contents

    def _store(self, name: str, device: torch.device | str) -> ImageStore:
        """Returns a split's images on a device; a device gets one copy, however many loaders there are."""
        key = (name, str(device))
        if key not in self._stores:
            split: Split = getattr(self._prepared(), name)
            images, labels = split.images.to(device), split.labels.to(device)
            self._stores[key] = ImageStore(images, labels, self._mean, self._std, self._mean_image)
        return self._stores[key]

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> TrainingImageLoader:
        """Returns rank `rank`'s share of shuffled, augmented training batches.

        Raises:
            ZooError: `world` does not divide the batch size.
        """
        store = self._store("train", device)
        if self._augmentation.pca_colour and self._axes is None:
            self._axes = colour_axes(self._prepared().train.images, self._kept)
        return TrainingImageLoader(
            store, self._kept, self._batch_size, self._seed, self._augmentation, rank, world, self._axes
        )

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
        batch_size = max(self._batch_size, _EVALUATION_BATCH) // self._views
        return EvaluationImageLoader(store, indices, batch_size, rank, world, self._crop, self._views)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What turns a picture into what the test loader feeds: sizes, and statistics of pixels in 0..1.

        With a crop, a picture's shorter side is scaled to `resize`, then the centre is cut out. With a mean image,
        which is of the size before the crop, that is subtracted beside `mean`.
        """
        described = {
            "channels": self._spec.channels,
            "height": self._spec.height,
            "width": self._spec.width,
            "mean": list(self._mean),
            "std": list(self._std),
            "ink": self._ink,
        }
        if self._crop is not None:
            described["resize"] = self._resize
        if self._mean_image is not None:
            described["mean_image"] = encode(self._mean_image)
        return described

    @property
    def class_names(self) -> list[str]:
        """The names of the classes by their number."""
        return list(self._class_names)

    @property
    def checksums(self) -> dict[str, str]:
        """The checksum of each file's content, which `prepare` has verified: sha256, or another that is named."""
        return {path: checksum for file in self.files for path, checksum in file.checksums.items()}
