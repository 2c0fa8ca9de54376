"""Putting a run's release among the shipped ones, small enough for git, or into a hub's folder."""

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.models.catalog import MODELS
from zoo.pretrained.card import NAME, read_card, releases_in, task_name
from zoo.pretrained.hub import find_release, folder_bytes, headline_text, shipped_releases
from zoo.pretrained.model_card import model_card
from zoo.pretrained.release import load_release, read_files, save_release
from zoo.pretrained.remote import INDEX, INDEX_FORMAT

LARGEST_RELEASE = 12_000_000  # bytes
LARGEST_TOGETHER = 40_000_000

Measure = Callable[[Path], Mapping[str, float]]


def _checked_name(name: str | None, card: Mapping[str, Any]) -> str:
    """Returns the name to publish under.

    Raises:
        ZooError: There is none, it cannot be a folder's name, or a model has it.
    """
    name = name or card.get("release")
    if not name:
        raise ZooError("this run's config names no release: give it a name with --name NAME, such as lenet5-mnist")
    if not NAME.fullmatch(name):
        raise ZooError(f"{name!r} cannot name a release: expected small letters, digits, _ . - such as lenet5-mnist")
    if name in MODELS:
        raise ZooError(f"{name!r} is a model: name its release after the data too, such as {name}-mnist")
    return name


def _check_size(name: str, size: int) -> None:
    if size > LARGEST_RELEASE:
        raise ZooError(f"{name} takes {size / 1e6:.1f} MB, more than {LARGEST_RELEASE / 1e6:.0f} MB: too large for git")
    others = shipped_releases()
    others.pop(name, None)
    together = size + sum(map(folder_bytes, others.values()))
    if together > LARGEST_TOGETHER:
        raise ZooError(
            f"with {name} ({size / 1e6:.1f} MB) all releases take {together / 1e6:.1f} MB, more than "
            f"{LARGEST_TOGETHER / 1e6:.0f} MB: remove one from {shipped('pretrained')} first"
        )


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _nearly_the_same(one: float, other: float) -> bool:
    """Tells whether a headline is the same to a thousandth, as `zoo verify` allows: a perplexity always moves a bit."""
    return math.isclose(one, other, rel_tol=1e-3)


def _check_headline(card: Mapping[str, Any], measured: Mapping[str, float]) -> None:
    """Refuses weights that do not measure what their card says.

    Raises:
        ZooError: They measure something else.
    """
    metric, told = card["headline"]["metric"], card["headline"]["value"]
    if metric not in measured or not _same(measured[metric], told):
        raise ZooError(
            f"{card['name']} is not published: measured again, {metric} is {measured.get(metric, 'missing')}, its run "
            f"says {told}; are data, versions and precision those of the run?"
        )


def write_index(hub: Path) -> Path:
    """Writes the `index.json` of a hub's folder, with all releases that lie in it; returns its path.

    Raises:
        ZooError: One of them is damaged.
        OSError: It cannot be written.
    """
    releases = {}
    for name, folder in releases_in(hub).items():
        card = read_card(folder)
        files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name[0] != "."]
        releases[name] = {
            "task": task_name(card),
            "metric": headline_text(card),
            "files": {
                file.name: {
                    "size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()
                } for file in files
            },
        }  # fmt: skip
    part = hub / f".{INDEX}.part"
    part.write_text(json.dumps({"format": INDEX_FORMAT, "releases": releases}, indent=2) + "\n", encoding="utf-8")
    return part.replace(hub / INDEX)


def publish(
    run: Path | str,
    name: str | None = None,
    dtype: str = "float16",
    measure: Measure | None = None,
    hub: Path | None = None,
) -> Path:
    """Copies a run's release to the shipped ones, or into the folder of a hub.

    Args:
        run: A finished run's folder, or a release's.
        name: What to call it; by default what the run's config says under `release`.
        dtype: How weights are stored, `"float16"` or `"float32"`.
        measure: Returns the metrics of a release folder. With it, weights that do not measure what their card says
            are refused, float16 gives way to float32 where rounding would change the headline, and the card tells
            the metrics of the weights as they are stored.
        hub: The folder of a hub, made if need be, whose index is renewed; without one it goes to the shipped ones.

    Returns:
        The folder of the published release.

    Raises:
        ZooError: The run has no release, the name is none, it would take too much room, or what is measured is not
            what the run measured.
    """
    source = find_release(run)
    model, card = load_release(source)
    files = read_files(source)
    card["name"] = name = _checked_name(name, card)

    def save(folder: Path, dtype: str) -> Path:
        return save_release(folder, model, card["model"], card["arguments"], card, dtype, files)

    if measure:
        measured = measure(source)
        _check_headline(card, measured)
    with tempfile.TemporaryDirectory() as aside:
        staged = save(Path(aside) / name, dtype)
        if measure and dtype == "float16":
            rounded, metric = measure(staged), card["headline"]["metric"]
            if _nearly_the_same(rounded[metric], measured[metric]):
                card["metrics"] = dict(rounded)
                card["headline"] = card["headline"] | {"value": rounded[metric]}
            else:
                dtype = "float32"
                staged = save(staged, dtype)
        if hub is None:
            _check_size(name, folder_bytes(staged))
    place = save((hub or shipped("pretrained")) / name, dtype)
    (place / "README.md").write_text(model_card(read_card(place)), encoding="utf-8")
    if hub is not None:
        write_index(hub)
    return place
