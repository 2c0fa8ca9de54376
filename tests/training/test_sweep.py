"""Sweeps: all jobs or none start, each in its own folder; typed again, what is missing is made up for."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import pytest

from zoo.cli import main
from zoo.training.compose import compose
from zoo.training.run_folder import RunFolder, config_hash, folder_name
from zoo.training.start import checked_config
from zoo.training.sweep import _jobs

TINY = ["model=lenet5_modern", "trainer=cpu", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=3"]


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_job_is_recorded_and_typed_again_only_it_runs(tmp_path, capfd):
    words = [*TINY, "sweep.name=mine"]
    broken = config_hash(checked_config(compose([*words, "seed=2", "optimizer.lr=0.01"]))[0])
    folder = tmp_path / "runs" / "mine"
    checkpoint = folder / broken / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"no checkpoint")
    typed = ["train", "-m", "-q", *words, "seed=1,2", "optimizer.lr=0.001,0.01"]

    assert main(typed) == 1
    printed = capfd.readouterr()
    assert f"zoo: no checkpoint in {checkpoint.parent} can be read" in printed.err
    assert printed.err.count("\n") == 1
    rows = summary(folder)
    assert list(rows[0]) == ["job", "status", "seed", "optimizer.lr", "test/error", "duration_s", "error", "folder"]
    assert [(row["job"], row["seed"], row["optimizer.lr"]) for row in rows] == [
        ("1", "1", "0.001"), ("2", "1", "0.01"), ("3", "2", "0.001"), ("4", "2", "0.01"),
    ]  # fmt: skip
    assert [row["status"] for row in rows] == ["finished", "finished", "finished", "failed"]
    assert "can be read" in rows[3]["error"]
    assert rows[3]["test/error"] == rows[0]["error"] == ""
    assert rows[3]["folder"] == broken
    for row in rows[:3]:
        run = RunFolder(folder / row["folder"])
        assert config_hash(run.read_config()) == row["folder"]
        assert float(row["test/error"]) == run.read_summary()["headline"]["value"]
        assert float(row["duration_s"]) > 0
    assert f"3 of 4 jobs finished; {folder / 'summary.csv'}" in printed.out
    values = [float(rows[index]["test/error"]) for index in (0, 2)]
    assert f"{fmean(values):.4g} ± {stdev(values):.3g}" in printed.out
    ranked = re.findall(r"^(\d) .* (\d+) +[\d,]+ s +optimizer\.lr=([\d.]+) *$", printed.out, re.MULTILINE)
    assert {(seeds, rate) for _, seeds, rate in ranked} == {("2", "0.001"), ("1", "0.01")}
    means = {"0.001": fmean(values), "0.01": float(rows[1]["test/error"])}
    assert [rate for _, _, rate in ranked] == sorted(means, key=means.__getitem__)

    checkpoint.unlink()
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("model.safetensors")}
    assert main(typed) == 0
    printed = capfd.readouterr().out
    assert printed.count("finished before, skipped") == 3
    assert "[4/4] seed=2 optimizer.lr=0.01\n" in printed
    assert "4 of 4 jobs finished" in printed
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert [row["status"] for row in summary(folder)] == ["finished"] * 4
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 4


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=lenet5_modern,lenet6"], "unknown model 'lenet6'"),
        (["optimizer.lrr=1,2"], "did you mean optimizer.lr?"),
        (["select=last,first"], "choose last or best"),
        (["optimizer.lr=0.1,oops"], "optimizer.lr='oops' is not possible: expected float"),
        (["imports=[no_such_module]", "seed=1,2"], "imports=no_such_module cannot be imported"),
        (["resume=x", "seed=1,2"], "does not go with -m"),
        (["seed=1,2", "from_run=x"], "does not go with -m"),
    ],
)
def test_a_job_that_does_not_compose_stops_all_before_the_first_starts(words, told, one_line_error, tmp_path):
    assert told in one_line_error("train", "-m", *TINY, *words)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("in_this_process")
def test_the_sweep_s_name_is_a_hash_of_its_line(tmp_path, capfd):
    # These jobs fail at once, which is all that is needed to see their folders.
    for words in (["data.validation=5000,5001"], ["data.validation=5000,5001", "-q"], ["data.validation=5000,5002"]):
        assert main(["train", "-m", *TINY, *words]) == 1
    first, second = sorted((tmp_path / "runs").iterdir())
    assert first.name.startswith("sweep_")
    assert second.name.startswith("sweep_")
    assert {row["data.validation"] for folder in (first, second) for row in summary(folder)} == {"5000", "5001", "5002"}
    assert all(row["status"] == "failed" for folder in (first, second) for row in summary(folder))
    assert "0 of 2 jobs finished" in capfd.readouterr().out


def test_what_is_chosen_for_a_part_of_the_task_can_be_swept():
    key = "optimizer@task.discriminator_optimizer"
    jobs = _jobs(["model=gan_mlp", "data=digits", f"+{key}=adam,sgd"], [])
    assert [job.swept for job in jobs] == [{key: "adam"}, {key: "sgd"}]


@pytest.mark.parametrize("word", ["model=glob(lenet*)", "optimizer.lr=interval(0.001,0.1)"])
def test_values_that_are_not_written_out_are_refused(word: str, one_line_error):
    assert f"how to try all of {word}: write the values out" in one_line_error("train", "-m", word)


def test_folders_of_data_are_jobs_of_their_own():
    words = [*TINY, "data=imagefolder", "data.dir=one,other", "seed=1,2"]
    jobs = _jobs(words, [])
    assert len({job.run.path for job in jobs}) == 4
    assert [job.run.path for job in jobs] == [job.run.path for job in _jobs(words, [])]


@pytest.mark.usefixtures("in_this_process")
def test_jobs_that_are_the_same_run_once(tmp_path, capfd):
    assert main(["train", "-m", *TINY, "data.validation=5000", "seed=1,1"]) == 1
    assert "0 of 1 jobs finished" in capfd.readouterr().out


class Sweep:
    """A sweep of two jobs as a process group of its own; the second is large enough to be hit."""

    def __init__(self, runs: Path) -> None:
        words = [*TINY[:3], "trainer.max_epochs=30", "checkpoint.every_minutes=0", "sweep.name=killed", "seed=1,2"]
        self.command = [sys.executable, "-m", "zoo", "train", "-m", "-q", *words]
        self.folder = runs / "killed"
        self.process = subprocess.Popen(self.command, start_new_session=True, stdout=subprocess.PIPE, text=True)

    def wait_for_the_second_job(self) -> None:
        deadline = time.monotonic() + 120
        while sum(any(job.glob("checkpoints/last.ckpt")) for job in self.folder.glob("*/")) < 2:
            assert self.process.poll() is None, "the sweep was too fast to be hit"
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def type_again(self) -> str:
        ended = subprocess.run(self.command, capture_output=True, text=True, timeout=200)
        assert ended.returncode == 0, ended.stderr
        assert [row["status"] for row in summary(self.folder)] == ["finished"] * 2
        return ended.stdout


@pytest.mark.slow
def test_killed_and_typed_again_it_goes_on(tmp_path):
    sweep = Sweep(tmp_path / "runs")
    sweep.wait_for_the_second_job()
    os.killpg(sweep.process.pid, signal.SIGKILL)
    sweep.process.communicate()
    printed = sweep.type_again()
    assert "[1/2] seed=1: finished before, skipped" in printed
    assert "[2/2] seed=2 (going on)" in printed


@pytest.mark.slow
def test_sigterm_reaches_the_job_and_ends_the_sweep(tmp_path):
    sweep = Sweep(tmp_path / "runs")
    sweep.wait_for_the_second_job()
    sweep.process.terminate()
    sweep.process.communicate(timeout=60)
    assert sweep.process.returncode == 143
    assert [row["status"] for row in summary(sweep.folder)] == ["finished", "interrupted"]
    assert "[2/2] seed=2 (going on)" in sweep.type_again()


@pytest.mark.usefixtures("in_this_process")
def test_jobs_of_different_tasks_end_without_a_ranking(tmp_path, capfd):
    words = ["model=lenet5_modern,gan_mlp", *TINY[1:], "trainer.limit_val_batches=1", f"runs_dir={tmp_path}"]
    assert main(["train", "-m", "-q", *words]) == 0
    printed = capfd.readouterr().out
    assert "no ranking: the runs are judged by different metrics" in printed
    assert "2 of 2 jobs finished" in printed


def test_how_a_sweep_is_run_changes_no_name():
    words = ["model=lenet5", "seed=1,2"]
    assert folder_name("sweep", words) == folder_name("sweep", [*words, "sweep.jobs=4", "runs_dir=x", "logger=none"])
    assert folder_name("sweep", words) != folder_name("sweep", [*words, "optimizer.lr=1"])
