"""`zoo evaluate`: measures released weights again, on their own data or on another."""

import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import OmegaConf

from zoo.data.registry import create_dataset
from zoo.data.sentence_pairs import PairData
from zoo.data.spec import Spec
from zoo.data.text import TextData
from zoo.data.tokenizing import SentenceTokenizer
from zoo.data.vocabulary import Vocabulary
from zoo.errors import ZooError
from zoo.models.registry import arguments_for, list_models, registration
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release, read_card, read_files
from zoo.training import ending
from zoo.training.build import build_task, build_trainer
from zoo.training.compose import compose, parse_overrides, resolve
from zoo.training.data_module import ZooData
from zoo.training.environment import commit, hardware, versions
from zoo.training.imports import import_modules
from zoo.training.interrupts import Interrupted
from zoo.training.processes import processes
from zoo.training.run_folder import RunFolder, data_folder, write_json
from zoo.training.screen import columns, show
from zoo.training.signatures import check_signatures


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps from the screen what Lightning has to say; a run has a log for it, a measurement has none."""
    names = ("lightning.pytorch", "lightning.fabric")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name in names:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C through: Lightning would end the process for it, without a word and as if something had failed."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # which no signal reaches
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    except Interrupted:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _config(
    card: dict[str, Any], folder: str | None, overrides: Sequence[str], config_dirs: Sequence[Path]
) -> dict[str, Any]:
    """Composes what to evaluate on: the card's data and settings, then what was typed."""
    typed = {override.key_or_group for override in parse_overrides(overrides)}
    for key in typed:
        if key not in ("trainer", "data", "channels_last", "imports") and not key.startswith(("trainer.", "data.")):
            raise ZooError(f"{key} cannot change in an evaluation: only data, data.…, trainer, trainer.…, "
                           "channels_last and imports")  # fmt: skip
    words = list(overrides) if "data" in typed else [f"data={card['data']['name']}", *overrides]
    composed = compose(words, config_dirs, root="evaluate").config
    # The training data's own scaling belongs to the weights, whatever they are measured on.
    prepared = card["preprocessing"]
    kept = _scaling(prepared) if "data" in typed else ({"dir": folder} if folder else {}) | card["data"]
    for key, value in kept.items():
        if key in composed.data and f"data.{key}" not in typed:
            OmegaConf.update(composed, f"data.{key}", value)
    composed.release = card["name"]
    config = resolve(composed)
    if (several := processes(config["trainer"])) > 1:
        raise ZooError(f"an evaluation takes one process, not {several}: leave trainer.devices and num_nodes out")
    # What only training needs: the optimizer is never made.
    return config | {"task": card["task"], "optimizer": None, "scheduler": None, "scheduler_interval": "epoch"}


def _scaling(prepared: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys under `data:` that prepare other images as a card says its own were."""
    kept: dict[str, Any] = {key: prepared[key] for key in ("mean", "std") if key in prepared}
    if "mean_image" in prepared:
        kept["mean"] = prepared["mean_image"]
    if "resize" in prepared:
        kept |= {"crop": prepared["height"], "size": prepared["height"], "resize": prepared["resize"]}
    return kept


def _check_fit(card: dict[str, Any], spec: Spec, data: str) -> None:
    """Makes sure that a model takes this data.

    Raises:
        ZooError: It does not, or is not registered.
    """
    if card["model"] not in list_models():
        raise ZooError(f"{card['name']} is a model of your own, {card['model']}: name the module that registers it, "
                       "imports=[MODULE]")  # fmt: skip
    for keyword, attribute in registration(card["model"]).from_spec.items():
        had, has = card["arguments"].get(keyword), getattr(spec, attribute, None)
        if None not in (had, has) and had != has:
            raise ZooError(f"{card['name']} was trained with {keyword}={had}, data={data} has {has}: train it on with "
                           f"init_from={card['name']}")  # fmt: skip
    arguments_for(card["model"], spec, card["arguments"])


def measure(
    release: Path, overrides: Sequence[str] = (), config_dirs: Sequence[Path] = ()
) -> tuple[dict[str, float], dict[str, Any], torch.device]:
    """Measures a release on a test split.

    Args:
        release: The folder of the release.
        overrides: `data=…`, `data.…`, `trainer.…`, `imports=…`.
        config_dirs: Folders with config groups of the user's own.

    Returns:
        Metrics by name, the config they were measured with, and the device.

    Raises:
        ZooError: The release, the data or an override is not what it should be.
    """
    card = read_card(release)
    config = _config(card, data_folder(release), overrides, config_dirs)
    import_modules(config["imports"])
    check_signatures(config)
    seed_everything(card["seed"], workers=True, verbose=False)
    dataset = create_dataset(
        config["data"]["name"], seed=card["seed"], **{k: v for k, v in config["data"].items() if k != "name"}
    )
    files = read_files(release)
    # The numbers of words belong to the weights.
    if Vocabulary.file_name in files and isinstance(dataset, TextData):
        dataset.read_with(Vocabulary.from_json(files[Vocabulary.file_name]))
    if SentenceTokenizer.file_name in files and isinstance(dataset, PairData):
        dataset.read_with(SentenceTokenizer.from_json(files[SentenceTokenizer.file_name]))
    _check_fit(card, dataset.prepare(), config["data"]["name"])
    if dataset.class_names != card["class_names"]:
        other = f"the classes of data={config['data']['name']} are not those that {card['name']} was trained on"
        print(f"zoo: {other}; they are compared by their numbers", file=sys.stderr)
    model, _ = load_release(release)
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)
    task = build_task(config, model, dataset)
    with _undisturbed(), _interruptible():
        trainer = build_trainer(config, [], [], str(release))
        metrics = ending.test(trainer, task, ZooData(dataset, config["channels_last"]))
        return metrics, config, trainer.strategy.root_device


def evaluate(name_or_path: str, overrides: Sequence[str] = (), config_dirs: Sequence[Path] = ()) -> dict[str, float]:
    """Measures a release or a run again and prints the result beside what its card says.

    A run gets a file under `evaluations/`; its summary.json stays as it is.

    Returns:
        Metrics by name.

    Raises:
        ZooError: As `measure`.
    """
    release = find_release(name_or_path)
    card = read_card(release)
    metrics, config, device = measure(release, overrides, config_dirs)
    table = columns("metric", "now", "card")
    for metric, value in metrics.items():
        comparable = metric in card["metrics"] and config["data"]["name"] == card["data"]["name"]
        table.add_row(metric, f"{value:.4g}", f"{card['metrics'][metric]:.4g}" if comparable else "")
    show(f"{card['name']} on {config['data']['name']}", table)
    run = RunFolder(release.parent)
    if release.name == "release" and run.config.is_file():
        run.evaluations.mkdir(exist_ok=True)
        path = run.evaluations / f"{datetime.now().strftime('%Y-%m-%d_%H-%M-%S')}.json"
        about = {"data": config["data"], "overrides": list(overrides), "versions": versions(), **commit()}
        write_json(path, {"metrics": metrics, **about, "hardware": hardware(device)})
        print(path)
    return metrics
