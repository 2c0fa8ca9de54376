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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from zoo.data.download import DownloadError, download
from zoo.errors import ZooError
from zoo.locations import cache_dir


@dataclass(frozen=True)
class SourceFile:
    """A file of a dataset.

    `path` is where it lies under a data folder, without `.gz`; `address` is the folder on the network under which
    the official file `<name>.gz` is found; `size` and `sha256` are of the content after decompression.
    """

    path: str
    address: str
    size: int
    sha256: str

    @property
    def url(self) -> str:
        """Where the compressed file is downloaded: the official place, or under the mirror `ZOO_MIRROR`."""
        mirror = os.environ.get("ZOO_MIRROR")
        if mirror:
            return f"{mirror.rstrip('/')}/{self.path}.gz"
        return f"{self.address.rstrip('/')}/{Path(self.path).name}.gz"


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


def find(file: SourceFile, folders: Sequence[Path]) -> Path | None:
    """Returns the first existing file, unpacked or compressed, in one of the folders; None if there is none."""
    for folder in folders:
        for path in (folder / file.path, folder / f"{file.path}.gz"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    return path
    return None


def _damage(file: SourceFile, path: Path) -> tuple[bytes, str]:
    """Reads a file and says what is wrong with its content; an empty string if nothing is."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            # One byte more than expected is enough to know; what else may follow is not unpacked.
            content = handle.read(file.size + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        return b"", f"it cannot be decompressed ({error})"
    except OSError as error:
        return b"", f"it cannot be read ({error.strerror or error})"
    if len(content) < file.size:
        return b"", f"it ends after {len(content):,} of {file.size:,} bytes"
    if len(content) > file.size:
        return b"", f"it holds more than the expected {file.size:,} bytes"
    found = hashlib.sha256(content).hexdigest()
    if found != file.sha256:
        return b"", f"the sha256 of its content is {found} instead of {file.sha256}"
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
    path = find(file, folders) or fetch(file, data_cache(), folders)
    content, damage = _damage(file, path)
    if damage:
        raise ZooError(f"{path} is damaged: {damage}; delete it, and a fresh copy is downloaded from {file.url}")
    return content


def fetch(file: SourceFile, folder: Path, looked_in: Sequence[Path]) -> Path:
    """Downloads a file and verifies it; processes that want the same file wait for one another.

    Args:
        file: Which file.
        folder: The data folder under which it is kept, made if need be.
        looked_in: Where it was looked for in vain, named in the error.

    Returns:
        The compressed file.

    Raises:
        ZooError: It cannot be downloaded, its content is wrong, or the folder cannot be written.
    """
    target = folder / f"{file.path}.gz"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                _download_verified(file, target)
    except DownloadError as error:
        raise ZooError(
            f"{file.path}(.gz) is not in {' or '.join(map(str, looked_in))} and cannot be downloaded from {file.url}: "
            f"{error}; put it there yourself (sha256 of its content after decompression: {file.sha256}) "
            "or name its folder with data.dir"
        ) from error
    except OSError as error:
        raise ZooError(
            f"{file.path}.gz (from {file.url}) cannot be kept in {target.parent}: {error.strerror or error}; name "
            "another cache folder with the environment variable ZOO_CACHE, or the folder that holds it with data.dir"
        ) from error
    return target


def _download_verified(file: SourceFile, target: Path) -> None:
    """Downloads into `target` by way of a `.part` file, which stays behind to be continued if the line breaks."""
    part = target.with_name(f"{target.name}.part")
    resumed = part.is_file() and part.stat().st_size > 0
    download(file.url, part, limit=file.size + (1 << 20))
    damage = _part_damage(file, part)
    if damage and resumed:
        # The beginning may be from another day's file.
        part.unlink()
        download(file.url, part, limit=file.size + (1 << 20))
        damage = _part_damage(file, part)
    if damage:
        part.unlink()
        raise DownloadError(f"what came is not the file: {damage}")
    part.replace(target)


def _part_damage(file: SourceFile, part: Path) -> str:
    """As `_damage`, for a file whose name does not tell that it is compressed."""
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(part) as handle:
            while size <= file.size and (chunk := handle.read(1 << 20)):
                digest.update(chunk)
                size += len(chunk)
    except (EOFError, OSError, zlib.error) as error:
        return f"it cannot be decompressed ({error})"
    return "" if digest.hexdigest() == file.sha256 else f"the sha256 of its content is {digest.hexdigest()}"
