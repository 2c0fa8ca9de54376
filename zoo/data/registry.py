"""The registry of dataset constructors: `create_dataset("mnist", batch_size=128)`."""

import fnmatch
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from zoo.data.catalog import DATASETS
from zoo.data.dataset import Dataset
from zoo.errors import ZooError, unknown, unknown_key

Constructor = TypeVar("Constructor", bound=Callable[..., Dataset])

_REGISTERED: dict[str, Callable[..., Dataset]] = {}


def register_dataset(constructor: Constructor) -> Constructor:
    """Registers the decorated constructor under its own name; its keywords are the keys under `data:` in YAML.

    Raises:
        ValueError: The name is taken, or the constructor takes `**kwargs`.
    """
    name = constructor.__name__
    if name in _REGISTERED:
        raise ValueError(f"dataset {name!r} is registered twice: {_REGISTERED[name]} and {constructor}")
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(constructor).parameters.values()):
        raise ValueError(f"dataset {name!r} takes **kwargs: misspelt arguments would pass unseen")
    _REGISTERED[name] = constructor
    return constructor


def _constructor(name: str) -> Callable[..., Dataset]:
    if name not in _REGISTERED and name in DATASETS:
        importlib.import_module(DATASETS[name].module)
    if name not in _REGISTERED:
        raise unknown("dataset", name, {*DATASETS, *_REGISTERED})
    return _REGISTERED[name]


def list_datasets(pattern: str = "*") -> list[str]:
    """Returns the names of all datasets that match a wildcard pattern, sorted.

    >>> list_datasets("*mnist")
    ['fashion_mnist', 'mnist']
    """
    return sorted(fnmatch.filter({*DATASETS, *_REGISTERED}, pattern))


def dataset_parameters(name: str) -> dict[str, inspect.Parameter]:
    """Returns the keywords of a dataset's constructor.

    Raises:
        ZooError: There is no such dataset; names the nearest ones.
    """
    return dict(inspect.signature(_constructor(name)).parameters)


def create_dataset(name: str, **arguments: Any) -> Dataset:
    """Builds a dataset by name; nothing is read before its `prepare()`.

    Args:
        name: One of `list_datasets()`.
        arguments: Keywords of that dataset's constructor.

    Raises:
        ZooError: Unknown name or keyword (the nearest ones are named), or a value the constructor refuses.

    >>> len(create_dataset("digits").class_names)
    10
    """
    constructor = _constructor(name)
    known = dataset_parameters(name)
    for key in arguments:
        if key not in known:
            raise unknown_key(name, key, known)
    try:
        return constructor(**arguments)
    except (TypeError, ValueError) as error:
        raise ZooError(f"{name} cannot be built with {arguments}: {error}") from error
