"""Loggers for real: TensorBoard's events and Weights & Biases' offline run file are read back."""

import csv
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2

from zoo.cli import main
from zoo.training.compose import parse_overrides
from zoo.training.loggers import TensorBoard, WeightsAndBiases
from zoo.training.run_folder import RunFolder, group_runs
from zoo.training.start import resume_run

WORDS = ["model=lenet5_modern", "scheduler=none", "logger=[tensorboard,wandb]", "logger.wandb.tags=[a,b]",
         "logger.wandb.group=tests", "trainer.log_every_n_steps=5"]  # fmt: skip
_BLOCK, _HEADER = 32768, 7


def records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Reads a .wandb file: LevelDB's log format (32 KiB blocks of checked pieces) around W&B's own messages."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    position, whole = _HEADER, b""
    while position + _HEADER <= len(content):
        if _BLOCK - position % _BLOCK < _HEADER:  # the rest of a block that is too short for a header
            position += _BLOCK - position % _BLOCK
            continue
        checksum, length, kind = struct.unpack("<IHB", content[position : position + _HEADER])
        piece = content[position + _HEADER : position + _HEADER + length]
        assert checksum == zlib.crc32(bytes([kind]) + piece), "a damaged piece"
        position += _HEADER + length
        whole = piece if kind in (1, 2) else whole + piece  # full and first pieces begin a record
        if kind in (1, 4):  # full and last pieces end it
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def take(holder: dict, items: Iterable) -> dict:
    """Puts W&B's key-value messages into a nested dict; returns it."""
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = holder
        for key in path:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return holder


class OfflineRun:
    """What a W&B server would learn of a run."""

    def __init__(self, path: Path) -> None:
        self.folder = path.parent
        self.config: dict = {}
        self.summary: dict = {}
        self.history: list[dict] = []
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
            take(self.config, record.run.config.update)
            take(self.config, record.config.update)
            take(self.summary, record.summary.update)
            if kind == "history":
                self.history.append(take({}, record.history.item))


def offline_runs(run: RunFolder) -> list[OfflineRun]:
    paths = sorted(run.path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime)
    return [OfflineRun(path) for path in paths]


