"""Checks each key of a frozen config against the signature of what it goes into, before any data is touched."""

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    Callback,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.data.registry import dataset_parameters
from zoo.errors import ZooError, unknown_key
from zoo.models.registry import registration
from zoo.tasks.catalog import task_class
from zoo.training.check import DISCRIMINATOR_OPTIMIZER
from zoo.training.targets import resolve_target

# Trainer arguments that no config sets, and what to use instead.
_SET_BY_ZOO = {
    "logger": "logger=…",
    "callbacks": "callbacks=…",
    "enable_checkpointing": "checkpoint.every_minutes",
    "default_root_dir": "runs_dir",
    "plugins": "trainer.precision or trainer.strategy",
    "use_distributed_sampler": "trainer.strategy; loaders shard by themselves",
    "num_sanity_val_steps": "trainer.fast_dev_run",
    "enable_model_summary": "`zoo info MODEL`",
    "reload_dataloaders_every_n_epochs": "data.augment, which is drawn anew each epoch",
    "inference_mode": "zoo evaluate",
    "barebones": "make bench",
    "enable_autolog_hparams": "logger",
    "model_registry": "release",
    "limit_predict_batches": "zoo predict",
}


def conforms(value: Any, annotation: Any) -> bool:
    """Says whether a plain value fits a type annotation; an annotation that is not understood accepts anything."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (Any, inspect.Parameter.empty) or isinstance(annotation, str | typing.ForwardRef):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(conforms(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return any(value == argument and type(value) is type(argument) for argument in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (str, bool):
        return isinstance(value, annotation)
    container = origin or annotation
    if container in (list, tuple, set, collections.abc.Sequence, collections.abc.Iterable):
        if not isinstance(value, list | tuple):
            return False
        if container is tuple and arguments and Ellipsis not in arguments:
            return len(value) == len(arguments) and all(map(conforms, value, arguments))
        return not arguments or all(conforms(item, arguments[0]) for item in value)
    if container in (dict, collections.abc.Mapping):
        return isinstance(value, dict)
    # A class of someone's own (Tensor, Strategy …): YAML cannot write one.
    return not inspect.isclass(annotation)


_WRITABLE = (bool, int, float, str, list, tuple, dict, types.NoneType)


def readable_type(annotation: Any) -> str:
    """Writes a type annotation as the values that YAML can write for it, e.g. `int | null`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        # Tensors, timedeltas and strategies fit too, but no config can hold one.
        writable = [part for part in arguments if not inspect.isclass(part) or part in _WRITABLE]
        return " | ".join(dict.fromkeys(readable_type(part) for part in writable or arguments))
    if origin is typing.Literal:
        return " | ".join(dict.fromkeys(str(value) for value in arguments))
    if annotation in (None, types.NoneType):
        return "null"
    container = origin or annotation
    if inspect.isclass(container):
        inner = ", ".join("…" if part is Ellipsis else readable_type(part) for part in arguments)
        return f"{container.__name__}[{inner}]" if inner else container.__name__
    return str(annotation).replace("typing.", "")


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the keyword parameters of a callable, annotations evaluated where that is possible."""
    try:
        found = inspect.signature(target, eval_str=True).parameters
    except (NameError, TypeError):
        found = inspect.signature(target).parameters
    return {name: p for name, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def _check_keys(
    path: str, given: dict[str, Any], known: dict[str, inspect.Parameter], *, null_is_absent: bool = False
) -> None:
    for key, value in given.items():
        if key not in known:
            raise unknown_key(path, key, known)
        if value is None and null_is_absent:
            continue
        if not conforms(value, known[key].annotation):
            raise ZooError(f"{path}.{key}={value!r} is not possible: expected {readable_type(known[key].annotation)}")


def _class_parameters(node: dict[str, Any], base: type, given_by_zoo: Iterable[str]) -> dict[str, inspect.Parameter]:
    target = resolve_target(node["_target_"], base)
    known = {name: p for name, p in parameters_of(target).items() if name not in given_by_zoo}
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(target).parameters.values()):
        anything = {key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY) for key in node}
        known = anything | known
    return known


def known_parameters(config: dict[str, Any]) -> dict[str, dict[str, inspect.Parameter]]:
    """Returns for each part of a config, by its dotted path, the keywords that what it configures takes.

    The config of an evaluation has fewer parts than that of a run.

    Raises:
        ZooError: A name or `_target_` that leads nowhere or is not allowed.
    """
    data = dataset_parameters(config["data"]["name"])
    parts = {
        "trainer": {name: p for name, p in parameters_of(Trainer).items() if name not in _SET_BY_ZOO},
        "data": {name: p for name, p in data.items() if name != "seed"},
        "task": task_class(config["task"]["name"]).settings(),
    }
    if "model" in config:
        parts["model"] = parameters_of(registration(config["model"]["name"]).constructor)
    if config["optimizer"]:
        parts["optimizer"] = _class_parameters(config["optimizer"], Optimizer, ["params"])
    if own := config["task"].get("discriminator_optimizer"):
        parts[DISCRIMINATOR_OPTIMIZER] = _class_parameters(own, Optimizer, ["params"])
    if config["scheduler"]:
        parts["scheduler"] = _class_parameters(config["scheduler"], LRScheduler, ["optimizer"])
    for name, node in config.get("callbacks", {}).items():
        parts[f"callbacks.{name}"] = _class_parameters(node, Callback, [])
    for name, node in config.get("logger", {}).items():
        parts[f"logger.{name}"] = _class_parameters(node, Logger, ["folder"])
    return parts


def known_types(config: dict[str, Any]) -> dict[str, str]:
    """Returns dotted key -> type, readable, for all keys that a config may hold in its parts."""
    return {
        f"{path}.{name}": "" if p.annotation is p.empty else readable_type(p.annotation)
        for path, known in known_parameters(config).items()
        for name, p in known.items()
    }


def _part(config: dict[str, Any], path: str) -> dict[str, Any]:
    node: Any = config
    for key in path.split("."):
        node = node[key]
    named = ("name",) if path in ("model", "data", "task") else ("_target_",)
    return {key: value for key, value in node.items() if key not in named}


# These keep a part of what they do to hooks that Lightning leaves out where a run goes on; what averages weights swaps
# the sums of what is being measured along with them.
_REFUSED_CALLBACKS: dict[type[Callback], str] = {
    WeightAveraging: "callbacks=average_last",
    StochasticWeightAveraging: "callbacks=average_last",
    GradientAccumulationScheduler: "trainer.accumulate_grad_batches=…",
}


def check_signatures(config: dict[str, Any]) -> None:
    """Checks names, keys and types of every part of the config.

    Raises:
        ZooError: The first key or value that does not fit, with the nearest key or the expected type.
    """
    for key, instead in _SET_BY_ZOO.items():
        if key in config["trainer"]:
            raise ZooError(f"trainer.{key} cannot be set here; use {instead}")
    for path, known in known_parameters(config).items():
        _check_keys(path, _part(config, path), known, null_is_absent=path == "model")
    for name, node in config.get("callbacks", {}).items():
        found = resolve_target(node["_target_"], Callback)
        for refused, instead in _REFUSED_CALLBACKS.items():
            if issubclass(found, refused):
                raise ZooError(f"callbacks.{name}={node['_target_']} is not possible, since a run that is stopped "
                               f"would not go on as it was: give {instead}")  # fmt: skip
        if str(node.get("monitor", "")).startswith("test/"):
            raise ZooError(f"callbacks.{name}.monitor={node['monitor']} would choose on the test split: hold out a "
                           "validation split with data.validation=… and watch val/… instead")  # fmt: skip
        watches_validation = "monitor" in node and str(node["monitor"] or "val/").startswith("val/")
        if watches_validation and not config["data"].get("validation", True):
            raise ZooError(f"callbacks.{name} needs a validation split: hold out some of the training data with "
                           "data.validation=…")  # fmt: skip
