"""Photographs on disk, a folder for each class, decoded while they are needed: any folder of the user's own."""

from typing import Any, Literal

import torch

from zoo.data.augmentation import Augmentation
from zoo.data.class_folders import ImageFiles
from zoo.data.colour import ColourAxes
from zoo.data.cropping import Geometry
from zoo.data.decoding_loader import BrokenImages, DecodingEvaluationLoader, DecodingTrainingLoader
from zoo.data.decoding_workers import Decoders, EvaluationImages, TrainingImages, worker_count
from zoo.data.folder_layout import Layout, Splits, find_layout, read_splits
from zoo.data.image_loader import ImageStore
from zoo.data.registry import register_dataset
from zoo.data.sources import Source
from zoo.data.spec import ImageSpec
from zoo.data.splits import stratified_split
from zoo.errors import ZooError

# Defaults, written out as in the YAML files.
SHORTER_SIDE = [256, 480]  # He et al. 2015, Section 3.4
SCALE = [0.08, 1.0]
RATIO = [0.75, 1.3333333333]

# The usual statistics of ImageNet's training pixels in 0..1: of its colours' means, deviations and axes. The last are
# those of Krizhevsky's and of Torch's code, one axis in each column; the factors that go with them there are smaller
# than the pixels' own deviations along the axes (their squares sum to 0.05, the variances to 0.15), and are kept.
_MEAN = [0.485, 0.456, 0.406]
_STD = [0.229, 0.224, 0.225]
_AXES = ColourAxes(
    torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], dtype=torch.float64
    ),
    torch.tensor([0.2175, 0.0188, 0.0045], dtype=torch.float64),
)


def _statistics(key: str, given: list[float] | None, usual: list[float]) -> list[float]:
    values = [float(value) for value in (usual if given is None else given)]
    if len(values) != 3:
        raise ZooError(f"data.{key} has {len(values)} numbers, the images have 3 channels: give one for each")
    if key == "std" and min(values) <= 0:
        raise ZooError(f"data.std={values} is not possible: pixels are divided by it, expected numbers above 0")
    return values


