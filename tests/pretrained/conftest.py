"""Tiny releases, a place of their own for shipped ones, and what changes their files as a forger would."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.models import registry
from zoo.models.registry import create_model, register_model
from zoo.pretrained import hub, publish
from zoo.pretrained.release import load_release, save_release

CARD: dict[str, Any] = {
    "name": "lenet5_modern-test",
    "release": "lenet5_modern-test",
    "task": {"name": "image_classification", "headline": "test/error", "label_smoothing": 0.0},
    "data": {"name": "digits"},
    "preprocessing": {
        "channels": 1, "height": 28, "width": 28, "mean": [0.1307], "std": [0.3081], "ink": "bright on dark",
    },
    "class_names": [str(digit) for digit in range(10)],
    "metrics": {"test/error": 0.93},
    "headline": {"metric": "test/error", "value": 0.9300000071525574, "direction": "min"},
    "claim": None,
    "seed": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def lenet() -> nn.Module:
    """A small model with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return create_model("lenet5_modern").eval()


@pytest.fixture
def release(tmp_path: Path, lenet: nn.Module) -> Path:
    """A release folder."""
    return save_release(tmp_path / "lenet5_modern-test", lenet, "lenet5_modern", {}, CARD)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands in for the checkout's own pretrained/."""
    folder = tmp_path / "shelf" / "pretrained"
    folder.mkdir(parents=True)
    for module in (hub, publish):
        monkeypatch.setattr(module, "shipped", lambda name: folder.parent / name)
    return folder


@pytest.fixture
def run(tmp_path: Path, lenet: nn.Module) -> Path:
    """The folder of a finished run."""
    folder = tmp_path / "runs" / "lenet5_modern_digits" / "2026-01-02_03-04-05"
    save_release(folder / "release", lenet, "lenet5_modern", {}, CARD)
    (folder / "config.yaml").write_text("name: lenet5_modern_digits\n")
    (folder / "summary.json").write_text('{"status": "finished"}')
    return folder


@pytest.fixture(scope="session")
def registered() -> Callable[[Callable[..., nn.Module]], AbstractContextManager[None]]:
    """Registers a constructor for the length of a `with` block."""

    @contextmanager
    def for_a_while(constructor: Callable[..., nn.Module]) -> Iterator[None]:
        register_model(task="image_classification", paper="a test")(constructor)
        try:
            yield
        finally:
            # Only this one: a file of models that was imported meanwhile is never imported again.
            del registry._REGISTERED[constructor.__name__]

    return for_a_while


class Forger:
    """Changes released files as a fault or a forger would, and reads the line with which they are refused."""

    def message(self, folder: Path) -> str:
        """The one line with which a folder is refused."""
        with pytest.raises(ZooError) as refused:
            load_release(folder)
        assert "\n" not in str(refused.value)
        assert str(folder) in str(refused.value)
        return str(refused.value)

    def rewrite(self, folder: Path, file: str, change: Callable[[dict[str, Any]], Any], keep_sum: bool = False) -> None:
        """Changes a JSON file of a release and, as a forger would, the checksum in the card."""
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))
        if file == "model.json" and not keep_sum:
            self.vouch(folder, file)

    def vouch(self, folder: Path, file: str) -> None:
        """Makes the card's checksum that of the file as it now is."""
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        self.rewrite(folder, "card.json", lambda card: card["sha256"].update({file: digest}))


# Both for the whole session: properties of hypothesis may not use what is made anew for each test.
@pytest.fixture(scope="session")
def forger() -> Forger:
    return Forger()


@pytest.fixture(scope="session")
def same() -> Callable[[nn.Module, nn.Module], bool]:
    """Says whether two models have the same weights, bit for bit."""

    def compare(one: nn.Module, other: nn.Module) -> bool:
        first, second = one.state_dict(), other.state_dict()
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)

    return compare
