"""A release: trained weights in a folder that anyone may load, because loading it runs no code.

The model is built from its registered name and checked arguments; the weights are safetensors, checked against the
model and against the card's sha256 before they are used.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from zoo.errors import ZooError
from zoo.models.catalog import MODELS
from zoo.models.derived import DerivedBuffers
from zoo.models.registry import create_model, registration
from zoo.pretrained.card import CARD, MODEL, RELEASE_FORMAT, WEIGHTS, anew, read_card, read_content, read_json
from zoo.pretrained.folders import write_folder
from zoo.pretrained.weights import encode_weights, read_weights

__all__ = ["RELEASE_FORMAT", "load_release", "read_card", "read_files", "save_release"]


@contextmanager
def _ordinary_settings() -> Iterator[None]:
    """Builds models on the CPU in float32, and leaves the caller's random numbers as they were."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    # The mode that a device switches on costs a small model half of its time.
    on_cpu = nullcontext() if torch.get_default_device() == torch.device("cpu") else torch.device("cpu")
    try:
        with torch.random.fork_rng(devices=[]), on_cpu:
            yield
    finally:
        torch.set_default_dtype(dtype)


def _build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return create_model(name, **arguments)
    except ZooError:
        raise
    # The arguments come from a file: whatever a constructor makes of them is that file's fault.
    except Exception as error:
        raise ZooError(f"{name} cannot be built with {dict(arguments)}: {error}") from error


class _NothingDrawn(TorchFunctionMode):
    """Leaves tensors as they are where random numbers would be drawn into them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


_DRAWS = {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_, Tensor.uniform_, Tensor.normal_}


def _planned(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Builds a model of that name, without memory for its numbers where its constructor allows."""
    try:
        with torch.device("meta"), _NothingDrawn():
            return _build(name, arguments)
    except ZooError:
        # Some constructors look at the numbers they draw, which the meta device does not have.
        return _build(name, arguments)


def _needs_weights_alone(planned: nn.Module, stored: Mapping[str, Tensor], name: str) -> bool:
    """Says whether a planned model is whole once the tensors of its state dict are put in their places.

    Not where there are buffers that are neither stored nor derived. Of the zoo's own models the tests know that no
    other tensors hide in them.
    """
    places = {id(tensor) for tensor in stored.values()}
    others = [tensor for tensor in (*planned.parameters(), *planned.buffers()) if id(tensor) not in places]
    whole = all(tensor.is_meta for tensor in stored.values()) and not any(tensor.is_meta for tensor in others)
    return whole and registration(name).constructor.__module__[:4] == "zoo."


