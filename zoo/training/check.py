"""Checks of a composed config that need no torch: its top level, its names, and which classes it may name.

Everything that needs a signature is checked in the training process, by `zoo.training.signatures`.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from zoo.data.catalog import DATASETS, datasets_for
from zoo.errors import ZooError, unknown
from zoo.models.catalog import MODELS
from zoo.training.compose import unknown_key

TOP_LEVEL = (
    "name",
    "seed",
    "resume",
    "from_run",
    "init_from",
    "imports",
    "runs_dir",
    "select",
    "compile",
    "channels_last",
    "scheduler_interval",
    "data",
    "model",
    "task",
    "optimizer",
    "scheduler",
    "trainer",
    "logger",
    "callbacks",
    "checkpoint",
    "claim",
    "release",
    "sweep",
)

_ALLOWED_PREFIXES = (
    "torch.optim.",
    "zoo.optim.",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "zoo.training.callbacks.",
    "zoo.training.loggers.",
)

CHOICES = {"select": ("last", "best"), "scheduler_interval": ("epoch", "step")}
# Tasks of manual optimisation, in Lightning's words.
MAKES_OWN_STEPS = ("q_learning", "adversarial")
DISCRIMINATOR_OPTIMIZER = "task.discriminator_optimizer"
LAUNCHERS = ("process", "local", "slurm")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
_PARTS = ("data", "model", "task", "optimizer", "trainer", "logger", "callbacks", "checkpoint", "sweep")
_CLAIM_KEYS = {"paper", "metric", "reported", "unit", "direction", "where", "protocol"}


def allowed_prefixes() -> tuple[str, ...]:
    """Returns the packages that `_target_` may name: ours, torch's, Lightning's, and those in `ZOO_ALLOW_TARGETS`."""
    own = [prefix.strip() for prefix in os.environ.get("ZOO_ALLOW_TARGETS", "").split(",")]
    return _ALLOWED_PREFIXES + tuple(prefix if prefix.endswith(".") else f"{prefix}." for prefix in own if prefix)


def check_target(target: object) -> None:
    """Refuses a `_target_` outside the allowed packages.

    Raises:
        ZooError: Names the target, what is allowed, and how to allow more.
    """
    dotted = isinstance(target, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target)
    if not dotted or not str(target).startswith(allowed_prefixes()):
        raise ZooError(
            f"_target_ {target!r} is not allowed: it must begin with {', '.join(_ALLOWED_PREFIXES)} "
            "or with a package named in the environment variable ZOO_ALLOW_TARGETS"
        )


def _targets(node: Any, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node["_target_"]
        for key, value in node.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _targets(value, f"{path}[{index}]")


def _check_places(config: dict[str, Any]) -> None:
    """Allows `_target_` exactly where one class is built: optimizers, scheduler, each callback, each logger."""
    for path, target in _targets(config, ""):
        one = path in ("optimizer", "scheduler", DISCRIMINATOR_OPTIMIZER)
        if one or re.fullmatch(r"(callbacks|logger)\.[^.\[]+", path):
            check_target(target)
        else:
            raise ZooError(f"{path or 'the top level'} cannot hold a _target_; only optimizer, scheduler, callbacks "
                           "and logger name classes")  # fmt: skip
    own = config["task"].get("discriminator_optimizer")
    if own is not None and (not isinstance(own, dict) or "_target_" not in own):
        raise ZooError(f"{DISCRIMINATOR_OPTIMIZER} names no class: choose a file, such as "
                       f"+optimizer@{DISCRIMINATOR_OPTIMIZER}=adam")  # fmt: skip


def _check_names(config: dict[str, Any]) -> None:
    for group, table in (("model", MODELS), ("data", DATASETS)):
        node = config.get(group)
        if not isinstance(node, dict) or not isinstance(node.get("name"), str):
            kind = "data" if group == "data" else "models"
            raise ZooError(f"{group}.name is missing: name one, see `zoo list {kind}`")
        # With imports=, a name may be registered by a module of the user's; the training process looks.
        if node["name"] not in table and not config["imports"]:
            raise unknown(group, node["name"], table)
    model, task = config["model"]["name"], config["task"].get("name")
    if model in MODELS and MODELS[model].task != task:
        raise ZooError(f"{model} is a model for task={MODELS[model].task}, the config says task={task}")
    data = config["data"]["name"]
    if model in MODELS and data in DATASETS:
        possible = datasets_for(MODELS[model].task)
        if data not in possible:
            raise ZooError(f"{model} is a model for {MODELS[model].task}, which data={data} is not for: "
                           f"choose a model with model=…, or the data from {', '.join(possible)}; `zoo info {model}` "
                           "has those whose size fits")  # fmt: skip


def _averages(config: dict[str, Any]) -> bool:
    return any(node["_target_"].endswith(".AverageOfLast") for node in config["callbacks"].values())


def _check_own_steps(config: dict[str, Any]) -> None:
    """Refuses what has no meaning where a task makes its optimizer steps by itself.

    Raises:
        ZooError: One of these settings is not at its default.
    """
    task = config["task"].get("name")
    if task not in MAKES_OWN_STEPS:
        return
    defaults = {"max_steps": (-1,), "min_steps": (None,), "gradient_clip_val": (None,), "accumulate_grad_batches": (1,)}
    for key, values in defaults.items():
        value = config["trainer"].get(key, values[0])
        if value not in values:
            raise ZooError(f"trainer.{key}={value} is not possible for task={task}, which makes its steps by itself: "
                           "leave it out; trainer.max_epochs says how long it trains")  # fmt: skip
    precision = config["trainer"].get("precision", "32-true")
    if str(precision) in ("16", "16-mixed"):
        raise ZooError(f"trainer.precision={precision} is not possible for task={task}, which makes its steps by "
                       "itself and scales no losses: give bf16-mixed")  # fmt: skip
    if config["compile"] and config["task"].get("objective") == "wasserstein_gp":
        raise ZooError("compile=true is not possible with task.objective=wasserstein_gp: compiled networks cannot be "
                       "differentiated twice")  # fmt: skip
    if task == "adversarial" and _averages(config):
        raise ZooError("callbacks=average_last is not for task=adversarial: task.ema=0.999 averages its generator")


def _check_claims(config: dict[str, Any]) -> None:
    claims = config["claim"] if isinstance(config["claim"], list) else [config["claim"]]
    for claim in filter(None, claims):
        if not isinstance(claim, dict) or set(claim) - {"miss"} != _CLAIM_KEYS:
            raise ZooError(f"claim must have the keys {', '.join(sorted(_CLAIM_KEYS))}, and may have miss: why our "
                           "number is worse")  # fmt: skip


def _check_limits(trainer: dict[str, Any], scheduler: dict[str, Any], interval: str) -> None:
    for key, default in (("max_epochs", None), ("max_steps", -1)):
        value = trainer.get(key, default)
        if value != default and (type(value) is not int or value < 1) and value != -1:
            raise ZooError(f"trainer.{key}={value} is not possible: expected 1 or more, or -1 for no limit")
    for key in ("min_epochs", "min_steps"):
        if trainer.get(key) and trainer.get("max_steps", -1) != -1:
            raise ZooError(f"trainer.{key}={trainer[key]} cannot hold back trainer.max_steps={trainer['max_steps']}: "
                           "give one of them")  # fmt: skip
    if scheduler.get("T_max", 1) in (None, -1, 0):
        raise ZooError(f"scheduler.T_max={scheduler['T_max']} is not possible: the cosine needs its length, 1 or more; "
                       "give trainer.max_epochs=… and leave scheduler.T_max out")  # fmt: skip
    length, epochs = scheduler.get("T_max"), trainer.get("max_epochs")
    if interval == "epoch" and type(length) is type(epochs) is int and length < epochs:
        # Composed, the one follows the other; frozen in a run that is gone on with, it is a number.
        raise ZooError(f"scheduler.T_max={length} is over before trainer.max_epochs={epochs}, and the step size would "
                       f"rise again: {epochs} epochs need scheduler.T_max={epochs} from their start")  # fmt: skip
    if interval == "epoch" and length is not None and length == trainer.get("max_steps") and length != epochs:
        raise ZooError(f"scheduler.T_max={length} would count epochs, not steps: add scheduler_interval=step, or leave "
                       "scheduler.T_max out")  # fmt: skip
    if interval == "step" and length is not None and length == epochs:
        raise ZooError(f"scheduler.T_max={length} would count steps, not epochs: add "
                       "scheduler_interval=epoch, or give scheduler.T_max=… in steps")  # fmt: skip


def _check_that_one_is_chosen(config: dict[str, Any]) -> None:
    """Refuses to choose the best of no epochs, which would be told only when all of them are over."""
    trainer, headline = config["trainer"], str(config["task"].get("headline"))
    if config["select"] == "best" and headline.startswith("train/"):
        raise ZooError(f"select=best cannot choose by task.headline={headline}, which only the end of training has: "
                       "give select=last")  # fmt: skip
    if config["select"] == "best" and trainer.get("limit_val_batches") == 0:
        raise ZooError("select=best has nothing to choose from with trainer.limit_val_batches=0: give select=last")
    epochs, every = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch")
    if config["select"] == "best" and type(epochs) is type(every) is int and 0 < epochs < every:
        raise ZooError(f"select=best has nothing to choose from: trainer.max_epochs={epochs} is over before the first "
                       f"validation; lower trainer.check_val_every_n_epoch={every}, or give select=last")  # fmt: skip


def _are_devices(devices: object) -> bool:
    """Says whether that is a number of devices, or a list of them without one that comes twice."""
    if isinstance(devices, str) and "," in devices:
        devices = [int(each) if each.strip().isdigit() else each for each in devices.strip(",").split(",")]
    if isinstance(devices, list):
        return 0 < len(devices) == len(set(devices)) and all(type(each) is int and each >= 0 for each in devices)
    return type(devices) in (int, str) and bool(re.fullmatch(r"auto|-1|[1-9]\d*", str(devices)))


def _check_processes(trainer: dict[str, Any]) -> None:
    """Refuses ways to share the work that start processes by themselves, or keep a part of the weights in each."""
    strategy, nodes = trainer.get("strategy", "auto"), trainer.get("num_nodes", 1)
    if strategy not in STRATEGIES:
        raise ZooError(f"trainer.strategy={strategy} is not possible: choose {', '.join(STRATEGIES)}")
    if not _are_devices(trainer.get("devices", 1)):
        raise ZooError(f"trainer.devices={trainer['devices']} is not possible: expected how many, 1 or more; auto or "
                       "-1 for all; or a list of their numbers, such as [0,2]")  # fmt: skip
    if type(nodes) is not int or nodes < 1:
        raise ZooError(f"trainer.num_nodes={nodes!r} is not possible: expected 1 or more machines")
    if trainer.get("sync_batchnorm") and trainer.get("accelerator") == "cpu":
        raise ZooError("trainer.sync_batchnorm=true is for GPUs: leave it out")


def _check_sweep(sweep: dict[str, Any]) -> None:
    launcher, slurm = sweep.get("launcher", "process"), sweep.get("slurm", {})
    if launcher not in LAUNCHERS:
        raise ZooError(f"sweep.launcher={launcher} is not possible: choose {', '.join(LAUNCHERS)}")
    jobs = sweep.get("jobs")
    counts = {"sweep.jobs": (1 if jobs is None else jobs, 1)} | {
        f"sweep.slurm.{key}": (slurm.get(key, least), least)
        for key, least in (("timeout_minutes", 1), ("cpus", 1), ("gpus", 0))
    }
    for key, (count, least) in counts.items():
        if type(count) is not int or count < least:
            raise ZooError(f"{key}={count!r} is not possible: expected {least} or more")


def check(config: dict[str, Any]) -> None:
    """Checks a resolved config as far as that goes without importing torch.

    Raises:
        ZooError: An unknown top-level key, a name in no list, a value outside its choices, a forbidden `_target_`.
    """
    for key in config:
        if key not in TOP_LEVEL:
            raise unknown_key(key, TOP_LEVEL)
    for key in TOP_LEVEL:
        if key not in config:
            raise ZooError(f"{key} is missing from the config: it cannot be taken away")
    for key in _PARTS:
        if not isinstance(config[key], dict):
            raise ZooError(f"{key}={config[key]!r} is not possible: expected keys below it, such as {key}.…=…")
    for key, choices in CHOICES.items():
        if config[key] not in choices:
            raise ZooError(f"{key}={config[key]} is not possible: choose {' or '.join(choices)}")
    for key, kind in (("seed", int), ("compile", bool), ("channels_last", bool), ("imports", list), ("name", str)):
        if type(config[key]) is not kind:
            raise ZooError(f"{key}={config[key]!r} is not possible: expected {kind.__name__}")
    if not 0 <= config["seed"] < 2**32:
        raise ZooError(f"seed={config['seed']} is not possible: expected 0 to {2**32 - 1}")
    minutes = config["checkpoint"].get("every_minutes")
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes < 0:
        raise ZooError(f"checkpoint.every_minutes={minutes!r} is not possible: expected a number of minutes ≥ 0")
    _check_processes(config["trainer"])
    _check_sweep(config["sweep"])
    for group in ("optimizer", "scheduler"):
        if config[group] and "_target_" not in config[group]:
            raise ZooError(f"{group} names no class: choose a file, such as {group}=cosine, or give {group}._target_")
    for group in ("callbacks", "logger"):
        for name, node in config[group].items():
            if not isinstance(node, dict) or "_target_" not in node:
                raise ZooError(f"{group}.{name} names no class: give {group}.{name}._target_, or choose a file")
    _check_limits(config["trainer"], config["scheduler"] or {}, config["scheduler_interval"])
    _check_names(config)
    _check_own_steps(config)
    if config["select"] == "best" and not config["data"].get("validation", True):
        raise ZooError("select=best needs a validation split, since the test split chooses nothing: "
                       "give data.validation=…, such as a tenth of the training data, or select=last")  # fmt: skip
    _check_that_one_is_chosen(config)
    if config["select"] == "best" and _averages(config):
        raise ZooError("select=best and callbacks=average_last each choose the weights that are tested: give one")
    _check_places(config)
    _check_claims(config)
