"""Translators through the real trainer: from two text files to a release that translates; stopped, resumed exactly."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import main
from zoo.data.tokenizing import SentenceTokenizer
from zoo.training.evaluate import measure
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

GERMAN = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht"]
ENGLISH = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
TRAINED, HELD_OUT = 48, 6
# Dropout, label smoothing and a schedule of updates: everything that has a state or draws random numbers.
WORDS = [
    "model=transformer_tiny", "data=parallel_files", "data.tokenizer=word", "data.batch_size=60",
    "data.validation_share=0.1", "data.test_share=0.1", "optimizer.lr=0.003", "scheduler.warmup=10", "task.beam=2",
    "trainer.max_epochs=3", "trainer.log_every_n_steps=3", "trainer.enable_progress_bar=false", "logger=none",
    "checkpoint.every_minutes=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Numbers in two languages, one to five in a line."""
    draw = random.Random(3)
    lines = [[draw.randrange(8) for _ in range(1 + number % 5)] for number in range(TRAINED + 2 * HELD_OUT)]
    folder = tmp_path_factory.mktemp("sentences")
    for name, words in (("german", GERMAN), ("english", ENGLISH)):
        text = "".join(f"{' '.join(words[number] for number in line)}.\n" for line in lines)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "german", folder / "english"


@pytest.fixture(scope="module")
def words(sentences: tuple[Path, Path]) -> list[str]:
    source, target = sentences
    return [*WORDS, f"data.source={source}", f"data.target={target}"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train, words: list[str]) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), *words)


def test_a_run_leaves_a_release_that_translates(finished: RunFolder):
    assert {path.name for path in finished.release.iterdir()} == {
        "card.json", "model.json", "model.safetensors", SentenceTokenizer.file_name,
    }  # fmt: skip
    pipeline = zoo.pipeline(finished.path)
    spaced = {f"▁{word}" for word in (*GERMAN, *ENGLISH)}
    assert set(pipeline.tokenizer.tokens) == {"<pad>", "<s>", "</s>", "<unk>", ".", *spaced}
    translated = pipeline("drei vier.")
    assert translated.source_tokens == ["drei", "vier", ".", "</s>"]
    assert set(translated.translation.replace(".", " ").split()) <= {*GERMAN, *ENGLISH, "<unk>"}
    torch.testing.assert_close(translated.alignment.sum(dim=1), torch.ones(len(translated.target_tokens)))


def test_what_a_run_measured_is_measured_again(finished: RunFolder):
    summary = finished.read_summary()
    again, *_ = measure(finished.release, ["trainer=cpu"])
    assert again == pytest.approx(summary["metrics"])
    names = ("loss", "bleu", "bleu_cased", "exact_match")
    assert set(again) == {f"{split}/{name}" for split in ("val", "test") for name in names}


def test_what_a_run_tells(finished: RunFolder, rows, sentences: tuple[Path, Path]):
    epochs = rows(finished, "epoch")
    losses = [float(row["train/loss"]) for row in epochs]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert all(0 <= float(row["val/bleu"]) <= 100 for row in epochs)
    summary = finished.read_summary()
    assert summary["headline"]["metric"] == "test/bleu"
    # Each word of the target, its full stop and its end.
    written = [line.split() for line in sentences[1].read_text(encoding="utf-8").splitlines()[:TRAINED]]
    assert summary["samples"] == 3 * sum(len(line) + 2 for line in written)
    assert summary["sample_unit"] == "tokens"
    assert sum(group["sentences"] for group in summary["details"]["bleu_by_source_length"]) == HELD_OUT
    assert "case:lc" in summary["details"]["signatures"]["test/bleu"]
    assert "case:mixed" in summary["details"]["signatures"]["test/bleu_cased"]
    for name in ("curves", "alignments", "bleu_by_length"):
        with Image.open(finished.figures / f"{name}.png") as picture:
            assert min(picture.size) > 100


def test_translations_are_written_after_each_epoch(finished: RunFolder, sentences: tuple[Path, Path]):
    held_out = [path.read_text(encoding="utf-8").splitlines()[TRAINED:-HELD_OUT] for path in sentences]
    files = sorted((finished.path / "samples").iterdir())
    assert [path.name for path in files] == ["epoch-001.txt", "epoch-002.txt", "epoch-003.txt"]
    for file in files:
        written = file.read_text(encoding="utf-8")
        for source, reference in list(zip(*held_out, strict=True))[:5]:
            assert f" {source}\n" in written
            assert f" {reference}\n" in written


def batches_of(run: RunFolder) -> int:
    """Returns how many updates an epoch of a run has."""
    return torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"] // 3


@pytest.mark.parametrize("edge", [False, True])
def test_a_run_that_ended_within_an_epoch_or_at_its_edge_is_resumed_exactly(
    edge: bool, interrupted, assert_same, finished: RunFolder, words: list[str]
):
    step = 2 * batches_of(finished) - (0 if edge else 2)
    assert_same(interrupted(step, *words, there_before=False), finished)


@pytest.mark.slow
def test_killed_in_mid_epoch_and_resumed_by_the_command(
    finished: RunFolder, killed, rows, assert_same, words: list[str]
):
    run = killed(lambda run: run.metrics.exists() and bool(rows(run, "step")), *words)
    assert main(["train", f"resume={run.path}"]) == 0
    assert_same(run, finished)


