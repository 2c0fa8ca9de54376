"""A hub: a folder of releases on the network or on a shared disk, from which single ones are fetched into the cache.

The environment variable `ZOO_HUB` names it: an address that begins with `https://`, `http://` or `file://`. Its
`index.json` says which releases there are, and of each file its size and sha256; such a folder is written by
`scripts/publish.py --to FOLDER`. A release becomes visible in the cache when all of its files are there and verified,
not earlier.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.locations import cache_dir
from zoo.pretrained.card import CARD, MODEL, NAME, SHA256, WEIGHTS, releases_in

INDEX, INDEX_FORMAT = "index.json", 1

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LARGEST_INDEX = 16 * 2**20
_LARGEST_FILE = 2**40


@dataclass(frozen=True)
class RemoteFile:
    """Bytes and sha256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class RemoteRelease:
    """A release in a hub's index: what it is, and its files by name."""

    name: str
    task: str
    metric: str
    files: Mapping[str, RemoteFile]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files.values())


def hub_address() -> str | None:
    """Returns the hub that `ZOO_HUB` names, without a slash at its end; None where it names none.

    Raises:
        ZooError: It is no such address.
    """
    address = os.environ.get("ZOO_HUB", "").strip().rstrip("/")
    if address and not re.match(r"(https?|file)://.", address):
        raise ZooError(f"ZOO_HUB={address} is no hub: expected https://… or file://… with an {INDEX}")
    return address or None


def _entry(name: str, entry: Any) -> RemoteRelease:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r:.80} cannot name a release")
    files = {}
    for file, told in entry["files"].items():
        if not _FILE.fullmatch(file):
            raise ValueError(f"{name} has a file {file!r:.80}, which is no name of a file beside its others")
        size, sha256 = told["size"], told["sha256"]
        if type(size) is not int or not 0 <= size <= _LARGEST_FILE or not SHA256.fullmatch(sha256):
            raise ValueError(f"{name} has a file {file} of {size!r:.40} bytes with the sha256 {sha256!r:.80}")
        files[file] = RemoteFile(size, sha256)
    if missing := {WEIGHTS, MODEL, CARD} - set(files):
        raise ValueError(f"{name} lacks {', '.join(sorted(missing))}")
    return RemoteRelease(name, str(entry.get("task", "")), str(entry.get("metric", "")), files)


def parse_index(content: bytes, where: str) -> dict[str, RemoteRelease]:
    """Reads an index; every name and number in it is checked before any of it is used.

    Args:
        content: Of `index.json`.
        where: It comes from, for messages.

    Raises:
        ZooError: It is no index, or names what could lie outside of a release's folder.
    """
    try:
        index = json.loads(content.decode("utf-8"))
        if index["format"] > INDEX_FORMAT:
            raise ZooError(f"{where} has format {index['format']}, this zoo reads up to {INDEX_FORMAT}: "
                           "pip install --upgrade landmark-zoo")  # fmt: skip
        return {name: _entry(name, entry) for name, entry in index["releases"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else str(error)
        raise ZooError(f"{where} is no index of a hub: {' '.join(reason.split())}") from error


def _local(address: str, hub: str) -> Path:
    """Returns the file behind a `file://` address.

    Raises:
        OSError: It is a link, or lies behind one: what a hub serves lies in its own folder.
    """
    path, root = (Path(urllib.request.url2pathname(urllib.parse.urlparse(each).path)) for each in (address, hub))
    if path.resolve() != root.resolve() / path.relative_to(root):
        raise OSError("it is a link")
    return path


def _fetch(hub: str, path: str, part: Path, size: int) -> None:
    """Copies or downloads a file of a hub into `part`, going on with what an earlier download left there.

    Raises:
        DownloadError: It cannot be downloaded.
        OSError: It cannot be read or written.
    """
    from zoo.data.download import download

    address = f"{hub}/{path}"
    if not hub.startswith("file://"):
        download(address, part, limit=size)
        return
    source = _local(address, hub)
    if (found := source.stat().st_size) > size:
        raise OSError(f"{source} has {found:,} bytes where at most {size:,} were expected")
    shutil.copyfile(source, part)


def read_index() -> dict[str, RemoteRelease]:
    """Returns the releases of the hub by name; none where `ZOO_HUB` names no hub.

    Raises:
        ZooError: It cannot be reached, or its index is none.
    """
    from zoo.data.download import DownloadError

    hub = hub_address()
    if hub is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / INDEX
        try:
            _fetch(hub, INDEX, part, _LARGEST_INDEX - 1)
        except (DownloadError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ZooError(f"the hub ZOO_HUB={hub} cannot be read: {INDEX}: {reason}") from error
        return parse_index(part.read_bytes(), f"{hub}/{INDEX}")


def kept_releases() -> dict[str, Path]:
    """Returns the folders of the releases that were fetched before, by name."""
    return releases_in(cache_dir() / "releases")


def fetch_release(release: RemoteRelease) -> Path:
    """Returns the folder in the cache of a release, which is fetched and verified if it is not there.

    Processes that want the same one wait for one another.

    Raises:
        ZooError: It cannot be fetched or kept, or a file is not what the index vouches for.
    """
    from filelock import FileLock

    from zoo.data.download import DownloadError

    place = cache_dir() / "releases" / release.name
    hub = hub_address()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not (place / CARD).is_file():
                _fill(release, hub or "", place)
    except DownloadError as error:
        raise ZooError(f"{release.name} cannot be fetched from {hub}: {error}") from error
    except OSError as error:
        raise ZooError(
            f"{release.name} cannot be kept in {place.parent}, or read from {hub}: {error.strerror or error}; another "
            "cache folder is named by the environment variable ZOO_CACHE"
        ) from error
    return place


def _fill(release: RemoteRelease, hub: str, place: Path) -> None:
    from zoo.data.download import fetch_verified

    free = shutil.disk_usage(place.parent).free
    if release.bytes > free:
        raise OSError(f"it takes {release.bytes / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free")
    aside = place.with_name(f".{release.name}.part")  # stays behind, to be continued, if the line breaks
    aside.mkdir(exist_ok=True)
    for name, file in release.files.items():
        # What came whole before the line broke may be of an earlier release of that name.
        if not (aside / name).is_file() or _damage(file, aside / name):
            part = aside / f"{name}.part"
            fetch = partial(_fetch, hub, f"{release.name}/{name}", part, file.size)
            fetch_verified(fetch, part, partial(_damage, file))
            part.replace(aside / name)
    for stray in set(aside.iterdir()) - {aside / name for name in release.files}:
        stray.unlink()
    if place.is_dir():  # what is left of one that has lost its card
        shutil.rmtree(place)
    aside.rename(place)


def _damage(file: RemoteFile, path: Path) -> str:
    """Says what is wrong with a file, or with the part of it that ends in `.part`; an empty string if nothing is."""
    name, size = path.name.removesuffix(".part"), path.stat().st_size
    if size != file.size:
        return f"{name} has {size:,} bytes instead of {file.size:,}"
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    return "" if found == file.sha256 else f"{name} has the sha256 {found}"
