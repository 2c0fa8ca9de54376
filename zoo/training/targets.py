"""Builds the few classes that a config may name with `_target_`, after checking what the name really leads to."""

import importlib
import inspect
from typing import Any

from zoo.errors import ZooError
from zoo.training.check import allowed_prefixes, check_target


def resolve_target(target: str, base: type) -> type:
    """Returns the class that an allowed `_target_` names.

    The name is checked before the import; where it leads to is checked after it, since an allowed module may hold
    strangers (`torch.optim.optimizer.torch.hub.load` begins with `torch.optim.` too).

    Args:
        target: The dotted name.
        base: The class it must derive from.

    Raises:
        ZooError: It is not allowed, does not exist, cannot be imported, or is something else.
    """
    check_target(target)
    module_name, _, name = target.rpartition(".")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # a user's module can fail in any way
        if not isinstance(error, ModuleNotFoundError) or not f"{module_name}.".startswith(f"{error.name}."):
            raise ZooError(f"_target_ {target!r} cannot be imported: {type(error).__name__}: {error}") from error
        found = None
    found = getattr(found, name, None)
    if found is None:
        raise ZooError(f"_target_ {target!r} does not exist: {module_name} has no {name}")
    if not inspect.isclass(found) or not issubclass(found, base):
        raise ZooError(f"_target_ {target!r} is not allowed here: expected a class derived from {base.__name__}")
    if not f"{found.__module__}.{found.__qualname__}".startswith(allowed_prefixes()):
        raise ZooError(f"_target_ {target!r} is not allowed: it leads to {found.__module__}.{found.__qualname__}")
    return found


def build(node: dict[str, Any], base: type, *positional: Any, **given: Any) -> Any:
    """Builds the object a config node describes.

    Args:
        node: `_target_` and keyword arguments.
        base: The class the target must derive from.
        positional: Arguments that come before the node's own, e.g. the parameters to optimise.
        given: Further keywords that the node does not hold.

    Raises:
        ZooError: The class is refused, or refuses its arguments.
    """
    found = resolve_target(node["_target_"], base)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    try:
        return found(*positional, **arguments, **given)
    except (TypeError, ValueError) as error:
        raise ZooError(f"{node['_target_']} cannot be built with {arguments}: {error}") from error
