"""A run's folder: what its hash depends on, and that no two runs share one."""

import json
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import pytest

from zoo.errors import ZooError
from zoo.training.compose import compose, resolve
from zoo.training.run_folder import RunFolder, config_hash, freeze, protocol_hash, write_atomically, write_json

TYPED = {"overrides": [], "experiment": None, "modified": []}


@pytest.fixture(scope="module")
def config() -> dict:
    return resolve(compose([]).config)


def changed(config: dict, *words: str) -> dict:
    return resolve(compose(list(words)).config)


@pytest.mark.parametrize(
    "word",
    [
        "seed=2", "model=lenet5_modern", "model.j=0.2", "optimizer=adam", "optimizer.lr=0.5", "scheduler=none",
        "data=mnist", "data.batch_size=64", "data.validation=100", "data.augment={flip: true}", "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1", "select=best", "compile=true",
        "scheduler_interval=step", "init_from=lenet5-mnist", "imports=[mine]",
    ],
)  # fmt: skip
def test_what_changes_what_is_computed_changes_the_hash(config: dict, word: str):
    assert config_hash(changed(config, word)) != config_hash(config)


@pytest.mark.parametrize(
    "word",
    [
        "name=other", "runs_dir=/elsewhere", "data.dir=/data", "logger=none", "logger=wandb", "sweep.name=mine",
        "trainer.enable_progress_bar=false", "checkpoint.every_minutes=1", "release=mine",
    ],
)  # fmt: skip
def test_paths_loggers_and_progress_do_not(config: dict, word: str):
    assert config_hash(changed(config, word)) == config_hash(config)


def test_a_claim_and_where_a_run_came_from_do_not(config: dict):
    claimed = deepcopy(config) | {"claim": {"paper": "lecun1998"}, "from_run": "/runs/x"}
    assert config_hash(claimed) == config_hash(config)


@pytest.mark.parametrize("word", ["seed=2", "trainer.precision=bf16-mixed", "compile=true", "channels_last=true",
                                  "trainer.accelerator=gpu", "trainer.devices=2"])  # fmt: skip
def test_a_protocol_does_not_depend_on_seed_and_hardware(config: dict, word: str):
    assert protocol_hash(changed(config, word)) == protocol_hash(config)


@pytest.mark.parametrize("word", ["optimizer.lr=0.5", "trainer.max_epochs=3", "data.batch_size=64"])
def test_a_protocol_depends_on_the_rest(config: dict, word: str):
    assert protocol_hash(changed(config, word)) != protocol_hash(config)


def test_the_hash_does_not_depend_on_the_order_of_keys(config: dict):
    turned = {key: config[key] for key in reversed(config)}
    assert config_hash(turned) == config_hash(config)
    assert config_hash(json.loads(json.dumps(config))) == config_hash(config)


def test_runs_started_in_the_same_second_get_folders_of_their_own(config: dict, tmp_path: Path):
    own = config | {"runs_dir": str(tmp_path), "name": "same"}
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: freeze(own, TYPED), range(24)))
    assert len({run.path for run in runs}) == 24
    assert all(run.read_config() == own for run in runs)


def test_a_frozen_config_is_read_back_as_it_was(config: dict, tmp_path: Path):
    run = freeze(config | {"runs_dir": str(tmp_path), "name": "größe"}, TYPED)
    assert run.read_config()["name"] == "größe"
    assert run.read_overrides() == TYPED
    assert (run.started, run.finished, run.read_summary()) == (False, False, None)


def test_a_damaged_or_foreign_folder_is_told_in_a_line(tmp_path: Path):
    run = RunFolder(tmp_path)
    with pytest.raises(ZooError, match=r"holds no config\.yaml"):
        run.read_config()
    run.config.write_text("a: [1")
    with pytest.raises(ZooError, match="cannot be read as YAML"):
        run.read_config()
    run.config.write_bytes(b"\xff\xfe")
    with pytest.raises(ZooError, match="cannot be read as YAML"):
        run.read_config()
    run.config.write_text("just words")
    with pytest.raises(ZooError, match="holds no config"):
        run.read_config()
    for damaged in ("", "{", "overrides: []", "[]"):
        run.overrides.write_text(damaged)
        with pytest.raises(ZooError, match="is no whole run folder"):
            run.read_overrides()
    for damaged in ("", "{", "[]", "null", "3"):
        run.summary.write_text(damaged)
        assert not run.finished
        assert run.read_summary() is None


def test_writing_leaves_the_old_content_when_it_fails(tmp_path: Path):
    path = tmp_path / "file.json"
    write_json(path, {"a": "ä"})
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udc80")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ä"}
    assert list(tmp_path.iterdir()) == [path]
