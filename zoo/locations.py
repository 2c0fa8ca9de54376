"""Where the files that travel with the package lie, and where downloads are kept."""

import os
from pathlib import Path

from platformdirs import user_cache_path


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
