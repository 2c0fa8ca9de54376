"""Two processes over gloo: they come to what one comes to, and killed and resumed to what they would have come to."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo.training.processes import training_command
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

SHARED = [
    "trainer.max_epochs=2", "trainer.log_every_n_steps=3", "trainer.enable_progress_bar=false", "logger=none",
    "checkpoint.every_minutes=0",
]  # fmt: skip
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers in two languages, one to five in a line."""
    draw = random.Random(3)
    lines = [[draw.randrange(8) for _ in range(1 + number % 5)] for number in range(60)]
    folder = tmp_path_factory.mktemp("texts")
    for name, words in (("german", GERMAN), ("english", ENGLISH)):
        text = "".join(f"{' '.join(words[number] for number in line)}.\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def words_of(task: str, texts: Path) -> list[str]:
    """A small run of each task; no batch size divides the data, and a batch of pairs may be a single one."""
    words = {
        "image_classification": [
            "model=lenet5_modern", "data=digits", "data.batch_size=98", "data.validation=201", "select=best",
        ],
        "language_modeling": [
            "model=lstm_char", "model.width=12", "data=textfile", f"data.file={texts / 'english'}",
            "data.batch_size=4", "data.unroll=6",
        ],
        "translation": [
            "model=transformer_tiny", "data=parallel_files", f"data.source={texts / 'german'}",
            f"data.target={texts / 'english'}", "data.tokenizer=word", "data.batch_size=40",
            "data.validation_share=0.1", "data.test_share=0.1", "task.beam=2",
        ],
        "q_learning": [
            "model=dqn_mlp", "data=cartpole", "data.environments=3", "data.ticks_per_epoch=5", "data.steps_per_tick=64",
            "data.batch_size=16", "data.episodes=3", "data.test_episodes=5", "task.warmup=100", "task.memory=300",
            "task.target_every=50", "task.epsilon_steps=500",
        ],
        "adversarial": [
            "model=wgan_gp", "model.filters=4", "data=digits", "data.validation=200", "data.batch_size=98",
            "task.discriminator_steps=2", "task.ema=0.9", "task.samples=200",
        ],
    }  # fmt: skip
    return [*words[task], *SHARED]


TASKS = ["image_classification", "language_modeling", "translation", "q_learning", "adversarial"]
# Dropout is drawn by each process for its own share, and batches are normalised by each share's mean: neither can be
# the same as in one process.
COMPARABLE = {
    "language_modeling": ["model.dropout=0"],
    "translation": ["model.dropout=0"],
    "adversarial": [
        "model=wgan_gp_toy",
        "model.hidden=16",
        "data=gaussians_8",
        "data.batches=10",
        "data.batch_size=50",
    ],
}


def comparable_words_of(task: str, texts: Path) -> list[str]:
    """A small run of each task whose numbers do not depend on how batches are shared out."""
    words = words_of(task, texts)
    if task == "adversarial":  # other networks on other data
        words = [word for word in words if not word.startswith(("model", "data"))]
    return [*words, *COMPARABLE.get(task, [])]


def train_two(root: Path, *words: str) -> RunFolder:
    """Trains with two processes to the end."""
    run = prepare_run([f"runs_dir={root}", *words, "trainer=ddp_cpu"])
    ended = subprocess.run(training_command(run), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.strip().splitlines()) == 1, ended.stdout
    return run


def measured(rows: list[dict[str, str]], compared: set[str] | None = None) -> list[dict[str, float]]:
    others = {"row", "samples_per_s", "elapsed_s"}
    return [{key: float(value) for key, value in row.items()
             if value and key not in others and (compared is None or key in compared)} for row in rows]  # fmt: skip


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=[] if task == TASKS[0] else pytest.mark.slow) for task in TASKS]
)
def test_two_processes_come_to_what_one_comes_to(task: str, texts: Path, tmp_path: Path, train, rows):
    # Nothing but the order of sums tells them apart: in double precision a part in 10^16 of each, of which Adam, where
    # gradients are next to nothing, makes more. Cross-entropies of text are summed in single precision in any case.
    words = comparable_words_of(task, texts)
    if task != "q_learning":
        words.append("trainer.precision=64-true")
    one, two = train(tmp_path / "one", *words), train_two(tmp_path / "two", *words)
    # Each process plays by itself, and draws from a memory of its own: steps, updates and epsilon are the same.
    compared = {"step", "epoch", "train/epsilon"} if task == "q_learning" else None
    for ours, theirs in zip(measured(rows(two), compared), measured(rows(one), compared), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-6)
    summaries = [run.read_summary() for run in (two, one)]
    assert summaries[0]["samples"] == summaries[1]["samples"]
    if task != "q_learning":
        released = [load_file(run.release / "model.safetensors") for run in (two, one)]
        for name, tensor in released[0].items():
            torch.testing.assert_close(tensor, released[1][name], rtol=1e-6, atol=1e-6)
        assert summaries[0]["metrics"] == pytest.approx(summaries[1]["metrics"], rel=1e-6)
    for name in ("figures", "samples"):
        written = [sorted(path.name for path in (run.path / name).glob("*")) for run in (two, one)]
        assert written[0] == written[1]
    assert not list(two.path.glob(".ended*"))


def wait_for(process: subprocess.Popen[str], moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and not moment():
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.01)


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that one has started, in the order of their ranks."""
    return [int(child) for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def start(run: RunFolder) -> subprocess.Popen[str]:
    return subprocess.Popen(training_command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def in_second_epoch(run: RunFolder, rows) -> Callable[[], bool]:
    def come() -> bool:
        return run.metrics.exists() and (read := rows(run)) and read[-1]["row"] == "step" and read[-1]["epoch"] == "1"

    return come


@pytest.mark.slow
@pytest.mark.parametrize(("task", "victim"), [(task, number % 2) for number, task in enumerate(TASKS)])
def test_a_rank_that_is_killed_ends_the_run_which_goes_on_exactly(
    task: str, victim: int, texts: Path, tmp_path: Path, rows, assert_same
):
    words = words_of(task, texts)
    whole = train_two(tmp_path / "whole", *words)
    run = prepare_run([f"runs_dir={tmp_path / 'killed'}", *words, "trainer=ddp_cpu"])
    process = start(run)
    wait_for(process, in_second_epoch(run, rows))
    ranks = ranks_of(process)
    killed_at = time.monotonic()
    os.kill(ranks[victim], signal.SIGKILL)
    error = process.communicate(timeout=60)[1]
    assert time.monotonic() - killed_at < 60
    assert process.returncode == 1
    assert error == (f"zoo: process {victim + 1} of 2 was killed by SIGKILL, which ended the run; "
                     f"zoo train resume={run.path} goes on\n")  # fmt: skip
    assert all(gone(pid) for pid in ranks)
    assert run.read_summary()["status"] == "failed"
    ended = subprocess.run(training_command(run), capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert_same(run, whole)
