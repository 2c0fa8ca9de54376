"""Records: what a run of an experiment measured, as data under results/."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.training.run_folder import RunFolder, write_json

FORMAT = 1

# What changes nothing that is measured is left out of a record's command.
_NOT_TYPED = ("runs_dir=", "logger", "trainer.enable_progress_bar=")


def read_experiment(name: str) -> dict[str, Any]:
    """Returns an experiment's YAML file as it stands: its own claim, release and choices."""
    return yaml.safe_load((shipped("configs") / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))


def claims_of(holder: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the published numbers that a config, summary or record carries, always as a list."""
    claim = holder.get("claim")
    return claim if isinstance(claim, list) else [claim] if claim else []


def current_claims(holder: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the claims of a record or card as its experiment's file words them now, without a file as it does itself.

    What is measured never changes, but what is said of the protocol and its source may become clearer.
    """
    name = holder.get("experiment")
    if name and (shipped("configs") / "experiment" / f"{name}.yaml").is_file():
        holder = read_experiment(name)
    return claims_of(holder)


def missed(records: list[dict[str, Any]], claim: dict[str, Any]) -> bool:
    """Says whether what the records of an experiment measured, their mean, is worse than the published number."""
    ours = fmean(record["metrics"][claim["metric"]] for record in records)
    return ours > claim["reported"] if claim["direction"] == "min" else ours < claim["reported"]


def chosen(experiment: dict[str, Any], group: str) -> str | None:
    """Returns what an experiment file chooses for a group such as `model`."""
    for entry in experiment.get("defaults", []):
        if isinstance(entry, dict) and f"override /{group}" in entry:
            return entry[f"override /{group}"]
    return None


def experiments() -> dict[str, dict[str, Any]]:
    """Returns all experiment files by name."""
    return {
        path.stem: read_experiment(path.stem) for path in sorted((shipped("configs") / "experiment").glob("*.yaml"))
    }


def all_records(results: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """Returns the records by experiment, each list in order of the seeds."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in (results or shipped("results")).glob("*/seed*.json"):
        found[path.parent.name].append(json.loads(path.read_text(encoding="utf-8")))
    return {name: sorted(records, key=lambda record: record["seed"]) for name, records in sorted(found.items())}


def record_of(card: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the record of the run that a release came from, by its card; None where there is none."""
    group = all_records().get(card.get("experiment") or "", [])
    return next((record for record in group if record["seed"] == card["seed"]), None)


def _curve(metrics_file: Path, most: int = 200) -> dict[str, list[float | None]]:
    """Returns the metrics of each epoch as arrays of one length, None where one was not measured.

    They are thinned evenly to at most `most` epochs, the last one among them.
    """
    from zoo.tasks.curves import epoch_curves

    found = {name: dict(zip(*curve, strict=True)) for name, curve in epoch_curves(metrics_file).items()}
    epochs = sorted({epoch for values in found.values() for epoch in values})
    kept = epochs[:: -max(1, -(-len(epochs) // most))][::-1]
    curve: dict[str, list[float | None]] = {"epoch": [float(epoch) for epoch in kept]}
    for name, values in found.items():
        curve[name] = [float(f"{values[epoch]:.5g}") if epoch in values else None for epoch in kept]
    return curve


def curve_of(record: Mapping[str, Any], metric: str) -> tuple[list[float], list[float]]:
    """Returns the epochs at which a metric was measured, counted from 1, and its values."""
    points = zip(record["curve"]["epoch"], record["curve"][metric], strict=True)
    measured = [(epoch, value) for epoch, value in points if value is not None]
    return [epoch for epoch, _ in measured], [value for _, value in measured]


def _command(overrides: list[str], seed: int) -> str:
    """Returns the line that measures this again, the hardware that was asked for included."""
    kept = [word for word in overrides if not word.startswith((*_NOT_TYPED, "seed="))]
    return " ".join(["zoo train", *kept, f"seed={seed}"])


def make_record(run: RunFolder) -> dict[str, Any]:
    """Gathers what a finished run of an unmodified experiment measured.

    Raises:
        ZooError: The run has not finished, belongs to no experiment, or its config differs from the experiment's.
    """
    summary = run.read_summary()
    if summary is None or summary["status"] != "finished":
        raise ZooError(f"{run.path} has not finished: nothing to record; go on with zoo train resume={run.path}")
    typed = run.read_overrides()
    if not typed["experiment"]:
        raise ZooError(f"{run.path} is no experiment: records are made of `zoo train experiment=…`")
    if typed["modified"]:
        raise ZooError(f"{run.path} was modified ({' '.join(typed['modified'])}): no record is made of it; "
                       "a protocol worth recording is an experiment file of its own")  # fmt: skip
    environment = json.loads(run.environment.read_text(encoding="utf-8"))
    earlier = environment.get("earlier", [])  # where it was resumed elsewhere
    card = json.loads((run.release / "card.json").read_text(encoding="utf-8"))
    config = run.read_config()
    measured = ("headline", "claim", "metrics", "details", "selection")
    counted = ("duration_s", "samples", "samples_per_s", "sample_unit")
    return {
        "format": FORMAT,
        "experiment": typed["experiment"],
        "seed": summary["seed"],
        **{key: summary[key] for key in (*measured, *counted)},
        "model": card["model"],
        "release": card["release"],
        "parameters": card["parameters"],
        "precision": config["trainer"]["precision"],
        "config_hash": summary["config_hash"],
        "command": _command(typed["overrides"], summary["seed"]),
        "commit": environment["commit"],
        "dirty": environment["dirty"] or any(start["dirty"] for start in earlier),
        "versions": environment["versions"],
        "hardware": environment["hardware"],
        **({"earlier": earlier} if earlier else {}),
        "dataset_sha256": environment["dataset_sha256"],
        "weights_sha256": card["sha256"]["model.safetensors"],
        "curve": _curve(run.metrics),
    }


def write_record(run: RunFolder, results: Path | None = None) -> Path:
    """Writes a finished run's record to `results/<experiment>/seed<k>.json` and returns that path."""
    record = make_record(run)
    path = (results or shipped("results")) / record["experiment"] / f"seed{record['seed']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return path
