"""Writing a folder so that a reader sees the old one or the new one, never a mixture or a part."""

import ctypes
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # <fcntl.h>, <linux/fs.h>
_STALE_SECONDS = 3600


def _sync(path: Path) -> None:
    """Makes what a file or folder holds survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in a single step where the system can; says whether it could."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _put_in_place(new: Path, place: Path) -> None:
    if not place.exists():
        new.rename(place)
    elif _exchange(new, place):
        shutil.rmtree(new, ignore_errors=True)  # now the old one
    else:
        # Two steps: killed between them, the old folder lies whole beside the empty place, under this name.
        old = place.with_name(f".{place.name}.{secrets.token_hex(4)}.old")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
        shutil.rmtree(old, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    """Removes what writers that were killed left beside the place; younger ones may still be at work."""
    for leftover in place.parent.glob(f".{place.name}.*.part"):
        if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)


def write_folder(place: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder with these files, replacing the one that stands there.

    Args:
        place: The folder; its parents are made.
        files: Content by file name.

    Raises:
        OSError: It cannot be written; then what stood there still does.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(place)
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        aside.mkdir()
        for name, content in files.items():
            (aside / name).write_bytes(content)
            _sync(aside / name)
        _sync(aside)
        _put_in_place(aside, place)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    _sync(place.parent)
