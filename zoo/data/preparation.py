"""Gets datasets ready ahead of time: what `scripts/prepare_data.py` does."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from zoo.data.catalog import DATASETS
from zoo.data.registry import create_dataset
from zoo.data.sources import Source, data_cache, places
from zoo.data.spec import ControlSpec
from zoo.errors import ZooError


@dataclass(frozen=True)
class Prepared:
    """A dataset that is ready: what it holds, where its files lie, how many of them were downloaded just now."""

    name: str
    content: str
    folder: str
    downloaded: int
    files: int
    seconds: float


def missing_files(name: str, directory: str | None = None) -> list[Source]:
    """Returns the files that a run with this dataset would download.

    Args:
        name: The dataset.
        directory: The folder with its files; by default what `ZOO_DATA` names.

    Raises:
        ZooError: There is no such dataset, or the folder is none.
    """
    directory = directory or os.environ.get("ZOO_DATA") or None
    folders = places(directory)
    return [file for file in create_dataset(name, dir=directory).files if file.find(folders) is None]


def prepare_dataset(name: str, directory: str | None = None) -> Prepared:
    """Downloads what is missing of a dataset, then verifies and reads all of it.

    Args:
        name: One of `zoo.data.registry.list_datasets()`.
        directory: A folder to keep the files in, made if it is missing. By default they are looked for as a run does,
            in the folder of the environment variable `ZOO_DATA` first, and downloaded into the cache.

    Raises:
        ZooError: Unknown name, a file that cannot be downloaded, kept or verified.
    """
    started = time.perf_counter()
    if directory is not None:
        try:
            Path(directory).expanduser().mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ZooError(f"{directory} cannot be made: {error.strerror or error}; name another folder") from error
        target = Path(directory).expanduser()
        folders = [target]
    else:
        directory = os.environ.get("ZOO_DATA")
        target, folders = data_cache(), places(directory)
    dataset = create_dataset(name, dir=directory)
    missing = [file for file in dataset.files if file.find(folders) is None]
    for file in missing:
        file.fetch(target, folders)
    content = str(dataset.prepare())
    found = [path for file in dataset.files if (path := file.find(folders))]
    # An archive that is unpacked is the folder with its files.
    folder = str(found[0] if found[0].is_dir() else found[0].parent) if found else "embedded"
    return Prepared(name, content, folder, len(missing), len(dataset.files), time.perf_counter() - started)


def prepare_all(names: list[str], directory: str | None = None) -> list[Prepared]:
    """Prepares the named datasets, or where none is named all that need no file of the user's and are no environment.

    Unknown names stop it at the start.

    Raises:
        ZooError: As `prepare_dataset`.
    """
    # Environments have nothing to download, and some need a package that is not always installed.
    by_default = (n for n, entry in DATASETS.items() if not entry.your_own and not isinstance(entry.spec, ControlSpec))
    chosen = names or list(by_default)
    for name in chosen:
        create_dataset(name)
    return [prepare_dataset(name, directory) for name in chosen]


def print_prepared(rows: list[Prepared]) -> None:
    """Prints a table of datasets that are ready."""
    _print_table(
        ("dataset", "holds", "files", "in", "seconds"),
        [
            (
                row.name,
                row.content,
                f"{row.files} verified, {row.downloaded} downloaded" if row.files else "none needed",
                row.folder,
                f"{row.seconds:.1f}",
            )
            for row in rows
        ],
    )


def print_datasets() -> None:
    """Prints a table of all datasets with the size of their downloads."""
    _print_table(
        ("dataset", "about", "download"),
        [
            (name, entry.about, f"{entry.download_bytes / 1e6:.0f} MB" if entry.download_bytes else "none")
            for name, entry in DATASETS.items()
        ],
    )


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    # In a pipe there is no width to keep to: a folder's name stays in one piece.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
