"""`zoo evaluate`: measures released weights again, on their own data or on another."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from zoo.data.registry import create_dataset
from zoo.errors import ZooError
from zoo.models.registry import arguments_for
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release, read_card
from zoo.training import ending
from zoo.training.build import build_task, build_trainer
from zoo.training.compose import compose, parse_overrides, resolve
from zoo.training.data_module import ZooData
from zoo.training.environment import commit, hardware, versions
from zoo.training.run_folder import RunFolder, write_json


def _config(card: dict[str, Any], overrides: Sequence[str], config_dirs: Sequence[Path]) -> dict[str, Any]:
    """Composes what to evaluate on: the card's data and settings, then what was typed."""
    typed = {override.key_or_group for override in parse_overrides(overrides)}
    for key in typed:
        if key not in ("trainer", "data", "channels_last") and not key.startswith(("trainer.", "data.")):
            raise ZooError(
                f"{key} cannot change in an evaluation: only data, data.…, trainer, trainer.… and channels_last"
            )
    words = list(overrides) if "data" in typed else [f"data={card['data']['name']}", *overrides]
    composed = compose(words, config_dirs, root="evaluate").config
    # The training data's own scaling belongs to the weights, whatever they are measured on.
    kept = card["data"] if "data" not in typed else {key: card["preprocessing"][key] for key in ("mean", "std")}
    for key, value in kept.items():
        if key in composed.data and f"data.{key}" not in typed:
            OmegaConf.update(composed, f"data.{key}", value)
    config = resolve(OmegaConf.merge(composed, {"release": "given"}))  # type: ignore[arg-type]
    # What only training needs: the optimizer is never made.
    return config | {"task": card["task"], "optimizer": None, "scheduler": None, "scheduler_interval": "epoch"}


def measure(
    release: Path, overrides: Sequence[str] = (), config_dirs: Sequence[Path] = ()
) -> tuple[dict[str, float], dict[str, Any]]:
    """Measures a release on a test split.

    Args:
        release: The folder of the release.
        overrides: `data=…`, `data.…`, `trainer.…`.
        config_dirs: Folders with config groups of the user's own.

    Returns:
        Metrics by name, and the config they were measured with.

    Raises:
        ZooError: The release, the data or an override is not what it should be.
    """
    card = read_card(release)
    config = _config(card, overrides, config_dirs)
    seed_everything(card["seed"], workers=True, verbose=False)
    dataset = create_dataset(
        config["data"]["name"], seed=card["seed"], **{k: v for k, v in config["data"].items() if k != "name"}
    )
    arguments_for(card["model"], dataset.prepare(), card["arguments"])
    model, _ = load_release(release)
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)
    task = build_task(config, model, dataset)
    trainer = build_trainer(config, [], [], str(release))
    return ending.test(trainer, task, ZooData(dataset, config["channels_last"])), config


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
    metrics, config = measure(release, overrides, config_dirs)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("metric", "now", "card"):
        table.add_column(title)
    for metric, value in metrics.items():
        table.add_row(metric, f"{value:.4g}", f"{card['metrics'][metric]:.4g}" if metric in card["metrics"] else "")
    Console().print(f"{card['name']} on {config['data']['name']}", table)
    run = RunFolder(release.parent)
    if release.name == "release" and run.config.is_file():
        run.evaluations.mkdir(exist_ok=True)
        path = run.evaluations / f"{datetime.now().strftime('%Y-%m-%d_%H-%M-%S')}.json"
        device = torch.device("cuda" if config["trainer"]["accelerator"] in ("gpu", "cuda") else "cpu")
        about = {"data": config["data"], "overrides": list(overrides), "versions": versions(), **commit()}
        write_json(path, {"metrics": metrics, **about, "hardware": hardware(device)})
        print(path)
    return metrics
