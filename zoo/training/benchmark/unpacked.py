"""Dataset files as torchvision reads them: unpacked, in a folder."""

import os
from pathlib import Path

from zoo.data.archives import read_members
from zoo.data.cifar import CIFAR10_ARCHIVE
from zoo.data.images import MNIST_FILES
from zoo.data.sources import data_cache, places, read
from zoo.locations import cache_dir


def unpacked_folder(name: str, directory: str | None) -> Path:
    """Returns a folder from which torchvision reads a dataset that the zoo has found or can download.

    Args:
        name: `mnist` or `cifar10`.
        directory: The folder the user named, or None.

    Raises:
        ZooError: A file is damaged, or missing and cannot be downloaded.
    """
    if name == "cifar10":
        for _ in read_members(CIFAR10_ARCHIVE, directory):
            pass  # what is packed has been unpacked into the cache
        return next(folder for folder in [*places(directory), data_cache()] if CIFAR10_ARCHIVE.is_unpacked(folder))
    root = cache_dir() / "benchmark"
    for file in MNIST_FILES:
        plain = root / file.path
        if not plain.exists():
            plain.parent.mkdir(parents=True, exist_ok=True)
            aside = plain.with_name(f".{plain.name}.{os.getpid()}")
            aside.write_bytes(read(file, directory))
            aside.replace(plain)
    return root
