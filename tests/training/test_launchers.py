"""Jobs of a sweep side by side and through submitit: real processes, killed, preempted, typed again."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.training.check import check
from zoo.training.compose import compose, resolve
from zoo.training.launchers import TrainOnCluster, console, share_of
from zoo.training.run_folder import RunFolder, freeze
from zoo.training.start import checked_config

TINY = ["model=lenet5_modern", "trainer=cpu", "logger=none", "trainer.limit_train_batches=4", "trainer.max_epochs=1"]
LONG = [*TINY[:3], "trainer.max_epochs=40", "checkpoint.every_minutes=0"]


def statuses(folder: Path) -> list[str]:
    with (folder / "summary.csv").open(newline="") as file:
        return [row["status"] for row in csv.DictReader(file)]


class Typed:
    """A sweep that was typed: a process group of its own."""

    def __init__(self, runs: Path, *words: str) -> None:
        self.folder = runs / "sweep"
        self.command = [
            sys.executable,
            "-m",
            "zoo",
            "train",
            "-m",
            "-q",
            *words,
            f"runs_dir={runs}",
            "sweep.name=sweep",
        ]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, start_new_session=True, stdout=subprocess.PIPE, text=True)

    def run(self) -> tuple[int, str]:
        ended = subprocess.run(self.command, capture_output=True, text=True, timeout=500)
        assert not ended.stderr, ended.stderr
        return ended.returncode, ended.stdout


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not what():
        assert process.poll() is None, "too fast to be hit"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_jobs_share_the_cores_and_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert share_of(1, 4, 10, [])["OMP_NUM_THREADS"] == "2"
    assert share_of(0, 8, 2, [])["OMP_NUM_THREADS"] == "1"
    assert [share_of(slot, 3, 8, ["4", "5"])["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["4", "5", "4"]
    assert share_of(1, 2, 8, [], processes=2)["OMP_NUM_THREADS"] == "2"
    shares = [share_of(slot, 2, 8, ["4", "5", "6", "7"], processes=2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)]
    assert shares == ["4,5", "6,7"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert share_of(0, 4, 10, [])["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("sweep.jobs=0", "sweep.jobs=0 is not possible: expected 1 or more"),
        ("sweep.jobs=two", "sweep.jobs='two' is not possible"),
        ("sweep.launcher=pbs", "sweep.launcher=pbs is not possible: choose process, local, slurm"),
        ("sweep.slurm.timeout_minutes=0", "sweep.slurm.timeout_minutes=0 is not possible"),
        ("sweep.slurm.gpus=-1", "sweep.slurm.gpus=-1 is not possible: expected 0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(word: str, told: str):
    with pytest.raises(ZooError, match=told):
        check(resolve(compose([word]).config))


def test_without_slurm_there_is_no_slurm(one_line_error, tmp_path: Path):
    words = [*TINY, "seed=1,2", "sweep.launcher=slurm", f"runs_dir={tmp_path}"]
    assert "sweep.launcher=slurm is not possible here" in one_line_error("train", "-m", *words)


def test_side_by_side_a_broken_job_stops_no_other(tmp_path: Path):
    sweep = Typed(tmp_path, *TINY, "optimizer.lr=0.001,a,0.01", "sweep.jobs=2")
    code, printed = sweep.run()
    assert code == 1
    assert statuses(sweep.folder) == ["finished", "failed", "finished"]
    assert "[1/3] optimizer.lr=0.001: test/error " in printed
    assert "[2/3] optimizer.lr=a: optimizer.lr='a' is not possible" in printed
    assert "2 of 3 jobs finished" in printed
    assert (sweep.folder / "comparison.png").is_file()
    for run in (RunFolder(path.parent) for path in sweep.folder.glob("*/summary.json")):
        assert run.finished == ("test/error" in console(run).read_text())


@pytest.mark.slow
def test_a_dozen_jobs_one_of_them_broken_and_typed_again_only_that_one_runs(tmp_path: Path):
    rates = ",".join(f"0.{number:03}" for number in range(1, 12))
    sweep = Typed(tmp_path, *TINY, f"optimizer.lr={rates},a", "sweep.jobs=2")
    code, printed = sweep.run()
    assert code == 1
    assert statuses(sweep.folder) == ["finished"] * 11 + ["failed"]
    assert "11 of 12 jobs finished" in printed
    assert len(re.findall(r"^\d+ +[\d.]+ +1 +\d+ s +optimizer\.lr=0", printed, re.MULTILINE)) == 11  # the ranking
    assert (sweep.folder / "comparison.png").is_file()
    code, printed = sweep.run()
    assert code == 1
    assert printed.count("finished before, skipped") == 11
    assert printed.count("optimizer.lr='a' is not possible") == 1


@pytest.mark.slow
def test_killed_in_the_middle_of_the_second_job_and_typed_again_it_goes_on(tmp_path: Path):
    sweep = Typed(tmp_path, *LONG, "seed=1,2,3,4", "sweep.jobs=2")
    process = sweep.start()

    def in_the_second() -> bool:
        runs = [RunFolder(path.parent) for path in sweep.folder.glob("*/config.yaml")]
        return any(run.finished for run in runs) and any(run.started and not run.finished for run in runs)

    wait_for(in_the_second, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    code, printed = sweep.run()
    assert code == 0
    assert statuses(sweep.folder) == ["finished"] * 4
    assert "finished before, skipped" in printed
    assert "(going on)" in printed


@pytest.mark.slow
def test_sigterm_reaches_all_jobs_and_no_further_one_starts(tmp_path: Path):
    sweep = Typed(tmp_path, *LONG, "seed=1,2,3", "sweep.jobs=2")
    process = sweep.start()
    wait_for(lambda: len(list(sweep.folder.glob("*/checkpoints/last.ckpt"))) == 2, process)
    process.terminate()
    process.communicate(timeout=100)
    assert process.returncode == 143
    assert statuses(sweep.folder) == ["interrupted", "interrupted", "waiting"]


@pytest.mark.slow
def test_submitit_runs_them_on_this_machine(tmp_path: Path):
    sweep = Typed(tmp_path, *TINY, "optimizer.lr=0.001,a", "sweep.launcher=local")
    code, printed = sweep.run()
    assert code == 1
    assert statuses(sweep.folder) == ["finished", "failed"]
    assert "1 of 2 jobs finished" in printed


@pytest.mark.slow
@pytest.mark.parametrize("requeue", [True, False])
def test_a_preempted_job_is_queued_again_and_goes_on(requeue: bool, tmp_path: Path):
    submitit = pytest.importorskip("submitit")
    run = freeze(*checked_config(compose([*LONG, f"runs_dir={tmp_path}"])), tmp_path / "run")
    executor = submitit.AutoExecutor(folder=tmp_path / "submitit", cluster="local")
    executor.update_parameters(timeout_min=10)
    job = executor.submit(TrainOnCluster(str(run.path), requeue=requeue))
    deadline = time.monotonic() + 100
    while not run.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (task,) = subprocess.check_output(["pgrep", "-P", str(job._process.pid)], text=True).split()  # what Slurm signals
    os.kill(int(task), signal.SIGUSR2)
    if requeue:
        assert job.result() == 0
        assert run.finished
        assert "interrupted by SIGTERM" in console(run).read_text()
        return
    with pytest.raises(submitit.core.utils.UncompletedJobError):
        job.result()
    assert not run.finished
    assert run.read_summary()["status"] == "interrupted"
