"""Every mistake gets one line that helps, an exit code, and leaves nothing behind; typed through the command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from zoo.cli import main
from zoo.models import registry
from zoo.training.run_folder import LAST, RunFolder
from zoo.training.start import prepare_run

FAST = ["trainer=cpu", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


def runs(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=lenet6"], "unknown model 'lenet6': did you mean lenet5"),
        (["data=minst"], "unknown data 'minst': did you mean mnist"),
        (["experiment=lenet_mnist"], "did you mean lenet5_mnist"),
        (["model.name=lenet6"], "unknown model 'lenet6'"),
        (["optimizer.lrate=1"], "unknown key 'optimizer.lrate': did you mean optimizer.lr?"),
        (["lr=0.1"], "unknown key 'lr': did you mean optimizer.lr?"),
        (["+optimiser.lr=1"], "unknown key 'optimiser.lr': did you mean optimizer.lr?"),
        (["optimizer._target_=os.system"], "_target_ 'os.system' is not allowed"),
        (["+callbacks.x._target_=subprocess.Popen"], "is not allowed"),
        (["+model._target_=torch.optim.SGD"], "model cannot hold a _target_"),
        (["select=first"], "choose last or best"),
        (["select=best"], "needs a validation split"),
        (["select=best", "data.validation=200", "trainer.limit_val_batches=0"], "nothing to choose from"),
        (["seed=abc"], "seed='abc' is not possible: expected int"),
        (["seed=-1"], "seed=-1 is not possible: expected 0 to 4294967295"),
        (["trainer.max_steps=0"], "trainer.max_steps=0 is not possible: expected 1 or more, or -1 for no limit"),
        (["trainer.max_steps=ten"], "trainer.max_steps=ten is not possible: expected 1 or more"),
        (["trainer.max_steps=9", "trainer.min_epochs=2"], "give one of them"),
        (["model=resnet20", "data=cifar10", "scheduler=cosine"], "the cosine needs its length"),
        (
            ["scheduler=cosine", "scheduler_interval=step"],
            "would count steps, not epochs",
        ),
        (
            ["model=resnet20", "data=cifar10", "scheduler=cosine", "scheduler.T_max=64000"],
            "would count epochs, not steps",
        ),
        (["optimizer"], "expected key=value"),
        (["--fast"], "no flag --fast"),
        (["model=lenet5,lenet5_modern"], "put -m before it"),
    ],
)
def test_mistakes_found_before_torch_is_imported(words, told, one_line_error, tmp_path):
    assert told in one_line_error("train", *words)
    assert runs(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lr=abc"], "optimizer.lr='abc' is not possible: expected"),
        (["+trainer.max_epoch=3"], "unknown key trainer.max_epoch: did you mean trainer.max_epochs?"),
        (["optimizer._target_=torch.optim.optimizer.torch.hub.load"], "does not exist"),
        (["model=lenet5_modern", "model.num_classes=7"], "model.num_classes=7 contradicts the data"),
        (["data=mnist", "data.dir=/nowhere"], "/nowhere"),
        (["optimizer.lr=-1"], "cannot be built"),
        (["data.batch_size=100000"], "data.batch_size=100000"),
    ],
)
@pytest.mark.usefixtures("in_this_process")
def test_mistakes_found_in_the_training_process_leave_no_folder(words, told, one_line_error, tmp_path):
    assert told in one_line_error("train", *FAST, *words, code=1)
    assert runs(tmp_path) == []


@pytest.mark.usefixtures("in_this_process")
def test_a_cycle_that_is_over_before_the_run(one_line_error):
    words = ["model=lenet5_modern", "scheduler=one_cycle_vgg_cifar_short"]
    told = one_line_error("train", *FAST, *words, "scheduler.total_steps=1", code=1)
    assert "scheduler.total_steps=1 is over before the run, which takes 2: give scheduler.total_steps=2" in told
    assert main(["train", "-q", *FAST, *words, "scheduler.total_steps=2"]) == 0
    steps = ["trainer.max_epochs=-1", "trainer.max_steps=2", "scheduler.total_steps=2"]
    assert main(["train", "-q", *FAST, *words, *steps]) == 0


@pytest.mark.usefixtures("in_this_process")
def test_an_unknown_key_in_a_yaml_file_of_one_s_own(one_line_error, tmp_path):
    folder = tmp_path / "own" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.1\nmomentun: 0.9\n")
    told = one_line_error("train", *FAST, "--config-dir", str(folder.parent), "optimizer=mine", code=1)
    assert "unknown key optimizer.momentun: did you mean optimizer.momentum?" in told
    (folder / "worse.yaml").write_text("lr: [0.1\n")
    assert "does not compose" in one_line_error("train", "--config-dir", str(folder.parent), "optimizer=worse")


@pytest.mark.usefixtures("in_this_process")
def test_missing_data_without_a_network(one_line_error, monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9/nothing")
    told = one_line_error("train", *FAST, "data=mnist", code=1)
    assert "train-images-idx3-ubyte" in told
    assert "sha256" in told


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(one_line_error):
    assert "use trainer=cpu" in one_line_error("train", *FAST, "trainer=gpu", code=1)


@pytest.mark.usefixtures("in_this_process")
def test_model_and_data_that_do_not_fit(one_line_error, tmp_path, monkeypatch):
    module = tmp_path / "colourful.py"
    module.write_text(
        "from zoo.models.registry import register_model\n"
        "from torch import nn\n"
        "@register_model(task='image_classification', paper='own', fits=lambda spec: 'colour images only')\n"
        "def colourful() -> nn.Module:\n    return nn.Identity()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))  # forgotten after this test
    told = one_line_error(
        "train", *FAST, "imports=[colourful]", "model.name=colourful", "~model.loss", "~model.j", code=1
    )
    assert "colourful takes colour images only, the data is 1x28x28 images of 10 classes" in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_runs_folder_that_cannot_be_written_by_permission(one_line_error, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "choose another with runs_dir=" in one_line_error("train", f"runs_dir={locked}")


def test_a_runs_folder_that_cannot_be_made(one_line_error, tmp_path):
    (tmp_path / "file").touch()
    assert "choose another with runs_dir=" in one_line_error("train", f"runs_dir={tmp_path / 'file' / 'runs'}")


@pytest.mark.usefixtures("in_this_process")
def test_nan_stops_within_a_step_and_names_the_last_good_checkpoint(one_line_error, tmp_path):
    words = ["model=lenet5_modern", "optimizer=sgd", "optimizer.lr=1e12", "trainer=cpu", "logger=none",
             "checkpoint.every_minutes=0", "-q"]  # fmt: skip
    told = one_line_error("train", *words, code=1)
    assert "at step" in told
    (run,) = (tmp_path / "runs").glob("*/*")
    assert str(run / "checkpoints") in told


POISONING = """
from lightning.pytorch import Callback

