"""The real command on folders of images: train, kill, resume, evaluate, predict."""

import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from zoo.cli import main
from zoo.training.processes import training_command
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

TIMING = {"samples_per_s", "elapsed_s"}
WORDS = [
    "model=lenet5_modern", "data=imagefolder", "data.size=28", "data.resize=30", "data.batch_size=10",
    "data.augment={flip: true}", "data.workers=2", "trainer=cpu", "trainer.max_epochs=2", "logger=none",
    "trainer.log_every_n_steps=2", "checkpoint.every_minutes=0", "trainer.enable_progress_bar=false",
]  # fmt: skip


def write(root: Path, count: int, classes: tuple[str, ...] = ("dark", "light"), ending: str = "png") -> Path:
    random = np.random.default_rng(0)
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(label * 60, 180 + label * 60, (32, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{name}/{number}.{ending}")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    write(root / "train", 40)
    write(root / "val", 8)
    return root


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def reference(folder: Path, tmp_path_factory: pytest.TempPathFactory, train_here: Callable[[RunFolder], int]):
    """A run that was not interrupted, without processes of its own for decoding."""
    root = tmp_path_factory.mktemp("reference")
    run = prepare_run([*WORDS, f"data.dir={folder}", f"runs_dir={root}", "data.workers=0"])
    assert train_here(run) == 0
    return run


def assert_same(run: RunFolder, reference: RunFolder) -> None:
    assert rows(run) == rows(reference)
    ours, theirs = (load_file(each.release / "model.safetensors") for each in (run, reference))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def interrupted(folder: Path, interrupt: Callable[["subprocess.Popen[str]"], None]) -> tuple[RunFolder, int, str]:
    """Starts a run and interrupts it in the middle of its second epoch; returns it, its exit code and last words."""
    run = prepare_run([*WORDS, f"data.dir={folder}"])
    process = subprocess.Popen(training_command(run), stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (run.metrics.exists() and len(rows(run)) >= 6):
        assert time.monotonic() < deadline, "the moment never came"
        time.sleep(0.002)
    interrupt(process)
    error = process.communicate(timeout=60)[1]
    return run, process.returncode, error


@pytest.mark.usefixtures("in_this_process")
def test_killed_and_resumed_at_once_it_ends_as_one_that_was_not(folder: Path, reference: RunFolder):
    run, code, error = interrupted(folder, lambda process: process.kill())
    assert code == -signal.SIGKILL
    assert error == ""
    assert not run.finished
    # Processes that decode, were they still there, would hold the run's lock.
    assert main(["train", f"resume={run.path}"]) == 0
    assert_same(run, reference)


@pytest.mark.slow
@pytest.mark.usefixtures("in_this_process")
def test_a_signal_to_all_its_processes_leaves_a_checkpoint(folder: Path, reference: RunFolder):
    run, code, error = interrupted(folder, lambda process: os.killpg(process.pid, signal.SIGTERM))
    assert code == 143
    lines = [line for line in error.splitlines() if line]
    assert lines == [
        "stopping after this batch; a checkpoint will be written",
        f"zoo: interrupted by SIGTERM; zoo train resume={run.path}",
    ]
    assert main(["train", f"resume={run.path}"]) == 0
    assert_same(run, reference)


def test_a_run_is_evaluated_and_predicts(folder: Path, reference: RunFolder, capfd):
    assert main(["evaluate", str(reference.path), "data.workers=1"]) == 0
    table = [line.split() for line in capfd.readouterr().out.splitlines()]
    (_, now, then), = (words for words in table if words[:1] == ["test/error"])  # fmt: skip
    assert now == then
    assert main(["predict", str(reference.path), str(folder / "val/light/0.png")]) == 0
    assert "light" in capfd.readouterr().out


def test_ten_views_are_averaged(folder: Path, reference: RunFolder, capfd):
    words = [f"data.dir={folder}", "data.views=10", "data.workers=0", "data.resize=32"]
    assert main(["evaluate", str(reference.path), *words]) == 0
    assert "test/error" in capfd.readouterr().out


@pytest.mark.usefixtures("in_this_process")
def test_a_small_part_of_imagenet_trains_two_steps(tmp_path: Path, capfd):
    for split in ("train", "val"):
        write(tmp_path / "imagenet" / split, 8, ("n01440764", "n02102040"), "JPEG")
    words = ["data=imagenet", f"data.dir={tmp_path}", "trainer.max_steps=2", "data.workers=null"]
    assert main(["train", *[word for word in WORDS if not word.startswith(("data=", "data.workers"))], *words]) == 0
    printed = capfd.readouterr()
    assert printed.err.count("zoo: this is not all of ImageNet: 2 of 1,000 classes") == 1
    assert "test/error" in printed.out


@pytest.mark.usefixtures("in_this_process")
def test_a_broken_image_is_one_line(folder: Path, tmp_path: Path, one_line_error):
    write(tmp_path / "data", 10)
    (tmp_path / "data/dark/3.png").write_bytes(b"")
    words = [*WORDS, f"data.dir={tmp_path / 'data'}"]
    told = one_line_error("train", *words, code=1)
    assert f"{tmp_path / 'data/dark/3.png'} cannot be decoded: it is no image that Pillow knows" in told
    assert main(["train", *words, "data.broken=skip", "trainer.max_epochs=1"]) == 0
    log = max((tmp_path / "runs").rglob("train.log"), key=os.path.getmtime).read_text()
    assert log.count("dark/3.png cannot be decoded") == log.count("1 images cannot be decoded") == 1


@pytest.mark.usefixtures("in_this_process")
def test_what_does_not_fit_is_one_line(folder: Path, one_line_error):
    words = ["train", "model=lenet5_modern", "data=imagefolder"]
    assert "data.dir is missing" in one_line_error(*words, code=1)
    words.append(f"data.dir={folder}")
    assert "data.size=300" in one_line_error(*words, "data.size=300", code=1)
    assert "expected random_resized | random" in one_line_error(*words, "data.train_crop=centre", code=1)
    assert "did you mean data.resize" in one_line_error(*words, "data.rezise=300")


def test_information_and_listing(capfd):
    assert main(["info", "imagefolder"]) == 0
    told = capfd.readouterr().out
    for key in ("known once it is read", "data.train_crop=random_resized", "data.test_share=0.2", "data.dir=null"):
        assert key in told
    assert main(["info", "imagenet"]) == 0
    assert "3x224x224 images of 1000 classes" in capfd.readouterr().out
    assert main(["list", "data"]) == 0
    assert {"imagefolder", "imagenet"} <= {line.split()[0] for line in capfd.readouterr().out.splitlines() if line}
