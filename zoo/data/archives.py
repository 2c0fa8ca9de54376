"""Datasets that come as one tar archive of several files.

The files may lie unpacked in a data folder, or packed as `.tar.gz` (as distributed), `.tar.xz` or `.tar`. An archive
is unpacked once, into the cache, since the user's folder may be read-only. Nothing in it is trusted: files are taken
by their expected names alone, up to their expected sizes, and move to their place once their checksums are right.
"""

import gzip
import lzma
import os
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from filelock import FileLock

from zoo.data.download import DownloadError, download
from zoo.data.sources import (
    content_and_damage,
    data_cache,
    expected_hash,
    explained_fetching,
    first_file,
    mirrored,
    places,
)
from zoo.errors import ZooError

# What an archive may hold besides the files that are wanted.
_SLACK = 16 << 20
_CHUNK = 1 << 20
_QUIET_SECONDS = 2.0


class _DamageError(Exception):
    """An archive that is not what it should be, and how."""


@dataclass(frozen=True)
class Member:
    """A file in an archive: `path` in there, which is also where it lies under a data folder, size and checksum.

    The checksum is the sha256; where only another one is known, that, its name and a colon before it.
    """

    path: str
    size: int
    checksum: str


@dataclass(frozen=True)
class Archive:
    """A tar archive of a dataset's files.

    `path` is where it lies under a data folder, without `.gz`; `address` is the folder on the network under which
    the official `<name>.gz` is found, of `size` bytes and with that `md5`.
    """

    path: str
    address: str
    size: int
    md5: str
    members: tuple[Member, ...]

    @property
    def url(self) -> str:
        """Where it is downloaded: the official place, or under the mirror `ZOO_MIRROR`."""
        return mirrored(f"{self.address.rstrip('/')}/{Path(self.path).name}.gz", f"{self.path}.gz")

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums of the files in it, by their paths."""
        return {member.path: member.checksum for member in self.members}

    def is_unpacked(self, folder: Path) -> bool:
        """Says whether all files of the archive lie under a data folder."""
        return all(first_file([folder / member.path]) for member in self.members)

    def find(self, folders: Sequence[Path]) -> Path | None:
        """Returns the folder that holds the unpacked files, else the archive, under the first data folder with it."""
        for folder in folders:
            if self.is_unpacked(folder):
                return folder / Path(self.members[0].path).parent
        return first_file([folder / f"{self.path}{ending}" for folder in folders for ending in (".gz", ".xz", "")])

    def fetch(self, folder: Path, looked_in: Sequence[Path]) -> Path:
        """Downloads the archive and unpacks it; only the files in it are kept.

        Raises:
            ZooError: It cannot be downloaded, its content is wrong, or the folder cannot be written.
        """
        target = folder / f"{self.path}.gz"
        wanted = f"{self.path}(.gz, .xz) with {Path(self.members[0].path).parent}"
        checksum = f"md5 of the official {target.name}: {self.md5}"
        with explained_fetching(self.url, target, looked_in, wanted, checksum), self._locked(folder):
            if not self.is_unpacked(folder):
                self._download(folder, target.with_name(f"{target.name}.part"))
        return folder / Path(self.members[0].path).parent

    def _download(self, folder: Path, part: Path) -> None:
        """Downloads into a `.part` file, which stays behind to be continued if the line breaks, and unpacks that."""
        limit = sum(member.size for member in self.members) + _SLACK
        resumed = part.is_file() and part.stat().st_size > 0
        # The whole archive may be there already, if it was its unpacking that was interrupted.
        if not (resumed and part.stat().st_size == self.size):
            download(self.url, part, limit)
        try:
            self._unpack(part, folder)
        except _DamageError as error:
            part.unlink()
            if not resumed:
                raise DownloadError(f"what came is not the archive: {error}") from error
            # The beginning may be from another day's file.
            self._download(folder, part)
        else:
            part.unlink()

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        place = folder / self.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            yield

    def unpack(self, packed: Path, folder: Path) -> None:
        """Unpacks the archive; of several processes one does it, the others wait. Unpacked files stay as they are.

        Args:
            packed: The archive.
            folder: The data folder under which its files go, made if need be.

        Raises:
            ZooError: The archive is damaged, or the folder cannot be written.
        """
        try:
            with self._locked(folder):
                if not self.is_unpacked(folder):
                    self._unpack(packed, folder)
        except _DamageError as error:
            raise ZooError(
                f"{packed} is damaged: {error}; delete it, and a fresh copy is downloaded from {self.url}"
            ) from error
        except OSError as error:
            raise ZooError(
                f"{packed} cannot be unpacked into {folder}: {error.strerror or error}; name another cache folder with "
                "the environment variable ZOO_CACHE"
            ) from error

    def _unpack(self, packed: Path, folder: Path) -> None:
        missing = {member.path: member for member in self.members}
        limit = sum(member.size for member in self.members) + _SLACK
        with _content(packed, limit) as content:
            try:
                # In this mode nothing but `read` is called.
                stream = cast(IO[bytes], content)
                with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
                    for entry in archive:
                        if member := missing.pop(entry.name.removeprefix("./"), None):
                            _write_member(archive, entry, member, folder / member.path)
                        if not missing:
                            return
            # Headers that make no sense end in the latter two.
            except (tarfile.TarError, ValueError, OverflowError) as error:
                raise _DamageError(f"it is no tar archive, or it breaks off ({error})") from error
        raise _DamageError(f"it does not hold {', '.join(missing)}")


def _write_member(archive: tarfile.TarFile, entry: tarfile.TarInfo, member: Member, target: Path) -> None:
    """Writes one file beside its place and moves it there when its checksum is right."""
    source = archive.extractfile(entry) if entry.isreg() else None
    if source is None:
        raise _DamageError(f"its {member.path} is no regular file")
    if entry.size != member.size:
        raise _DamageError(f"its {member.path} has {entry.size:,} instead of {member.size:,} bytes")
    found, expected = expected_hash(member.checksum)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as handle:
            while chunk := source.read(_CHUNK):
                found.update(chunk)
                handle.write(chunk)
        if found.hexdigest() != expected:
            raise _DamageError(f"the {found.name} of its {member.path} is {found.hexdigest()} instead of {expected}")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class _Bounded:
    """The decompressed bytes of an archive, as far as a limit.

    Args:
        plain: Where they come from.
        raw: The compressed file, whose position tells how much is done.
        limit: More than so many are refused.
        show: Told what share of the compressed file is done.
    """

    def __init__(self, plain: IO[bytes], raw: IO[bytes], limit: int, show: "_Progress") -> None:
        self._plain, self._raw, self._limit, self._show = plain, raw, limit, show
        self._received, self._size = 0, max(1, os.fstat(raw.fileno()).st_size)

    def read(self, size: int) -> bytes:
        """Returns the next bytes, fewer at the end.

        Raises:
            _DamageError: They cannot be read or decompressed, or there are more than the limit.
        """
        try:
            chunk = self._plain.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise _DamageError(f"it cannot be decompressed ({error})") from error
        except OSError as error:
            raise _DamageError(f"it cannot be read ({error.strerror or error})") from error
        self._received += len(chunk)
        if self._received > self._limit:
            raise _DamageError(f"it holds more than the expected {self._limit:,} bytes")
        self._show(self._raw.tell() / self._size)
        return chunk


@contextmanager
def _content(packed: Path, limit: int) -> Iterator[_Bounded]:
    """Opens an archive; how it is compressed is seen from its first bytes, whatever it is called."""
    try:
        with packed.open("rb") as handle:
            start = handle.read(6)
    except OSError as error:
        raise _DamageError(f"it cannot be read ({error.strerror or error})") from error
    opening: Callable[[Any], Any] = nullcontext
    if start.startswith(b"\x1f\x8b"):
        opening = gzip.open
    elif start == b"\xfd7zXZ\x00":
        opening = lzma.open
    name = f"unpacking {packed.name.removesuffix('.part')}"
    with packed.open("rb") as raw, _Progress(name) as show, opening(raw) as plain:
        yield _Bounded(plain, raw, limit, show)


class _Progress:
    """A progress bar on a terminal for what takes more than a moment, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name, self._started = name, time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "_Progress":
        return self

    def __call__(self, share: float) -> None:
        """Shows that a share in 0..1 is done."""
        if self._bar is None and sys.stderr.isatty() and time.monotonic() - self._started > _QUIET_SECONDS:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
            self._bar.add_task(self._name, total=1.0)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=share)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def read_members(archive: Archive, directory: str | None = None) -> Iterator[bytes]:
    """Yields the verified content of each file of an archive, which is unpacked or downloaded where need be.

    Args:
        archive: Which archive.
        directory: The folder the user named, or None.

    Raises:
        ZooError: The named folder does not exist, something is damaged, or it is nowhere and cannot be downloaded.
    """
    folders = places(directory)
    found = archive.find(folders)
    if found is None:
        archive.fetch(data_cache(), folders)
    elif found.is_file():
        archive.unpack(found, data_cache())
    folder = next(folder for folder in [*folders, data_cache()] if archive.is_unpacked(folder))
    for member in archive.members:
        path = folder / member.path
        content, damage = content_and_damage(path, member.size, member.checksum)
        if damage:
            raise ZooError(
                f"{path} is damaged: {damage}; delete it, and a fresh copy is unpacked from {Path(archive.path).name} "
                f"or downloaded from {archive.url}"
            )
        yield content