class Poison(Callback):
    def on_validation_start(self, trainer, pl_module):
        next(pl_module.parameters()).data.fill_(float("nan"))
"""


@pytest.mark.usefixtures("in_this_process")
def test_weights_that_are_no_numbers_are_never_the_best(one_line_error, tmp_path, monkeypatch):
    (tmp_path / "poisoning.py").write_text(POISONING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "poisoning")
    words = ["select=best", "data.validation=200", "+callbacks.poison._target_=poisoning.Poison", "-q"]
    assert "is not finite after step 2" in one_line_error("train", *FAST, *words, code=1)
    (run,) = (tmp_path / "runs").glob("*/*")
    assert not list((run / "checkpoints").glob("*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, train_here) -> Path:
    run = prepare_run([*FAST, f"runs_dir={tmp_path_factory.mktemp('finished')}"])
    assert train_here(run) == 0
    return run.path


def test_resuming_what_cannot_be_resumed(finished, one_line_error, tmp_path):
    assert "no such folder" in one_line_error("train", "resume=nowhere")
    assert "holds no config.yaml" in one_line_error("train", f"resume={tmp_path}")
    assert "is finished: start a new run" in one_line_error("train", f"resume={finished}")


def test_only_trainer_and_logger_change_in_a_resumed_run(one_line_error):
    run = prepare_run(FAST)
    assert "optimizer.lr=1 cannot change" in one_line_error("train", f"resume={run.path}", "optimizer.lr=1")
    assert "cannot change" in one_line_error("train", f"resume={run.path}", "data=mnist")
    assert "adds a key" in one_line_error("train", f"resume={run.path}", "+trainer.typo=1")


def test_a_mistake_in_a_resumed_run_leaves_what_the_run_has(one_line_error):
    run = prepare_run(["experiment=lenet5_modern_mnist", *FAST])
    before = run.config.read_text(), run.overrides.read_text()
    for word, told in (
        ("trainer.gradient_clip_val=much", "trainer.gradient_clip_val='much' is not possible: expected"),
        ("trainer.profiler=stopwatch", "the trainer cannot be built"),
    ):
        assert told in one_line_error("train", f"resume={run.path}", word)
        assert (run.config.read_text(), run.overrides.read_text()) == before


@pytest.mark.usefixtures("in_this_process")
def test_a_prepared_run_stays_when_its_first_start_fails(one_line_error, capfd):
    assert main(["train", "--prepare", *FAST, "optimizer.lr=-1"]) == 0
    run = RunFolder(Path(capfd.readouterr().out.strip()))
    assert "cannot be built" in one_line_error("train", f"resume={run.path}", code=1)
    assert run.read_config()["optimizer"]["lr"] == -1
    assert run.read_summary()["status"] == "failed"
    assert main(["train", "--prepare", f"resume={run.path}"]) == 0
    assert capfd.readouterr().out.strip() == str(run.path)


@pytest.mark.usefixtures("in_this_process")
def test_the_checkpoint_of_another_model(finished, one_line_error):
    run = prepare_run([*FAST, "model=lenet5_modern"])
    run.checkpoints.mkdir()
    (run.checkpoints / LAST).write_bytes((finished / "checkpoints" / LAST).read_bytes())
    assert "belongs to lenet5, this run trains lenet5_modern" in one_line_error("train", f"resume={run.path}", code=1)


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_data_file(one_line_error, tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"not an IDX file")
    told = one_line_error("train", *FAST, "data=mnist", f"data.dir={tmp_path / 'data'}", code=1)
    assert "train-images-idx3-ubyte" in told


def test_commands_and_their_arguments(one_line_error):
    assert "did you mean zoo train?" in one_line_error("trian")
    assert "invalid choice" in one_line_error("list", "modles")
    assert "no models match" in one_line_error("list", "models", "resent*")
    assert "did you mean lenet5" in one_line_error("info", "lenet")
    assert "lenet5-mnsit" in one_line_error("evaluate", "lenet5-mnsit")
    assert "nothing-such" in one_line_error("predict", "nothing-such", "digit.png")


@pytest.mark.parametrize(
    "words", [["train", "model=lenet6"], ["train", "trainer=cpu", "optimizer.lr=abc"], ["info", "lenet"]]
)
def test_as_real_processes(words):
    ended = subprocess.run([sys.executable, "-m", "zoo", *words], capture_output=True, text=True, timeout=120)
    assert ended.returncode in (1, 2)
    assert len(ended.stderr.strip().splitlines()) == 1
    assert ended.stderr.startswith("zoo: ")
    assert "Traceback" not in ended.stderr + ended.stdout


def test_debug_shows_the_traceback(monkeypatch):
    environment = os.environ | {"ZOO_DEBUG": "1"}
    command = [sys.executable, "-m", "zoo", "train", "model=lenet6"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr


def test_resume_leaves_a_folder_that_is_no_run_alone(one_line_error, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "config.yaml").write_text("title: mine\n")
    (folder / "thesis.txt").write_text("years of work")
    assert "is no run folder" in one_line_error("train", f"resume={folder}")
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("checkpoint=null", "checkpoint=None is not possible"),
        ("~seed", "seed is missing"),
        ("data=null", "data=null is not possible"),
        ("logger=null", "choose none, tensorboard, wandb"),
        ("+callbacks.x.foo=1", "callbacks.x names no class"),
        ("experiment=lenet5_mnist claim.reported=5", "belongs to the file of experiment"),
    ],
)
def test_what_must_be_there_cannot_be_taken_away(word, told, one_line_error, tmp_path):
    assert told in one_line_error("train", *word.split())
    assert runs(tmp_path) == []
