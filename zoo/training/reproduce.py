"""Brings one seed of an experiment to its record, going on with a run that was killed."""

from collections.abc import Sequence
from pathlib import Path

from zoo.errors import ZooError
from zoo.training.compose import compose
from zoo.training.records import write_record
from zoo.training.run_folder import RunFolder, config_hash, freeze
from zoo.training.start import checked_config, train_in_subprocess


def _earlier_run(parent: Path, wanted: str) -> RunFolder | None:
    """Finds a run of the same config that finished, or failing that one that can go on."""
    runs = [RunFolder(path.parent) for path in sorted(parent.glob("*/config.yaml"), reverse=True)]
    same = [run for run in runs if config_hash(run.read_config()) == wanted]
    finished = [run for run in same if run.finished]
    return next(iter(finished or [run for run in same if run.started]), None)


def reproduce(experiment: str, seed: int, hardware: Sequence[str] = ()) -> bool:
    """Trains an experiment with one seed and writes its record.

    Args:
        experiment: The experiment.
        seed: The seed.
        hardware: Overrides that are no part of the protocol, e.g. `trainer=gpu`.

    Returns:
        Whether there is a record now; if not, the run has said why.

    Raises:
        ZooError: The experiment does not exist, or the overrides change its protocol.
    """
    config, typed = checked_config(compose([f"experiment={experiment}", f"seed={seed}", *hardware]))
    if typed["modified"]:
        raise ZooError(f"{' '.join(hardware)} changes the protocol of {experiment}: a protocol worth recording is an "
                       "experiment file of its own")  # fmt: skip
    run = _earlier_run(Path(config["runs_dir"]) / config["name"], config_hash(config)) or freeze(config, typed)
    print(f"{experiment} seed {seed}: {run.path}", flush=True)
    code = 0 if run.finished else train_in_subprocess(run)
    if code in (130, 143):
        raise ZooError(f"interrupted; the same command goes on with {run.path}")
    if code:
        return False
    print(f"recorded in {write_record(run)}", flush=True)
    return True
