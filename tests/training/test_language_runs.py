"""Language models through the real trainer: from a text file to a release that writes; killed and resumed exactly."""

import csv
import json
import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import zoo
from zoo.cli import main
from zoo.data.text import cut_in_three
from zoo.data.vocabulary import VOCABULARY
from zoo.pretrained.outputs import tensors_of_outputs
from zoo.pretrained.release import load_release
from zoo.training.evaluate import measure
from zoo.training.init_from import initialise_from
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

TIMING = {"samples_per_s", "elapsed_s"}
# Dropout and a schedule: everything of a language model that has a state. 14 batches an epoch.
WORDS = [
    "model=lstm_char", "model.width=12", "model.dropout=0.4", "data=textfile", "data.batch_size=4", "data.unroll=6",
    "trainer=cpu", "trainer.max_epochs=3", "trainer.log_every_n_steps=5", "logger=none", "checkpoint.every_minutes=0",
    "trainer.enable_progress_bar=false", "optimizer=sgd_zaremba2014", "scheduler=zaremba2014_small",
    "scheduler.epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of some order: each line counts on from somewhere."""
    draw = random.Random(3)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    starts = [draw.randrange(10) for _ in range(75)]
    path = tmp_path_factory.mktemp("text") / "counting.txt"
    path.write_text("".join(f"{names[n]} {names[(n + 1) % 10]}, {names[(n + 2) % 10]}.\n" for n in starts))
    return path


@pytest.fixture(scope="module")
def words(text: Path) -> list[str]:
    return [*WORDS, f"data.file={text}"]


def rows(run: RunFolder) -> list[dict[str, str]]:
    with run.metrics.open(newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMING} for row in csv.DictReader(file)]


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(run.release / "model.safetensors")


def samples(run: RunFolder) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((run.path / "samples").iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train, words: list[str]) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), *words)


def test_early_stopping_watches_what_the_run_is_judged_by(tmp_path: Path, train, words: list[str]):
    stop = ["callbacks=early_stopping", "callbacks.early_stopping.patience=0", "callbacks.early_stopping.min_delta=99"]
    run = train(tmp_path, *words, *stop)
    ended = [row for row in rows(run) if row["row"] == "epoch"]
    assert len(ended) == 2, "no better by 99"
    assert all(row["val/perplexity"] for row in ended)


