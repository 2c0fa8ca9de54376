"""Searches: real trials in processes of their own, pruned, broken, killed and gone on with."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn, TrainerState
from PIL import Image

from zoo.cli import main
from zoo.errors import PrunedError, ZooError
from zoo.training.callbacks.pruning import STORAGE, Pruning
from zoo.training.compose import compose, group_choices, parse_overrides, resolve
from zoo.training.run_folder import RunFolder, freeze
from zoo.training.search_space import Search, read_search
from zoo.training.start import checked_config
from zoo.training.tune import _typed, _words

TINY = ["model=lenet5_modern", "trainer=cpu", "logger=none", "data.validation=200", "trainer.limit_train_batches=4"]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def search_file(folder: Path, text: str, name: str = "mine") -> list[str]:
    (folder / "search").mkdir(parents=True)
    (folder / "search" / f"{name}.yaml").write_text(text)
    return ["--config-dir", str(folder)]


RATE = "trials: 3\nstartup: 5\nparameters:\n  optimizer.lr: {low: 0.001, high: 0.1, log: true}\n"


@pytest.mark.parametrize("name", group_choices("search"))
def test_a_shipped_search_composes_with_its_command(name: str):
    search = read_search(name)
    header = (Path(__file__).parents[2] / "configs" / "search" / f"{name}.yaml").read_text().splitlines()[0]
    assert header.startswith(f"# zoo tune {name} ")
    words = header.removeprefix(f"# zoo tune {name} ").split()
    assert "validation" not in header or "data.validation=" in header
    ends = {key: each.get("choices") or [each["low"], each["high"]] for key, each in search.parameters.items()}
    for draw in (min, max):
        config = resolve(compose([*words, *(f"{key}={draw(values)}" for key, values in ends.items())]).config)
        assert config["task"]["name"] == name
    assert set(search.distributions()) == set(search.parameters)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("{}", "parameters names no config key"),
        ("{optimizer.lr: 0.1}", "expected {low: …, high: …} or {choices: […]}"),
        ("{optimizer.lr: {low: 1, hihg: 2}}", "has an unknown key 'hihg'"),
        ("{optimizer.lr: {low: 1}}", "expected numbers low and high"),
        ("{optimizer.lr: {low: 2, high: 1}}", "expected low < high"),
        ("{optimizer.lr: {low: 0, high: 1, log: true}}", "low > 0 with log: true"),
        ("{optimizer.lr: {choices: []}}", "expected choices alone"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(parameters: str, told: str, tmp_path: Path):
    search_file(tmp_path, f"trials: 3\nstartup: 1\nparameters: {parameters}\n")
    with pytest.raises(ZooError) as caught:
        read_search("mine", [tmp_path])
    assert told in str(caught.value)


def test_mistakes_are_told_in_one_line_and_leave_nothing(one_line_error, tmp_path: Path):
    runs = f"runs_dir={tmp_path / 'runs'}"
    assert "unknown search 'images': there is adversarial, image_" in one_line_error("tune", "images", runs)
    told = one_line_error("tune", "image_classification", "model=lenet5_modern", runs)
    assert "a search needs a validation split" in told
    assert "unknown key" in one_line_error("tune", "image_classification", *TINY, "optimizer.lrr=1", runs)
    assert "is for zoo train" in one_line_error("tune", "image_classification", *TINY, "seed=1,2", runs)
    assert "--trials 0 is not possible" in one_line_error("tune", "image_classification", *TINY, runs, "--trials", "0")
    assert "no flag --fast" in one_line_error("tune", "image_classification", "--fast")
    own = search_file(tmp_path / "own", RATE.replace("optimizer.lr:", "optimizer.rate:"))
    assert "unknown key 'optimizer.rate'" in one_line_error("tune", "mine", *own, *TINY, runs)
    assert not (tmp_path / "runs").exists()
    own = search_file(tmp_path / "other", RATE)
    told = one_line_error("tune", "mine", *own, *TINY, runs, "--storage", "sqlite:////no/such/folder/study.db")
    assert "the study in sqlite://… cannot be opened" in told
    assert "one trial at a time" in one_line_error("tune", "image_classification", *TINY, runs, "sweep.jobs=2")
    late = ["select=last", "task.headline=train/return_last_500k"]
    told = one_line_error("tune", "q_learning", "model=dqn_mlp", *late, runs)
    assert "is known at the end alone" in told


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_search_ends_with_its_best_configuration(tmp_path: Path, capfd):
    own = search_file(tmp_path / "own", RATE)
    typed = ["tune", "mine", "-q", *own, *TINY, "trainer.max_epochs=1", f"runs_dir={tmp_path}", "sweep.name=found"]
    assert main(typed) == 0
    printed = capfd.readouterr().out
    table = rows(tmp_path / "found")
    assert [row["state"] for row in table] == ["complete"] * 3
    best = min(table, key=lambda row: float(row["val/error"]))
    assert f"best val/error {float(best['val/error']):.4g}, trial {best['trial']}" in printed
    rate = f"{float(best['optimizer.lr']):.4g}"
    assert f"optimizer.lr={float(rate)}" in printed.splitlines()[-1]
    own_folder = f"--config-dir {tmp_path / 'own'}"
    assert printed.splitlines()[-1].startswith(f"the best: zoo train {own_folder} model=lenet5_modern")
    for row in table:
        run = RunFolder(tmp_path / "found" / row["folder"])
        assert run.read_config()["optimizer"]["lr"] == pytest.approx(float(row["optimizer.lr"]), rel=1e-3)
        assert run.read_summary()["metrics"]["val/error"] == float(row["val/error"])
    for name in ("history", "slice", "importances"):
        with Image.open(tmp_path / "found" / f"{name}.png") as image:
            assert min(image.size) > 200
    # Typed again, nothing is left to do; with more trials only those are made.
    assert main(typed) == 0
    assert "[" not in capfd.readouterr().out
    assert main([*typed, "--trials", "4"]) == 0
    printed = capfd.readouterr().out
    assert "[4/4] optimizer.lr=" in printed
    assert "4 trials: 4 finished, 0 pruned, 0 failed" in printed


@pytest.mark.usefixtures("in_this_process")
def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(tmp_path: Path, capfd):
    text = "trials: 2\nstartup: 1\nparameters:\n  trainer.gradient_clip_algorithm: {choices: [nonsense]}\n"
    own = search_file(tmp_path / "own", text)
    words = [*TINY, "trainer.max_epochs=1", "trainer.gradient_clip_val=1", f"runs_dir={tmp_path}", "sweep.name=found"]
    assert main(["tune", "mine", "-q", *own, *words]) == 1
    assert [row["state"] for row in rows(tmp_path / "found")] == ["fail", "fail"]
    assert all("gradient_clip_algorithm" in row["error"] for row in rows(tmp_path / "found"))
    assert "2 trials: 0 finished, 0 pruned, 2 failed" in capfd.readouterr().out


class Training:
    """What the callback sees of a trainer."""

    sanity_checking, is_global_zero, current_epoch = False, True, 0
    state = TrainerState(fn=TrainerFn.FITTING)
    callback_metrics = {"val/error": torch.tensor(9.0)}  # noqa: RUF012
    strategy = SingleDeviceStrategy()


def test_a_trial_that_falls_behind_is_pruned(tmp_path: Path, monkeypatch):
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    monkeypatch.setenv(STORAGE, storage)
    study = optuna.create_study(storage=storage, study_name="s")
    trials = [study.ask() for _ in range(3)]
    for number, trial in enumerate(trials[:2]):
        trial.report(5.0, 0)
        Pruning("s", 2, 2, "val/error").on_validation_end(Training(), None)  # too few have come to their end
        study.tell(trial, 4.0 + number)
    with pytest.raises(PrunedError, match=r"val/error 9 after epoch 1 is behind"):
        Pruning("s", 2, 2, "val/error").on_validation_end(Training(), None)
    assert study.trials[2].intermediate_values == {0: 9.0}
    tested = Training()
    tested.state, tested.current_epoch = TrainerState(fn=TrainerFn.VALIDATING), 1
    Pruning("s", 2, 2, "val/error").on_validation_end(tested, None)
    assert study.trials[2].intermediate_values == {0: 9.0}
    with pytest.raises(ZooError, match="there is no trial 7"):
        Pruning("s", 7, 2, "val/error")
    monkeypatch.delenv(STORAGE)  # a run that was made from a trial
    Pruning("s", 2, 2, "val/error").on_validation_end(Training(), None)


@pytest.mark.parametrize(
    ("value", "typed"),
    [(None, "null"), (True, "true"), (3, "3"), (0.00045185158, "0.00045185158"), ("norm", "norm"),
     ("a b,c=d", '"a b,c=d"'), ("null", '"null"'), ("1e3", '"1e3"'), ("", '""')],
)  # fmt: skip
def test_values_come_out_of_the_command_line_as_they_went_in(value, typed: str):
    assert _typed(value) == typed
    (override,) = parse_overrides([f"name={_typed(value)}"])
    assert override.value() == value


def test_a_number_that_is_drawn_is_rounded_and_one_that_is_chosen_is_not():
    search = Search("mine", 1, 1, {"a": {"low": 0.0, "high": 1.0}, "b": {"choices": [0.99999, 0.9]}})
    assert _words(search, {"a": 0.12345678, "b": 0.99999}) == ["a=0.1235", "b=0.99999"]


def test_trials_of_another_study_are_not_taken_for_this_one_s(tmp_path: Path, one_line_error):
    own = search_file(tmp_path / "own", RATE)
    words = [*TINY, f"runs_dir={tmp_path}", "sweep.name=found"]
    freeze(*checked_config(compose([*words, "optimizer.lr=0.5"])), tmp_path / "found" / "trial_0000")
    told = one_line_error("tune", "mine", *own, *words)
    assert f"trial_0000 holds a trial of another study: delete {tmp_path / 'found'}" in told


@pytest.mark.slow
def test_killed_and_typed_again_no_trial_is_lost_or_repeated(tmp_path: Path):
    own = search_file(tmp_path / "own", RATE)
    words = [
        *TINY[:4],
        "trainer.max_epochs=40",
        "checkpoint.every_minutes=0",
        f"runs_dir={tmp_path}",
        "sweep.name=found",
    ]
    command = [sys.executable, "-m", "zoo", "tune", "mine", "-q", *own, *words]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    second = RunFolder(tmp_path / "found" / "trial_0001")
    deadline = time.monotonic() + 200
    while not second.started:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = (tmp_path / "found" / "trial_0000" / "summary.json").stat().st_mtime_ns
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert "[2/3] " in ended.stdout
    assert "(going on)" in ended.stdout
    assert [row["state"] for row in rows(tmp_path / "found")] in (["complete"] * 3, ["complete", "complete", "pruned"])
    assert (tmp_path / "found" / "trial_0000" / "summary.json").stat().st_mtime_ns == first
