"""What each config key means, read from the comments behind the keys in the YAML files."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from zoo.locations import shipped
from zoo.training.check import CHOICES, LAUNCHERS

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_][\w]*):(?P<rest>.*)$")


def _comment(rest: str) -> str:
    """Returns the comment behind a value; a `#` inside quotes begins none."""
    outside = re.sub(r"\"[^\"]*\"|'[^']*'", lambda quoted: "_" * len(quoted[0]), rest)
    position = outside.find(" #")
    return rest[position + 2 :].strip() if position >= 0 else ""


def _meanings_in(text: str, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if not (match := _LINE.match(line)):
            continue
        indent = len(match["indent"])
        path = [(depth, key) for depth, key in path if depth < indent] + [(indent, match["key"])]
        if meaning := _comment(match["rest"]):
            found[".".join([*filter(None, [prefix]), *(key for _, key in path)])] = meaning
    return found


def top_level_types() -> dict[str, str]:
    """Returns key -> type for the keys that the trainer itself reads; the others have a signature that tells."""
    path = "str | null"
    return {
        **{key: " | ".join(choices) for key, choices in CHOICES.items()},
        **dict.fromkeys(("resume", "from_run", "init_from", "release", "sweep.name"), path),
        "imports": "list[str]",
        "claim": "dict | list[dict] | null",
        "checkpoint.every_minutes": "float",
        "sweep.jobs": "int | null",
        "sweep.launcher": " | ".join(LAUNCHERS),
        "sweep.slurm.partition": path,
        **dict.fromkeys(("sweep.slurm.timeout_minutes", "sweep.slurm.cpus", "sweep.slurm.gpus"), "int"),
        "sweep.slurm.requeue": "bool",
    }


def _with_defaults(file: Path) -> Iterator[Path]:
    """Yields a config file and those of its own group that it builds on, the nearest first."""
    if file.is_file():
        yield file
        for entry in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("defaults", []):
            if isinstance(entry, str):
                yield from _with_defaults(file.with_name(f"{entry}.yaml"))


@cache
def key_meanings(files: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """Returns dotted key -> meaning, for all keys of the shipped configs that carry a comment.

    Args:
        files: Group and name of the files whose meanings count where several files comment on the same key.
    """
    root = shipped("configs")
    found = _meanings_in((root / "train.yaml").read_text(encoding="utf-8"), "")
    first = [file for group, name in files for file in _with_defaults(root / group / f"{name}.yaml")]
    for file in dict.fromkeys([*first, *sorted(root.glob("*/*.yaml"))]):
        text = file.read_text(encoding="utf-8")
        prefix = "" if "@package _global_" in text else file.parent.name
        found = _meanings_in(text, prefix) | found
    return found
