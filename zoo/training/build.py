"""Builds what a frozen config names: data, model, task, loggers, callbacks and Lightning's trainer."""

import inspect
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.data.dataset import Dataset
from zoo.data.registry import create_dataset
from zoo.errors import ZooError
from zoo.models.registry import arguments_for, create_model
from zoo.pretrained.outputs import tensors_of_outputs
from zoo.tasks.catalog import task_class
from zoo.tasks.task import Task
from zoo.training import loggers
from zoo.training.callbacks.checkpoints import AtomicCheckpointIO, Checkpoints
from zoo.training.callbacks.finite import FiniteLoss
from zoo.training.callbacks.generators import GeneratorStates
from zoo.training.callbacks.loader_position import LoaderPosition
from zoo.training.callbacks.progress import TrainingProgress
from zoo.training.callbacks.recorder import MetricsRecorder
from zoo.training.callbacks.stopping import Stopping
from zoo.training.callbacks.totals import TotalsOfRanks
from zoo.training.data_module import ZooData
from zoo.training.environment import native_bf16
from zoo.training.init_from import initialise_from
from zoo.training.interrupts import Interrupts
from zoo.training.metrics_file import MetricsFile
from zoo.training.processes import started_from_outside, under_torchrun
from zoo.training.run_folder import RunFolder, resumable_hash
from zoo.training.signatures import check_signatures
from zoo.training.targets import build, resolve_target


@dataclass
class Built:
    """Everything that one run consists of."""

    data: ZooData
    task: Task
    trainer: Trainer
    recorder: MetricsRecorder
    model_arguments: dict[str, Any]


