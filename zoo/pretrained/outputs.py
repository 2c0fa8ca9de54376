"""What of a model stands for the classes or tokens it was trained on, and putting new ones in its place."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from zoo.errors import ZooError
from zoo.models.registry import create_model, registration

# Fields of a spec that say how many classes or tokens there are.
_COUNTS = ("classes", "vocabulary_size", "source_vocabulary_size", "target_vocabulary_size")

log = logging.getLogger("zoo")


def tensors_of_outputs(name: str, arguments: Mapping[str, Any]) -> set[str]:
    """Returns which tensors of a model have a part for each class or token: their shape depends on how many there are.

    Args:
        name: The model.
        arguments: What it is built with, where that is not what its constructor says.
    """
    entry = registration(name)
    counts = [key for key, field in entry.from_spec.items() if field in _COUNTS]
    arguments = {key: entry.parameters[key].default for key in counts} | dict(arguments)
    with torch.device("meta"):
        own = create_model(name, **arguments).state_dict()
        larger = create_model(name, **(arguments | {key: arguments[key] + 1 for key in counts})).state_dict()
    return {key for key, tensor in larger.items() if tensor.shape != own[key].shape}


def with_new_outputs(model: nn.Module, card: Mapping[str, Any], num_classes: int) -> nn.Module:
    """Returns a classifier for other classes, which has all that does not depend on them from a pretrained one.

    Args:
        model: The pretrained one.
        card: Its card.
        num_classes: How many there are to be.

    Raises:
        ZooError: It is no classifier, or its classes are built in.
    """
    name, arguments = card["model"], card["arguments"]
    key = next((key for key, field in registration(name).from_spec.items() if field == "classes"), None)
    if key is None:
        raise ZooError(f"num_classes={num_classes}: {name} is built for its own outputs and takes no number of classes")
    if type(num_classes) is not int or num_classes < 1:
        raise ZooError(f"num_classes={num_classes!r} is not possible: expected a whole number, 1 or more")
    fresh = create_model(name, **arguments | {key: num_classes})
    new = tensors_of_outputs(name, arguments)
    state = fresh.state_dict()
    fresh.load_state_dict(state | {key: tensor for key, tensor in model.state_dict().items() if key not in new})
    log.warning(
        "%s for %d classes: new are %s", card["name"], num_classes, ", ".join(key for key in state if key in new)
    )
    return fresh.eval()


def placed(model: nn.Module, device: torch.device | str, dtype: torch.dtype | str | None = None) -> nn.Module:
    """Moves a model to a device, and to a floating-point dtype, itself or its name, if there is one.

    Raises:
        ZooError: The device is not there, or the dtype is none of floating-point numbers.
    """
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, dtype)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ZooError(f"dtype={dtype} is not possible: expected one of floating-point numbers, such as torch.float16")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError) as error:  # torch would name all two dozen kinds there are
        raise ZooError(f'device={device} is not possible: expected "cpu", "cuda" or one such as "cuda:1"') from error
    try:
        return model.to(device=device, dtype=dtype)
    except (RuntimeError, AssertionError) as error:
        raise ZooError(f"device={device} is not possible: {str(error).splitlines()[0]}") from error
