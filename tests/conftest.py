"""What all tests share: folders of their own for runs and caches, and the real datasets where they are there."""

import os
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps runs, caches and W&B inside the test's own folder, and each process to one thread."""
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("ZOO_DEBUG", raising=False)
    monkeypatch.delenv("ZOO_ALLOW_TARGETS", raising=False)
    # Real datasets are for the tests that ask for them.
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))


_REAL_DATA = os.environ.get("ZOO_DATA")


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real datasets; the test is skipped where there is none."""
    if not _REAL_DATA or not Path(_REAL_DATA).is_dir():
        pytest.skip("needs the real datasets: set ZOO_DATA")
    monkeypatch.setenv("ZOO_DATA", _REAL_DATA)
    return Path(_REAL_DATA)


def newest_run(root: Path) -> RunFolder:
    """Returns the run below `root` whose config was written last."""
    return RunFolder(max(root.rglob("config.yaml"), key=lambda path: path.stat().st_mtime).parent)


@pytest.fixture
def one_line_error(capfd: pytest.CaptureFixture[str]):
    """Runs `zoo` with words that must be refused; returns the one line it printed."""

    def run(*words: str, code: int = 2) -> str:
        capfd.readouterr()
        assert main(list(words)) == code
        lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
        assert len(lines) == 1, lines
        assert lines[0].startswith("zoo: ")
        return lines[0]

    return run
