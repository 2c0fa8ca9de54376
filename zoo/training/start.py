"""From words on the command line to a frozen run folder and the process that trains in it.

Imports no torch, except where the config of a run that goes on is changed.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from zoo.errors import ZooError
from zoo.training.check import TOP_LEVEL, check
from zoo.training.compose import Composed, compose, config_groups, flat_keys, parse_overrides, resolve, unknown_key
from zoo.training.processes import training_command
from zoo.training.run_folder import RunFolder, freeze, protocol_hash


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().absolute()) if path else None


def _anchored(config: dict[str, Any]) -> dict[str, Any]:
    """Makes paths independent of the folder in which the command was typed."""
    config["runs_dir"] = _absolute(config["runs_dir"])
    if "dir" in config["data"]:
        config["data"]["dir"] = _absolute(config["data"]["dir"])
        files = ("source", "target") if config["data"].get("name") == "parallel_files" else ("file",)
        for key in files if not config["data"]["dir"] else ():
            if config["data"].get(key):
                config["data"][key] = _absolute(config["data"][key])
    if config["init_from"] and Path(config["init_from"]).exists():
        config["init_from"] = _absolute(config["init_from"])
    return config


# Words that never change what is computed need not be named where a protocol is called modified.
_NO_PROTOCOL = ("experiment=", "seed=", "runs_dir=", "logger", "trainer.enable_progress_bar=")


def _modified(config: dict[str, Any], overrides: Sequence[str], own: dict[str, Any]) -> list[str]:
    """Returns the overrides that make a config differ from an experiment's `own`; none when it does not differ."""
    if protocol_hash(config) == protocol_hash(own):
        return []
    return [word for word in overrides if not word.startswith(_NO_PROTOCOL)] or list(overrides)


def mark_modified(config: dict[str, Any], modified: Sequence[str]) -> None:
    """Says in each claim of a config that its protocol is not the experiment's, and why."""
    claims = config["claim"] if isinstance(config["claim"], list) else [config["claim"]]
    for claim in filter(None, claims):
        claim["protocol"] = f"modified: {' '.join(modified)}"


