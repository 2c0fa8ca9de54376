"""One shared trainer: what a finished run leaves behind, and that each of its config keys does what it says."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import zoo
from zoo.errors import ZooError
from zoo.training.evaluate import measure
from zoo.training.init_from import initialise_from
from zoo.training.processes import training_command
from zoo.training.records import make_record
from zoo.training.run_folder import BEST, LAST, RunFolder, resumable_hash
from zoo.training.start import prepare_run, resume_run

# A few large steps of a small network: no test here needs more.
SMALL = ["model=lenet5_modern", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=4"]
PLAIN = [*SMALL, "optimizer=sgd", "optimizer.lr=0.05", "scheduler=none"]


def weights(run: RunFolder) -> dict[str, Tensor]:
    return load_file(run.release / "model.safetensors")


def distance(first: RunFolder, second: RunFolder) -> float:
    ours, theirs = weights(first), weights(second)
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, train) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), "model=lenet5_modern", "trainer.max_epochs=2")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, train) -> RunFolder:
    return train(tmp_path_factory.mktemp("plain"), *PLAIN)


def test_a_finished_run_is_a_whole_folder(finished: RunFolder):
    assert {path.name for path in finished.path.iterdir()} == {
        "config.yaml", "overrides.yaml", "environment.json", "metrics.csv", "train.log", "tensorboard", "checkpoints",
        "figures", "release", "summary.json",
    }  # fmt: skip
    assert {path.name for path in finished.checkpoints.iterdir()} == {LAST, "previous.ckpt"}
    assert yaml.safe_load(finished.overrides.read_text())["overrides"][-1] == "trainer.max_epochs=2"
    assert finished.read_config()["model"]["name"] == "lenet5_modern"


def test_the_summary_says_what_came_out(finished: RunFolder):
    summary = finished.read_summary()
    assert set(summary) == {
        "status", "headline", "claim", "metrics", "details", "selection", "duration_s", "samples", "samples_per_s",
        "sample_unit", "seed", "config_hash", "error",
    }  # fmt: skip
    assert (summary["status"], summary["error"], summary["claim"]) == ("finished", None, None)
    assert (summary["selection"], summary["sample_unit"], summary["seed"]) == ("last epoch", "images", 1)
    assert summary["samples"] == 2 * 1437
    assert summary["samples_per_s"] == pytest.approx(summary["samples"] / summary["duration_s"])
    assert summary["headline"] == {
        "metric": "test/error", "value": summary["metrics"]["test/error"], "direction": "min",
    }  # fmt: skip
    assert summary["metrics"]["test/accuracy"] == pytest.approx(100 - summary["metrics"]["test/error"])
    assert 0 < summary["metrics"]["test/error"] < 60


def test_the_environment_says_on_what(finished: RunFolder):
    environment = json.loads(finished.environment.read_text())
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"python", "lightning", "hydra-core"} <= set(environment["versions"])
    assert {"commit", "dirty", "platform", "command"} <= set(environment)
    assert environment["hardware"]["device"] == "cpu"
    assert environment["seed"] == 1
    assert environment["dataset_sha256"] == {}


def test_metrics_csv_holds_steps_epochs_and_the_test(finished: RunFolder, rows):
    assert [row["row"] for row in rows(finished)] == ["epoch", "epoch", "test"]
    assert [row["step"] for row in rows(finished, "epoch")] == ["12", "24"]
    (test,) = rows(finished, "test")
    assert float(test["test/error"]) == finished.read_summary()["headline"]["value"]
    errors = [float(row["train/error"]) for row in rows(finished, "epoch")]
    assert errors[1] < errors[0]


def test_figures_open_and_show_something(finished: RunFolder):
    assert {path.stem for path in finished.figures.iterdir()} == {"curves", "confusion", "filters", "mistakes"}
    for path in finished.figures.iterdir():
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) > 100
        assert pixels.std() > 5


def test_the_release_measures_the_same_again(finished: RunFolder):
    model = zoo.load_pretrained(finished.path)
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) == 61_706
    summary, card = finished.read_summary(), zoo.pretrained_card(finished.path)
    assert (card["config_hash"], card["seed"], card["metrics"]) == (
        summary["config_hash"], summary["seed"], summary["metrics"],
    )  # fmt: skip
    assert card["parameters"] == 61_706
    again, *_ = measure(finished.release, ["trainer=cpu"])
    assert again == pytest.approx(summary["metrics"])
    assert again["test/error"] == summary["headline"]["value"]


def test_the_log_keeps_what_libraries_had_to_say(finished: RunFolder, capfd):
    log = finished.log.read_text()
    assert "WARNING py.warnings" in log
    assert "epoch 1/" in log


def test_the_last_word_is_a_table_with_the_paper_s_number(tmp_path, train, capfd):
    run = train(tmp_path, "experiment=lenet5_modern_mnist", "data=digits", *SMALL[1:])
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    value = run.read_summary()["headline"]["value"]
    assert lines[0].startswith("epoch 1/1  loss ")
    assert "images/s" in lines[0]
    assert f"test/error  {value:.4g}" in lines[1]
    assert lines[2].startswith(
        "published   0.95 % (Section III.B, Figure 9, LeNet-5 itself); protocol modified: trainer=cpu data=digits"
    )
    assert lines[-1] == f"folder      {run.path}"
    assert printed.err == ""
    # No progress bar where there is no terminal.
    assert "\x1b" not in printed.out
    with pytest.raises(ZooError, match="was modified"):
        make_record(run)


def test_quietly(tmp_path, train, capfd):
    run = train(tmp_path, *SMALL, "trainer.enable_progress_bar=false")
    assert capfd.readouterr().out == f"test/error {run.read_summary()['headline']['value']:.4g}  {run.path}\n"


def test_a_bar_in_a_terminal(tmp_path, open_terminal):
    run = prepare_run([f"runs_dir={tmp_path}", "trainer=cpu", *SMALL])
    terminal = open_terminal()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen(training_command(run), stdout=terminal.end, stderr=terminal.end, env=environment)
    text = terminal.read()
    assert process.wait(timeout=60) == 0
    assert "epoch 1/1" in text
    assert "━" in text
    assert "images/s" in text
    assert "test/error" in text


def test_accumulated_gradients_are_those_of_a_larger_batch(plain: RunFolder, tmp_path, train):
    parts = ["data.batch_size=32", "trainer.limit_train_batches=16", "trainer.accumulate_grad_batches=4"]
    run = train(tmp_path, *PLAIN, *parts, "trainer.log_every_n_steps=1")
    assert torch.load(run.checkpoints / LAST, weights_only=True)["global_step"] == 4
    assert distance(run, plain) < 1e-5


def test_steps_are_logged_as_often_as_asked(tmp_path, train, rows):
    parts = ["trainer.accumulate_grad_batches=2", "trainer.log_every_n_steps=1", "data.batch_size=64"]
    run = train(tmp_path, *PLAIN, *parts)
    steps = rows(run, "step")
    assert [row["step"] for row in steps] == ["1", "2"]
    assert all(float(row["lr"]) == 0.05 for row in steps)
    # The loss of a batch, not its share of an accumulated one.
    assert 1.5 < float(steps[0]["train/batch_loss"]) < 3.5


def test_clipping_changes_the_weights(plain: RunFolder, tmp_path, train):
    run = train(tmp_path, *PLAIN, "trainer.gradient_clip_val=0.001")
    assert distance(run, plain) > 1e-4


def test_channels_last_computes_the_same(plain: RunFolder, tmp_path, train):
    run = train(tmp_path, *PLAIN, "channels_last=true")
    assert distance(run, plain) < 1e-4


@pytest.mark.parametrize("words", [["model=lenet5"], ["model=lenet5_modern"], ["trainer.gradient_clip_val=1"]])
def test_mixed_precision_trains_and_releases_float32(words: list[str], tmp_path, train):
    run = train(tmp_path, *SMALL, *words, "trainer=cpu_bf16")
    assert run.read_config()["trainer"]["precision"] == "bf16-mixed"
    assert {tensor.dtype for tensor in weights(run).values() if tensor.is_floating_point()} == {torch.float32}


def test_bfloat16_without_instructions_for_it_is_told_of(tmp_path, train, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zoo.training.build.native_bf16", lambda: False)
    train(tmp_path, *SMALL, "trainer=cpu_bf16", "trainer.limit_train_batches=1")
    assert "zoo: this CPU has no instructions for bfloat16" in capsys.readouterr().err
    train(tmp_path, "model=lstm_small", "data=python_docs", "logger=none", "trainer=cpu_bf16", code=1)
    assert capsys.readouterr().err == (
        "zoo: trainer.precision=bf16-mixed is not possible for lstm_small here: this CPU has no instructions for "
        "bfloat16, and torch no LSTM without them; use trainer=cpu\n"
    )


@pytest.mark.slow
def test_a_compiled_model_computes_the_same(plain: RunFolder, tmp_path, train):
    run = train(tmp_path, *PLAIN, "compile=true")
    assert distance(run, plain) < 1e-4
    assert zoo.load_pretrained(run.path) is not None


def test_early_stopping_watches_the_validation_split(tmp_path, train, rows):
    words = [
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=100",
    ]
    run = train(tmp_path, *SMALL, "trainer.max_epochs=9", "data.validation=200", *words)
    epochs = rows(run, "epoch")
    assert len(epochs) == 2
    assert all(row["val/error"] for row in epochs)
    assert "test/error" not in {name for row in epochs for name, value in row.items() if value}


def test_early_stopping_without_a_validation_split_is_refused(tmp_path, train, capfd):
    train(tmp_path, *SMALL, "callbacks=early_stopping", code=1)
    error = capfd.readouterr().err
    assert error.startswith("zoo: callbacks.early_stopping needs a validation split")
    assert error.count("\n") == 1


def test_select_best_releases_the_best_epoch(tmp_path, train, rows):
    # From the second epoch on steps are far too large: what comes after the first epoch is worse.
    ruin = [
        "scheduler=lecun1998",
        "scheduler.milestones=[1]",
        "scheduler.factors=[1000]",
        "optimizer=adam",
        "optimizer.lr=0.005",
    ]
    run = train(tmp_path, *SMALL, *ruin, "trainer.max_epochs=3", "trainer.limit_train_batches=8", "select=best",
                "data.validation=200")  # fmt: skip
    errors = [float(row["val/error"]) for row in rows(run, "epoch")]
    assert errors[0] < min(errors[1:])
    best = torch.load(run.checkpoints / BEST, weights_only=True)
    assert best["epoch"] == 0
    assert "optimizer_states" not in best  # nobody goes on from it
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, best["state_dict"][f"model.{name}"])
    assert run.read_summary()["selection"] == "best epoch on validation"
    assert measure(run.release, ["trainer=cpu"])[0]["test/error"] == run.read_summary()["headline"]["value"]


def test_fast_dev_run_tries_everything_with_one_batch(tmp_path, train, rows):
    run = train(tmp_path, *SMALL, "logger=tensorboard", "trainer.fast_dev_run=true")
    assert run.read_summary()["samples"] == 128
    assert [row["row"] for row in rows(run)] == ["epoch", "test"]
    assert {"curves", "confusion"} <= {path.stem for path in run.figures.iterdir()}
    assert zoo.load_pretrained(run.path) is not None
    # Loggers are for runs to look at later.
    assert not (run.path / "tensorboard").exists()


def test_init_from_starts_with_another_run_s_weights(finished: RunFolder, tmp_path, train, capfd):
    run = train(tmp_path, *PLAIN, f"init_from={finished.path}", "optimizer.lr=0")
    assert f"init_from {finished.path.name}: 10 tensors loaded\n" in capfd.readouterr().out
    assert distance(run, finished) == 0


def test_a_run_that_was_killed_before_its_first_checkpoint_to_go_on_from_starts_with_them_again(
    finished: RunFolder, tmp_path, train_here
):
    """The best weights are written after a validation, maybe minutes before those to go on from."""
    run = prepare_run([*PLAIN, f"init_from={finished.path}", "optimizer.lr=0", f"runs_dir={tmp_path}"])
    run.checkpoints.mkdir()
    (run.checkpoints / BEST).write_bytes((finished.checkpoints / LAST).read_bytes())
    assert not run.started
    assert train_here(run) == 0
    assert distance(run, finished) == 0


def test_init_from_tells_what_is_new_and_what_went_unused(finished: RunFolder, capsys):
    model = zoo.create_model("lenet5_modern", num_classes=7)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialise_from(model, str(finished.path))
    printed = capsys.readouterr().out
    new = [name for name, tensor in model.state_dict().items() if torch.equal(tensor, before[name])]
    assert len(new) == 2
    assert f"8 tensors loaded; new: {', '.join(new)}; unused: {', '.join(new)}" in printed
    with pytest.raises(ZooError, match="none of its tensors fits"):
        initialise_from(torch.nn.Linear(3, 3), str(finished.path))


def test_from_run_is_a_new_run_of_a_stored_config(plain: RunFolder, tmp_path, train):
    same = train(tmp_path, f"from_run={plain.path}")
    assert same.path != plain.path
    assert distance(same, plain) == 0
    assert same.read_summary()["config_hash"] == plain.read_summary()["config_hash"]
    other = prepare_run([f"from_run={plain.path}", "seed=2", f"runs_dir={tmp_path}"])
    assert other.read_config()["seed"] == 2
    assert other.read_config()["from_run"] == str(plain.path)
    with pytest.raises(ZooError, match="chooses a file, which a stored config cannot follow"):
        prepare_run([f"from_run={plain.path}", "data=mnist"])
    with pytest.raises(ZooError, match=r"did you mean optimizer\.lr"):
        prepare_run([f"from_run={plain.path}", "optimizer.lrr=1"])


def test_a_longer_resumed_run_of_an_experiment_is_modified(tmp_path):
    run = prepare_run([f"runs_dir={tmp_path}", "experiment=resnet20_cifar10"])
    resume_run(str(run.path), [])
    assert run.read_overrides()["modified"] == []
    from zoo.training.compose import parse_overrides

    resume_run(str(run.path), parse_overrides(["trainer.enable_progress_bar=false"]))
    assert run.read_overrides()["modified"] == []
    resume_run(str(run.path), parse_overrides(["trainer.max_epochs=21"]))
    assert run.read_overrides()["modified"] == ["trainer.max_epochs=21"]
    assert run.read_config()["claim"]["protocol"] == "modified: trainer.max_epochs=21"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(plain: RunFolder, tmp_path, train):
    assert distance(train(tmp_path / "same", *PLAIN), plain) == 0
    assert distance(train(tmp_path / "other", *PLAIN, "seed=2"), plain) > 1e-3


def test_checkpoints_hold_nothing_but_plain_python_and_tensors(finished: RunFolder):
    content = torch.load(finished.checkpoints / LAST, weights_only=True)
    assert content["zoo"]["model"] == "lenet5_modern"
    assert content["zoo"]["config_hash"] == resumable_hash(finished.read_config())


def test_nothing_is_left_under_a_temporary_name(finished: RunFolder):
    assert [path for path in Path(finished.path).rglob(".*") if path.is_file()] == []
