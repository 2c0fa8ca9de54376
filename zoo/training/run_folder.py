"""The folder of a run: which files lie where, and how a frozen config gets into it."""

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import ZooError

# What does not change what a run computes is left out of its hash.
_NOT_IN_HASH = ("name", "runs_dir", "logger", "resume", "from_run", "checkpoint", "claim", "release", "sweep")
# Nor do these words on the command line.
WITHOUT_EFFECT = ("runs_dir=", "logger", "sweep.", "trainer.enable_progress_bar=")
_NOT_COMPARED = ("seed", "compile", "channels_last")
_HARDWARE = ("accelerator", "devices", "num_nodes", "strategy", "precision")

# Checkpoints: two to go on from, and the one that was best on the validation split.
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast: hundreds of runs are compared


class RunFolder:
    """Paths inside one run's folder; makes nothing by itself."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.overrides = self.path / "overrides.yaml"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.csv"
        self.log = self.path / "train.log"
        self.checkpoints = self.path / "checkpoints"
        self.figures = self.path / "figures"
        self.release = self.path / "release"
        self.evaluations = self.path / "evaluations"
        self.summary = self.path / "summary.json"
        self.fresh = self.path / ".fresh"  # there until the first process takes the run up

    def read_config(self) -> dict[str, Any]:
        """Returns the frozen config.

        Raises:
            ZooError: This folder is no run.
        """
        if not self.config.is_file():
            raise ZooError(f"{self.path} is no run folder: it holds no config.yaml")
        try:
            config = yaml.load(self.config.read_text(encoding="utf-8"), Loader=_YAML)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ZooError(f"{self.config} cannot be read as YAML: {error}") from error
        if not isinstance(config, dict):
            raise ZooError(f"{self.config} holds no config")
        return config

    def read_overrides(self) -> dict[str, Any]:
        """Returns what was typed: `overrides`, `experiment`, `modified`, and `config_dirs` if there were any.

        Raises:
            ZooError: The file is missing or damaged.
        """
        try:
            typed = yaml.load(self.overrides.read_text(encoding="utf-8"), Loader=_YAML)
            wanted = {key: typed[key] for key in ("overrides", "experiment", "modified")}
            return wanted | ({"config_dirs": typed["config_dirs"]} if "config_dirs" in typed else {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
            raise ZooError(f"{self.overrides} is missing or damaged: {self.path} is no whole run folder") from error

    def write_overrides(self, typed: dict[str, Any]) -> None:
        """Writes what `read_overrides` reads."""
        write_atomically(self.overrides, yaml.safe_dump(typed, sort_keys=False, allow_unicode=True))

    def read_summary(self) -> dict[str, Any] | None:
        """Returns the summary of a run that has ended, None for one that has not (or whose summary is damaged)."""
        try:
            summary = json.loads(self.summary.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return summary if isinstance(summary, dict) else None

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        summary = self.read_summary()
        return summary is not None and summary.get("status") == "finished"

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any((self.checkpoints / name).exists() for name in (LAST, PREVIOUS))


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file so that a reader sees the old content or the new, never a part."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, readable for people."""
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _digest(config: dict[str, Any]) -> str:
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _computed(config: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in _NOT_IN_HASH}
    kept["data"] = {key: value for key, value in config["data"].items() if key not in ("dir", "workers")}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key != "enable_progress_bar"}
    return kept


def data_folder(release: Path) -> str | None:
    """Returns `data.dir` of the run that a release stands in, if it is there: a card does not tell, machines differ."""
    run = RunFolder(release.parent)
    folder = run.read_config()["data"].get("dir") if run.config.is_file() else None
    return folder if folder and Path(folder).is_dir() else None


def config_hash(config: dict[str, Any]) -> str:
    """Returns a name for what a run computes: its config with the seed, without loggers, progress and `data.dir`."""
    return _digest(_computed(config))


def seedless_hash(config: dict[str, Any]) -> str:
    """Returns a name for what runs share that differ in their seed alone."""
    return _digest({key: value for key, value in _computed(config).items() if key != "seed"})


def protocol_hash(config: dict[str, Any]) -> str:
    """Returns a name for the protocol: as `config_hash`, but without the seed and the hardware."""
    kept = {key: value for key, value in _computed(config).items() if key not in _NOT_COMPARED}
    kept["trainer"] = {key: value for key, value in kept["trainer"].items() if key not in _HARDWARE}
    return _digest(kept)


def resumable_hash(config: dict[str, Any]) -> str:
    """Returns a name for what must not change while a run goes on: as `config_hash`, but without the trainer."""
    return _digest({key: value for key, value in _computed(config).items() if key != "trainer"})


def _new_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        folder = parent / (stamp if attempt == 0 else f"{stamp}_{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise ZooError(f"{parent} holds a thousand runs started this second")


def freeze(config: dict[str, Any], typed: dict[str, Any], folder: Path | None = None) -> RunFolder:
    """Makes the run folder and writes the config that the training process will read.

    Args:
        config: A checked, resolved config.
        typed: What goes into `overrides.yaml`.
        folder: The folder to make; by default `<runs_dir>/<name>/<date_time>`.

    Raises:
        ZooError: The folder cannot be made or written.
    """
    made = folder is None
    try:
        folder = folder or _new_folder(Path(config["runs_dir"]) / config["name"])
        folder.mkdir(parents=True, exist_ok=True)
        run = RunFolder(folder)
        if made:
            run.fresh.touch()
        run.write_overrides(typed)
        write_atomically(run.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    except OSError as error:
        if made and folder is not None:
            remove_fresh(RunFolder(folder))
        raise ZooError(
            f"cannot write the run folder under {config['runs_dir']}: {error.strerror}; choose another with runs_dir=…"
        ) from error
    return run


def folder_name(kind: str, words: Sequence[str]) -> str:
    """Returns a name for what was typed, the same however its runs are started and shown."""
    line = " ".join(word for word in words if not word.startswith(WITHOUT_EFFECT))
    return f"{kind}_{hashlib.sha256(line.encode()).hexdigest()[:8]}"


def group_runs(config: dict[str, Any], group: str, kind: str) -> None:
    """Tells W&B, where it is a logger, which runs belong together; what was typed counts."""
    if node := config["logger"].get("wandb"):
        node |= {"group": node.get("group") or group, "job_type": node.get("job_type") or kind}


def remove_fresh(run: RunFolder) -> None:
    """Removes a folder that was made for a run which never began, and folders that are empty without it.

    Only the files that stand in such a folder are removed: whatever else is there, it stays.
    """
    for file in (run.fresh, run.config, run.overrides, run.log, run.path / ".lock", *run.path.glob(".ended.*")):
        file.unlink(missing_ok=True)
    for folder in (run.path, run.path.parent, run.path.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            return  # something is in it


def remove_torn_writes(run: RunFolder) -> None:
    """Removes what writes that were killed halfway left beside their files; call it with the run's lock held."""
    for folder in (run.path, run.checkpoints):
        for aside in folder.glob(".*.*"):
            if aside.suffix[1:].isdigit():
                aside.unlink()