class ImageFolder:
    """A dataset of image files in class folders.

    Args:
        directory: Where they are.
        geometry: How photographs become squares.
        batch_size: Training samples in a step, over all ranks.
        seed: Of order, parts and augmentation.
        validation: How many training images to hold out; which ones does not depend on `seed`.
        mean: Subtracted from pixels in 0..1; by default the usual one of ImageNet.
        std: Divides them; likewise.
        augment: Random changes of training squares, the settings of `zoo.data.augmentation.Augmentation`.
        workers: How many processes decode; None is one per core up to 8.
        broken: What to do about images that cannot be decoded: `"error"` or `"skip"`.
        test_share: Of each class that is the test split where the folder has none.

    Raises:
        ZooError: A setting makes no sense.
    """

    files: tuple[Source, ...] = ()  # nothing that could be downloaded

    def __init__(
        self,
        directory: str | None,
        geometry: Geometry,
        *,
        batch_size: int,
        seed: int,
        validation: int,
        mean: list[float] | None,
        std: list[float] | None,
        augment: dict[str, Any] | None,
        workers: int | None,
        broken: Literal["error", "skip"],
        test_share: float,
    ) -> None:
        if batch_size < 1:
            raise ZooError(f"data.batch_size={batch_size} is not possible: expected 1 or more")
        if validation < 0:
            raise ZooError(f"data.validation={validation} is not possible: expected 0 or more images to hold out")
        if workers is not None and workers < 0:
            raise ZooError(f"data.workers={workers} is not possible: expected 0 or more processes, or null")
        if broken not in ("error", "skip"):
            raise ZooError(f"data.broken={broken!r} is not possible: expected error or skip")
        if not 0 < test_share < 1:
            raise ZooError(f"data.test_share={test_share} is not possible: expected a share between 0 and 1")
        self._directory, self._geometry, self._test_share = directory, geometry, test_share
        self._batch_size, self._seed, self._validation = batch_size, seed, validation
        self._mean, self._std = _statistics("mean", mean, _MEAN), _statistics("std", std, _STD)
        self._augmentation = Augmentation(augment)
        if len(self._augmentation.fill) not in (1, 3):
            raise ZooError("data.augment.fill needs one number, or 3: one for each channel")
        self._workers, self._policy = workers, broken
        self._splits: Splits | None = None

    def _layout(self) -> Layout:
        return find_layout(self._directory)

    def prepare(self) -> ImageSpec:
        """Lists the files; a second call does nothing.

        Raises:
            ZooError: The folder is not what it should be, or batch and validation split are larger than the data.
        """
        if self._splits is None:
            splits = read_splits(self._layout(), self._test_share)
            total = len(splits.train)
            if self._validation >= total:
                raise ZooError(f"data.validation={self._validation} leaves nothing of {total} training images")
            kept, held_out = stratified_split(splits.train.labels, self._validation)
            if self._batch_size > len(kept):
                raise ZooError(
                    f"data.batch_size={self._batch_size} is not possible: expected 1..{len(kept)} training images"
                )
            self._train = splits.train.subset(kept) if self._validation else splits.train
            self._held_out = splits.train.subset(held_out)
            self._splits = splits
        return ImageSpec(3, self._geometry.size, self._geometry.size, len(self._splits.classes))

    def _prepared(self) -> Splits:
        if self._splits is None:
            raise RuntimeError("prepare() comes first")
        return self._splits

    def _store(self, device: torch.device | str) -> ImageStore:
        """Returns a store without images: what is known of the device and the scaling."""
        none = torch.empty(0, 3, self._geometry.size, self._geometry.size, dtype=torch.uint8, device=device)
        return ImageStore(none, torch.empty(0, dtype=torch.int64, device=device), self._mean, self._std)

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> DecodingTrainingLoader:
        """Returns rank `rank`'s share of shuffled, augmented training batches.

        Raises:
            ZooError: `world` does not divide the batch size.
        """
        self._prepared()
        images = TrainingImages(self._train, self._geometry.training, self._seed)
        return DecodingTrainingLoader(
            Decoders(images, worker_count(self._workers, world)),
            len(self._train),
            self._batch_size,
            self._seed,
            self._augmentation,
            self._store(device),
            BrokenImages(self._policy, "another training image of its class stands in for it"),
            rank,
            world,
            _AXES,
            int(self._prepared().sha256[:15], 16),
        )

    def validation_loader(
        self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> DecodingEvaluationLoader | None:
        """Returns rank `rank`'s share of the held-out training images, None where `validation` is 0."""
        self._prepared()
        return self._evaluation_loader(self._held_out, rank, world, device) if self._validation else None

    def test_loader(
        self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> DecodingEvaluationLoader:
        """Returns rank `rank`'s share of the test images."""
        return self._evaluation_loader(self._prepared().test, rank, world, device)

    def _evaluation_loader(
        self, files: ImageFiles, rank: int, world: int, device: torch.device | str
    ) -> DecodingEvaluationLoader:
        geometry = self._geometry
        return DecodingEvaluationLoader(
            Decoders(EvaluationImages(files, geometry.evaluation), worker_count(self._workers, world)),
            len(files),
            # What fits into memory with gradients fits without.
            max(1, self._batch_size // world // geometry.views),
            geometry.size,
            geometry.views,
            self._store(device),
            BrokenImages(self._policy, "it is left out and not counted"),
            rank,
            world,
        )

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What turns a picture into what the test loader feeds: sizes, and statistics of pixels in 0..1."""
        return {
            "channels": 3,
            "height": self._geometry.size,
            "width": self._geometry.size,
            "resize": self._geometry.resize,
            "mean": list(self._mean),
            "std": list(self._std),
            "ink": None,
        }

    @property
    def class_names(self) -> list[str]:
        """The names of the class folders, by class number."""
        return list(self._prepared().classes)

    @property
    def checksums(self) -> dict[str, str]:
        """One sha256 over the paths and sizes of all files: `zoo.data.class_folders.fingerprint`."""
        return {"paths and sizes": self._prepared().sha256}


@register_dataset
def imagefolder(
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
    test_share: float = 0.2,
) -> ImageFolder:
    """Any folder of images: `train/<class>/` with `val/` or `test/` beside it, or a folder for each class.

    Raises:
        ZooError: A setting makes no sense.
    """
    return ImageFolder(
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
        test_share=test_share,
    )
