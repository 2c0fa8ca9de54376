"""SIGTERM and Ctrl-C at moments other than the middle of training, which test_resume looks at."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch

from zoo.training.interrupts import Interrupted, Interrupts
from zoo.training.processes import training_command
from zoo.training.start import prepare_run, train_in_subprocess


@pytest.fixture
def interrupts():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Interrupts()
    made.install()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_outside_training_a_signal_stops_at_once(interrupts: Interrupts, number: int, code: int):
    with pytest.raises(Interrupted, match=signal.Signals(number).name) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == code
    assert not isinstance(caught.value, Exception), "nothing may swallow it on its way out"


def test_while_training_the_first_is_remembered_and_the_second_stops(interrupts: Interrupts, capfd):
    with interrupts.deferring():
        interrupts.raise_if_received()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.received == signal.SIGTERM
        with pytest.raises(Interrupted, match="SIGINT"):
            os.kill(os.getpid(), signal.SIGINT)
    assert not interrupts.deferred
    assert "stopping after this batch" in capfd.readouterr().err
    with pytest.raises(Interrupted, match="SIGTERM"):
        interrupts.raise_if_received()


def test_a_run_stopped_before_it_began_leaves_nothing(tmp_path: Path):
    run = prepare_run(["trainer=cpu", "logger=none"])
    process = subprocess.Popen(training_command(run), stderr=subprocess.PIPE, text=True)
    while not (run.path / ".lock").exists():  # from here on signals are looked after
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    assert process.communicate(timeout=60)[1] == "zoo: interrupted by SIGTERM; nothing was trained yet\n"
    assert process.returncode == 143
    assert not (tmp_path / "runs").exists()


def test_sigterm_is_handed_on_to_the_training_process(tmp_path: Path, capfd):
    run = prepare_run(["trainer=cpu", "logger=none"])
    lock = run.path / ".lock"

    def terminate() -> None:
        while not lock.exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    waiting = threading.Thread(target=terminate)
    waiting.start()
    assert train_in_subprocess(run) == 143
    waiting.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert capfd.readouterr().err == "zoo: interrupted by SIGTERM; nothing was trained yet\n"


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path, train_here, capfd):
    from filelock import FileLock

    run = prepare_run(["trainer=cpu", "logger=none"])
    with FileLock(run.path / ".lock"):
        # The refused one leaves the other's lock alone.
        assert (train_here(run), train_here(run)) == (1, 1)
    assert capfd.readouterr().err == 2 * f"zoo: {run.path} is being trained by another process\n"
    assert run.config.exists()


WHILE_SAVING = """
import os, signal
from lightning.pytorch import Callback

class Signal(Callback):
    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        if trainer.current_epoch == 0:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_that_comes_while_a_checkpoint_is_written_is_not_lost(tmp_path: Path, train, monkeypatch, capfd):
    (tmp_path / "saving.py").write_text(WHILE_SAVING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "saving.")
    words = ["data=digits", "logger=none", "trainer.max_epochs=3", "trainer.enable_progress_bar=false"]
    run = train(tmp_path / "runs", *words, "+callbacks.signal={_target_: saving.Signal}", code=143)
    assert f"zoo: interrupted by SIGTERM; zoo train resume={run.path}" in capfd.readouterr().err
    last = torch.load(run.checkpoints / "last.ckpt", weights_only=True)
    assert last["epoch"] == 1, "the batch that followed the save"
