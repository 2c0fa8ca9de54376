"""A model and an optimizer of one's own, in folders of one's own; the example of CONTRIBUTING.md is in test_docs."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.models import registry
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

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


@contextlib.contextmanager
def reader_s(folder: Path) -> Iterator[None]:
    """Stands in a folder whose modules can be imported, as the command does, and forgets them afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setenv("ZOO_ALLOW_TARGETS", "own_zoo.")
        patch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
        yield
    for name in ("own_zoo", "own_zoo.everything"):
        sys.modules.pop(name, None)


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
def trained(own: Path, train_here) -> RunFolder:
    with reader_s(own):
        words = ["runs_dir=runs", *TINY, "model=just_linear", "optimizer=slow"]
        run = prepare_run(words, [Path("own_configs")])
        assert train_here(run) == 0
    return run


def test_it_trains_like_any_other(trained: RunFolder):
    assert trained.path.parent.name == "just_linear_digits"
    assert trained.read_summary()["headline"]["value"] < 60
    card = json.loads((trained.release / "card.json").read_text())
    assert (card["model"], card["parameters"], card["arguments"]) == ("just_linear", 7850, {"num_classes": 10})
    lr = trained.read_config()["optimizer"]
    assert lr == {"_target_": "own_zoo.everything.Slow", "lr": 0.1, "factor": 0.5}


def test_it_is_measured_again_once_its_module_is_named(trained: RunFolder, own: Path, capsys):
    with reader_s(own):
        assert main(["evaluate", str(trained.path), "trainer=cpu"]) == 2
        assert "name the module that registers it, imports=[MODULE]" in capsys.readouterr().err
        assert main(["evaluate", str(trained.path), "trainer=cpu", "imports=[own_zoo.everything]"]) == 0
    assert f"{trained.read_summary()['headline']['value']:.4g}" in capsys.readouterr().out


def test_it_is_verified_once_its_module_is_named(trained: RunFolder, own: Path, capsys):
    with reader_s(own):
        assert main(["verify", str(trained.path)]) == 1
        assert "import what registers it first, --imports MODULE" in capsys.readouterr().out
        assert main(["verify", str(trained.path), "--imports", "own_zoo.everything"]) == 0


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
