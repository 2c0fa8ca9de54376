"""Times how releases are loaded: ours, and the constructor and safetensors alone, which check nothing."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from rich.console import Console
from rich.progress import track
from torch import nn

from zoo.models.registry import create_model
from zoo.pretrained.card import MODEL, WEIGHTS
from zoo.pretrained.hub import find_release, load_pretrained
from zoo.training.benchmark.cases import Case
from zoo.training.benchmark.measure import Measured


def load_unchecked(folder: Path) -> nn.Module:
    """Loads a release as one would by hand."""
    recipe = json.loads((folder / MODEL).read_text(encoding="utf-8"))
    model = create_model(recipe["name"], **recipe["arguments"])
    model.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    return model.eval()


def measure_loading(case: Case, rounds: int, folder: Path) -> Measured:
    """Times a case as `measure` does; its words are the name of a release, its steps are loads.

    Raises:
        ZooError: There is no such release.
    """
    (name,) = case.words
    place = find_release(name)
    ways: dict[str, Callable[[], nn.Module]] = {
        "bare": lambda: load_unchecked(place), "zoo": lambda: load_pretrained(name)
    }  # fmt: skip
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in track(range(rounds + 1), case.name, transient=True, console=Console(stderr=True)):
        for way, load in ways.items():
            start = time.perf_counter()
            for _ in range(case.steps):
                load()
            speeds[way].append(case.steps / (time.perf_counter() - start))
    return Measured(case, {way: found[1:] for way, found in speeds.items()})
