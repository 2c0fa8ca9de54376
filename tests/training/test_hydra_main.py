"""The plain Hydra entry points, as real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zoo.training.run_folder import RunFolder

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = ["model=lenet5_modern", "trainer=cpu", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


def run(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"ZOO_RUNS": "runs", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which scripts/train.py has made one run."""
    folder = tmp_path_factory.mktemp("hydra")
    ended = run(folder, SCRIPTS / "train.py", *TINY)
    assert ended.returncode == 0, ended.stderr
    return folder


def test_the_train_script_makes_the_same_kind_of_run(trained: Path):
    (path,) = (trained / "runs" / "lenet5_modern_digits").iterdir()
    made = RunFolder(path)
    assert made.finished
    assert made.read_overrides() == {"overrides": TINY, "experiment": None, "modified": []}
    # Hydra adds nothing of its own.
    assert [entry.name for entry in trained.iterdir()] == ["runs"]


def test_the_evaluate_script(trained: Path, tmp_path: Path):
    (path,) = (trained / "runs" / "lenet5_modern_digits").iterdir()
    own = tmp_path / "data"
    own.mkdir()
    (own / "my_digits.yaml").write_text("defaults:\n  - digits\n")
    words = [f"release={path}", "trainer=cpu", "data=my_digits", "--config-dir", str(tmp_path)]
    ended = run(trained, SCRIPTS / "evaluate.py", *words)
    assert ended.returncode == 0, ended.stderr
    assert f"{RunFolder(path).read_summary()['headline']['value']:.4g}" in ended.stdout
    assert len(list(RunFolder(path).evaluations.iterdir())) == 1
    assert [entry.name for entry in trained.iterdir()] == ["runs"]


def test_mistakes_of_ours_are_one_line(tmp_path: Path):
    for words, told in (
        (["train.py", "select=first"], "zoo: select=first is not possible: choose last or best"),
        (["train.py", "resume=x"], "zoo: resume= is for `zoo train resume=…`"),
        (["evaluate.py"], "zoo: release=RUN|RELEASE is missing"),
    ):
        ended = run(tmp_path, SCRIPTS / words[0], *words[1:])
        assert ended.returncode == 2
        assert ended.stderr.startswith(told)
        assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_hydra_s_own_multirun_runs_every_job(tmp_path: Path):
    words = ["experiment=lenet5_modern_mnist", "data=digits", *TINY[1:]]
    ended = run(tmp_path, SCRIPTS / "train.py", "-m", *words, "seed=1,2")
    assert ended.returncode == 0, ended.stderr
    runs = [RunFolder(path.parent) for path in (tmp_path / "runs").rglob("config.yaml")]
    assert {made.read_config()["seed"] for made in runs} == {1, 2}
    for made in runs:
        assert made.finished
        assert made.read_overrides()["experiment"] == "lenet5_modern_mnist"
        assert "data=digits" in made.read_overrides()["modified"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["runs"]


def test_cfg_job_prints_the_config_and_starts_nothing(tmp_path: Path):
    ended = run(tmp_path, "-m", "zoo", "train", "--cfg", "job", "model=lenet5_modern", "optimizer.lr=0.5")
    assert ended.returncode == 0, ended.stderr
    config = yaml.safe_load(ended.stdout)
    assert config["model"]["name"] == "lenet5_modern"
    assert config["optimizer"]["lr"] == 0.5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--info", "--hydra-help"])
def test_hydra_s_other_flags_reach_it(flag: str, tmp_path: Path):
    words = [flag, "searchpath"] if flag == "--info" else [flag]
    ended = run(tmp_path, "-m", "zoo", "train", *words)
    assert ended.returncode == 0, ended.stderr
    assert "hydra" in ended.stdout.lower()
