"""A model and an optimizer of one's own, in folders of one's own; the example of CONTRIBUTING.md is in test_docs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.training.run_folder import RunFolder

pytestmark = pytest.mark.xdist_group("own_code")

MODEL = """
import torch
from torch import nn
from zoo import register_model

@register_model(task="image_classification", paper="my own", from_spec={"num_classes": "classes"})
def just_linear(num_classes: int = 10) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, num_classes))

class Slow(torch.optim.SGD):
    def __init__(self, params, lr: float, factor: float = 0.5) -> None:
        super().__init__(params, lr=lr * factor)
"""
MODEL_FILE = """\
# @package _global_
imports: [own_zoo.everything]
model:
  name: just_linear
  num_classes: null
"""
OPTIMIZER_FILE = """\
_target_: own_zoo.everything.Slow
lr: 0.1
factor: 0.5
"""
TINY = ["trainer=cpu", "logger=none", "trainer.max_epochs=2"]


def zoo(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoo", *words], cwd=folder, env=os.environ | {"ZOO_RUNS": "runs"} | environment,
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name, text in (
        ("own_zoo/__init__.py", ""),
        ("own_zoo/everything.py", MODEL),
        ("own_configs/model/just_linear.yaml", MODEL_FILE),
        ("own_configs/optimizer/slow.yaml", OPTIMIZER_FILE),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def trained(own: Path) -> RunFolder:
    words = ["train", *TINY, "--config-dir", "own_configs", "model=just_linear", "optimizer=slow"]
    ended = zoo(own, *words, ZOO_ALLOW_TARGETS="own_zoo.")
    assert ended.returncode == 0, ended.stderr
    (path,) = own.glob("runs/*/*")
    return RunFolder(path)


def test_it_trains_like_any_other(trained: RunFolder):
    assert trained.path.parent.name == "just_linear_digits"
    assert trained.read_summary()["headline"]["value"] < 60
    card = json.loads((trained.release / "card.json").read_text())
    assert (card["model"], card["parameters"], card["arguments"]) == ("just_linear", 7850, {"num_classes": 10})
    lr = trained.read_config()["optimizer"]
    assert lr == {"_target_": "own_zoo.everything.Slow", "lr": 0.1, "factor": 0.5}


def test_it_is_measured_again_once_its_module_is_named(trained: RunFolder, own: Path):
    ended = zoo(own, "evaluate", str(trained.path), "trainer=cpu", "imports=[own_zoo.everything]")
    assert ended.returncode == 0, ended.stderr
    assert f"{trained.read_summary()['headline']['value']:.4g}" in ended.stdout


def test_an_optimizer_that_is_not_allowed_is_not_even_imported(own: Path, one_line_error, monkeypatch):
    monkeypatch.chdir(own)
    told = one_line_error("train", *TINY, "--config-dir", "own_configs", "optimizer=slow")
    assert "_target_ 'own_zoo.everything.Slow' is not allowed" in told
    assert "ZOO_ALLOW_TARGETS" in told
    assert "own_zoo" not in sys.modules


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "imports=broken_module cannot be imported: ModuleNotFoundError"),
        ("1 / 0", "imports=broken_module cannot be imported: ZeroDivisionError: division by zero"),
        ("def", "imports=broken_module cannot be imported: SyntaxError"),
        ("import zoo.cli, sys\nsys.exit(3)", "imports=broken_module cannot be imported: SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported(text: str | None, told: str, one_line_error, tmp_path, monkeypatch):
    if text is not None:
        (tmp_path / "broken_module.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert told in one_line_error("train", *TINY, "imports=[broken_module]", code=1)
    assert list((tmp_path / "runs").rglob("*")) == []