def build_model(config: dict[str, Any], dataset: Dataset) -> tuple[nn.Module, dict[str, Any]]:
    """Finds the data and builds the model that fits it.

    Returns:
        The model, and the resolved arguments it was built with.

    Raises:
        ZooError: The model does not fit the data, or has layers whose sizes are not known yet.
    """
    spec = dataset.prepare()
    name = config["model"]["name"]
    given = {key: value for key, value in config["model"].items() if key != "name"}
    arguments = arguments_for(name, spec, given)
    model = create_model(name, **arguments)
    # Said now, not when the release is written hours later.
    if lazy := [key for key, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise ZooError(f"{name} has parameters without a shape ({', '.join(lazy)}): give lazy layers their sizes")
    return model, arguments


def build_optimizer(
    config: dict[str, Any], node: dict[str, Any], parameters: Iterable[tuple[str, nn.Parameter]]
) -> Optimizer:
    """Builds the optimizer, on a CPU as one operation over all of a tensor where PyTorch has it: a third of the time.

    Args:
        config: Of the run.
        node: Names the class and its settings.
        parameters: Names and tensors, where they are trained. On a GPU PyTorch chooses by itself.
    """
    named, trainer = list(parameters), config["trainer"]
    known = inspect.signature(resolve_target(node["_target_"], Optimizer)).parameters
    # In mixed precision Lightning clips no gradients that a fused optimizer might scale itself.
    clipped = trainer["gradient_clip_val"] is not None and "mixed" in str(trainer["precision"])
    on_cpu = all(each.device.type == "cpu" for _, each in named)
    chosen = {"fused", "foreach", "differentiable"} & set(node)
    fused = "fused" in known and not chosen and on_cpu and not clipped
    return build(node, Optimizer, named, **({"fused": True} if fused else {}))


def build_task(config: dict[str, Any], model: nn.Module, dataset: Dataset) -> Task:
    """Builds the task with its optimizer and schedule (both made when Lightning asks for them)."""
    settings = {key: value for key, value in config["task"].items() if key != "name"}
    if own := settings.get("discriminator_optimizer"):
        settings["discriminator_optimizer"] = partial(build_optimizer, config, own)
    schedule = partial(build, config["scheduler"], LRScheduler) if config["scheduler"] else None
    watched = "test" if dataset.validation_loader() is None else "val"
    outputs = getattr(dataset, "vocabulary", None) or dataset.class_names  # what the model's outputs stand for
    try:
        task = task_class(config["task"]["name"])(
            model,
            outputs,
            partial(build_optimizer, config, config["optimizer"]),
            schedule,
            config["scheduler_interval"],
            watched,
            **settings,
        )
    except ValueError as error:
        raise ZooError(str(error)) from error
    task.max_steps = config["trainer"].get("max_steps", -1)  # which Lightning's trainer is not told
    return task


def build_loggers(run: RunFolder, config: dict[str, Any]) -> list[Logger]:
    """Builds the loggers that a config names; metrics.csv is written in any case."""
    made = []
    for node in config["logger"].values():
        own = node["_target_"].startswith(f"{loggers.__name__}.")
        made.append(build(node, Logger, **({"folder": run.path} if own else {})))
    return made


def _environment() -> list[ClusterEnvironment]:
    """Returns how a process finds the others of its run; of torchrun Lightning knows by itself."""
    if started_from_outside() is None:
        return [LightningEnvironment()]
    # Lightning's own look at Slurm's variables is misled by the names of interactive jobs.
    return [] if under_torchrun() else [SLURMEnvironment(auto_requeue=False)]


def build_trainer(config: dict[str, Any], callbacks: list[Callback], log_to: list[Logger], folder: str) -> Trainer:
    """Builds Lightning's trainer.

    Raises:
        ZooError: The hardware that is asked for is not there, or two arguments contradict each other.
    """
    # Lightning's own "auto" and "gpu" would also take Apple's GPUs, which know no float64.
    cuda = {"auto": "cuda" if torch.cuda.is_available() else "cpu", "gpu": "cuda"}
    accelerator = config["trainer"]["accelerator"]
    arguments = config["trainer"] | {"enable_progress_bar": False, "accelerator": cuda.get(accelerator, accelerator)}
    if arguments.pop("max_steps", -1) != -1 and arguments.get("max_epochs") is None:  # the steps are `Stopping`'s
        arguments["max_epochs"] = -1
    try:
        trainer = Trainer(
            **arguments,
            logger=log_to or False,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *_environment()],
            default_root_dir=folder,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        wanted = config["trainer"]["accelerator"]
        if wanted not in ("auto", "cpu") and not torch.cuda.is_available():
            raise ZooError(f"trainer.accelerator={wanted}: this machine has no such device; use trainer=cpu") from error
        raise ZooError(f"the trainer cannot be built: {error}") from error
    # Its handler of SIGTERM waits for processes that may have got no signal, and hides ours whenever a loop begins.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if trainer.strategy.root_device.type == "cpu":
        # Each step of an optimizer asks whether there is a GPU. Lightning makes torch ask NVIDIA's management library,
        # which takes a tenth of a millisecond where there is none: more than a small network's step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    return trainer


def _check_precision(config: dict[str, Any], model: nn.Module, trainer: Trainer) -> None:
    """Says what bfloat16 means on a CPU without instructions for it.

    Raises:
        ZooError: The model has a layer that oneDNN then refuses.
    """
    precision, name = config["trainer"]["precision"], config["model"]["name"]
    if trainer.strategy.root_device.type != "cpu" or not str(precision).startswith("bf16") or native_bf16():
        return
    if any(isinstance(module, nn.LSTM) for module in model.modules()):
        raise ZooError(f"trainer.precision={precision} is not possible for {name} here: this CPU has no instructions "
                       "for bfloat16, and torch no LSTM without them; use trainer=cpu")  # fmt: skip
    if trainer.is_global_zero:
        print(f"zoo: this CPU has no instructions for bfloat16, so that trainer.precision={precision} is slow: "
              "trainer=cpu is faster here", file=sys.stderr, flush=True)  # fmt: skip


def build_all(
    run: RunFolder, config: dict[str, Any], interrupts: Interrupts, watching: Sequence[Callback] = ()
) -> Built:
    """Checks the config against every signature, then builds data, model, task and trainer.

    Args:
        run: The run's folder.
        config: The frozen config.
        interrupts: The signals that stop it early.
        watching: Callbacks of the caller's, besides the config's and our own.

    Raises:
        ZooError: Anything in the config, the data or the hardware that does not fit.
    """
    check_signatures(config)
    # The trainer is tried before the data: a missing GPU should not be told after a long download.
    callbacks = [build(node, Callback) for node in config["callbacks"].values()]
    recorder = MetricsRecorder(MetricsFile(run.metrics), config["trainer"].get("log_every_n_steps") or 50)
    identity = {"model": config["model"]["name"], "config_hash": resumable_hash(config)}
    checkpoints = Checkpoints(
        run.checkpoints, identity, config["checkpoint"]["every_minutes"], config["select"] == "best", interrupts
    )
    max_steps = config["trainer"].get("max_steps", -1)
    progress = [TrainingProgress(recorder, max_steps)] if config["trainer"].get("enable_progress_bar", True) else []
    own = [FiniteLoss(run.checkpoints), GeneratorStates(), TotalsOfRanks(), LoaderPosition(), Stopping(max_steps)]
    own += [*progress, recorder, checkpoints]
    seed_everything(config["seed"], workers=True, verbose=False)
    trainer = build_trainer(config, [*callbacks, *watching, *own], [], str(run.path))

    data_arguments = {key: value for key, value in config["data"].items() if key != "name"}
    dataset = create_dataset(config["data"]["name"], seed=config["seed"], **data_arguments)
    model, arguments = build_model(config, dataset)
    _check_precision(config, model, trainer)
    if config["init_from"] and not run.started:  # a checkpoint holds what was made of those weights
        vocabulary = getattr(dataset, "vocabulary", None)
        outputs = dataset.class_names if vocabulary is None else vocabulary.tokens
        initialise_from(model, config["init_from"], outputs, tensors_of_outputs(config["model"]["name"], arguments))
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)
    if config["compile"]:
        model.compile()  # in place: the keys of the state dict stay as they are
    task = build_task(config, model, dataset)
    task.configure_optimizers()  # tried here, where what it refuses leaves no run behind
    if trainer.is_global_zero and not config["trainer"].get("fast_dev_run"):
        trainer.loggers = build_loggers(run, config)
    elif config["logger"]:  # some callbacks refuse to work without one, in whichever process
        trainer.loggers = [DummyLogger()]
    repeated = config["trainer"].get("overfit_batches", 0)
    return Built(ZooData(dataset, config["channels_last"], repeated), task, trainer, recorder, arguments)
