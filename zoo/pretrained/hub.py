"""Finding releases by name or path; no torch is imported before weights are loaded."""

import fnmatch
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError, unknown
from zoo.locations import shipped
from zoo.pretrained.card import CARD, MODEL, WEIGHTS, read_card, task_name

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PretrainedEntry:
    """A shipped release: its name, task, measured headline, size on disk, and where it lies."""

    name: str
    task: str
    metric: str
    bytes: int
    folder: Path


def folder_bytes(folder: Path) -> int:
    """Returns the size of a release's files."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())


def headline_text(card: dict[str, Any]) -> str:
    """Returns the measured headline of a card, e.g. `"test/error 0.93 %"`; empty where it has none."""
    headline = card.get("headline")
    if not isinstance(headline, dict) or not isinstance(headline.get("value"), int | float):
        return ""
    metric = str(headline.get("metric"))
    # The design's table of headlines: these are percent, all others speak for themselves.
    unit = " %" if metric.endswith(("error", "accuracy")) else ""
    return f"{metric} {headline['value']:.4g}{unit}"


def _shipped_releases() -> dict[str, Path]:
    root = shipped("pretrained")
    return {card.parent.name: card.parent for card in sorted(root.glob(f"*/{CARD}")) if card.parent.name[0] != "."}


def list_pretrained(pattern: str = "*") -> list[PretrainedEntry]:
    """Returns the shipped releases whose names match a wildcard pattern, sorted by name.

    Raises:
        ZooError: A shipped release is damaged.
    """
    entries = []
    for name, folder in _shipped_releases().items():
        if fnmatch.fnmatch(name, pattern):
            card = read_card(folder)
            entries.append(
                PretrainedEntry(name, task_name(card) or "", headline_text(card), folder_bytes(folder), folder)
            )
    return entries


def _status(run: Path) -> str | None:
    """Returns what a run's summary says of how it ended; None where there is none."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return str(summary.get("status")) if isinstance(summary, dict) else None


def _release_of_run(run: Path) -> Path:
    status = _status(run)
    if status != "finished":
        told = "has not finished" if status is None else f"ended as {status!r}"
        raise ZooError(f"the run {run} {told}, so it has no release: go on with `zoo train resume={run}`")
    if not (run / "release" / CARD).is_file():
        raise ZooError(f"the run {run} has lost its release: start it anew with `zoo train from_run={run}`")
    return run / "release"


def _release_at(path: Path) -> Path:
    """Returns the release at a path that exists."""
    if not path.is_dir():
        raise ZooError(f"{path} is a file: expected the folder of a release or a run")
    if any((path / name).exists() for name in (CARD, MODEL, WEIGHTS)):
        return path
    if (path / "config.yaml").is_file() or (path / "release").is_dir():
        return _release_of_run(path)
    runs = [config.parent for config in path.glob("*/config.yaml") if _status(config.parent) == "finished"]
    hint = f"; did you mean its run {max(runs, key=lambda run: run.name)}?" if runs else ""
    raise ZooError(f"{path} is neither a release ({CARD}, {MODEL}, {WEIGHTS}) nor a run{hint}")


def find_release(name_or_path: str | Path) -> Path:
    """Returns the folder of a release.

    Args:
        name_or_path: The path of a release, the path of a finished run, or the name of a shipped release. A shipped
            name wins over a folder of that name here unless that is a release itself.

    Raises:
        ZooError: There is nothing of the kind (the nearest names are told), or the run has not finished.
    """
    # os.path, for names that no file can have: Path raises an OSError for them.
    path = Path(os.path.expanduser(name_or_path))
    releases = _shipped_releases()
    name = str(name_or_path)
    if name in releases and not os.path.isfile(path / CARD):
        return releases[name]
    if os.path.exists(path):
        return _release_at(path)
    if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
        raise ZooError(f"there is no folder {path}; `zoo list pretrained` shows the releases with a name")
    raise ZooError(f"{unknown('release', name, releases)} `zoo list pretrained` shows all; a run's folder works too")


def load_pretrained(name_or_path: str | Path) -> "nn.Module":
    """Loads a pretrained model.

    Args:
        name_or_path: A name out of `list_pretrained()`, or the path of a finished run or of a release.

    Returns:
        The model on the CPU, in evaluation mode, in float32. It expects input as the card's `preprocessing` says;
        `zoo.pipeline` does that for you.

    Raises:
        ZooError: No such release, or one that is damaged.
    """
    from zoo.pretrained.release import load_release

    return load_release(find_release(name_or_path))[0]


def pretrained_card(name_or_path: str | Path) -> dict[str, Any]:
    """Returns the card of a release: data, preprocessing, metrics, the paper's claim, seed, commit, licence.

    Args:
        name_or_path: As for `load_pretrained`.

    Raises:
        ZooError: No such release, or its card is damaged.
    """
    return read_card(find_release(name_or_path))
