"""Composes a run's config from the YAML tree and the words typed on the command line; imports no torch.

Hydra does the composing. What is done here is to say, in one line and with the nearest names, what is wrong with
an override before Hydra meets it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from zoo.errors import ZooError, nearest, unknown
from zoo.locations import shipped


@dataclass(frozen=True)
class Composed:
    """A composed config, not yet resolved, and what was typed to get it."""

    config: DictConfig
    overrides: list[str]
    choices: dict[str, str | None]

    @property
    def experiment(self) -> str | None:
        """The chosen experiment file, if any."""
        return self.choices.get("experiment")


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Parses command-line overrides by Hydra's grammar.

    Raises:
        ZooError: A word is no override; it is named.
    """
    parser = OverridesParser.create()
    parsed = []
    for word in overrides:
        try:
            parsed.extend(parser.parse_overrides([word]))
        except HydraException as error:
            raise ZooError(f"cannot read {word!r}: expected key=value, such as optimizer.lr=0.01") from error
    return parsed


def _refuse_shadows(folder: Path) -> None:
    """Refuses a user's file in whose place Hydra would take the shipped one of the same name."""
    for own in shipped("configs").rglob("*.yaml"):
        theirs = folder / own.relative_to(shipped("configs"))
        if theirs.is_file() and theirs.read_bytes() != own.read_bytes():
            raise ZooError(f"{theirs} has the name of a shipped file, which would be taken: give it another one")


@contextmanager
def _config_tree(config_dirs: Sequence[Path]) -> Iterator[list[str]]:
    """Opens Hydra on the shipped configs; yields the override that adds the user's own folders."""
    # Hydra otherwise imports every installed plugin package of its namespace to look for more of them.
    Plugins.instance()
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(shipped("configs"))):
        searchpath = ",".join(f"'file://{folder.resolve()}'" for folder in config_dirs)
        yield [f"hydra.searchpath=[{searchpath}]"] if config_dirs else []


def _options(group: str, config_dirs: Sequence[Path], kind: ObjectType) -> list[str]:
    """Lists the choices (or subgroups) of a group in the shipped tree and the user's folders."""
    found: set[str] = set()
    for root in [shipped("configs"), *config_dirs]:
        folder = root / group
        if kind is ObjectType.GROUP and folder.is_dir():
            found |= {path.name for path in folder.iterdir() if path.is_dir()}
        elif folder.is_dir():
            found |= {path.stem for path in folder.glob("*.yaml") if not path.name.startswith("_")}
    return sorted(found)


def group_choices(group: str, config_dirs: Sequence[Path] = ()) -> list[str]:
    """Returns the names of the YAML files in a config group, e.g. all experiments."""
    return _options(group, config_dirs, ObjectType.CONFIG)


def config_groups(config_dirs: Sequence[Path] = ()) -> list[str]:
    """Returns the names of the config groups, such as model and data; what searches try is no part of a config."""
    return [group for group in _options(".", config_dirs, ObjectType.GROUP) if group != "search"]


def flat_keys(config: DictConfig, prefix: str = "") -> list[str]:
    """Returns all dotted keys of a config, branches and leaves."""
    keys = []
    for key in config:
        name = prefix + str(key)
        keys.append(name)
        node = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            keys.extend(flat_keys(node, f"{name}."))
    return keys


def unknown_key(key: str, known: Sequence[str]) -> ZooError:
    """Builds the error for a key that no part of the config has."""
    branch, _, leaf = key.rpartition(".")
    siblings = [name for name in known if name.rpartition(".")[0] == branch]
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    close = elsewhere[:3] or nearest(key, siblings, 1) or nearest(key, known, 1)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(siblings or known)}."
    return ZooError(f"unknown key {key!r}: {hint}")


def _check_choices(parsed: Sequence[Override], config_dirs: Sequence[Path], root: str) -> None:
    if typed := [override for override in parsed if override.is_sweep_override()]:
        hint = "put -m before it to run them all" if root == "train" else "give one"
        raise ZooError(f"{typed[0].input_line} names several values: {hint}")
    groups = config_groups(config_dirs)
    for override in parsed:
        group = override.key_or_group
        if group not in groups or override.is_delete():
            continue
        value = override.value()
        if value is None and group != "experiment":
            raise ZooError(f"{group}=null is not possible: choose {', '.join(group_choices(group, config_dirs))}")
        for choice in value if isinstance(value, list) else [value]:
            if choice is not None and choice not in group_choices(group, config_dirs):
                raise unknown(group, str(choice), group_choices(group, config_dirs))


def _check_keys(parsed: Sequence[Override], base: DictConfig, groups: Sequence[str]) -> None:
    known = flat_keys(base)
    for override in parsed:
        key = override.key_or_group
        if key in groups or key.startswith("hydra"):
            continue
        if key.split(".")[0] not in known or (not (override.is_add() or override.is_force_add()) and key not in known):
            raise unknown_key(key, known)


def compose(overrides: Sequence[str], config_dirs: Sequence[Path] = (), *, root: str = "train") -> Composed:
    """Composes a config.

    Args:
        overrides: `key=value` words by Hydra's grammar.
        config_dirs: Folders with config groups of the user's own, searched beside the shipped ones.
        root: The file at the root of the tree, `"train"` or `"evaluate"`.

    Raises:
        ZooError: A choice, key or value that does not exist or cannot be read; names the nearest ones.
    """
    for folder in config_dirs:
        if not folder.is_dir():
            raise ZooError(f"--config-dir {folder} is no folder: give one that holds model/, data/ … with YAML files")
        _refuse_shadows(folder)
    overrides = list(overrides)
    parsed = parse_overrides(overrides)
    _check_choices(parsed, config_dirs, root)
    groups = config_groups(config_dirs)
    try:
        with _config_tree(config_dirs) as searchpath:
            chosen = [word for word, o in zip(overrides, parsed, strict=True) if o.key_or_group in groups]
            if len(chosen) < len(overrides):  # composing takes a tenth of a second
                base = hydra_compose(root, overrides=[*searchpath, *chosen])
                _check_keys(parsed, base, groups)
            full = hydra_compose(root, overrides=[*searchpath, *overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ZooError(f"the config does not compose: {str(error).strip().splitlines()[0]}") from error
    except yaml.YAMLError as error:
        raise ZooError(f"the config does not compose, a file is no YAML: {error}") from error
    choices = OmegaConf.to_container(full.hydra.runtime.choices)
    assert isinstance(choices, dict)
    OmegaConf.set_struct(full, False)
    del full["hydra"]
    OmegaConf.set_struct(full, True)
    named = {str(group): choice for group, choice in choices.items() if not str(group).startswith("hydra/")}
    return Composed(full, overrides, named)


def resolve(config: DictConfig) -> dict:
    """Returns the config as plain Python, interpolations resolved.

    Raises:
        ZooError: An interpolation leads nowhere, or a mandatory value is missing.
    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ZooError(f"the config does not resolve: {str(error).strip().splitlines()[0]}") from error
    assert isinstance(plain, dict)
    return plain
