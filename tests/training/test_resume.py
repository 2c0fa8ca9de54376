"""Killed is not lost: a run killed at any moment and resumed ends as one that was not, bit for bit."""

import csv
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo.cli import main
from zoo.training.processes import training_command
from zoo.training.run_folder import LAST, PREVIOUS, RunFolder
from zoo.training.start import prepare_run

TIMING = {"samples_per_s", "elapsed_s"}

# Momentum, a schedule, augmentation and a validation split: everything that has a state.
WORDS = [
    "model=lenet5", "data=digits", "data.validation=200", "select=best", "trainer=cpu", "trainer.max_epochs=3",
    "data.augment={affine: {degrees: 10, translate: [0.1, 0.1]}}", "trainer.log_every_n_steps=7", "logger=none",
    "optimizer=sgd_lecun1998", "checkpoint.every_minutes=0.005",
]  # fmt: skip


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.release / "model.safetensors")


def assert_same(run: RunFolder, reference: RunFolder) -> None:
    assert rows(run) == rows(reference)
    ours, theirs = weights(run), weights(reference)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert run.read_summary()["headline"] == reference.read_summary()["headline"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory, train) -> RunFolder:
    """The run that nothing happens to, and which has but the checkpoints of its epochs."""
    return train(tmp_path_factory.mktemp("reference"), *WORDS[:-1], "checkpoint.every_minutes=60")


