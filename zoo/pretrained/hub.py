"""Finding releases by name or path; no torch is imported before weights are loaded.

A name is looked for among the shipped releases first, then among torchvision's weights, among those fetched from a hub
before, and in the hub that `ZOO_HUB` names; what is downloaded is kept in the cache.
"""

import fnmatch
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError, unknown
from zoo.locations import shipped
from zoo.pretrained import torchvision_weights
from zoo.pretrained.card import CARD, MODEL, WEIGHTS, anew, read_card, releases_in, task_name
from zoo.pretrained.remote import fetch_release, hub_address, kept_releases, read_index

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class PretrainedEntry:
    """A release with a name.

    Attributes:
        name: What `load_pretrained` takes.
        task: The learning problem.
        metric: The measured headline; for torchvision's weights, the accuracy that torchvision prints.
        bytes: Its size on disk, or that of its download.
        folder: Where it lies, None before it is downloaded.
        source: Where it is from: `"zoo"`, `"torchvision"` or `"hub"`.
    """

    name: str
    task: str
    metric: str
    bytes: int
    folder: Path | None
    source: str = "zoo"


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


def shipped_releases() -> dict[str, Path]:
    """Returns the folders of the releases that travel with the package, by name."""
    return releases_in(shipped("pretrained"))


def _torchvision_entries(taken: dict[str, Path]) -> list[PretrainedEntry]:
    """Returns torchvision's weights; one whose name a shipped release has goes by its longer name."""
    entries = []
    for name, weights in torchvision_weights.WEIGHTS.items():
        folder = torchvision_weights.place(name) if torchvision_weights.is_downloaded(name) else None
        entries.append(
            PretrainedEntry(
                f"{name}{torchvision_weights.SUFFIX}" if name in taken else name,
                "image_classification",
                torchvision_weights.accuracy_text(name),
                folder_bytes(folder) if folder else weights.bytes,
                folder,
                "torchvision",
            )
        )
    return entries


def _entry_of(name: str, folder: Path, card: dict[str, Any], source: str) -> PretrainedEntry:
    return PretrainedEntry(name, task_name(card) or "", headline_text(card), folder_bytes(folder), folder, source)


def list_pretrained(pattern: str = "*") -> list[PretrainedEntry]:
    """Returns the releases whose names match a wildcard pattern, sorted by name.

    They are the shipped ones, torchvision's, those kept in the cache, and those of the hub that `ZOO_HUB` names. A
    hub that cannot be reached, a release in the cache that is damaged, or not the one that the hub offers by now, are
    told on the standard error output.

    Raises:
        ZooError: A shipped release is damaged.
    """
    releases = shipped_releases()
    entries = {entry.name: entry for entry in _torchvision_entries(releases)}
    for name, folder in releases.items():
        if name not in entries and fnmatch.fnmatch(name, pattern):
            entries[name] = _entry_of(name, folder, read_card(folder), "zoo")
    try:
        offered = read_index()
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        offered = {}
    for name, folder in kept_releases().items():
        if name in entries or not fnmatch.fnmatch(name, pattern):
            continue
        try:
            card = read_card(folder)
        except ZooError as error:  # no reason why nothing else should be listed
            print(f"zoo: {error}", file=sys.stderr)
            continue
        if name in offered and offered[name].files[WEIGHTS].sha256 != card["sha256"][WEIGHTS]:
            print(f"zoo: {name} here is not the one of {hub_address()}: {anew(folder)}", file=sys.stderr)
        entries[name] = _entry_of(name, folder, card, "hub")
    for name, release in offered.items():
        entries.setdefault(name, PretrainedEntry(name, release.task, release.metric, release.bytes, None, "hub"))
    return [entries[name] for name in sorted(entries) if fnmatch.fnmatch(name, pattern)]


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


def _named(name_or_path: str | Path) -> tuple[Path | None, str | None]:
    """Returns the shipped release of that name or, where there is none, torchvision's weights of that name.

    A name wins over a folder that happens to be called so here unless that is a release itself.

    Raises:
        ZooError: It is neither text nor a path.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        kind = type(name_or_path).__name__
        raise ZooError(f"expected the name of a release or a path, not {name_or_path!r}, of the type {kind}")
    # os.path, for names that no file can have: Path raises an OSError for them.
    if os.path.isfile(os.path.join(os.path.expanduser(name_or_path), CARD)):
        return None, None
    name = str(name_or_path)
    folder = shipped("pretrained") / name if re.fullmatch(r"[\w-][\w.-]*", name) else None
    release = folder if folder and os.path.isfile(folder / CARD) else None
    return release, None if release else torchvision_weights.known_as(name)


def find_release(name_or_path: str | Path) -> Path:
    """Returns the folder of a release.

    Args:
        name_or_path: The path of a release, the path of a finished run, or a name out of `list_pretrained()`.
            Torchvision's weights and those of a hub are downloaded the first time.

    Raises:
        ZooError: There is nothing of the kind (the nearest names are told), the run has not finished, or the download
            failed.
    """
    release, published = _named(name_or_path)
    if release:
        return release
    if published:
        return torchvision_weights.get(published)
    path = Path(os.path.expanduser(name_or_path))
    if os.path.exists(path):
        return _release_at(path)
    name = str(name_or_path)
    if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
        raise ZooError(f"there is no folder {path}; `zoo list pretrained` shows the releases with a name")
    kept = kept_releases()
    if name in kept:
        return kept[name]
    offered = read_index()
    if name in offered:
        return fetch_release(offered[name])
    known = {*shipped_releases(), *torchvision_weights.WEIGHTS, *kept, *offered}
    raise ZooError(f"{unknown('release', name, known)} `zoo list pretrained` shows all; a run's folder works too")


def load_pretrained(
    name_or_path: str | Path,
    *,
    num_classes: int | None = None,
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | str | None" = None,
) -> "nn.Module":
    """Loads a pretrained model.

    Args:
        name_or_path: A name out of `list_pretrained()`, or the path of a finished run or of a release. Torchvision's
            weights, such as `resnet50_v1_5-imagenet`, and those of a hub are downloaded the first time.
        num_classes: Puts a new last layer for so many classes on a classifier, drawn as the model's constructor draws
            it; which tensors are new is logged as a warning of the logger `zoo`.
        device: Where the model goes.
        dtype: Of its floating-point numbers, such as `torch.float16` or `"float16"`; by default float32.

    Returns:
        The model, in evaluation mode. It expects input as the card's `preprocessing` says; `zoo.pipeline` does that
        for you.

    Raises:
        ZooError: No such release, or one that is damaged, or cannot be downloaded; a model without classes; a device
            that is not there.

    Example:
        >>> model = zoo.load_pretrained("lenet5_modern-mnist", num_classes=26)  # to be trained on letters
    """
    from zoo.pretrained.outputs import placed, with_new_outputs
    from zoo.pretrained.release import load_release

    model, card = load_release(find_release(name_or_path))
    if num_classes is not None:
        model = with_new_outputs(model, card, num_classes)
    return placed(model, device, dtype)


def pretrained_card(name_or_path: str | Path) -> dict[str, Any]:
    """Returns the card of a release: data, preprocessing, metrics, the paper's claim, seed, commit, licence.

    Of torchvision's weights nothing is downloaded for it.

    Args:
        name_or_path: As for `load_pretrained`.

    Raises:
        ZooError: No such release, or its card is damaged.
    """
    published = _named(name_or_path)[1]
    if published and not torchvision_weights.is_downloaded(published):
        return torchvision_weights.card(published)
    return read_card(find_release(name_or_path))
