"""Starts a model from the weights of a release or of another run."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.data.tokenizing import SentenceTokenizer
from zoo.data.vocabulary import Vocabulary
from zoo.errors import ZooError
from zoo.models.registry import create_model, registration
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release, read_files

# Fields of a spec that say how many classes or tokens there are.
_COUNTS = ("classes", "vocabulary_size", "source_vocabulary_size", "target_vocabulary_size")
_VOCABULARIES = (Vocabulary, SentenceTokenizer)

log = logging.getLogger("zoo")


def tensors_of_outputs(name: str, arguments: dict[str, Any]) -> set[str]:
    """Returns which tensors of a model have a part for each class or token: their shape depends on how many there are.

    Args:
        name: The model.
        arguments: What it is built with, complete.
    """
    counts = [key for key, field in registration(name).from_spec.items() if field in _COUNTS]
    with torch.device("meta"):
        own = create_model(name, **arguments).state_dict()
        larger = create_model(name, **arguments | {key: arguments[key] + 1 for key in counts}).state_dict()
    return {key for key, tensor in larger.items() if tensor.shape != own[key].shape}


def initialise_from(
    model: nn.Module, source: str, outputs: Sequence[str] = (), of_outputs: Collection[str] = ()
) -> None:
    """Copies every tensor that has the same name and shape, and prints what was loaded, is new, or went unused.

    Where the data has other classes or words than the weights were trained on, the tensors with a part for each of them
    stay new: equal in shape or not, their parts stand for something else.

    Args:
        model: Changed in place.
        source: The name of a release, or the path of a release or a run.
        outputs: The classes or tokens that the model is to be trained on, by number.
        of_outputs: `tensors_of_outputs` of the model.

    Raises:
        ZooError: No such release, or nothing in it fits.
    """
    release = find_release(source)
    theirs, card = load_release(release)
    weights = theirs.state_dict()
    own = model.state_dict()
    loaded = [name for name, tensor in own.items() if name in weights and weights[name].shape == tensor.shape]
    files = read_files(release)
    words = [kind.from_json(files[kind.file_name]).tokens for kind in _VOCABULARIES if kind.file_name in files]
    meant = words[0] if words else card["class_names"]
    if outputs and meant and list(outputs) != list(meant):
        loaded = [name for name in loaded if name not in of_outputs]
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