@pytest.mark.slow
def test_two_processes_measure_each_sentence_once(tmp_path: Path, words: list[str]):
    shared = ["trainer=cpu", "trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=1", "data.batch_size=120"]
    assert main(["train", *words, *shared, f"runs_dir={tmp_path}"]) == 0
    (run,) = (RunFolder(path.parent) for path in tmp_path.rglob("config.yaml"))
    summary = run.read_summary()
    assert sum(group["sentences"] for group in summary["details"]["bleu_by_source_length"]) == HELD_OUT
    alone, *_ = measure(run.release, ["trainer=cpu"])
    assert summary["metrics"] == pytest.approx(alone, rel=1e-4)


@pytest.mark.slow
def test_dates_are_learnt_without_a_download(tmp_path: Path, train, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9/nothing")
    limits = ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "trainer.max_steps=3"]
    small = ["data.batch_size=256", "data.tokenizer=character", "task.beam=1", "logger=none"]
    run = train(tmp_path, "model=transformer_tiny", "data=dates", *small, *limits)
    assert run.read_config()["data"] == {
        "name": "dates", "dir": None, "batch_size": 256, "tokenizer": "character", "vocabulary": 200,
    }  # fmt: skip
    assert torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"] == 3
    assert set(zoo.pipeline(run.path)("4 may 1998", beam=1).translation) <= set("abcdefghijlmnoprstuvwy0123456789 -,./")
    assert not (tmp_path / "cache").exists()


FAST = ["trainer=cpu", "logger=none", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=lstm_small", "data=dates"],
         "lstm_small is a model for language_modeling, which data=dates is not for"),
        (["data=mnist"], "or the data from multi30k, dates, parallel_files"),
        (["data=multi31k"], "unknown data 'multi31k': did you mean multi30k"),
        (["model=transformer_tinny"], "unknown model 'transformer_tinny': did you mean transformer_tiny"),
        (["data.vocabullary=5"], "unknown key 'data.vocabullary': did you mean data.vocabulary?"),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit_one_another(words: list[str], told: str, one_line_error):
    assert told in one_line_error("train", *FAST, "model=transformer_tiny", *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.source=null"], "needs two texts: name them with data.source=PATH and data.target=PATH"),
        (["data.target=nowhere.txt"], "nowhere.txt does not exist: name a text file in UTF-8"),
        (["data.target={folder}"], "is no file: name a text file in UTF-8"),
        (["data.source={folder}/binary"], "is no UTF-8 text (byte 0): convert it"),
        (["data.source={folder}/empty"], "is empty: expected a text"),
        (["data.target={folder}/short"], "short 2: expected as many, each the translation of the other"),
        (["data.source={folder}/short", "data.target={folder}/short"], "name two files"),
        (["data.batch_size=0"], "data.batch_size=0 is not possible: expected 8 or more"),
        (["data.batch_size=8", "data.tokenizer=character"], "data.batch_size=8 is less than the longest pair needs"),
        (["data.vocabulary=1"], "data.vocabulary=1 is not possible: expected 5 or more"),
        (["data.vocabulary=6", "data.tokenizer=bpe"], "data.vocabulary=6 is less than the 2"),
        (["data.vocabulary=many"], "data.vocabulary='many' is not possible: expected"),
        (["data.tokenizer=words"], "unknown data.tokenizer 'words': did you mean word"),
        (["data.max_tokens=1"], "no pair is left in the train split, 54 with more than data.max_tokens=1 tokens"),
        (["data.test_share=1.5"], "data.test_share=1.5 is not possible"),
        (["data.validation_share=0.6", "data.test_share=0.4"], "60 pairs leave none to train on"),
        (["model.source_vocabulary_size=7"], "contradicts the data"),
        (["model.dropout=1.0"], "dropout is a probability in [0, 1), not 1.0"),
        (["task.headline=test/error"], "choose test/bleu"),
        (["task.beam=0"], "task.beam=0 is not possible: expected 1 or more"),
        (["task.bleu_tokenize=13b"], "task.bleu_tokenize=13b is not possible: choose 13a"),
        (["data=multi30k", "data.source=en"], "data.source and data.target are both en: choose two languages"),
        (["data=multi30k", "data.target=cs"], "data.target=cs is not possible: choose de, en, fr"),
    ],
)
@pytest.mark.usefixtures("in_this_process")
def test_texts_and_settings_that_will_not_do(
    words: list[str], told: str, one_line_error, sentences: tuple[Path, Path], tmp_path: Path
):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_text("only\ntwo\n")
    own = [] if "data=multi30k" in words else ["data=parallel_files", "data.tokenizer=word"]
    own += [f"data.{side}={path}" for side, path in zip(("source", "target"), sentences, strict=True) if own]
    named = [word.format(folder=tmp_path) for word in words]
    assert told in one_line_error("train", *FAST, "model=transformer_tiny", *own, *named, code=1)
    assert not list((tmp_path / "runs").rglob("*")), "no run is left behind"


def test_texts_are_found_again_from_another_folder(
    tmp_path: Path, sentences: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
):
    source, target = sentences
    monkeypatch.chdir(source.parent)
    run = prepare_run([*WORDS, f"data.source={source.name}", f"data.target={target.name}", f"runs_dir={tmp_path}"])
    assert run.read_config()["data"]["source"] == str(source)
    assert run.read_config()["data"]["target"] == str(target)
    # Languages are no files.
    translated = prepare_run(["model=transformer_tiny", "data=multi30k", f"runs_dir={tmp_path}"])
    assert translated.read_config()["data"]["source"] == "de"
