"""Where the files that travel with the package lie, where downloads are kept, where a command's own files go."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from zoo.errors import ZooError


def shipped(name: str) -> Path:
    """Returns the folder `name` (`"configs"`, `"pretrained"` or `"results"`) that belongs to this installation.

    In a wheel they lie inside the package, in a checkout beside `pyproject.toml`; the working directory plays no
    part.
    """
    package = Path(__file__).resolve().parent
    packaged = package / "_shipped" / name
    return packaged if packaged.is_dir() else package.parent / name


def cache_dir() -> Path:
    """Returns the folder for downloads and unpacked archives: `ZOO_CACHE`, or the platform's user cache."""
    configured = os.environ.get("ZOO_CACHE")
    return Path(configured).expanduser().resolve() if configured else user_cache_path("landmark-zoo")


def output_file(flag: str, name: str | Path) -> Path:
    """Returns the path of a file that a flag asks for; called before minutes of work, of which nothing is then lost.

    Raises:
        ZooError: The folder that it would lie in is not there.
    """
    path = Path(name)
    if not path.parent.is_dir():
        raise ZooError(f"{flag}={name} cannot be written: there is no folder {path.parent}")
    return path


@contextmanager
def writing(flag: str, name: str | Path) -> Iterator[Path]:
    """Yields the path of a file that a flag asks for, to be written inside.

    Raises:
        ZooError: It cannot be written: there is no such folder, the disk is full, or its name ends like no picture's.
    """
    try:
        yield output_file(flag, name)
    except (OSError, ValueError) as error:
        reason = isinstance(error, OSError) and error.strerror
        raise ZooError(f"{flag}={name} cannot be written: {reason or error}") from error