@pytest.fixture(scope="module")
def logged(tmp_path_factory, train, train_here) -> RunFolder:
    """A run of one epoch that went on for a second one later."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        run = train(tmp_path_factory.mktemp("logged"), *WORDS, "trainer.max_epochs=1")
        run.summary.unlink()  # as after a kill
        resume_run(str(run.path), parse_overrides(["trainer.max_epochs=2"]))
        assert train_here(run) == 0
    return run


def rows_of(run: RunFolder) -> list[dict[str, float]]:
    """Returns metrics.csv with its numbers, empty cells left out."""
    with run.metrics.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(text) for name, text in row.items() if text and name != "row"} for row in csv.DictReader(file)
        ]


def assert_logged(history: list[dict], rows: list[dict[str, float]]) -> None:
    """Each row of metrics.csv is in the history with the same numbers."""
    for row in rows:
        metrics = {name: value for name, value in row.items() if name != "step"}
        assert any(metrics.items() <= entry.items() for entry in history), metrics


def test_wandb_gets_metrics_config_and_the_headline(logged: RunFolder):
    first, second = offline_runs(logged)
    rows = rows_of(logged)
    assert len(rows) == 2 + 1 + 2 + 1 + 1  # steps, epoch, steps, epoch, test
    assert_logged(first.history, rows[:3])
    assert_logged(second.history, rows[3:])
    config = logged.read_config()
    for key in ("seed", "model", "data", "optimizer", "trainer"):
        assert second.config[key] == config[key]
    headline = logged.read_summary()["headline"]
    assert second.summary[headline["metric"]] == headline["value"]
    assert first.run.project == "landmark-zoo"
    assert first.run.run_group == "tests"
    assert list(first.run.tags) == ["a", "b"]
    assert first.run.display_name == f"{logged.path.parent.name}/{logged.path.name}"


def test_wandb_gets_the_figures_as_pictures(logged: RunFolder):
    run = offline_runs(logged)[-1]
    pictures = {name: entry[name] for entry in run.history for name in entry if name.startswith("figures/")}
    assert set(pictures) == {f"figures/{path.stem}" for path in logged.figures.iterdir()}
    for picture in pictures.values():
        assert picture["_type"] == "image-file"
        with Image.open(run.folder / "files" / picture["path"]) as opened:
            opened.verify()


def test_a_resumed_run_continues_the_same_wandb_run(logged: RunFolder):
    first, second = offline_runs(logged)
    assert first.run.run_id == second.run.run_id == (logged.path / "wandb_id").read_text()
    assert first.folder != second.folder
    before, after = ([entry["trainer/global_step"] for entry in run.history[:3]] for run in (first, second))
    assert (before, after) == ([5, 10, 12], [15, 20, 24])


def test_wandb_stays_inside_the_run_s_folder(logged: RunFolder, tmp_path):
    assert {path.name for path in logged.path.iterdir()} >= {"wandb", "wandb_id", "tensorboard"}
    assert list(logged.path.parent.iterdir()) == [logged.path]


def test_tensorboard_gets_metrics_and_figures(logged: RunFolder):
    events = EventAccumulator(str(logged.path / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    rows = rows_of(logged)
    for name in {name for row in rows for name in row} - {"step", "epoch"}:
        written = [(int(row["step"]), row[name]) for row in rows if name in row]
        # The test of the first attempt is no row any more: it was measured after the checkpoint.
        read = [(event.step, event.value) for event in events.Scalars(name)]
        for step, value in written:
            assert any(step == at and seen == pytest.approx(value, rel=1e-6) for at, seen in read), (name, step)
    assert set(tags["images"]) == {f"figures/{path.stem}" for path in logged.figures.iterdir()}


def test_metrics_csv_is_written_without_any_logger(tmp_path, train):
    run = train(tmp_path, "model=lenet5_modern", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    assert len(rows_of(run)) == 2
    assert not (run.path / "tensorboard").exists()
    assert not (run.path / "wandb").exists()


def test_a_logger_of_lightning_s_gets_the_test_too(tmp_path, train):
    words = ["model=lenet5_modern", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    own = "lightning.pytorch.loggers.CSVLogger"
    run = train(tmp_path, *words, f"+logger.csv={{_target_: {own}, save_dir: {tmp_path / 'csv'}}}")
    (written,) = (tmp_path / "csv").rglob("metrics.csv")
    with written.open(newline="", encoding="utf-8") as file:
        errors = [float(row["test/error"]) for row in csv.DictReader(file) if row["test/error"]]
    assert errors[-1] == run.read_summary()["headline"]["value"]
    assert len(errors) == len([row for row in rows_of(run) if "test/error" in row])


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb_mode_is_respected(mode: str, tmp_path, train, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", mode)
    wandb.teardown()  # it reads its environment once in a process
    words = ["model=lenet5_modern", "logger=wandb", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    run = train(tmp_path, *words)
    assert run.finished
    assert len(offline_runs(run)) == (mode == "offline")


def test_without_a_mode_and_not_logged_in_wandb_is_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    folder = tmp_path / "name" / "run"
    folder.mkdir(parents=True)
    assert WeightsAndBiases(folder)._offline
    assert (folder / "wandb_id").read_text() == WeightsAndBiases(folder).version


def test_tensorboard_writes_where_the_run_is(tmp_path):
    assert Path(TensorBoard(tmp_path).log_dir) == tmp_path / "tensorboard"


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_a_group(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    typed = ["model=lenet5_modern", "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    assert main(["train", "-m", "-q", *typed, "logger=wandb", f"runs_dir={tmp_path}", "sweep.name=mine"]) == 0
    (folder,) = (path.parent for path in tmp_path.glob("mine/*/config.yaml"))
    (found,) = offline_runs(RunFolder(folder))
    assert (found.run.run_group, found.run.job_type) == ("mine", "sweep")


def test_a_group_that_was_typed_counts():
    config = {"logger": {"wandb": {"group": "theirs", "job_type": None}}}
    group_runs(config, "ours", "trial")
    assert config["logger"]["wandb"] == {"group": "theirs", "job_type": "trial"}
    group_runs({"logger": {}}, "ours", "trial")  # no W&B, nothing to do