def test_a_run_leaves_a_release_that_writes(finished: RunFolder, text: Path):
    assert {path.name for path in finished.release.iterdir()} == {
        "card.json", "model.json", "model.safetensors", VOCABULARY,
    }  # fmt: skip
    pipeline = zoo.pipeline(finished.path)
    assert set(pipeline.vocabulary.tokens) == {
        "<eos>", "<unk>", ",", ".", *["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    }  # fmt: skip
    assert len(pipeline.vocabulary.encode(pipeline.generate("one two", max_tokens=30))) == 30
    # What the run measured on its test split is what the release says of the same text.
    held_out = cut_in_three(text.read_text(), 0.1, 0.1).test
    summary = finished.read_summary()
    assert pipeline.perplexity(held_out) == pytest.approx(summary["metrics"]["test/perplexity"], rel=1e-5)
    assert summary["headline"]["metric"] == "test/perplexity"
    assert summary["sample_unit"] == "tokens"
    assert summary["samples"] == 3 * 14 * 4 * 6
    assert summary["selection"] == "best epoch on validation"
    assert 1 < summary["metrics"]["test/perplexity"] < 13
    again, *_ = measure(finished.release, ["trainer=cpu"])
    assert again == pytest.approx(summary["metrics"])


def test_another_text_is_measured_with_the_release_s_own_vocabulary(finished: RunFolder, tmp_path: Path, text: Path):
    # The same words, of which others are frequent: numbered anew they would be other words to the weights.
    lines = text.read_text().splitlines()
    other = tmp_path / "other.txt"
    other.write_text("\n".join(line for line in lines if line.startswith(("seven", "nine"))) * 12)
    metrics, *_ = measure(finished.release, ["trainer=cpu", f"data.file={other}"])
    held_out = cut_in_three(other.read_text(), 0.1, 0.1).test
    assert metrics["test/perplexity"] == pytest.approx(zoo.pipeline(finished.path).perplexity(held_out), rel=1e-5)


def test_words_of_another_vocabulary_are_not_taken_for_these(finished: RunFolder):
    their_model, card = load_release(finished.release)
    words = zoo.pipeline(finished.path).vocabulary.tokens
    theirs = their_model.state_dict()
    for tokens, new in ((words, []), (words[::-1], ["embedding.weight", "output.weight", "output.bias"])):
        model = zoo.create_model("lstm_char", **card["arguments"])
        initialise_from(model, str(finished.path), tokens, tensors_of_outputs("lstm_char", card["arguments"]))
        assert [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, theirs[name])] == new


def test_what_a_run_tells(finished: RunFolder):
    epochs = [row for row in rows(finished) if row["row"] == "epoch"]
    assert [row["step"] for row in epochs] == ["14", "28", "42"]
    losses = [float(row["train/loss"]) for row in epochs]
    assert losses[-1] < losses[0]
    assert all(row["val/perplexity"] for row in epochs)
    with Image.open(finished.figures / "curves.png") as picture:
        assert min(picture.size) > 100


def test_a_sample_is_written_after_each_epoch(finished: RunFolder):
    written = samples(finished)
    assert list(written) == ["epoch-001.txt", "epoch-002.txt", "epoch-003.txt"]
    assert len(set(written.values())) > 1, "the same random numbers, another model"
    known = set(zoo.pipeline(finished.path).vocabulary.tokens) - {"<unk>", "<eos>"}
    for text in written.values():
        assert set(text.split()) <= known
        assert text.endswith("\n")


def test_samples_belong_to_the_epochs_that_were_validated(tmp_path: Path, train, words: list[str]):
    run = train(tmp_path, *words, "trainer.check_val_every_n_epoch=2", "logger=tensorboard")
    assert list(samples(run)) == ["epoch-002.txt"]
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    (event,) = events.Tensors("sample/text_summary")
    assert event.step == 28
    assert event.tensor_proto.string_val[0].decode().split() == samples(run)["epoch-002.txt"].split()


@pytest.mark.slow
def test_weights_and_biases_shows_samples_too(tmp_path: Path, train, words: list[str]):
    run = train(tmp_path, *words, "trainer.max_epochs=1", "logger=wandb")
    (table,) = run.path.glob("wandb/offline-run-*/files/media/table/sample*.json")
    ((text,),) = json.loads(table.read_text())["data"]
    assert text.rstrip() == samples(run)["epoch-001.txt"].rstrip()


def test_python_s_documentation_is_learnt_without_a_download(tmp_path: Path, train, monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9/nothing")
    limits = [f"trainer.limit_{split}_batches=3" for split in ("train", "val", "test")]
    run = train(tmp_path, "model=lstm_small", "data=python_docs", "logger=none", "trainer.max_epochs=1", *limits)
    assert run.read_config()["data"] | {"dir": None} == {
        "name": "python_docs", "dir": None, "batch_size": 20, "unroll": 20, "level": "word", "vocabulary": 10_000,
    }  # fmt: skip
    assert zoo.pipeline(run.path).generate("the", max_tokens=3)
    assert not (tmp_path / "cache").exists()


def test_characters_are_judged_by_their_bits(tmp_path: Path, train, words: list[str]):
    run = train(tmp_path, *words, "data.level=character", "trainer.max_epochs=1", "model.dropout=0")
    metrics = run.read_summary()["metrics"]
    assert run.read_summary()["headline"]["metric"] == "test/bits_per_character"
    assert metrics["test/perplexity"] == pytest.approx(2 ** metrics["test/bits_per_character"])
    assert len(zoo.pipeline(run.path).generate("one", max_tokens=20).rstrip(" ")) <= 20


@pytest.mark.parametrize("step", [19, 28])
def test_a_run_that_ended_within_an_epoch_or_at_its_edge_is_resumed_exactly(
    step: int, interrupted, assert_same, words: list[str]
):
    assert_same(interrupted(step, *words, there_before=False), interrupted(step, *words, there_before=True))


VARIANTS = {
    "validation within the epoch": ["trainer.val_check_interval=0.4"],
    # The hidden state goes over the epoch's edge here: a pass of five batches ends within the text.
    "passes cut short": ["trainer.limit_train_batches=5", "trainer.max_epochs=5"],
    "accumulation": ["trainer.accumulate_grad_batches=3"],
    "tied weights": ["model.tie_weights=true"],
    "one layer": ["model.layers=1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("step", [7, 10, 11])
@pytest.mark.parametrize("variant", VARIANTS)
def test_whatever_its_rhythm(variant: str, step: int, interrupted, assert_same, words: list[str]):
    own = [*words, *VARIANTS[variant]]
    assert_same(interrupted(step, *own, there_before=False), interrupted(step, *own, there_before=True))


def test_the_hidden_state_is_in_the_checkpoint_and_matters(finished: RunFolder):
    checkpoint = torch.load(finished.checkpoints / "last.ckpt", weights_only=True)
    assert [part.shape for part in checkpoint["hidden_state"]] == [(2, 4, 12), (2, 4, 12)]
    assert all(part.abs().sum() > 0 for part in checkpoint["hidden_state"])


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_by_the_command(finished: RunFolder, killed, assert_same, words: list[str]):
    run = killed(lambda run: run.metrics.exists() and rows(run)[-1]["row"] == "step", *words)
    assert main(["train", f"resume={run.path}"]) == 0
    assert_same(run, finished)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path: Path, train, words: list[str]):
    """The test split too, which cannot be shared: without batches of its own a process would wait for ever."""
    plain = [*words, "model.dropout=0", "trainer.max_epochs=2"]
    alone = train(tmp_path / "alone", *plain)
    assert main(["train", *plain, "trainer.devices=2", "trainer.strategy=ddp", f"runs_dir={tmp_path / 'shared'}"]) == 0
    (shared,) = (RunFolder(path.parent) for path in (tmp_path / "shared").rglob("config.yaml"))
    for name, tensor in weights(shared).items():
        torch.testing.assert_close(tensor, weights(alone)[name], rtol=0, atol=1e-5)
    assert shared.read_summary()["metrics"] == pytest.approx(alone.read_summary()["metrics"], rel=1e-4)
    assert shared.read_summary()["samples"] == alone.read_summary()["samples"]
    ours, theirs = (
        torch.load(run.checkpoints / "last.ckpt", weights_only=True)["hidden_state"] for run in (shared, alone)
    )
    for part, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(part, other, rtol=0, atol=1e-5)


FAST = ["trainer=cpu", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=lstm_small", "data=mnist"],
         "lstm_small is a model for language_modeling, which data=mnist is not for: choose a model with model=…, or "
         "the data from ptb, wikitext2, tinyshakespeare, python_docs, textfile"),
        (["data=ptb"], "lenet5 is a model for image_classification, which data=ptb is not for"),
        (["data=ptb", "model=lenet5"], "or the data from digits, mnist"),
        (["data=ptb", "model=lenet5"], "imagenet; `zoo info lenet5` has those whose size fits"),
        (["data=gaussians_8", "model=lenet5"], "lenet5 is a model for image_classification, which data=gaussians_8"),
        (["data=python_docks", "model=lstm_small"], "unknown data 'python_docks': did you mean python_docs"),
        (["model=lstm_smal"], "unknown model 'lstm_smal': did you mean lstm_small"),
        (["model=lstm_small", "task=image_classification"], "lstm_small is a model for task=language_modeling"),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit_one_another(words: list[str], told: str, one_line_error):
    assert told in one_line_error("train", *FAST, *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "data=textfile needs a text: name it with data.file=PATH"),
        (["data.file=nowhere.txt"], "nowhere.txt does not exist: name a text file in UTF-8"),
        (["data.file={folder}"], "is no file: name a text file in UTF-8"),
        (["data.file={folder}/binary"], "is no UTF-8 text (byte 0): convert it"),
        (["data.file={folder}/empty"], "is empty: expected a text"),
        (["data.file={folder}/short"], "the training text has 4 tokens, fewer than the 420 of one batch"),
        (["data.file={text}", "data.level=wrong"], "data.level=wrong is not possible: choose word or character"),
        (["data.file={text}", "data.batch_size=5000"], "fewer than the 105,000 of one batch (5000 x 20, and one more"),
        (["data.file={text}", "data.batch_size=0"], "data.batch_size=0 is not possible: expected 1 or more"),
        (["data.file={text}", "data.vocabulary=1"], "data.vocabulary=1 is not possible: expected 2 or more"),
        (["data.file={text}", "data.vocabulary=many"], "data.vocabulary='many' is not possible: expected"),
        (["data.file={text}", "data.test_share=1.5"], "data.test_share=1.5 is not possible"),
        (["data.file={text}", "data.batch_size=2", "model.vocabulary_size=7"], "contradicts the data"),
        (["data.file={text}", "data.batch_size=2", "model.dropout=1.0"], "dropout is a probability in [0, 1), not 1.0"),
        (["data.file={text}", "data.batch_size=2", "task.headline=test/bits_per_character"], "is for characters"),
        (["data.file={text}", "data.batch_size=2", "task.headline=test/error"], "choose test/perplexity"),
    ],
)
@pytest.mark.usefixtures("in_this_process")
def test_texts_and_settings_that_will_not_do(words: list[str], told: str, one_line_error, text: Path, tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_text("only a few words")
    named = [word.format(folder=tmp_path, text=text) for word in words]
    assert told in one_line_error("train", *FAST, "model=lstm_small", "data=textfile", *named, code=1)
    assert not list((tmp_path / "runs").rglob("*")), "no run is left behind"


def test_a_text_is_found_again_from_another_folder(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(text.parent)
    run = prepare_run([*WORDS, f"data.file={text.name}", f"runs_dir={tmp_path}"])
    assert run.read_config()["data"]["file"] == str(text)