class Victim:
    """A training process that will be hit by a signal."""

    def __init__(self, words: list[str]) -> None:
        self.run = prepare_run([*words, "trainer.enable_progress_bar=false"])
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(training_command(self.run), stderr=subprocess.PIPE, text=True)

    def wait_for(self, moment) -> None:
        deadline = time.monotonic() + 180
        while not moment() and self.process.poll() is None:
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.002)

    def hit(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        error = self.process.communicate(timeout=60)[1]
        return self.process.returncode, error

    def epochs(self) -> int:
        return sum(row["row"] == "epoch" for row in rows(self.run)) if self.run.metrics.exists() else 0


STEPS = ["trainer.max_epochs=-1", "trainer.max_steps=200", "scheduler=he2015_cifar", "scheduler.milestones=[80, 170]",
         "optimizer.lr=0.001"]  # fmt: skip


def in_mid_epoch(victim: Victim) -> bool:
    return victim.epochs() == 1 and rows(victim.run)[-1]["row"] == "step"


def at_the_edge(victim: Victim) -> bool:
    return victim.epochs() == 2


@pytest.mark.parametrize("moment", [in_mid_epoch, pytest.param(at_the_edge, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("in_this_process")
def test_sigkill_then_resume_is_exact(moment, reference: RunFolder):
    victim = Victim(WORDS)
    victim.start()
    victim.wait_for(lambda: moment(victim))
    code, error = victim.hit(signal.SIGKILL)
    assert code == -signal.SIGKILL, error
    assert not victim.run.summary.exists()
    assert main(["train", f"resume={victim.run.path}"]) == 0
    assert_same(victim.run, reference)


@pytest.mark.slow
def test_sigkill_at_ten_random_moments_is_exact(reference: RunFolder, train_here):
    random_moment = random.Random(2024)
    for _ in range(10):
        victim = Victim(WORDS)
        victim.start()
        victim.wait_for(lambda victim=victim: victim.run.started)
        time.sleep(random_moment.uniform(0, 1.5))
        victim.hit(signal.SIGKILL)
        if not victim.run.finished:
            assert train_here(victim.run) == 0
        assert_same(victim.run, reference)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("in_this_process")
def test_a_polite_signal_leaves_a_checkpoint_and_a_summary(number: int, code: int, reference: RunFolder):
    victim = Victim([*WORDS[:-1], "checkpoint.every_minutes=60"])
    victim.start()
    victim.wait_for(lambda: in_mid_epoch(victim))
    returned, error = victim.hit(number)
    assert returned == code, error
    assert f"zoo train resume={victim.run.path}" in error
    assert victim.run.read_summary() == {"status": "interrupted", "error": None}
    assert torch.load(victim.run.checkpoints / LAST, weights_only=True)["epoch"] == 1
    assert main(["train", f"resume={victim.run.path}"]) == 0
    assert_same(victim.run, reference)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_truncated_checkpoint_is_told_and_the_one_before_is_used(reference: RunFolder, capfd):
    victim = Victim(WORDS)
    victim.start()
    victim.wait_for(lambda: in_mid_epoch(victim) and (victim.run.checkpoints / PREVIOUS).exists())
    victim.hit(signal.SIGKILL)
    last = victim.run.checkpoints / LAST
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2] if last.exists() else b"")
    assert main(["train", f"resume={victim.run.path}"]) == 0
    assert f"{last} is damaged; going on from {PREVIOUS}" in capfd.readouterr().err
    assert_same(victim.run, reference)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_run_killed_before_its_first_checkpoint_starts_again(reference: RunFolder):
    victim = Victim(WORDS)
    victim.start()
    victim.wait_for(victim.run.environment.exists)
    victim.hit(signal.SIGKILL)
    for checkpoint in victim.run.checkpoints.glob("*"):
        checkpoint.unlink()
    assert main(["train", f"resume={victim.run.path}"]) == 0
    assert_same(victim.run, reference)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_longer_run_goes_on_from_a_shorter_one_s_checkpoint():
    victim = Victim([*WORDS, "trainer.max_epochs=1", "select=last", "scheduler=none"])
    victim.start()
    victim.wait_for(lambda: victim.epochs() == 1)
    victim.hit(signal.SIGKILL)
    victim.run.summary.unlink(missing_ok=True)
    assert main(["train", f"resume={victim.run.path}", "trainer.max_epochs=2"]) == 0
    assert [row["epoch"] for row in rows(victim.run) if row["row"] == "epoch"] == ["0", "1"]


def test_a_cosine_cannot_become_longer_underway(one_line_error):
    run = prepare_run(WORDS)
    told = one_line_error("train", f"resume={run.path}", "trainer.max_epochs=5")
    assert "scheduler.T_max=3 is over before trainer.max_epochs=5" in told
    assert "5 epochs need scheduler.T_max=5 from their start" in one_line_error(
        "train", f"from_run={run.path}", "trainer.max_epochs=5"
    )
    assert run.read_config()["trainer"]["max_epochs"] == 3
    longer = prepare_run([f"from_run={run.path}", "trainer.max_epochs=5", "scheduler.T_max=5"])
    assert longer.read_config()["scheduler"]["T_max"] == 5
    shorter = prepare_run([f"resume={run.path}", "trainer.max_epochs=2"])
    assert shorter.read_config()["trainer"]["max_epochs"] == 2


def test_disk_full_leaves_the_old_checkpoint(stopped, train_here, reference: RunFolder, capfd):
    run = stopped(20, *WORDS, "checkpoint.every_minutes=0")  # a quick machine has none yet after 0.3 s
    before = torch.load(run.checkpoints / LAST, weights_only=True)["global_step"]
    allowed, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands in for a full disk: both make the write fail in the middle.
    limit = max(path.stat().st_size for path in run.checkpoints.glob("*.ckpt")) // 2
    capfd.readouterr()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    try:
        assert train_here(run) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, most))
    (told,) = capfd.readouterr().err.strip().splitlines()
    assert "cannot write" in told
    assert "the last good checkpoint is" in told
    assert torch.load(run.checkpoints / LAST, weights_only=True)["global_step"] == before
    assert not list(Path(run.checkpoints).glob(".*"))
    assert train_here(run) == 0
    assert_same(run, reference)


