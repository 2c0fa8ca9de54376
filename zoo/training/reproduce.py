"""Brings one seed of an experiment to its record, going on with a run that was killed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.training.compose import compose
from zoo.training.records import write_record
from zoo.training.run_folder import RunFolder, config_hash, freeze
from zoo.training.start import checked_config, train_in_subprocess


def _is_of(run: RunFolder, experiment: str, wanted: str) -> bool:
    typed = run.read_overrides()  # the same may have been computed under no experiment's name
    return typed["experiment"] == experiment and not typed["modified"] and config_hash(run.read_config()) == wanted


def _earlier_run(parent: Path, experiment: str, wanted: str) -> RunFolder | None:
    """Finds a run of the experiment with the same config that finished, or failing that one that can go on."""
    runs = [RunFolder(path.parent) for path in sorted(parent.glob("*/config.yaml"), reverse=True)]
    same = [run for run in runs if _is_of(run, experiment, wanted)]
    finished = [run for run in same if run.finished]
    return next(iter(finished or [run for run in same if run.started]), None)


def planned(experiment: str, seed: int, hardware: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the config of an experiment, and what goes into `overrides.yaml`.

    Raises:
        ZooError: The experiment does not exist, or the overrides change its protocol.
    """
    config, typed = checked_config(compose([f"experiment={experiment}", f"seed={seed}", *hardware]))
    if typed["modified"]:
        raise ZooError(f"{' '.join(hardware)} changes the protocol of {experiment}: a protocol worth recording is an "
                       "experiment file of its own")  # fmt: skip
    return config, typed


def reproduce(experiment: str, seed: int, hardware: Sequence[str] = ()) -> int:
    """Trains an experiment with one seed and writes its record.

    Args:
        experiment: The experiment.
        seed: The seed.
        hardware: Overrides that are no part of the protocol, e.g. `trainer=gpu`.

    Returns:
        The exit code of the training; unless it is 0 there is no record, and the run has said why.

    Raises:
        ZooError: As `planned`; or the run is not worth a record.
    """
    config, typed = planned(experiment, seed, hardware)
    parent = Path(config["runs_dir"]) / config["name"]
    run = _earlier_run(parent, experiment, config_hash(config)) or freeze(config, typed)
    print(f"{experiment} seed {seed}: {run.path}", flush=True)
    code = 0 if run.finished else train_in_subprocess(run)
    if not code:
        print(f"recorded in {write_record(run)}", flush=True)
    return code
