"""Starts a model from the weights of a release or of another run."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from torch import nn

from zoo.data.tokenizing import SentenceTokenizer
from zoo.data.vocabulary import Vocabulary
from zoo.errors import ZooError
from zoo.pretrained.hub import find_release
from zoo.pretrained.release import load_release, read_files

_VOCABULARIES = (Vocabulary, SentenceTokenizer)

log = logging.getLogger("zoo")


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
        of_outputs: `zoo.pretrained.outputs.tensors_of_outputs` of the model.

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
