"""Starts a model from the weights of a release or of another run."""

import logging
from pathlib import Path

from torch import nn

from zoo.errors import ZooError
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release

log = logging.getLogger("zoo")


def initialise_from(model: nn.Module, source: str) -> None:
    """Copies every tensor that has the same name and shape, and prints what was loaded, is new, or went unused.

    Args:
        model: Changed in place.
        source: The name of a release, or the path of a release or a run.

    Raises:
        ZooError: No such release, or nothing in it fits.
    """
    weights = load_release(find_release(source))[0].state_dict()
    own = model.state_dict()
    loaded = [name for name, tensor in own.items() if name in weights and weights[name].shape == tensor.shape]
    new = [name for name in own if name not in loaded]
    unused = [name for name in weights if name not in loaded]
    if not loaded:
        raise ZooError(f"init_from={source}: none of its tensors fits this model")
    model.load_state_dict({**own, **{name: weights[name] for name in loaded}})
    message = f"init_from {Path(source).name}: {len(loaded)} tensors loaded"
    for label, names in (("new", new), ("unused", unused)):
        if names:
            message += f"; {label}: {', '.join(names)}"
    print(message, flush=True)
    log.info(message)
