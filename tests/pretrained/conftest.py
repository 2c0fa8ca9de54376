"""Tiny releases, and a place of their own for shipped ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo.models.registry import create_model
from zoo.pretrained import hub, publish
from zoo.pretrained.release import save_release

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
