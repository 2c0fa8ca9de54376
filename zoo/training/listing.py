"""`zoo list`: what there is, as tables; imports no torch."""

import fnmatch
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from pathlib import Path
from textwrap import shorten

import yaml
from rich.markup import escape

from zoo.data.catalog import DATASETS
from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.pretrained.hub import list_pretrained
from zoo.training.records import all_records, chosen, claims_of, experiments
from zoo.training.screen import columns, show
from zoo.training.tables import unit_text

Rows = dict[str, tuple[str, ...]]


def claim_text(claim: dict) -> str:
    """Says what a paper reports, e.g. `test/error 0.95 %`."""
    unit = "" if claim["unit"] in claim["metric"] else unit_text(claim)  # test/perplexity says it already
    return f"{claim['metric']} {claim['reported']}{unit}"


def _claims(experiment: dict) -> str:
    return ", ".join(claim_text(claim) for claim in claims_of(experiment))


def _models() -> tuple[tuple[str, ...], Rows]:
    return ("model", "task", "parameters", "year", "paper"), {
        name: (entry.task, f"{entry.parameters:,}", str(PAPERS[entry.paper].year), PAPERS[entry.paper].title)
        for name, entry in MODELS.items()
    }


def _data() -> tuple[tuple[str, ...], Rows]:
    return ("data", "task", "what it is"), {name: (entry.task, entry.about) for name, entry in DATASETS.items()}


def _experiments() -> tuple[tuple[str, ...], Rows]:
    records = all_records()
    return ("experiment", "model", "data", "records", "published"), {
        name: (
            chosen(experiment, "model") or "",
            chosen(experiment, "data") or "",
            str(len(records.get(name, []))),
            _claims(experiment),
        )
        for name, experiment in experiments().items()
    }


def _pretrained() -> tuple[tuple[str, ...], Rows]:
    return ("release", "measured (* theirs)", "size", "source"), {
        entry.name: (
            entry.metric if entry.source == "zoo" else f"{entry.metric} *",
            f"{entry.bytes / 1e6:.1f} MB",
            entry.source if entry.folder else f"{entry.source}, not downloaded",
        )
        for entry in list_pretrained()
    }


def _about(file: Path) -> str:
    """Says what a config file is for: the comment at its head, or else the class that it builds or what it sets."""
    lines = file.read_text(encoding="utf-8").splitlines()
    head = [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)]
    if comment := " ".join(line for line in head if not line.startswith("@package")):
        return comment
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    content = content.get(file.parent.name, content) or {}
    plain = (f"{key}={value}" for key, value in content.items() if isinstance(value, str | int | float))
    return content.get("_target_") or shorten(" ".join(plain), 100, placeholder=" …")


def _files(group: str) -> tuple[tuple[str, ...], Rows]:
    folder = shipped("configs") / group
    names = (file for file in folder.glob("*.yaml") if file.name[0] != "_")
    return (f"{group}=…", "what it is"), {file.stem: (_about(file),) for file in names}


_KINDS: dict[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "models": _models,
    "data": _data,
    "experiments": _experiments,
    "pretrained": _pretrained,
    "tasks": partial(_files, "task"),
    "optimizers": partial(_files, "optimizer"),
    "schedulers": partial(_files, "scheduler"),
    "callbacks": partial(_files, "callbacks"),
    "trainers": partial(_files, "trainer"),
    "loggers": partial(_files, "logger"),
    "searches": partial(_files, "search"),
}
KINDS = tuple(_KINDS)


def print_listing(kind: str, pattern: str = "*") -> None:
    """Prints the table of a kind, the rows whose name matches a wildcard pattern, or else holds a match.

    Raises:
        ZooError: Nothing matches.
    """
    header, rows = _KINDS[kind]()
    names = fnmatch.filter(sorted(rows), pattern) or fnmatch.filter(sorted(rows), f"*{pattern}*")
    if rows and not names:
        raise ZooError(f"no {kind} match {pattern!r}; `zoo list {kind}` shows all {len(rows)}")
    table = columns(*header)
    for name in names:
        table.add_row(name, *map(escape, rows[name]))
    show(table if rows else f"{kind}: none yet")