def _filled(planned: nn.Module, weights: Mapping[str, Tensor], name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Puts weights into a planned model; where that is not enough, into one that is built anew."""
    for part in planned.modules():
        if isinstance(part, DerivedBuffers):
            part.derive()
    own = planned.state_dict(keep_vars=True)
    if _needs_weights_alone(planned, own, name):  # random numbers need not be drawn first
        given: dict[int, Tensor] = {}  # by place: a parameter under several names stays one
        for key, place in own.items():
            tensor = weights[key].to(place.dtype)
            given[id(place)] = nn.Parameter(tensor, place.requires_grad) if isinstance(place, nn.Parameter) else tensor
        planned.load_state_dict({key: given[id(place)] for key, place in own.items()}, assign=True)
        return planned
    model = _build(name, arguments) if any(p.is_meta for p in planned.parameters()) else planned
    model.load_state_dict(weights)
    return model


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def save_release(
    folder: Path | str,
    model: nn.Module,
    name: str,
    arguments: Mapping[str, Any],
    card: Mapping[str, Any],
    dtype: str = "float32",
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a release, replacing the one that stands there; a reader sees the old one or the new one.

    Args:
        folder: Where; its parents are made.
        model: Whose weights; on any device.
        name: The model's registered name.
        arguments: Keywords that `create_model` needs to build the same model again; plain JSON.
        card: What is known about the weights, plain JSON: at least `task`. Format, model, arguments, dtype, sha256 and
            the number of trained parameters are filled in.
        dtype: How floats are stored, `"float32"` or `"float16"`; they are loaded as float32 either way.
        files: What else a pipeline needs, by file name, such as a vocabulary.

    Returns:
        The folder.

    Raises:
        ZooError: The name and arguments do not build this model, the weights do not fit the dtype, the card is not
            plain JSON, or the folder cannot be written or holds something else.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise ZooError(f"{folder} is a file: a release is a folder; choose another place")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / CARD).exists():
        raise ZooError(f"{folder} holds something else than a release and is left alone; choose another place")
    state = model.state_dict()
    weights = encode_weights(state, dtype)
    with _ordinary_settings():
        expected = _planned(name, arguments).state_dict()
    if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in expected.items()}:
        raise ZooError(f"{name} with arguments {dict(arguments)} is not the model that was to be saved")
    try:
        built_from = _json({"format": RELEASE_FORMAT, "name": name, "arguments": dict(arguments)})
        content = {WEIGHTS: weights, MODEL: built_from, **(files or {})}
        described = {
            "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            **card,
            "format": RELEASE_FORMAT,
            "model": name,
            "arguments": dict(arguments),
            "dtype": dtype,
            "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in content.items()},
        }
        content[CARD] = _json(described)
    except (TypeError, ValueError) as error:
        raise ZooError(f"the card and the arguments of a release are plain JSON: {error}") from error
    try:
        write_folder(folder, content)
    except OSError as error:
        raise ZooError(f"cannot write the release {folder}: {error.strerror or error}") from error
    return folder


def read_files(folder: Path | str) -> dict[str, bytes]:
    """Returns the files that a release holds besides weights, model and card, verified.

    Raises:
        ZooError: One of them is missing, absurdly large, or not what the card vouches for.
    """
    folder, found = Path(folder), {}
    for name, sha256 in read_card(folder)["sha256"].items():
        if name in (WEIGHTS, MODEL):
            continue
        if Path(name).name != name:
            raise ZooError(f"{folder / CARD} vouches for {name!r}, which is no name of a file in it")
        if not (folder / name).is_file():
            raise ZooError(f"{folder} is no complete release: {name} is missing; {anew(folder)}")
        content = read_content(folder / name)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ZooError(f"{folder / name} is damaged: its sha256 is not the one in {CARD}; {anew(folder)}")
        found[name] = content
    return found


def load_release(folder: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """Loads a release. Nothing in it is executed, and nothing large is allocated before all of it is checked.

    Args:
        folder: A release folder; `zoo.pretrained.hub.find_release` finds it by name.

    Returns:
        The model, on the CPU in evaluation mode, floats in float32; and its card.

    Raises:
        ZooError: The folder is no release, or one that is damaged, truncated, of a newer format, or for a model that
            this zoo does not have.
    """
    folder = Path(folder)
    card = read_card(folder)
    recipe, content = read_json(folder / MODEL)
    if hashlib.sha256(content).hexdigest() != card["sha256"][MODEL]:
        raise ZooError(f"{folder / MODEL} is damaged: its sha256 is not the one in {CARD}; {anew(folder)}")
    name, arguments = recipe.get("name"), recipe.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ZooError(f"{folder / MODEL} names no model and arguments: not written by the zoo")
    if (name, arguments) != (card["model"], card["arguments"]):
        raise ZooError(f"{folder}: {MODEL} and {CARD} tell of different models; {anew(folder)}")
    with _ordinary_settings():
        try:
            planned = _planned(name, arguments)
            weights = read_weights(folder / WEIGHTS, planned.state_dict(), card["sha256"][WEIGHTS])
            model = _filled(planned, weights, name, arguments)
        except ZooError as error:
            if str(folder) in str(error):
                raise
            own = "" if name in MODELS else " (a model of your own: import what registers it first, --imports MODULE)"
            raise ZooError(f"{folder}: {error}{own}") from error
    return model.eval(), card
