"""Changes released files as a fault or a forger would, and reads the line with which they are refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.pretrained.release import load_release

FILES = ("model.safetensors", "model.json", "card.json")
CARD = {"task": "image_classification"}


def message(folder: Path) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(ZooError) as refused:
        load_release(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
    return str(refused.value)


def same(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def rewrite(folder: Path, file: str, change: Callable[[dict[str, Any]], Any], keep_sum: bool = False) -> None:
    """Changes a JSON file of a release and, as a forger would, the checksum in the card."""
    content = json.loads((folder / file).read_text())
    change(content)
    (folder / file).write_text(json.dumps(content))
    if file == "model.json" and not keep_sum:
        vouch(folder, file)


def vouch(folder: Path, file: str) -> None:
    digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    rewrite(folder, "card.json", lambda card: card["sha256"].update({file: digest}))