def checked_config(composed: Composed, config_dirs: Sequence[Path] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Resolves and checks a composed config.

    Returns:
        The config, and what goes into `overrides.yaml` (overrides, experiment, how it was modified, config folders).

    Raises:
        ZooError: Whatever is wrong with it.
    """
    config = _anchored(resolve(composed.config))
    check(config)
    modified = []
    if composed.experiment:
        own = _anchored(resolve(compose([f"experiment={composed.experiment}"], config_dirs).config))
        for key in ("claim", "release"):
            if config[key] != own[key]:
                raise ZooError(
                    f"{key} belongs to the file of experiment {composed.experiment} and cannot be changed here"
                )
        modified = _modified(config, composed.overrides, own)
        if modified:
            mark_modified(config, modified)
    typed = {"overrides": composed.overrides, "experiment": composed.experiment, "modified": modified}
    folders = [str(Path(folder).absolute()) for folder in config_dirs]
    return config, typed | ({"config_dirs": folders} if folders else {})


def existing_run(path: str) -> RunFolder:
    """Returns the run folder at `path`.

    Raises:
        ZooError: There is none.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise ZooError(f"{path} is no run folder: there is no such folder")
    run = RunFolder(folder)
    if missing := set(TOP_LEVEL) - set(run.read_config()):
        raise ZooError(f"{path} is no run folder: its config.yaml has no {', '.join(sorted(missing))}")
    run.read_overrides()
    return run


def refuse_if_busy(run: RunFolder) -> None:
    """Makes sure that no process is training in a folder, before anything in it is rewritten.

    Raises:
        ZooError: One is.
    """
    lock = run.path / ".lock"
    if not lock.exists():
        return
    try:
        with FileLock(lock, timeout=0):
            pass
    except Timeout:
        raise ZooError(f"{run.path} is being trained by another process") from None


def apply_overrides(config: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Sets plain values in a stored config.

    Raises:
        ZooError: A key that the config does not have, or a choice of a file, which a stored config cannot follow.
    """
    tree = OmegaConf.create(config)
    known = flat_keys(tree)
    for override in overrides:
        key, word = override.key_or_group, override.input_line
        if override.is_delete() or override.is_sweep_override():
            raise ZooError(f"{word} cannot be applied to a stored config: give plain values, such as seed=2")
        if key in config_groups() and not isinstance(override.value(), dict):
            raise ZooError(f"{word} chooses a file, which a stored config cannot follow: "
                           f"give plain values under {key}., or start anew without from_run")  # fmt: skip
        if key not in known and not (override.is_add() or override.is_force_add()):
            raise unknown_key(key, known)
        OmegaConf.update(tree, key, override.value(), force_add=True)
    plain = OmegaConf.to_container(tree)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _split(overrides: Sequence[str], key: str) -> tuple[str | None, list[Override]]:
    """Splits the value of `key` off the overrides; None when it is not among them."""
    parsed = parse_overrides(overrides)
    found = [override for override in parsed if override.key_or_group == key]
    rest = [override for override in parsed if override.key_or_group != key]
    value = found[-1].value() if found else None
    if value == "":
        raise ZooError(f"{key}= is empty: name the folder of a run")
    return (None if value is None else str(value)), rest


def _typed_since(
    source: RunFolder, config: dict[str, Any], stored: dict[str, Any], overrides: Sequence[Override]
) -> dict[str, Any]:
    """Returns what goes into `overrides.yaml` when a stored config was changed, and marks its claim if need be."""
    typed = source.read_overrides()
    words = [str(override.input_line) for override in overrides]
    modified = typed["modified"] + _modified(config, words, stored)
    if modified:
        mark_modified(config, modified)
    return typed | {"overrides": [*typed["overrides"], *words], "modified": modified}


def resume_run(path: str, overrides: Sequence[Override]) -> RunFolder:
    """Readies a stopped run to go on, with changes under `trainer.` and `logger.` only.

    Raises:
        ZooError: No run, a finished one, one that never wrote a checkpoint, or another change.
    """
    run = existing_run(path)
    if run.finished:
        raise ZooError(f"{path} is finished: start a new run from it with from_run={path} or init_from={path}")
    for override in overrides:
        if not override.key_or_group.startswith(("trainer.", "logger.")):
            raise ZooError(
                f"{override.input_line} cannot change in a resumed run, only plain values under trainer. and logger.; "
                f"for a new run with another config use from_run={path}"
            )
        if override.is_add() or override.is_force_add():
            # Nothing may be written that the training process would refuse: the stored config is all there is.
            raise ZooError(
                f"{override.input_line} adds a key, which a resumed run cannot; without the + it changes one"
            )
    if overrides:
        refuse_if_busy(run)
        stored = run.read_config()
        config = apply_overrides(stored, overrides)
        check(config)
        _check_as_training_will(config)
        freeze(config, _typed_since(run, config, stored, overrides), run.path)
    return run


def _check_as_training_will(config: dict[str, Any]) -> None:
    """Checks a config that will stand in another one's place: in the training process it would be too late."""
    from zoo.training.build import build_trainer
    from zoo.training.imports import import_modules
    from zoo.training.signatures import check_signatures

    import_modules(config["imports"])
    check_signatures(config)
    build_trainer(config, [], [], config["runs_dir"])


def _from_run(path: str, overrides: Sequence[Override]) -> RunFolder:
    source = existing_run(path)
    stored = source.read_config()
    config = apply_overrides(stored | {"runs_dir": os.environ.get("ZOO_RUNS") or "runs"}, overrides)
    config = _anchored(config) | {"from_run": str(source.path)}
    check(config)
    return freeze(config, _typed_since(source, config, stored, overrides))


def prepare_run(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> RunFolder:
    """Composes, checks and freezes a run: a new one, one from a stored config, or one to go on with.

    Args:
        overrides: The words typed after `zoo train`.
        config_dirs: Folders with config groups of the user's own.

    Raises:
        ZooError: Whatever is wrong with them; nothing is left behind.
    """
    for key, begin in (("resume", resume_run), ("from_run", _from_run)):
        path, rest = _split(overrides, key)
        if path is not None:
            return begin(path, rest)
    config, typed = checked_config(compose(overrides, config_dirs), config_dirs)
    return freeze(config, typed)


def replace_process(run: RunFolder) -> NoReturn:
    """Becomes the training process, so that signals reach it directly. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    command = training_command(run)
    os.execv(command[0], command)


def train_in_subprocess(run: RunFolder) -> int:
    """Trains in a process of its own and waits for it, handing on a SIGTERM that comes meanwhile.

    Returns:
        Its exit code: 0, or 130 after Ctrl-C, 143 after SIGTERM, otherwise what went wrong has been printed.
    """
    process = subprocess.Popen(training_command(run))
    # Only a program's main thread may handle signals; from another one none are handed on.
    handles = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)) if handles else None
    try:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code  # as a shell tells of a process that was killed
            except KeyboardInterrupt:
                continue  # the terminal sends Ctrl-C to the child too; it saves a checkpoint and ends by itself
    finally:
        if handles:
            signal.signal(signal.SIGTERM, before)
