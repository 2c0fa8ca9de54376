"""The shared trainer: builds what a frozen config names, trains, tests the selected weights, writes the folder."""

import json
import sys
from typing import Any

import torch
from lightning.pytorch import Trainer

from zoo.errors import ZooError
from zoo.metrics.ranks import largest
from zoo.tasks.task import Task
from zoo.training import ending, loggers
from zoo.training.build import build_all
from zoo.training.callbacks.averaging import AverageOfLast
from zoo.training.callbacks.checkpoints import newest_intact
from zoo.training.environment import environment
from zoo.training.imports import import_modules
from zoo.training.interrupts import Interrupts
from zoo.training.log_file import keep_log
from zoo.training.metrics_file import MetricsFile
from zoo.training.processes import early_rank, processes
from zoo.training.run_folder import BEST, RunFolder, resumable_hash, write_json
from zoo.training.start import mark_modified


def _checkpoint_to_resume(run: RunFolder, config: dict[str, Any]) -> str | None:
    found = newest_intact(run.checkpoints)
    if found is None:
        return None
    path, content, damaged = found
    identity = content.get("zoo")
    if not isinstance(identity, dict) or identity.get("model") != config["model"]["name"]:
        other = identity.get("model") if isinstance(identity, dict) else "something that is not a run of the zoo"
        raise ZooError(f"{path} belongs to {other}, this run trains {config['model']['name']}: "
                       "remove it, or start a new run")  # fmt: skip
    if identity["config_hash"] != resumable_hash(config):
        raise ZooError(f"{path} was trained with another config than {run.config} holds now: only trainer and logger "
                       "may change in a run that goes on; put it back, or start a new run with from_run=…")  # fmt: skip
    saved_by, wanted = identity.get("processes", 1), processes(config["trainer"])
    if saved_by != wanted:
        raise ZooError(f"{path} was written by {saved_by} processes, of which each goes on where it was; the config "
                       f"has {wanted} (trainer.devices x trainer.num_nodes): give it as many")  # fmt: skip
    for broken in damaged if early_rank() == 0 else ():
        print(f"zoo: {broken} is damaged; going on from {path.name}", file=sys.stderr, flush=True)
    return str(path)


def _load_best(run: RunFolder, task: Task) -> None:
    best = run.checkpoints / BEST
    if not best.exists():
        raise ZooError(
            f"select=best, but {best} was never written: no validation found a finite {task.watched_headline}"
        )
    task.load_state_dict(torch.load(best, map_location="cpu", weights_only=True)["state_dict"])


def _select_weights(run: RunFolder, config: dict[str, Any], trainer: Trainer, task: Task) -> str:
    """Puts the weights that are tested and released into the model; returns which they are, in words."""
    if config["select"] == "best":
        _load_best(run, task)
        return "best epoch on validation"
    for callback in vars(trainer)["callbacks"]:  # which Lightning does not declare
        if isinstance(callback, AverageOfLast):
            return f"mean of the last {callback.load_average(trainer, task.model)} epochs"
    return "last epoch"


def train(run: RunFolder, config: dict[str, Any], interrupts: Interrupts) -> dict[str, Any]:
    """Trains a run from its beginning or from its newest intact checkpoint, to its end.

    Args:
        run: Its folder, with the frozen config in it.
        config: The frozen config.
        interrupts: The signals that stop it early.

    Returns:
        The summary that was written.

    Raises:
        ZooError: Anything a user can act on.
        Interrupted: A signal came; a checkpoint has been written.
    """
    keep_log(run)
    import_modules(config["imports"])
    built = build_all(run, config, interrupts)
    trainer, task = built.trainer, built.task
    if deviation := getattr(built.data.dataset, "deviation", ""):  # what stands in the folder is not what was claimed
        typed = run.read_overrides()
        modified = [*(word for word in typed["modified"] if word != deviation), deviation]
        mark_modified(config, modified)
        if trainer.is_global_zero:
            run.write_overrides(typed | {"modified": modified})
    resume_from = _checkpoint_to_resume(run, config)
    if trainer.is_global_zero:
        run.summary.unlink(missing_ok=True)
        device = trainer.strategy.root_device
        checksums = built.data.dataset.checksums
        goes_on = resume_from is not None and run.environment.exists()
        before = json.loads(run.environment.read_text(encoding="utf-8")) if goes_on else None
        now = environment(device, config["seed"], sys.orig_argv, checksums, trainer.world_size, before)
        write_json(run.environment, now)
        loggers.begin(trainer.loggers, config)
    if resume_from is None and trainer.is_global_zero:
        MetricsFile(run.metrics).truncate(0)  # rows of an attempt that ended before its first checkpoint
        built.recorder.file = MetricsFile(run.metrics)

    with interrupts.deferring():
        trainer.fit(task, datamodule=built.data, ckpt_path=resume_from, weights_only=True)
    interrupts.received = largest(interrupts.received or 0)[0] or None  # it may have come to one process only
    interrupts.raise_if_received()
    selection = _select_weights(run, config, trainer, task)
    return ending.finish(run, config, built, selection)
