"""What all tests share: folders of their own for runs and caches, and the real datasets where they are there."""

import logging
import os
import select
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from zoo.cli import main
from zoo.training.run import main as training_process
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

# Before torch is imported: the tests run side by side, and threads that fight over cores are slower than one each.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps runs, caches and W&B inside the test's own folder, and each process to one thread."""
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
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


class Terminal:
    """A terminal for what a test runs.

    Attributes:
        end: The file descriptor to write to.
    """

    def __init__(self) -> None:
        self._ours, self.end = os.openpty()

    def read(self) -> str:
        """Closes the terminal, and returns all that was written to it, however late its pieces come through."""
        os.close(self.end)
        shown = b""
        with os.fdopen(self._ours, "rb", buffering=0) as ours, suppress(OSError):  # raised when all ends are closed
            while select.select([ours], [], [], 120)[0]:
                shown += ours.read(65536)
        return shown.decode()


@pytest.fixture
def open_terminal() -> Callable[[], Terminal]:
    """Opens a terminal."""
    return Terminal


def newest_run(root: Path) -> RunFolder:
    """Returns the run below `root` whose config was written last."""
    return RunFolder(max(root.rglob("config.yaml"), key=lambda path: path.stat().st_mtime).parent)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Takes back what a training process changes for itself: signal handlers, loggers, warnings."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [logging.getLogger(name) for name in ("zoo", "py.warnings", "lightning.pytorch", "lightning.fabric")]
    before = [(list(logger.handlers), logger.propagate) for logger in loggers]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            logging.captureWarnings(False)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            for logger, (kept, propagates) in zip(loggers, before, strict=True):
                for handler in set(logger.handlers) - set(kept):
                    handler.close()
                logger.handlers, logger.propagate = kept, propagates


@pytest.fixture(scope="session")
def train_here() -> Callable[[RunFolder], int]:
    """Trains a frozen run in this very process: one of its own would import Lightning anew for every test."""

    def train(run: RunFolder) -> int:
        with undisturbed():
            return training_process([str(run.path)])

    return train


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, train_here: Callable[[RunFolder], int]) -> None:
    """Lets `zoo.cli.main` train in this process, where what starts the other one is not what is tested."""
    for user in ("start", "launchers", "tune"):
        monkeypatch.setattr(f"zoo.training.{user}.train_in_subprocess", train_here)


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


TINY_EXPERIMENT = """\
# @package _global_
# zoo train experiment=lenet5_modern_tiny
defaults:
  - override /model: lenet5_modern
  - override /data: digits

name: lenet5_modern_tiny
trainer:
  max_epochs: 2
claim:
  paper: lecun1998
  metric: test/error
  reported: 0.95
  unit: percent
  direction: min
  where: "Section III.B, Figure 9"
  protocol: "reduced: two passes over scikit-learn's digits"
release: lenet5_modern-tiny
"""


@dataclass(frozen=True)
class Trained:
    """A finished run of an experiment, and the config folder in which the experiment stands."""

    run: RunFolder
    config_dir: Path


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, train_here: Callable[[RunFolder], int]
) -> Trained:
    """A real run, trained in seconds, once for all of xdist's workers; tests read it and leave it as it is."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if hasattr(request.config, "workerinput") else base) / "trained_for_all"
    config_dir = root / "configs"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            (config_dir / "experiment").mkdir(parents=True)
            (config_dir / "experiment" / "lenet5_modern_tiny.yaml").write_text(TINY_EXPERIMENT)
            words = ["experiment=lenet5_modern_tiny", "trainer=cpu", "logger=none", f"runs_dir={root / 'runs'}"]
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OMP_NUM_THREADS", "1")
                patch.delenv("ZOO_DATA", raising=False)
                assert train_here(prepare_run([*words, "trainer.enable_progress_bar=false"], [config_dir])) == 0
    return Trained(newest_run(root / "runs"), config_dir)
