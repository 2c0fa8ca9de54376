"""Where dataset files come from: a folder of the user's, the cache, a download; verified by content.

A file is looked for in the folder that `data.dir` names (or in `./data`, if that exists), then in the cache, and is
then downloaded into the cache. It may lie there as it is or compressed as distributed (`.gz`). Checksums are of the
content after decompression, since the same content is compressed differently in different places.
"""

import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from zoo.data.download import DownloadError, download, fetch_verified
from zoo.errors import ZooError
from zoo.locations import cache_dir


class Source(Protocol):
    """Something that a dataset is read from: a file, or an archive of several."""

    @property
    def url(self) -> str:
        """Where it is downloaded."""
        ...

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file's content after decompression by its path; another algorithm is named before it."""
        ...

    def find(self, folders: Sequence[Path]) -> Path | None:
        """Returns where it lies under the first folder that has it; None if there is none."""
        ...

    def fetch(self, folder: Path, looked_in: Sequence[Path]) -> Path:
        """Downloads and verifies it; processes that want the same one wait for one another.

        Args:
            folder: The data folder under which it is kept, made if need be.
            looked_in: Where it was looked for in vain, named in the error.

        Returns:
            Where it lies.

        Raises:
            ZooError: It cannot be downloaded, its content is wrong, or the folder cannot be written.
        """
        ...


def mirrored(official: str, path: str) -> str:
    """Returns where to download a file: its official address, or `path` under the mirror `ZOO_MIRROR`."""
    mirror = os.environ.get("ZOO_MIRROR")
    return f"{mirror.rstrip('/')}/{path}" if mirror else official


