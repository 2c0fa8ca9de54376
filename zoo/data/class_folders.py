"""Folders of images, one for each class: found, listed in torchvision's order and kept in little memory."""

import hashlib
import os
import sys
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError

# What torchvision's ImageFolder takes for images.
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

_QUIET_SECONDS = 2.0  # listing that takes no longer needs no progress


class ImageFiles:
    """The images of a split: their paths, sizes and labels, compact enough for a million of them.

    Paths lie one behind another in one piece of memory, which processes that are forked share: a list of strings
    would be copied as soon as they count its references.

    Args:
        root: The folder that paths are relative to.
        entries: For each image its path relative to `root`, its size in bytes and its class number, which never falls.

    Attributes:
        labels: Class numbers `(N,)`, int64, in rising order.
    """

    def __init__(self, root: str, entries: Iterable[tuple[str, int, int]]) -> None:
        self.root = root
        text, labels = bytearray(), array("q")
        self._ends, self._sizes = array("q", [0]), array("q")
        for path, size, label in entries:
            text += os.fsencode(path)
            self._ends.append(len(text))
            self._sizes.append(size)
            labels.append(label)
        self._text = bytes(text)
        self.labels = torch.tensor(labels, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self._sizes)

    def _name(self, index: int) -> bytes:
        return self._text[self._ends[index] : self._ends[index + 1]]

    def path(self, index: int) -> str:
        """Returns where an image lies."""
        return os.path.join(self.root, os.fsdecode(self._name(index)))

    def subset(self, indices: Tensor) -> "ImageFiles":
        """Returns the images at `indices` `(M,)`, which are in rising order."""
        chosen = zip(indices.tolist(), self.labels[indices].tolist(), strict=True)
        return ImageFiles(self.root, ((os.fsdecode(self._name(i)), self._sizes[i], label) for i, label in chosen))

    def lines(self) -> list[bytes]:
        """Returns `path size` for each image."""
        return [b"%s %d" % (self._name(index), size) for index, size in enumerate(self._sizes)]


def fingerprint(splits: Sequence[ImageFiles]) -> str:
    r"""Returns one sha256 over which images there are and how large each file is.

    Contents are not read: that would take an hour for a million photographs. In a dataset's folder that holds images
    only, it is what `find train val -type f -printf '%p %s\n' | LC_ALL=C sort | sha256sum` prints.
    """
    digest = hashlib.sha256()
    for line in sorted(line for split in splits for line in split.lines()):
        digest.update(line + b"\n")
    return digest.hexdigest()


class _Count:
    """Shows on a terminal how many images have been found, once that has taken a while."""

    def __init__(self, folder: str, quiet_seconds: float) -> None:
        self._folder, self._found = folder, 0
        self._from = time.monotonic() + quiet_seconds
        self._bar: Any = None

    def __enter__(self) -> "_Count":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, images: int) -> None:
        self._found += images
        if not sys.stderr.isatty() or time.monotonic() < self._from:
            return
        text = f"{self._found:,} images found in {self._folder}"
        if self._bar is None:
            from rich.console import Console
            from rich.status import Status

            self._bar = Status(text, console=Console(stderr=True))
            self._bar.start()
        self._bar.update(text)


def _is_shown(entry: "os.DirEntry[str]") -> bool:
    return not entry.name.startswith(".")


def class_folders(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted; hidden ones such as `.ipynb_checkpoints` do not count.

    Raises:
        ZooError: The folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_shown(entry) and entry.is_dir())
    except OSError as error:
        raise ZooError(f"{folder} cannot be read: {error.strerror or error}") from error


def _bytes(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0  # a link that leads nowhere: told when the image is to be read


def _images_below(folder: str) -> list[tuple[str, str, int]]:
    """Returns (folder, name, size) of all images in and below a folder, sorted as torchvision does."""
    found, folders = [], [folder]
    while folders:
        current = folders.pop()
        with os.scandir(current) as entries:
            for entry in filter(_is_shown, entries):
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.lower().endswith(ENDINGS):
                    found.append((current, entry.name, _bytes(entry)))
    return sorted(found)


def list_images(root: Path, split: str, classes: Sequence[str], quiet_seconds: float = _QUIET_SECONDS) -> ImageFiles:
    """Lists the images of a split.

    Args:
        root: The folder of the dataset.
        split: The folder in `root` that holds the class folders; empty where that is `root` itself.
        classes: The class folders, sorted; an image's label is the place of its class.
        quiet_seconds: How long no progress is shown on a terminal.

    Raises:
        ZooError: A class folder holds no image, or a folder cannot be read.
    """
    top = str(root)
    beginning = len(os.path.join(top, ""))

    def entries(count: _Count) -> Iterator[tuple[str, int, int]]:
        for label, name in enumerate(classes):
            folder = os.path.join(top, split, name)
            try:
                found = _images_below(folder)
            except OSError as error:
                raise ZooError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
            if not found:
                raise ZooError(
                    f"{folder} holds no image: expected files such as .jpg or .png in the folder of each class; "
                    "remove the folder if it is no class"
                )
            yield from ((os.path.join(where, file)[beginning:], size, label) for where, file, size in found)
            count.add(len(found))

    with _Count(str(root / split), quiet_seconds) as count:
        return ImageFiles(top, entries(count))
