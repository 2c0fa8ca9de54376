"""Runs in this process, what they left behind, and runs that are stopped and resumed."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo.training.processes import training_command
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run


@pytest.fixture(scope="session")
def train(train_here: Callable[[RunFolder], int]) -> Callable[..., RunFolder]:
    """Trains in this process: `train(root, *words)` or `train(root, *words, code=1)`; returns the run."""

    def run(root: Path, *words: str, code: int = 0) -> RunFolder:
        # A stored config has its hardware already.
        cpu = [] if any(word.startswith("from_run=") for word in words) else ["trainer=cpu"]
        prepared = prepare_run([f"runs_dir={root}", *cpu, *words])
        assert train_here(prepared) == code
        return prepared

    return run


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[dict[str, str]]]:
    """Reads metrics.csv: `rows(run)`, or `rows(run, "epoch")` for one kind of row."""

    def read(run: RunFolder, kind: str | None = None) -> list[dict[str, str]]:
        with run.metrics.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if kind in (None, row["row"])]

    return read


TIMING = {"samples_per_s", "elapsed_s"}


@pytest.fixture(scope="session")
def assert_same(rows: Callable[..., list[dict[str, str]]]) -> Callable[[RunFolder, RunFolder], None]:
    """Makes sure that two runs came to the same, bit for bit: what they measured, wrote and released."""

    def measured(run: RunFolder) -> list[dict[str, str]]:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in rows(run)]

    def written(run: RunFolder) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (run.path / "samples").glob("*")}

    def compare(run: RunFolder, reference: RunFolder) -> None:
        assert measured(run) == measured(reference)
        assert written(run) == written(reference)
        ours, theirs = (load_file(each.release / "model.safetensors") for each in (run, reference))
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert run.read_summary()["metrics"] == reference.read_summary()["metrics"]

    return compare


STOPPING = """
from pathlib import Path
from lightning.pytorch import Callback

class StopOnce(Callback):
    def __init__(self, after: int, stopped: str) -> None:
        self.after, self.stopped = after, Path(stopped)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.epoch_loop.total_batch_idx == self.after and not self.stopped.exists():
            self.stopped.touch()
            raise RuntimeError("stopped")
"""


@pytest.fixture
def stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., RunFolder]
) -> Callable[..., RunFolder]:
    """Trains in this process and ends after so many batches, without goodbye: `stopped(after, *words)`.

    With `there_before` the config is the same, and training is not stopped.
    """
    (tmp_path / "stopping.py").write_text(STOPPING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "stopping.")

    def run(after: int, *words: str, there_before: bool = False) -> RunFolder:
        flag = tmp_path / f"stopped {there_before}"
        if there_before:
            flag.touch()
        stop = [f"+callbacks.stop={{_target_: stopping.StopOnce, after: {after}, stopped: '{flag}'}}"]
        made = train(tmp_path / f"runs {there_before}", *words, *stop, code=0 if there_before else 1)
        if not there_before:
            assert made.read_summary()["status"] == "failed"
            assert "stopped" in made.read_summary()["error"]
            checkpoint = torch.load(made.checkpoints / "last.ckpt", weights_only=True)
            assert 0 < checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["completed"] <= after
        return made

    return run


@pytest.fixture
def interrupted(stopped: Callable[..., RunFolder], train_here: Callable[[RunFolder], int]) -> Callable[..., RunFolder]:
    """Trains with an end in the middle, and goes on from the last checkpoint; and once without it."""

    def run(after: int, *words: str, there_before: bool) -> RunFolder:
        made = stopped(after, *words, there_before=there_before)
        if not there_before:
            assert train_here(made) == 0
        return made

    return run


@pytest.fixture(scope="session")
def killed() -> Callable[..., RunFolder]:
    """Trains in a process of its own and kills it as soon as it has come so far: `killed(when, *words)`."""

    def run(when: Callable[[RunFolder], bool], *words: str) -> RunFolder:
        prepared = prepare_run(["trainer=cpu", *words])
        process = subprocess.Popen(training_command(prepared), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while process.poll() is None and not when(prepared):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not prepared.summary.exists()
        return prepared

    return run


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Training takes SIGINT and SIGTERM over, and would keep them."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
