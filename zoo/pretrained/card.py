"""What lies in a release folder, and reading its JSON; imports no torch, so that listing stays cheap.

A release is a folder of three files: `model.safetensors` (the weights), `model.json` (format, the model's registered
name, its arguments) and `card.json` (where the weights come from, what they measured, how input is prepared, and the
sha256 of the other two).
"""

import json
import re
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.locations import cache_dir

RELEASE_FORMAT = 1
WEIGHTS, MODEL, CARD = "model.safetensors", "model.json", "card.json"

_LARGEST_JSON = 16 * 2**20
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")  # of a release


def anew(folder: Path) -> str:
    """Says how a release that is damaged is had again."""
    return f"delete {folder} and it is downloaded again" if cache_dir() in folder.parents else "get the release anew"


def releases_in(root: Path) -> dict[str, Path]:
    """Returns the folders of the releases below a folder, by name.

    Those whose names are none are left out: hidden ones were left behind by a write that was killed.
    """
    folders = (card.parent for card in sorted(root.glob(f"*/{CARD}")))
    return {folder.name: folder for folder in folders if NAME.fullmatch(folder.name)}


def read_content(path: Path) -> bytes:
    """Returns the content of a small file of a release.

    Raises:
        ZooError: It is missing, unreadable or absurdly large.
    """
    folder = path.parent
    # A named pipe or a device would block: only regular files are opened.
    if not path.is_file():
        raise ZooError(f"{folder} is no release: it holds no {path.name} (expected {WEIGHTS}, {MODEL} and {CARD})")
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_JSON + 1)
    except OSError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _LARGEST_JSON:
        raise ZooError(f"{path} is larger than {_LARGEST_JSON >> 20} MiB: not written by the zoo; {anew(folder)}")
    return content


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    try:
        parsed = json.loads(content.decode("utf-8"))
    # RecursionError: brackets nested a million deep.
    except (ValueError, RecursionError) as error:
        raise ZooError(f"{path} is damaged (no JSON: {error}); {anew(path.parent)}") from error
    if not isinstance(parsed, dict) or type(parsed.get("format")) is not int or parsed["format"] < 1:
        raise ZooError(f"{path} is no part of a release: expected a JSON object with a format number")
    if parsed["format"] > RELEASE_FORMAT:
        raise ZooError(
            f"{path} has format {parsed['format']}, this zoo reads up to {RELEASE_FORMAT}: "
            "pip install --upgrade landmark-zoo"
        )
    return parsed


def read_json(path: Path) -> tuple[dict[str, Any], bytes]:
    """Returns one of a release's JSON files, and the bytes it was read from.

    Raises:
        ZooError: The file is missing, damaged, foreign, or of a newer format.
    """
    content = read_content(path)
    return _parse(content, path), content


def read_card(folder: Path | str) -> dict[str, Any]:
    """Returns a release's card: its origin, metrics, preprocessing and checksums.

    The card is read as it stands; the weights it vouches for are checked by `load_release`.

    Raises:
        ZooError: The folder is no release, or its card is damaged or of a newer format.
    """
    path = Path(folder) / CARD
    card, _ = read_json(path)
    checksums = card.get("sha256")
    valid = {
        "model": isinstance(card.get("model"), str),
        "arguments": isinstance(card.get("arguments"), dict),
        "task": isinstance(task_name(card), str),
        "sha256": isinstance(checksums, dict)
        and all(
            isinstance(checksums.get(file), str) and SHA256.fullmatch(checksums[file]) for file in (WEIGHTS, MODEL)
        ),
    }
    if wrong := [key for key, good in valid.items() if not good]:
        raise ZooError(f"{path} has no usable {' and '.join(wrong)}: damaged or foreign; {anew(path.parent)}")
    return card


def task_name(card: dict[str, Any]) -> str | None:
    """Returns the name of a card's task, which stands alone or with the settings it was trained with."""
    task = card.get("task")
    name = task.get("name") if isinstance(task, dict) else task
    return name if isinstance(name, str) else None
