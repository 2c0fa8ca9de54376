"""`zoo evaluate`: the same number again, on the same data or another; what the run measured stays as it is."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.training.evaluate import _check_fit
from zoo.training.run_folder import RunFolder, data_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, train) -> RunFolder:
    words = ["model=lenet5_modern", "logger=none", "trainer.max_epochs=2", "data.validation=100"]
    return train(tmp_path_factory.mktemp("evaluated"), *words)


def evaluations(run: RunFolder) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(run.evaluations.glob("*.json"))]


def test_a_run_gets_a_file_and_its_summary_stays(finished: RunFolder, capsys):
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    assert main(["evaluate", str(finished.path), "trainer=cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    summary = finished.read_summary()
    assert lines[0] == "lenet5_modern_digits on digits"
    value = f"{summary['headline']['value']:.4g}"
    assert ["test/error", value, value] in [line.split() for line in lines]
    written = evaluations(finished)[-1]
    assert lines[-1] == str(max(finished.evaluations.iterdir()))
    assert written["metrics"] == pytest.approx(summary["metrics"])
    assert written["overrides"] == ["trainer=cpu"]
    assert {"versions", "commit", "dirty", "hardware", "data"} <= set(written)
    assert {path: path.read_bytes() for path in before} == before


def test_a_release_alone_gets_no_file(finished: RunFolder, tmp_path, capsys):
    release = shutil.copytree(finished.release, tmp_path / "alone")
    assert main(["evaluate", str(release), "trainer=cpu", "data.batch_size=7", "channels_last=true"]) == 0
    assert f"{finished.read_summary()['headline']['value']:.4g}" in capsys.readouterr().out
    assert {path.name for path in release.iterdir()} == {path.name for path in finished.release.iterdir()}
    assert list(tmp_path.rglob("*.json")) == list(release.glob("*.json"))


def test_a_part_of_the_test_split(finished: RunFolder, capsys):
    words = ["trainer=cpu", "trainer.limit_test_batches=1"]
    assert main(["evaluate", str(finished.path), *words]) == 0
    error = evaluations(finished)[-1]["metrics"]["test/error"]
    wrong = error / 100 * 256
    assert wrong == pytest.approx(round(wrong)), "of one batch of an evaluation"
    assert error != pytest.approx(finished.read_summary()["headline"]["value"])


@pytest.mark.realdata
def test_other_data_with_the_scaling_that_the_weights_know(finished: RunFolder, real_data, capsys):
    assert main(["evaluate", str(finished.path), "trainer=cpu", "data=fashion_mnist", f"data.dir={real_data}"]) == 0
    written = evaluations(finished)[-1]
    assert written["data"]["name"] == "fashion_mnist"
    assert written["data"]["mean"] == [0.1559]
    assert written["metrics"]["test/error"] > 60


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lr=1"], "optimizer.lr cannot change in an evaluation"),
        (["model=lenet5"], "model cannot change in an evaluation"),
        (["data=minst"], "unknown data 'minst': did you mean mnist"),
        (["data=digits,mnist"], "names several values: give one"),
        (["data.bach_size=3"], "did you mean data.batch_size?"),
        (["data.batch_size=many"], "data.batch_size='many' is not possible: expected int"),
        (["trainer.limit_test_batches=0"], "was not measured"),
        (["imports=[no_such_module]"], "no_such_module cannot be imported"),
    ],
)
def test_mistakes(words: list[str], told: str, finished: RunFolder, one_line_error):
    assert told in one_line_error("evaluate", str(finished.path), "trainer=cpu", *words)


def test_an_unfinished_run_is_no_release(one_line_error, tmp_path, finished: RunFolder):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(finished.config, unfinished)
    assert "has not finished" in one_line_error("evaluate", str(unfinished))


def test_a_model_is_not_measured_on_data_of_other_classes():
    card = {"name": "mine", "model": "lenet5_modern", "arguments": {"num_classes": 10}}
    _check_fit(card, ImageSpec(1, 28, 28, 10), "digits")
    with pytest.raises(ZooError, match=r"trained with num_classes=10, data=signs has 2: .* init_from=mine"):
        _check_fit(card, ImageSpec(1, 28, 28, 2), "signs")
    with pytest.raises(ZooError, match=r"a model of your own, tiny_net: .* imports=\[MODULE\]"):
        _check_fit(card | {"model": "tiny_net"}, ImageSpec(1, 28, 28, 10), "digits")


def test_the_folder_of_a_run_s_data_counts_where_it_is_there(tmp_path: Path):
    assert data_folder(tmp_path / "release") is None
    for folder, found in ((str(tmp_path), str(tmp_path)), (str(tmp_path / "gone"), None), (None, None)):
        (tmp_path / "config.yaml").write_text(json.dumps({"data": {"dir": folder}}))
        assert data_folder(tmp_path / "release") == found


def test_ctrl_c_ends_it_with_a_word(capsys):
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        while signal.getsignal(signal.SIGINT) == before:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert main(["evaluate", "dqn_mlp-cartpole", "data.test_episodes=20000"]) == 130
    thread.join()
    assert capsys.readouterr().err.endswith("zoo: interrupted\n")
    assert signal.getsignal(signal.SIGINT) == before
