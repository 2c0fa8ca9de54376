"""How a run ends: the final test, its figures, its release, its summary, and the table on the screen."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from zoo.errors import ZooError
from zoo.pretrained.release import save_release
from zoo.tasks.task import Task
from zoo.training import loggers
from zoo.training.build import Built
from zoo.training.data_module import ZooData
from zoo.training.environment import commit, versions
from zoo.training.records import claims_of
from zoo.training.run_folder import RunFolder, config_hash, write_json
from zoo.training.tables import unit_text

log = logging.getLogger("zoo")

LICENCE = "MIT (weights and code; the data under its own terms)"


def test(trainer: Trainer, task: Task, data: ZooData) -> dict[str, float]:
    """Measures the weights as they are on the test split.

    Returns:
        Metrics by name, e.g. `{"test/error": 0.95}`; the headline is among them.

    Raises:
        ZooError: The headline was not measured.
    """
    task.published.clear()
    if task.watched == "val":  # papers print both
        trainer.validate(task, datamodule=data, verbose=False)
    trainer.test(task, datamodule=data, verbose=False)
    metrics = dict(task.published)
    if task.headline not in metrics and task.headline.startswith("train/"):
        raise ZooError(f"{task.headline} was not measured: it is of the training, which weights alone do not tell, "
                       "and of which there was too little (trainer.max_epochs?)")  # fmt: skip
    if task.headline not in metrics:
        raise ZooError(f"{task.headline} was not measured: the test split gave no batch (trainer.limit_test_batches?)")
    return metrics


def _write_figures(run: RunFolder, task: Task) -> list[Path]:
    run.figures.mkdir(exist_ok=True)
    written = []
    for name, figure in task.figures(run.metrics).items():
        path = run.figures / f"{name}.png"
        figure.savefig(path, dpi=150)
        written.append(path)
    for name, write in task.animations().items():
        write(run.figures / f"{name}.gif")
    return written


def _save_release(
    run: RunFolder, config: dict[str, Any], built: Built, metrics: dict[str, float], headline: dict[str, Any]
) -> None:
    name = config["model"]["name"]
    model = built.task.model
    card = {
        "name": config["release"] or run.path.parent.name,
        "release": config["release"],
        "model": name,
        "arguments": built.model_arguments,
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "task": config["task"],
        "data": {key: value for key, value in config["data"].items() if key != "dir"},
        "preprocessing": built.data.dataset.preprocessing,
        "class_names": built.data.dataset.class_names,
        "metrics": metrics,
        "headline": headline,
        "details": built.task.details,
        "claim": config["claim"],
        "experiment": run.read_overrides()["experiment"],
        "seed": config["seed"],
        "config_hash": config_hash(config),
        "commit": commit()["commit"],
        "versions": versions(),
        "licence": LICENCE,
    }
    vocabulary = getattr(built.data.dataset, "vocabulary", None)  # texts have one
    files = {} if vocabulary is None else {vocabulary.file_name: vocabulary.to_json()}
    save_release(run.release, model, name, built.model_arguments, card, files=files)


def print_table(summary: dict[str, Any], folder: Path) -> None:
    """Prints what a run came to: the headline with the published number beside it, time, speed, folder."""
    headline = summary["headline"]
    rows = [(headline["metric"], f"{headline['value']:.4g}")]
    for claim in claims_of(summary):
        named = "" if claim["metric"] == headline["metric"] else f"{claim['metric']} "
        reported = f"{named}{claim['reported']}{unit_text(claim)}"
        rows.append(("published", f"{reported} ({claim['where']}); protocol {claim['protocol']}"))
    others = [f"{name} {value:.4g}" for name, value in summary["metrics"].items() if name != headline["metric"]]
    if others:
        rows.append(("also", "  ".join(others)))
    speed = f"{summary['samples_per_s']:,.0f} {summary['sample_unit']}/s"
    took = f"{summary['duration_s']:,.1f} s, {speed}"
    rows.append(("training", f"{took}, seed {summary['seed']}, {summary['selection']}"))
    rows.append(("folder", str(folder)))
    width = max(len(label) for label, _ in rows)
    # Not rich's: its tables wrap inside columns, and a folder's name is for copying.
    print("\n".join(f"{label:<{width}}  {text}" for label, text in rows), flush=True)


def finish(run: RunFolder, config: dict[str, Any], built: Built, selection: str) -> dict[str, Any]:
    """Tests the weights as they are, then writes figures, release and summary, and prints the table.

    Args:
        run: The run's folder.
        config: The frozen config.
        built: What the run consists of.
        selection: Which weights these are, in words.

    Returns:
        The summary.

    Raises:
        ZooError: The headline was not measured.
    """
    trainer, task, recorder = built.trainer, built.task, built.recorder
    metrics = test(trainer, task, built.data)
    summary = {
        "status": "finished",
        "headline": {"metric": task.headline, "value": metrics[task.headline], "direction": task.headline_direction},
        "claim": config["claim"],
        "metrics": metrics,
        "details": task.details,
        "selection": selection,
        "duration_s": recorder.training_seconds,
        "samples": recorder.samples,
        "samples_per_s": recorder.samples_per_second,
        "sample_unit": task.sample_unit,
        "seed": config["seed"],
        "config_hash": config_hash(config),
        "error": None,
    }
    if not trainer.is_global_zero:
        return summary
    recorder.write_test(trainer, metrics)
    figures = _write_figures(run, task)
    _save_release(run, config, built, metrics, summary["headline"])
    loggers.finish(trainer.loggers, summary["headline"], figures)
    write_json(run.summary, summary)
    if config["trainer"].get("enable_progress_bar", True):
        print_table(summary, run.path)
    else:
        print(f"{task.headline} {metrics[task.headline]:.4g}  {run.path}", flush=True)
    return summary
