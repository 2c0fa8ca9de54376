"""Starts a model from the weights of a release or of another run."""

import logging
from pathlib import Path

from torch import nn

from zoo.data.vocabulary import VOCABULARY, Vocabulary
from zoo.errors import ZooError
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release, read_files

log = logging.getLogger("zoo")


def initialise_from(model: nn.Module, source: str, vocabulary: Vocabulary | None = None) -> None:
    """Copies every tensor that has the same name and shape, and prints what was loaded, is new, or went unused.

    Where the texts have different vocabularies, tensors with a row for each token stay new: equal in shape or not,
    their rows stand for other tokens.

    Args:
        model: Changed in place.
        source: The name of a release, or the path of a release or a run.
        vocabulary: Of the text that the model is to be trained on.

    Raises:
        ZooError: No such release, or nothing in it fits.
    """
    release = find_release(source)
    weights = load_release(release)[0].state_dict()
    own = model.state_dict()
    loaded = [name for name, tensor in own.items() if name in weights and weights[name].shape == tensor.shape]
    theirs = read_files(release).get(VOCABULARY)
    if vocabulary is not None and theirs is not None and Vocabulary.from_json(theirs).tokens != vocabulary.tokens:
        loaded = [name for name in loaded if own[name].dim() == 0 or len(own[name]) != len(vocabulary)]
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
