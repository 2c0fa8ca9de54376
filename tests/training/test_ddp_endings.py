"""How a run of two processes ends before its end, by signals and errors; such runs under torchrun and in sweeps."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from zoo.cli import main
from zoo.training.build import _environment
from zoo.training.processes import (
    Outcome,
    leave_report,
    processes,
    processes_here,
    remove_marks,
    started_from_outside,
    training_command,
)
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

WORDS = [
    "model=lenet5_modern", "data=digits", "data.batch_size=98", "trainer.max_epochs=2", "trainer.log_every_n_steps=3",
    "trainer.enable_progress_bar=false", "logger=none",
]  # fmt: skip
TWO = [*WORDS, "trainer=ddp_cpu"]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not moment():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)
    assert process.poll() is None, "too fast to be hit"


def ended(run: RunFolder, *command: str) -> tuple[int, str]:
    done = subprocess.run(command or training_command(run), capture_output=True, text=True, timeout=300)
    return done.returncode, done.stderr


def whom(to: str, process: subprocess.Popen[str]) -> int:
    return process.pid if to == "all" else children(process.pid)[int(to)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to"), [(signal.SIGTERM, "all"), (signal.SIGINT, "all"), (signal.SIGTERM, "1")])
def test_told_to_stop_all_do_after_the_same_batch(number: int, to: str, tmp_path: Path, rows, assert_same):
    whole = prepare_run([f"runs_dir={tmp_path}", *TWO])
    assert ended(whole) == (0, "")
    run = prepare_run([f"runs_dir={tmp_path}", *TWO])
    process = subprocess.Popen(training_command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: run.metrics.exists() and bool(rows(run, "step")))
    ranks = children(process.pid)
    os.kill(whom(to, process), number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, error
    told = [line for line in error.splitlines() if line and not line.startswith("stopping after this batch")]
    assert told == [f"zoo: interrupted by {signal.Signals(number).name}; zoo train resume={run.path}"]
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)
    assert run.read_summary() == {"status": "interrupted", "error": None}
    assert 0 < torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"] < 38
    assert ended(run) == (0, "")
    assert_same(run, whole)


@pytest.mark.slow
def test_told_to_stop_in_the_test_all_do(tmp_path: Path):
    # The second process waits for the first, which plays.
    words = ["model=dqn_mlp", "data=cartpole", "data.environments=1500", "data.test_episodes=3000", "task.warmup=2000"]
    limits = [
        "select=last",
        "logger=none",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=0",
    ]
    run = prepare_run([f"runs_dir={tmp_path}", "trainer=ddp_cpu", "trainer.enable_progress_bar=false", *words, *limits])
    process = subprocess.Popen(training_command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: (run.checkpoints / "last.ckpt").exists())
    time.sleep(1)
    assert process.poll() is None, "too fast to be hit"
    process.terminate()
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM, error
    assert f"zoo: interrupted by SIGTERM; zoo train resume={run.path}" in error
    assert run.read_summary() == {"status": "interrupted", "error": None}
    assert "interrupted by SIGTERM" in run.log.read_text()


NOT_A_NUMBER = """
from lightning.pytorch import Callback

class Break(Callback):
    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == self.rank and trainer.global_step == 5:
            batch[0].fill_(float("nan"))
