"""Processes that decode live exactly as long as they are needed, whatever ends the run, and leave no trace."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from zoo.data.decoding_workers import MOST_WORKERS, worker_count
from zoo.data.image_folder import imagefolder
from zoo.errors import ZooError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    for label in range(2):
        (root / str(label)).mkdir()
        for number in range(60):
            Image.new("RGB", (12, 12), (label * 200, number, 0)).save(root / f"{label}/{number}.png")
    return root


def loaders(folder: Path):
    dataset = imagefolder(str(folder), batch_size=8, size=8, resize=8, workers=2)
    dataset.prepare()
    return dataset.train_loader(), dataset.test_loader()


def children(pid: int) -> set[int]:
    return {int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_they_stay_from_pass_to_pass_and_end_with_their_loader(folder: Path):
    before = children(os.getpid())
    training, test = loaders(folder)
    assert children(os.getpid()) == before  # none is started before it is needed
    list(training)
    workers = children(os.getpid()) - before
    assert len(workers) == 2
    list(training)
    list(test)
    four = children(os.getpid()) - before
    assert len(four) == 4
    list(test)
    assert children(os.getpid()) - before == four
    del training
    assert children(os.getpid()) - before == four - workers
    del test
    assert children(os.getpid()) == before


def test_lightning_ends_them_and_they_begin_anew(folder: Path):
    """Lightning does to every loader with an `_iterator` what it does to torch's."""
    from lightning.pytorch.utilities.combined_loader import CombinedLoader

    before = children(os.getpid())
    for loader in loaders(folder):
        combined = CombinedLoader(loader)
        first = [labels.tolist() for (_, labels), _, _ in combined]
        assert len(children(os.getpid()) - before) == 2
        combined.reset()
        assert children(os.getpid()) == before
        again = [labels.tolist() for (_, labels), _, _ in combined]
        assert list(map(len, again)) == list(map(len, first))
        combined.reset()


def test_an_error_ends_them(folder: Path, tmp_path: Path):
    before = children(os.getpid())
    for split in ("train", "val"):
        for label in "01":
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(8):
                (tmp_path / split / label / f"{number}.png").write_bytes((folder / label / "0.png").read_bytes())
        (tmp_path / split / "1/7.png").write_text("words")
    for loader in loaders(tmp_path):
        with pytest.raises(ZooError, match="cannot be decoded"):
            list(loader)
        assert children(os.getpid()) == before


def test_one_that_is_killed_is_told_in_one_line(folder: Path):
    before = children(os.getpid())
    loader = loaders(folder)[0]

    def goes_on_without_one() -> None:
        next(iter(loader))
        os.kill(min(children(os.getpid()) - before), signal.SIGKILL)
        for _ in range(20):
            list(loader)

    # torch tells of it wherever this process happens to be: here, or where a batch is waited for.
    with pytest.raises((ZooError, RuntimeError), match=r"DataLoader worker|process that decodes") as told:
        goes_on_without_one()
    assert isinstance(told.value, RuntimeError) or "data.workers=0" in str(told.value)
    loader._iterator = None
    assert children(os.getpid()) == before
    assert len(list(loader)) == len(loader)


PROGRAM = """
import signal, sys, time
from zoo.data.image_folder import imagefolder
if __name__ == "__main__":
    dataset = imagefolder(sys.argv[1], batch_size=8, size=8, resize=8, workers=2)
    dataset.prepare()
    training, test = dataset.train_loader(), dataset.test_loader()
    streams = iter(training), iter(test)
    for stream in streams:
        next(stream)
    # As the trainer does: it answers between two batches, not in the middle of taking one from a worker.
    told = []
    signal.signal(signal.SIGINT, lambda *_: told.append(True))
    print("ready", flush=True)
    if sys.argv[2] == "leave":
        sys.exit()
    while True:
        for _ in training:
            if told:
                raise KeyboardInterrupt
            time.sleep(0.001)
"""


@pytest.fixture
def program(folder: Path, tmp_path: Path):
    """Starts a program that decodes; what a failing test leaves of it is killed."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    started: list[subprocess.Popen[str]] = []

    def start(what: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), what],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_they_are_gone_when_the_program_leaves_in_the_middle(program):
    process = program("leave")
    # The pipe ends when the last process has closed it.
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 0


def test_a_signal_to_all_is_answered_by_the_program_alone(program):
    """Ctrl-C reaches every process of a terminal's group; so does SIGTERM from `timeout` or a batch system."""
    process = program("stay")
    workers = children(process.pid)
    assert len(workers) == 4
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGINT)
    time.sleep(0.3)
    assert all(map(is_there, workers))
    os.killpg(process.pid, signal.SIGINT)
    error = process.communicate(timeout=30)[1]
    assert error.count("Traceback") == 1, error
    assert error.strip().endswith("KeyboardInterrupt")
    assert not any(map(is_there, workers))


def test_they_end_at_once_with_a_program_that_is_killed(program):
    process = program("stay")
    workers = children(process.pid)
    process.kill()
    killed = time.monotonic()
    assert process.communicate(timeout=30)[1] == ""
    # A process that ends closes its pipes a little before it is gone. Torch alone would notice after five seconds.
    while any(map(is_there, workers)):
        time.sleep(0.01)
        assert time.monotonic() - killed < 2
    assert time.monotonic() - killed < 2


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    cores = len(os.sched_getaffinity(0))
    assert worker_count(None) == min(cores, MOST_WORKERS)
    assert worker_count(None, world=1000) == 1
    assert [worker_count(asked) for asked in (0, 3, 50)] == [0, 3, 50]
    # Of many processes on several machines only those on this one share its cores.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    assert worker_count(None, world=1000) == min(cores, MOST_WORKERS)
