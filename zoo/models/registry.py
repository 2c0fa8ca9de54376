"""The registry of model constructors: a paper's file registers its variants here by name.

It imports no torch by itself: the models do, once one of them is asked for.
"""

import fnmatch
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.data.spec import SPEC_OF_TASK, Spec
from zoo.errors import ZooError, unknown, unknown_key
from zoo.models.catalog import MODELS

if TYPE_CHECKING:
    from torch import nn

Constructor = TypeVar("Constructor", bound=Callable[..., "nn.Module"])
FitCheck = Callable[[Any], str | None]


@dataclass(frozen=True)
class Registration:
    """A registered constructor and how it meets its data.

    `from_spec` maps a keyword of the constructor to the field of the data's spec that fills it; `fits` returns
    None for a spec the model can take, otherwise what it expected.
    """

    name: str
    constructor: Callable[..., "nn.Module"]
    task: str
    paper: str
    from_spec: dict[str, str] = field(default_factory=dict)
    fits: FitCheck | None = None

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The constructor's keywords."""
        return dict(inspect.signature(self.constructor).parameters)


_REGISTERED: dict[str, Registration] = {}

_EXAMPLE = """Example:
    >>> model = zoo.create_model("{name}")
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
    {parameters}"""


def register_model(
    *,
    task: str,
    paper: str,
    from_spec: dict[str, str] | None = None,
    fits: FitCheck | None = None,
    sections: str = "",
) -> Callable[[Constructor], Constructor]:
    """Registers the decorated constructor under its own name.

    Args:
        task: The learning problem that trains it, e.g. `"image_classification"`.
        paper: A key of `zoo.models.papers.PAPERS`, or a citation for a model of your own.
        from_spec: Constructor keyword -> field of the dataset's spec, e.g. `{"num_classes": "classes"}`.
        fits: Returns None for a spec that the model can take, otherwise what it expected instead.
        sections: Put behind the constructor's docstring: `Args:`, where they mean the same for all of a paper's models.
            Behind them comes an example, for those of the catalog.

    Raises:
        ValueError: The name is taken, the task is unknown, or the constructor takes `**kwargs`.
    """

    def register(constructor: Constructor) -> Constructor:
        name = constructor.__name__
        if name in _REGISTERED:
            raise ValueError(f"model {name!r} is registered twice: {_REGISTERED[name].constructor} and {constructor}")
        if task not in SPEC_OF_TASK:
            raise ValueError(f"model {name!r} names the unknown task {task!r}; tasks are {', '.join(SPEC_OF_TASK)}")
        registration = Registration(name, constructor, task, paper, dict(from_spec or {}), fits)
        if any(p.kind is p.VAR_KEYWORD for p in registration.parameters.values()):
            raise ValueError(f"model {name!r} takes **kwargs: misspelt arguments would pass unseen")
        if missing := set(registration.from_spec) - set(registration.parameters):
            raise ValueError(f"model {name!r}: from_spec names {sorted(missing)}, which its constructor does not take")
        parts = [inspect.getdoc(constructor) or "", inspect.cleandoc(sections)]
        if name in MODELS:
            parts.append(_EXAMPLE.format(name=name, parameters=MODELS[name].parameters))
        constructor.__doc__ = "\n\n".join(filter(None, parts))
        _REGISTERED[name] = registration
        return constructor

    return register


def registration(name: str) -> Registration:
    """Returns how `name` was registered, importing its file on first use.

    Raises:
        ZooError: There is no such model; names the nearest ones.
    """
    if name not in _REGISTERED and name in MODELS:
        importlib.import_module(MODELS[name].module)
    if name not in _REGISTERED:
        raise unknown("model", name, {*MODELS, *_REGISTERED})
    return _REGISTERED[name]


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of all models that match a wildcard pattern, sorted.

    >>> list_models("lenet*")
    ['lenet5', 'lenet5_modern']
    """
    return sorted(fnmatch.filter({*MODELS, *_REGISTERED}, pattern))


def create_model(name: str, **arguments: Any) -> "nn.Module":
    """Builds a freshly initialised model by name.

    Args:
        name: One of `list_models()`.
        arguments: Keywords of that model's constructor; what is left out takes the paper's value.

    Raises:
        ZooError: Unknown name or keyword (the nearest ones are named), or a value the constructor refuses.

    >>> sum(p.numel() for p in create_model("lenet5").parameters())
    60000
    """
    entry = registration(name)
    known = entry.parameters
    for key in arguments:
        if key not in known:
            raise unknown_key(name, key, known)
    try:
        return entry.constructor(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ZooError(f"{name} cannot be built with {arguments}: {error}") from error


def arguments_for(name: str, spec: Spec, given: dict[str, Any]) -> dict[str, Any]:
    """Completes the `given` constructor arguments of a model with what its data says.

    A keyword that is absent or None takes the data's value; a value that contradicts the data is refused.

    Args:
        name: The model.
        spec: The prepared dataset's record.
        given: Keywords from a config, without `name`.

    Raises:
        ZooError: The model cannot take this data, or an argument contradicts it.
    """
    entry = registration(name)
    expected = SPEC_OF_TASK[entry.task]
    if not isinstance(spec, expected):
        raise ZooError(f"{name} is a model for {entry.task} ({expected.__name__}), the data is {spec}")
    if entry.fits and (reason := entry.fits(spec)):
        raise ZooError(f"{name} takes {reason}, the data is {spec}")
    arguments = {key: value for key, value in given.items() if value is not None}
    for keyword, attribute in entry.from_spec.items():
        value = getattr(spec, attribute)
        if keyword in arguments and arguments[keyword] != value:
            raise ZooError(
                f"model.{keyword}={arguments[keyword]} contradicts the data ({spec}): leave it out, the data sets it"
            )
        arguments[keyword] = value
    return arguments
