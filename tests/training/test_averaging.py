"""The mean of the last epochs' weights: what is tested and released, kept over a kill."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

WORDS = [
    "model=lenet5_modern", "data=digits", "data.batch_size=256", "callbacks=average_last", "callbacks.average.epochs=3",
    "trainer.max_epochs=5", "trainer.enable_progress_bar=false", "logger=none", "checkpoint.every_minutes=0",
]  # fmt: skip


def kept(run: RunFolder) -> dict[str, dict[str, Tensor]]:
    paths = sorted(run.checkpoints.glob("epoch_*.ckpt"))
    return {path.stem: torch.load(path, weights_only=True) for path in paths}


def released(run: RunFolder) -> dict[str, Tensor]:
    return load_file(run.release / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train) -> RunFolder:
    return train(tmp_path_factory.mktemp("averaged"), *WORDS)


def test_what_is_released_is_the_mean(finished: RunFolder):
    epochs = kept(finished)
    assert list(epochs) == ["epoch_0002", "epoch_0003", "epoch_0004"]
    weights = released(finished)
    assert set(weights) == set(epochs["epoch_0004"])
    for name, tensor in weights.items():
        mean = torch.stack([epoch[name].double() for epoch in epochs.values()]).mean(dim=0)
        torch.testing.assert_close(tensor, mean.float(), rtol=0, atol=0)
    assert finished.read_summary()["selection"] == "mean of the last 3 epochs"


def test_it_is_not_the_last_epoch(finished: RunFolder):
    last = kept(finished)["epoch_0004"]
    assert not any(torch.equal(tensor, last[name]) for name, tensor in released(finished).items())
    stored = torch.load(finished.checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(stored[f"model.{name}"], tensor) for name, tensor in last.items())


def test_a_shorter_run_averages_what_there_is(tmp_path: Path, train):
    run = train(tmp_path, *WORDS, "trainer.max_epochs=2")
    assert list(kept(run)) == ["epoch_0000", "epoch_0001"]
    assert run.read_summary()["selection"] == "mean of the last 2 epochs"


@pytest.mark.slow
def test_a_killed_run_averages_the_same_epochs(tmp_path: Path, killed, train_here, finished: RunFolder):
    """Killed in the fourth epoch, it goes on from the third one's last weights, not from a mean."""
    run = killed(lambda run: (run.checkpoints / "epoch_0002.ckpt").exists(), *WORDS, f"runs_dir={tmp_path}")
    assert train_here(prepare_run([f"resume={run.path}"])) == 0
    ours, theirs = released(run), released(finished)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert list(kept(run)) == list(kept(finished))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["select=best"], "select=best and callbacks=average_last each choose the weights that are tested"),
        (["callbacks.average.epochs=0"], "expected callbacks.average.epochs ≥ 1"),
        (["callbacks.average.epochs=many"], "callbacks.average.epochs"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(words: list[str], told: str, tmp_path: Path, one_line_error, request):
    request.getfixturevalue("in_this_process")
    code = 2 if "select=best" in words else 1
    more = ["data.validation=100"] if "select=best" in words else []
    line = one_line_error("train", f"runs_dir={tmp_path}", "trainer=cpu", *WORDS, *more, *words, code=code)
    assert told in line
    assert not list(tmp_path.glob("*/*/checkpoints"))
