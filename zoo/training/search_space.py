"""What a search tries: the files under `configs/search/`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from zoo.errors import ZooError, unknown
from zoo.locations import shipped
from zoo.training.compose import group_choices

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_RANGE = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Search:
    """A space of configurations.

    Attributes:
        name: Of its file.
        trials: How many configurations are tried.
        startup: How many of them are drawn at random and run to their end.
        parameters: Dotted config key -> `{low, high}` with `log` or `step`, or `{choices}`.
    """

    name: str
    trials: int
    startup: int
    parameters: dict[str, dict[str, Any]]

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Returns what Optuna draws from."""
        return {key: _distribution(range_) for key, range_ in self.parameters.items()}


def _distribution(range_: dict[str, Any]) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in range_:
        return CategoricalDistribution(range_["choices"])
    whole = isinstance(range_["low"], int) and isinstance(range_["high"], int)
    return (IntDistribution if whole else FloatDistribution)(**range_)


def _check_range(where: str, range_: Any) -> None:
    if not isinstance(range_, dict):
        raise ZooError(f"{where} is {range_!r}: expected {{low: …, high: …}} or {{choices: […]}}")
    if "choices" in range_:
        if set(range_) != {"choices"} or not isinstance(range_["choices"], list) or not range_["choices"]:
            raise ZooError(f"{where} is {range_}: expected choices alone, a list of values")
        return
    for key in range_:
        if key not in _RANGE:
            raise ZooError(f"{where} has an unknown key {key!r}: expected {', '.join(_RANGE)} or choices")
    low, high = range_.get("low"), range_.get("high")
    if not (isinstance(low, int | float) and isinstance(high, int | float) and math.isfinite(low + high)):
        raise ZooError(f"{where} is {range_}: expected numbers low and high")
    if low >= high or (range_.get("log") and low <= 0):
        raise ZooError(f"{where} is {range_}: expected low < high, and low > 0 with log: true")


def read_search(name: str, config_dirs: Sequence[Path] = ()) -> Search:
    """Reads a search by name.

    Raises:
        ZooError: There is none of that name, or its file is not what a search looks like.
    """
    files = [folder / "search" / f"{name}.yaml" for folder in [*config_dirs, shipped("configs")]]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise unknown("search", name, group_choices("search", config_dirs))
    try:
        content = yaml.safe_load(found.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ZooError(f"{found} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict) or set(content) != {"trials", "startup", "parameters"}:
        raise ZooError(f"{found} must have the keys trials, startup and parameters")
    for key in ("trials", "startup"):
        if type(content[key]) is not int or content[key] < 1:
            raise ZooError(f"{found}: {key} is {content[key]!r}, expected 1 or more")
    if not isinstance(content["parameters"], dict) or not content["parameters"]:
        raise ZooError(f"{found}: parameters names no config key")
    for key, range_ in content["parameters"].items():
        _check_range(f"{found}: {key}", range_)
    return Search(name, content["trials"], content["startup"], content["parameters"])