"""


@pytest.mark.slow
def test_one_that_computes_no_number_ends_all_with_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "breaking.py").write_text(NOT_A_NUMBER)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "breaking.")
    run = prepare_run([*TWO, "+callbacks.broken={_target_: breaking.Break, rank: 1}"])
    code, error = ended(run)
    assert code == 1
    assert error.startswith("zoo: the loss is nan at step 6: lower optimizer.lr")
    assert len(error.splitlines()) == 1
    assert run.read_summary()["status"] == "failed"


def test_a_mistake_is_told_once():
    run = prepare_run([*TWO, "data.batch_size=99"])
    assert ended(run) == (1, "zoo: data.batch_size=99 cannot be shared by 2 processes: take a multiple of 2\n")
    assert run.read_summary()["status"] == "failed"
    assert not run.started


@pytest.mark.slow
def test_the_supervisor_s_death_is_that_of_all(rows):
    run = prepare_run([*TWO, "trainer.max_epochs=50"])
    process = subprocess.Popen(training_command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(process, lambda: run.metrics.exists() and bool(rows(run, "step")))
    ranks = children(process.pid)
    process.kill()
    process.communicate()
    time.sleep(5)
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


@pytest.mark.slow
def test_another_number_of_processes_does_not_go_on(tmp_path: Path, one_line_error):
    run = prepare_run(TWO)
    assert ended(run) == (0, "")
    run.summary.unlink()  # as if it had been killed in its test
    told = one_line_error("train", f"resume={run.path}", "trainer.devices=1", code=1)
    assert "was written by 2 processes, of which each goes on where it was; the config has 1" in told
    assert main(["train", "-q", f"resume={run.path}", "trainer.devices=2"]) == 0


@pytest.mark.slow
def test_under_torchrun_it_is_the_same_run(tmp_path: Path, assert_same, capfd, unused_port: int):
    ours = prepare_run([f"runs_dir={tmp_path / 'ours'}", *TWO])
    assert ended(ours) == (0, "")
    capfd.readouterr()
    assert main(["train", "--prepare", f"runs_dir={tmp_path / 'theirs'}", *TWO]) == 0
    run = RunFolder(Path(capfd.readouterr().out.strip()))
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--master_port={unused_port}"]
    code, error = ended(run, *torchrun, "--nproc_per_node=2", "-m", "zoo.training.run", str(run.path))
    assert code == 0, error
    assert_same(run, ours)
    other = prepare_run([f"runs_dir={tmp_path / 'other'}", *TWO])
    code, error = ended(other, *torchrun, "--nproc_per_node=3", "-m", "zoo.training.run", str(other.path))
    told = [line for line in error.splitlines() if line.startswith("zoo:")]
    assert code != 0
    assert len(told) == 1
    assert told[0].startswith("zoo: 3 processes were started for a run that has 2 (trainer.devices=2, trainer.num_nod")


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.slow
def test_a_sweep_of_such_jobs(tmp_path: Path):
    words = ["train", "-m", "-q", *TWO, "trainer.max_epochs=1", "sweep.name=sweep", "sweep.jobs=2"]
    assert main([*words, "optimizer.lr=0.001,0.01"]) == 0
    with (tmp_path / "runs" / "sweep" / "summary.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("devices", "count"), [(1, 1), (3, 3), ("2", 2), ([0, 2], 2), ("0,1,3", 3), ("auto", 1), (-1, 1)]
)
def test_there_is_a_process_for_each_device(devices: object, count: int):
    trainer = {"accelerator": "cpu", "devices": devices, "num_nodes": 2}
    assert processes_here(trainer) == count
    assert processes(trainer) == 2 * count


def test_those_of_torchrun_and_slurm_are_counted(monkeypatch: pytest.MonkeyPatch):
    assert started_from_outside() is None
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert started_from_outside() is None, "the script of a batch job, which starts its own"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert started_from_outside() == 8
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)
    with pytest.raises(RuntimeError, match="Use `--ntasks-per-node=8` instead"):
        _environment()
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "8")
    assert [type(environment) for environment in _environment()] == [SLURMEnvironment]
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert started_from_outside() is None, "a job of a sweep, which starts its own"
    assert [type(environment) for environment in _environment()] == [LightningEnvironment]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert started_from_outside() == 4
    assert _environment() == []


def test_started_several_times_zoo_train_makes_no_run(monkeypatch: pytest.MonkeyPatch, one_line_error):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    told = one_line_error("train", *TWO)
    assert "4 processes were started, and each would make a run of its own: make one beforehand with" in told


def test_only_who_ended_first_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = RunFolder(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    why = Outcome("failed", "why", 1)
    assert leave_report(run, why), "under torchrun the first one tells"
    assert not leave_report(run, why)
    remove_marks(run)
    assert leave_report(run, why), "at the next start anew"
    remove_marks(run)
    assert not list(tmp_path.iterdir())
    assert leave_report(RunFolder(tmp_path / "gone"), why)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn is not possible: choose auto, ddp, "),
        ("trainer.devices=0", "trainer.devices=0 is not possible: expected how many, 1 or more; auto or -1 for all"),
        ("trainer.devices=null", "trainer.devices=None is not possible"),
        ("trainer.devices=two", "trainer.devices=two is not possible"),
        ("trainer.devices=[]", "trainer.devices=[] is not possible"),
        ("trainer.devices=[1,1]", "trainer.devices=[1, 1] is not possible"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0 is not possible: expected 1 or more machines"),
        ("trainer.sync_batchnorm=true", "trainer.sync_batchnorm=true is for GPUs: leave it out"),
    ],
)
def test_what_several_processes_cannot_do_is_refused_in_one_line(word: str, told: str, one_line_error):
    assert told in one_line_error("train", "trainer=ddp_cpu", word)
