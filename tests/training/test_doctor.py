"""`zoo doctor` names what is wrong with an installation, and what to type about it."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.training import doctor as examining
from zoo.training.doctor import bad_pair


@pytest.mark.parametrize(
    ("torch", "torchvision", "wanted", "told"),
    [
        ("2.11.0", "0.26.0", "torch==2.11.0", ""),
        ("2.11.0+cpu", "0.26.0+cpu", "torch==2.11.0", ""),
        ("2.11.0+cpu", "0.26.0", "", ""),
        ("2.12.0", "0.26.0", "torch==2.11.0", "torchvision 0.26.0 is built for torch 2.11.0, here is 2.12.0"),
        ("2.11.0+cu128", "0.26.0+cpu", "torch==2.11.0", "torch is built for cu128, torchvision for cpu"),
    ],
)
def test_builds_that_do_not_fit(torch: str, torchvision: str, wanted: str, told: str):
    assert bad_pair(torch, torchvision, wanted) == told


def test_a_healthy_installation(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("ZOO_DATA", raising=False)
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "✗" not in shown
    for line in ("torch and torchvision", "fit one another", "CPU", "GPU", str(tmp_path), "downloaded when used"):
        assert line in shown


def test_what_is_missing_is_named(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))

    def not_there(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    installed = examining.installed
    monkeypatch.setattr(examining, "requires", not_there)
    monkeypatch.setattr(examining, "installed", lambda name: None if name == "torchvision" else installed(name))
    assert main(["doctor"]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("✗"))
    assert "torchvision is not installed; pip install" in line


def test_what_is_wrong_has_a_remedy(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("ZOO_HUB", "ftp://hub")
    installed = examining.installed
    monkeypatch.setattr(examining, "installed", lambda name: "0.18.0" if name == "torchtext" else installed(name))
    assert main(["doctor"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("✗")]
    assert len(lines) == 3
    for line, remedy in zip(lines, ("pip uninstall torchtext", "unset ZOO_DATA", "unset ZOO_HUB"), strict=True):
        assert remedy in line
