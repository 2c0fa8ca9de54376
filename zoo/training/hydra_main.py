"""The same entry points behind a plain `@hydra.main`, for Hydra's own launchers, sweepers and tab completion."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.training.compose import Composed
from zoo.training.run_folder import freeze
from zoo.training.start import checked_config, train_in_subprocess


def _composed(config: DictConfig) -> Composed:
    hydra_config = HydraConfig.get()
    choices = {str(group): choice for group, choice in hydra_config.runtime.choices.items()}
    return Composed(config, list(hydra_config.overrides.task), choices)


def _config_dirs() -> list[Path]:
    """Returns the folders that the user has added with Hydra's --config-dir."""
    sources = [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    return [folder for folder in sources if folder != shipped("configs")]


@hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="train")
def train_task(config: DictConfig) -> None:
    """Freezes the composed config and trains in a process of its own."""
    try:
        checked, typed = checked_config(_composed(config), _config_dirs())
        for key in ("resume", "from_run"):
            if checked[key]:
                raise ZooError(f"{key}= is for `zoo train {key}=…`")
        code = train_in_subprocess(freeze(checked, typed))
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        code = 2
    if code:
        sys.exit(code)


@hydra.main(version_base="1.3", config_path=str(shipped("configs")), config_name="evaluate")
def evaluate_task(config: DictConfig) -> None:
    """Measures a release again."""
    overrides = [word for word in HydraConfig.get().overrides.task if not word.startswith("release=")]
    try:
        if OmegaConf.is_missing(config, "release"):
            raise ZooError("release=RUN|RELEASE is missing: name a run folder, a release folder or a release")
        from zoo.training.evaluate import evaluate

        evaluate(config.release, overrides, _config_dirs())
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        sys.exit(2)


def train_with_hydra(arguments: Sequence[str]) -> int:
    """Hands a command line to Hydra unchanged, for its `--cfg`, `--info` and `--hydra-help`."""
    sys.argv = ["zoo train", *arguments]
    train_task()
    return 0