@dataclass(frozen=True)
class SourceFile:
    """A file of a dataset.

    `path` is where it lies under a data folder, without `.gz`; `address` is the folder on the network under which
    the official file `<name>.gz` is found; `size` and `sha256` are of the content after decompression. Where the
    official file is not compressed, `plain_address` is its whole address instead.
    """

    path: str
    address: str
    size: int
    sha256: str
    plain_address: str = ""

    @property
    def downloaded_path(self) -> str:
        """Where the file lies under a data folder once it has been downloaded."""
        return self.path if self.plain_address else f"{self.path}.gz"

    @property
    def url(self) -> str:
        """Where the file is downloaded: the official place, or under the mirror `ZOO_MIRROR`."""
        official = self.plain_address or f"{self.address.rstrip('/')}/{Path(self.path).name}.gz"
        return mirrored(official, self.downloaded_path)

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of the content after decompression, by the path."""
        return {self.path: self.sha256}

    def find(self, folders: Sequence[Path]) -> Path | None:
        """Returns the first existing file, unpacked or compressed, in one of the folders; None if there is none."""
        return first_file([folder / name for folder in folders for name in (self.path, f"{self.path}.gz")])

    def fetch(self, folder: Path, looked_in: Sequence[Path]) -> Path:
        """Downloads the file and verifies it; processes that want the same file wait for one another.

        Raises:
            ZooError: It cannot be downloaded, its content is wrong, or the folder cannot be written.
        """
        target = folder / self.downloaded_path
        checksum = f"sha256 of its content after decompression: {self.sha256}"
        with explained_fetching(self.url, target, looked_in, f"{self.path}(.gz)", checksum):
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.is_file():
                    _download_verified(self, target)
        return target


def data_cache() -> Path:
    """Returns the folder in which downloaded datasets are kept."""
    return cache_dir() / "data"


def places(directory: str | None) -> list[Path]:
    """Returns the folders to look in, first things first.

    Args:
        directory: The folder the user named, or None.

    Raises:
        ZooError: The user named a folder that does not exist.
    """
    if not directory:  # an environment variable that is set to nothing names nothing
        return [*([Path("data")] if Path("data").is_dir() else []), data_cache()]
    named = Path(directory).expanduser()
    if not named.is_dir():
        kind = "is not a folder" if named.exists() else "does not exist"
        raise ZooError(f"data.dir={directory} {kind}: name the folder that holds the datasets, or leave it out")
    return [named, data_cache()]


def first_file(paths: Sequence[Path]) -> Path | None:
    """Returns the first of the paths that is a file; None if there is none, or none that can be seen."""
    for path in paths:
        with contextlib.suppress(OSError):
            if path.is_file():
                return path
    return None


def expected_hash(checksum: str) -> tuple[Any, str]:
    """Returns a fresh hash object and the digits it should come to, of sha256 or of what stands before a colon."""
    algorithm, _, digits = checksum.rpartition(":")
    return hashlib.new(algorithm or "sha256", usedforsecurity=False), digits


def content_and_damage(path: Path, size: int, checksum: str) -> tuple[bytes, str]:
    """Reads a file, plain or `.gz`, and says what is wrong with its content; an empty string if nothing is.

    Args:
        path: The file.
        size: Of its content after decompression.
        checksum: Of the same, as `expected_hash` takes it.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            # One byte more than expected is enough to know; what else may follow is not unpacked.
            content = handle.read(size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return b"", f"it cannot be decompressed ({error})"
    except OSError as error:
        return b"", f"it cannot be read ({error.strerror or error})"
    if len(content) < size:
        return b"", f"it ends after {len(content):,} of {size:,} bytes"
    if len(content) > size:
        return b"", f"it holds more than the expected {size:,} bytes"
    found, expected = expected_hash(checksum)
    found.update(content)
    if found.hexdigest() != expected:
        return b"", f"the {found.name} of its content is {found.hexdigest()} instead of {expected}"
    return content, ""


def read(file: SourceFile, directory: str | None = None) -> bytes:
    """Returns the verified content of a file, downloading it into the cache if it is nowhere else.

    Args:
        file: Which file.
        directory: The folder the user named, or None.

    Raises:
        ZooError: The named folder does not exist, the file is damaged, or it is nowhere and cannot be downloaded.
    """
    folders = places(directory)
    path = file.find(folders) or file.fetch(data_cache(), folders)
    content, damage = content_and_damage(path, file.size, file.sha256)
    if damage:
        raise ZooError(f"{path} is damaged: {damage}; delete it, and a fresh copy is downloaded from {file.url}")
    return content


@contextlib.contextmanager
def explained_fetching(url: str, target: Path, looked_in: Sequence[Path], wanted: str, checksum: str) -> Iterator[None]:
    """Tells what goes wrong in a download so that one knows what to do.

    Args:
        url: Where the file comes from.
        target: Where it goes.
        looked_in: Where it was looked for in vain.
        wanted: What it may be called.
        checksum: How to know it.

    Raises:
        ZooError: In place of a `DownloadError` or an `OSError`.
    """
    try:
        yield
    except DownloadError as error:
        raise ZooError(
            f"{wanted} is not in {' or '.join(map(str, looked_in))} and cannot be downloaded from {url}: "
            f"{error}; put it there yourself ({checksum}) or name its folder with data.dir"
        ) from error
    except OSError as error:
        raise ZooError(
            f"{target.name} (from {url}) cannot be kept in {target.parent}: {error.strerror or error}; name "
            "another cache folder with the environment variable ZOO_CACHE, or the folder that holds it with data.dir"
        ) from error


def _download_verified(file: SourceFile, target: Path) -> None:
    """Downloads into `target` by way of a `.part` file, which stays behind to be continued if the line breaks."""
    part = target.with_name(f"{target.name}.part")
    fetch = partial(download, file.url, part, limit=file.size + (1 << 20))
    fetch_verified(fetch, part, partial(_part_damage, file))
    part.replace(target)


def _part_damage(file: SourceFile, part: Path) -> str:
    """As `content_and_damage`, for a file whose name does not tell that it is compressed."""
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("rb") if file.plain_address else gzip.open(part) as handle:
            while size <= file.size and (chunk := handle.read(1 << 20)):
                digest.update(chunk)
                size += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
        return f"it cannot be decompressed ({error})"
    return "" if digest.hexdigest() == file.sha256 else f"the sha256 of its content is {digest.hexdigest()}"
