"""Records are made of finished runs of unmodified experiments, and tell what those measured."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zoo.errors import ZooError
from zoo.training import reproduce as reproducing
from zoo.training.records import _curve, all_records, curve_of, make_record, write_record
from zoo.training.run_folder import RunFolder, config_hash
from zoo.training.start import prepare_run
from zoo.training.tables import long_page

SCRIPTS = Path(__file__).parents[2] / "scripts"


def copy_of(run: RunFolder, folder: Path) -> RunFolder:
    shutil.copytree(run.path, folder)
    return RunFolder(folder)


def test_a_record_tells_what_was_measured(trained, tmp_path: Path):
    run = trained.run
    path = write_record(run, tmp_path)
    assert path == tmp_path / "lenet5_modern_tiny" / "seed1.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    summary = run.read_summary()
    for key in ("headline", "claim", "metrics", "duration_s", "samples_per_s", "seed", "config_hash"):
        assert record[key] == summary[key]
    assert record["headline"]["value"] == record["metrics"]["test/error"]
    assert record["samples"] == 2 * 1437
    assert record["parameters"] == 61_706
    assert record["precision"] == "32-true"
    assert record["command"] == "zoo train experiment=lenet5_modern_tiny trainer=cpu seed=1"
    assert record["release"] == "lenet5_modern-tiny"
    assert record["config_hash"] == config_hash(run.read_config())
    weights = (run.release / "model.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    for key in ("commit", "dirty", "versions", "hardware", "dataset_sha256"):
        assert key in record
    assert {"torch", "python"} <= set(record["versions"])
    assert record["curve"]["test/error"]
    assert all(len(values) == 2 for values in record["curve"].values())
    assert all_records(tmp_path) == {"lenet5_modern_tiny": [record]}


def test_a_run_that_was_resumed_elsewhere_says_so(trained, tmp_path: Path):
    run = copy_of(trained.run, tmp_path / "run")
    environment = json.loads(run.environment.read_text(encoding="utf-8"))
    own = {key: environment[key] for key in ("commit", "dirty", "versions", "hardware")}
    run.environment.write_text(json.dumps(environment | {"dirty": False}))
    assert "earlier" not in make_record(run)
    assert make_record(run)["dirty"] is False
    other = own | {"commit": "0123456789abcdef", "dirty": True}
    run.environment.write_text(json.dumps(environment | {"dirty": False, "earlier": [other]}))
    record = make_record(run)
    assert record["earlier"] == [other]
    assert record["dirty"] is True
    assert f"`0123456789`, `{(own['commit'] or 'unknown')[:10]}`" in long_page({"lenet5_modern_tiny": [record]})


def test_curves_of_what_is_not_measured_each_epoch_are_as_long(tmp_path: Path):
    rows = ["row,epoch,step,train/loss,val/error", "step,0,7,9,", "epoch,0,10,1.5,", "epoch,1,20,1.25,30",
            "epoch,2,30,1,", "epoch,3,40,0.5,20"]  # fmt: skip
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    curve = _curve(tmp_path / "metrics.csv")
    assert curve == {"epoch": [1, 2, 3, 4], "train/loss": [1.5, 1.25, 1, 0.5], "val/error": [None, 30, None, 20]}
    assert curve_of({"curve": curve}, "val/error") == ([2, 4], [30, 20])
    thinned = _curve(tmp_path / "metrics.csv", most=2)
    assert thinned == {"epoch": [2, 4], "train/loss": [1.25, 0.5], "val/error": [30, 20]}


def test_a_run_that_has_not_finished_makes_no_record(trained, tmp_path: Path):
    run = copy_of(trained.run, tmp_path / "run")
    for summary in (None, {"status": "interrupted", "error": None}, {"status": "failed", "error": "x"}):
        run.summary.unlink(missing_ok=True)
        if summary:
            run.summary.write_text(json.dumps(summary))
        with pytest.raises(ZooError, match="has not finished: nothing to record; go on with zoo train resume="):
            write_record(run, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_modified_run_makes_no_record(trained, tmp_path: Path):
    words = ["experiment=lenet5_modern_tiny", "trainer.max_epochs=1", "optimizer.lr=0.01", f"runs_dir={tmp_path / 'r'}"]
    modified = prepare_run(words, [trained.config_dir])
    assert modified.read_overrides()["modified"] == words[1:3]
    assert modified.read_config()["claim"]["protocol"] == "modified: trainer.max_epochs=1 optimizer.lr=0.01"
    run = copy_of(trained.run, tmp_path / "run")
    shutil.copy(modified.overrides, run.overrides)
    with pytest.raises(ZooError, match=r"was modified \(trainer\.max_epochs=1 optimizer\.lr=0\.01\)"):
        make_record(run)


def test_hardware_and_seed_are_no_modification(trained, tmp_path: Path):
    words = ["experiment=lenet5_modern_tiny", "seed=7", "trainer=cpu_bf16", "compile=true", "channels_last=true",
             "logger=none", f"runs_dir={tmp_path}", f"data.dir={tmp_path}", "checkpoint.every_minutes=1"]  # fmt: skip
    assert prepare_run(words, [trained.config_dir]).read_overrides()["modified"] == []


def test_a_run_of_no_experiment_makes_no_record(trained, tmp_path: Path):
    run = copy_of(trained.run, tmp_path / "run")
    run.overrides.write_text(yaml.safe_dump({"overrides": [], "experiment": None, "modified": []}))
    with pytest.raises(ZooError, match="is no experiment"):
        make_record(run)


def test_reproducing_finds_the_run_that_was_made_before(trained, tmp_path: Path):
    name, wanted = "lenet5_modern_tiny", config_hash(trained.run.read_config())
    assert reproducing._earlier_run(trained.run.path.parent, name, wanted).path == trained.run.path
    assert reproducing._earlier_run(trained.run.path.parent, name, "another") is None
    assert reproducing._earlier_run(tmp_path / "nowhere", name, wanted) is None
    for typed in ({"experiment": None, "modified": []}, {"experiment": name, "modified": ["optimizer.lr=1"]}):
        run = copy_of(trained.run, tmp_path / "runs" / str(len(typed["modified"])))
        run.overrides.write_text(yaml.safe_dump({"overrides": []} | typed))
    assert reproducing._earlier_run(tmp_path / "runs", name, wanted) is None


def test_a_path_that_is_given_as_it_is_seen_from_here_is_no_modification(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text("a few words\n" * 99)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: lstm_small\n  - override /data: textfile\n\n"
        "name: mine\ndata:\n  file: corpus.txt\n"
    )
    run = prepare_run(["experiment=mine"], [tmp_path / "own"])
    assert run.read_config()["data"]["file"] == str(tmp_path / "corpus.txt")
    assert run.read_overrides()["modified"] == []


def test_records_stand_in_the_order_of_their_seeds(tmp_path: Path):
    (tmp_path / "one").mkdir()
    for seed in (10, 2, 1):
        (tmp_path / "one" / f"seed{seed}.json").write_text(json.dumps({"seed": seed}))
    assert [record["seed"] for record in all_records(tmp_path)["one"]] == [1, 2, 10]


@pytest.mark.parametrize(
    ("script", "told"),
    [("reproduce", "--seeds"), ("benchmark", "--rounds"), ("publish", "RUN"), ("prepare_data", "NAME")],
)
def test_scripts_explain_themselves(script: str, told: str):
    ended = subprocess.run(
        [sys.executable, SCRIPTS / f"{script}.py", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    assert told in ended.stdout
    assert ended.stderr == ""


def test_reproduce_tells_a_mistake_in_one_line_before_anything_trains(tmp_path: Path):
    for words, told in (
        ([], "name at least one experiment"),
        (["dqn_mlp_cartpole", "lenet5_mnits"], "did you mean lenet5_mnist"),
    ):
        ended = subprocess.run(
            [sys.executable, SCRIPTS / "reproduce.py", *words], capture_output=True, text=True, timeout=120
        )
        assert ended.returncode == 2
        assert told in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr
        assert not (tmp_path / "runs").exists()
