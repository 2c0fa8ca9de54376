"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32x32 colour pictures, read from the official Python batches."""

import io
import pickle
from typing import Any

import torch

from zoo.data.archives import Archive, Member, read_members
from zoo.data.in_memory import Contents, InMemoryImages, Mean, Split
from zoo.data.registry import register_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

_ADDRESS = "https://www.cs.toronto.edu/~kriz"

CIFAR10_ARCHIVE = Archive(
    "cifar-10-python.tar",
    _ADDRESS,
    170_498_071,
    "c58f30108f718f92721af3b95e74349a",
    tuple(
        Member(f"cifar-10-batches-py/{name}", size, sha256)
        for name, size, sha256 in (
            ("data_batch_1", 31_035_704, "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd"),
            ("data_batch_2", 31_035_320, "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8"),
            ("data_batch_3", 31_035_999, "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9"),
            ("data_batch_4", 31_035_696, "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b"),
            ("data_batch_5", 31_035_623, "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154"),
            ("test_batch", 31_035_526, "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831"),
            ("batches.meta", 158, "f962466ef690d46b226450fb9aadc74ba4bc64a76aa526b5827fe4bc5c7125cb"),
        )
    ),
)
CIFAR100_ARCHIVE = Archive(
    "cifar-100-python.tar",
    _ADDRESS,
    169_001_437,
    "eb9058c3a382ffc7106e4002c42a8d85",
    tuple(
        Member(f"cifar-100-python/{name}", size, f"md5:{md5}")
        for name, size, md5 in (
            ("train", 155_249_918, "16019d7e3df5f24257cddd939b257f8d"),
            ("test", 31_049_707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            ("meta", 1_473, "7973b15100ade9c7d40fb424638fde48"),
        )
    ),
)


class _Array:
    """Takes the place of a numpy array, and of what else it is pickled with: keeps the state and runs nothing."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    """Reads plain containers, numbers, strings, and arrays as `_Array`; any other class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the stand-in of the three names that arrays are pickled with."""
        if (module, name) in (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")):
            return _Array
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch of images needs")


def unpickle(content: bytes, name: str) -> dict[str, Any]:
    """Returns what a file of a Python 2 pickle holds; no code is run, whatever stands in it.

    Args:
        content: The whole file.
        name: The file's name, for the error.

    Returns:
        By key: numbers, lists, strings as bytes, arrays as they are pickled.

    Raises:
        ZooError: It is no such pickle.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return {key.decode("ascii"): value for key, value in found.items()}
    # What a pickle that is none may raise is documented as "and not necessarily limited to" a list.
    except Exception as error:
        raise ZooError(f"{name} is no batch of images: {error}; delete it, and a fresh copy is downloaded") from error


def parse_batch(content: bytes, name: str, label_key: str, classes: int) -> Split:
    """Returns the images and labels that a batch holds.

    Args:
        content: The whole file: a pickled dictionary with `data`, N x 3072 bytes, each row the red, green and blue
            plane of a picture, and a list of labels.
        name: The file's name, for the error.
        label_key: Of the labels, such as `"fine_labels"`.
        classes: How many there are.

    Raises:
        ZooError: It is no batch, or images and labels do not match.
    """
    batch = unpickle(content, name)
    try:
        _, shape, _, by_columns, pixels = batch["data"].state
        # A bytearray, since a tensor must not share memory with immutable bytes.
        images = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
        images = images.view(shape[::-1]).T if by_columns else images.view(shape)
        labels = torch.tensor(batch[label_key], dtype=torch.int64)
        split = Split(images.reshape(-1, 3, 32, 32), labels)
        wrong = len(split.images) != len(labels) or not bool(((labels >= 0) & (labels < classes)).all())
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ZooError(f"{name} is no batch of images ({error}): delete it, and a fresh copy is downloaded") from error
    if wrong:
        raise ZooError(f"{name} has labels that do not fit its images: delete it, and a fresh copy is downloaded")
    return split


def load_cifar(archive: Archive, directory: str | None, label_key: str, names_key: str, classes: int) -> Contents:
    """Reads the batches, of which the last but one is the test split, and the class names in the last file.

    Raises:
        ZooError: A file is missing and cannot be downloaded, or is damaged.
    """
    splits: list[Split] = []
    names: tuple[str, ...] = ()
    for member, content in zip(archive.members, read_members(archive, directory), strict=True):
        if member is not archive.members[-1]:
            splits.append(parse_batch(content, member.path, label_key, classes))
        else:
            names = tuple(name.decode("ascii") for name in unpickle(content, member.path)[names_key])
    train = Split(*(torch.cat(part) for part in zip(*splits[:-1], strict=True)))
    return Contents(train, splits[-1], names)


@register_dataset
def cifar10(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: Mean = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
    crop: int | None = None,
    views: int = 1,
) -> InMemoryImages:
    """CIFAR-10: 50,000 colour pictures of 10 classes to train on, 10,000 to test on.

    Raises:
        ZooError: A setting makes no sense.
    """
    return InMemoryImages(
        lambda: load_cifar(CIFAR10_ARCHIVE, dir, "labels", "label_names", 10),
        (CIFAR10_ARCHIVE,),
        ImageSpec(3, 32, 32, 10),
        (),
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
        crop=crop,
        views=views,
    )


@register_dataset
def cifar100(
    dir: str | None = None,
    batch_size: int = 128,
    seed: int = 0,
    validation: int = 0,
    mean: Mean = None,
    std: list[float] | None = None,
    augment: dict[str, Any] | None = None,
    crop: int | None = None,
    views: int = 1,
) -> InMemoryImages:
    """CIFAR-100: 50,000 colour pictures of 100 classes to train on, 10,000 to test on.

    Raises:
        ZooError: A setting makes no sense.
    """
    return InMemoryImages(
        lambda: load_cifar(CIFAR100_ARCHIVE, dir, "fine_labels", "fine_label_names", 100),
        (CIFAR100_ARCHIVE,),
        ImageSpec(3, 32, 32, 100),
        (),
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        batch_size=batch_size,
        seed=seed,
        validation=validation,
        mean=mean,
        std=std,
        augment=augment,
        crop=crop,
        views=views,
    )