VARIANTS = {
    "accumulation": ["trainer.accumulate_grad_batches=4", "trainer.gradient_clip_val=1.0"],
    "validation within the epoch": ["trainer.val_check_interval=0.3"],
    "a limit of steps": STEPS,
    "early stopping": ["callbacks=early_stopping", "callbacks.early_stopping.patience=0", "trainer.max_epochs=9"],
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_has_a_rhythm_of_its_own_is_exact_too(variant: str, train_here):
    words = [*WORDS, *VARIANTS[variant]]
    uninterrupted = prepare_run([*words, "trainer.enable_progress_bar=false"])
    assert train_here(uninterrupted) == 0
    for moment in (in_mid_epoch, at_the_edge):
        victim = Victim(words)
        victim.start()
        victim.wait_for(lambda victim=victim, moment=moment: moment(victim))
        victim.hit(signal.SIGKILL)
        victim.run.summary.unlink(missing_ok=True)
        assert train_here(victim.run) == 0
        assert_same(victim.run, uninterrupted)


def test_a_validation_amid_an_epoch_is_made_though_a_checkpoint_is_due(stopped, train_here):
    """Lightning counts the batches of all epochs for it: the 90th of 78 an epoch."""
    words = [*WORDS, "trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=90", "trainer.max_epochs=2",
             "checkpoint.every_minutes=0"]  # fmt: skip
    whole, run = stopped(90, *words, there_before=True), stopped(90, *words)
    assert [row["step"] for row in rows(whole) if row["row"] == "validation"] == ["90"]
    assert train_here(run) == 0
    assert_same(run, whole)


@pytest.mark.slow
def test_a_run_that_early_stopping_had_ended_trains_no_further(train_here):
    stopped = prepare_run([*WORDS, *VARIANTS["early stopping"], "trainer.enable_progress_bar=false"])
    assert train_here(stopped) == 0
    before, rows_before = weights(stopped), rows(stopped)
    stopped.summary.unlink()  # as if it had been killed in its test
    assert train_here(stopped) == 0
    assert rows(stopped) == rows_before
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(stopped).items())


@pytest.mark.usefixtures("in_this_process")
def test_a_config_that_was_changed_by_hand_is_not_gone_on_with(one_line_error, train_here):
    run = prepare_run([*WORDS, "trainer.max_epochs=1", "trainer.enable_progress_bar=false"])
    assert train_here(run) == 0
    run.summary.unlink()
    run.config.write_text(run.config.read_text().replace("momentum: 0.9", "momentum: 0.8"))
    assert "was trained with another config" in one_line_error("train", f"resume={run.path}", code=1)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_limit_of_steps_ends_an_epoch_like_any_other(train_here, one_line_error):
    whole = prepare_run([*WORDS, *STEPS, "trainer.enable_progress_bar=false"])
    short = prepare_run([*WORDS, *STEPS, "trainer.max_steps=100", "trainer.enable_progress_bar=false"])
    assert train_here(whole) == 0
    assert train_here(short) == 0
    for run, steps in ((whole, [78, 156, 200]), (short, [78, 100])):
        ends = [row for row in rows(run) if row["row"] == "epoch"]
        assert [int(row["step"]) for row in ends] == steps
        assert all(row[f"{split}/error"] for row in ends for split in ("train", "val"))
    before = rows(short)
    short.summary.unlink()  # as if it had been killed in its test
    assert train_here(short) == 0
    assert rows(short) == before
    short.summary.unlink()
    told = one_line_error("train", f"resume={short.path}", "trainer.max_steps=200", code=1)
    assert "ended at step 100, within an epoch" in told
    assert rows(short) == before


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_limit_at_an_epoch_s_end_may_be_raised(train_here):
    whole = prepare_run([*WORDS, *STEPS, "trainer.enable_progress_bar=false"])
    short = prepare_run([*WORDS, *STEPS, "trainer.max_steps=156", "trainer.enable_progress_bar=false"])
    assert train_here(whole) == 0
    assert train_here(short) == 0
    short.summary.unlink()
    assert main(["train", f"resume={short.path}", "trainer.max_steps=200"]) == 0
    assert_same(short, whole)
