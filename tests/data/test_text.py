"""Datasets of text: the standard splits with their counts, Python's documentation, and any file of the user's."""

import codecs
import gzip
import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data import download, preparation
from zoo.data import text as text_module
from zoo.data.catalog import DATASETS
from zoo.data.registry import create_dataset
from zoo.data.sources import SourceFile
from zoo.data.spec import TextSpec
from zoo.data.text import PTB_FILES, TINYSHAKESPEARE_FILES, WIKITEXT2_FILES, TextData, cut_in_three
from zoo.errors import ZooError

# Small enough for the texts below.
SMALL = {"batch_size": 2, "unroll": 5}


def prepared(name: str, **settings) -> TextData:
    dataset = create_dataset(name, **settings)
    assert isinstance(dataset, TextData)
    dataset.prepare()
    return dataset


def textfile(folder: Path, content: str | bytes, **settings) -> TextData:
    path = folder / "mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return prepared("textfile", file=str(path), **SMALL | settings)


def tokens_of(loader) -> int:
    return sum(batch.targets.numel() for batch in loader)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "kinds", "counts"),
    [
        ("ptb", 10_000, (929_589, 73_760, 82_430)),
        ("wikitext2", 33_278, (2_088_628, 217_646, 245_569)),
        ("tinyshakespeare", 65, (1_003_855, 55_769, 55_770)),
    ],
)
def test_the_standard_splits(name: str, kinds: int, counts: tuple[int, int, int], real_data: Path):
    dataset = create_dataset(name, dir=str(real_data))
    spec = dataset.prepare()
    assert spec == TextSpec(kinds, "character" if name == "tinyshakespeare" else "word") == DATASETS[name].spec
    train, validation, test = counts
    assert len(dataset.train_loader()) == (train // 20 - 1) // 35
    assert len(dataset.validation_loader()) == (validation // 20 - 1) // 35
    # The test split is one stream: every token but the first is foreseen.
    assert tokens_of(dataset.test_loader()) == test - 1
    assert len(dataset.checksums) == len(dataset.files)


@pytest.mark.realdata
def test_penn_treebank_begins_as_it_does(real_data: Path):
    dataset = prepared("ptb", dir=str(real_data))
    beginning = next(iter(dataset.validation_loader())).tokens[0, :7].tolist()
    assert dataset.vocabulary.decode(beginning) == "consumers may want to move their telephones "
    assert dataset.vocabulary.tokens[:4] == ["the", "<unk>", "<eos>", "N"], "the most frequent ones"


@pytest.mark.parametrize("files", [PTB_FILES, WIKITEXT2_FILES, TINYSHAKESPEARE_FILES])
def test_downloads_add_up_to_what_the_catalog_says(files: tuple[SourceFile, ...]):
    (entry,) = [entry for entry in DATASETS.values() if entry.download_bytes == sum(file.size for file in files)]
    assert entry.task == "language_modeling"
    assert all(file.url.startswith("https://") for file in files)


def test_uncompressed_files_are_downloaded_as_they_are(server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    contents = {split: f" {split} a <unk>\n c \n".encode() * 30 for split in ("train", "valid", "test")}
    server.files = {f"/{split}.txt": content for split, content in contents.items()}
    files = tuple(
        SourceFile(
            f"Own/{split}.txt",
            "",
            len(content),
            hashlib.sha256(content).hexdigest(),
            plain_address=f"{server.address}/{split}.txt",
        )
        for split, content in contents.items()
    )
    monkeypatch.setattr(text_module, "PTB_FILES", files)
    server.faults = [("wrong", b"<html>")]
    with pytest.raises(ZooError, match="what came is not the file"):
        prepared("ptb", **SMALL)
    server.faults = [("cut", 40)]
    dataset = prepared("ptb", **SMALL)
    assert dataset.vocabulary.tokens == ["<eos>", "train", "a", "<unk>", "c"]
    kept = tmp_path / "cache" / "data" / "Own"
    assert {path.name: path.read_bytes() for path in kept.glob("*.txt")} == {
        f"{split}.txt": content for split, content in contents.items()
    }
    # Compressed ones that somebody has are taken too.
    (kept / "test.txt.gz").write_bytes(gzip.compress(contents["test"]))
    (kept / "test.txt").unlink()
    server.files.clear()
    assert prepared("ptb", **SMALL).checksums == dataset.checksums == {file.path: file.sha256 for file in files}
    # What is in no training text is <unk> in the others.
    assert 3 in next(iter(dataset.test_loader())).tokens


def test_a_mirror_has_uncompressed_files_under_their_own_names(monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", "https://mirror.example/zoo/")
    assert PTB_FILES[0].url == "https://mirror.example/zoo/PennTreebank/ptb.train.txt"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=300), st.floats(0.01, 0.98), st.floats(0.01, 0.98))
def test_three_parts_are_the_whole_in_order(text: str, validation: float, test: float):
    if validation + test >= 1:
        with pytest.raises(ZooError, match="leave no text to train on"):
            cut_in_three(text, validation, test)
        return
    parts = cut_in_three(text, validation, test)
    assert "".join(parts) == text
    assert abs(len(parts.validation) - validation * len(text)) <= 1
    assert abs(len(parts.test) - test * len(text)) <= 1


def test_a_file_of_words(tmp_path: Path):
    lines = [f"line {number % 7} of mine, and so on.\n" for number in range(60)]
    dataset = textfile(tmp_path, "".join(lines))
    assert set(dataset.vocabulary.tokens) == {
        "<eos>", "<unk>", "line", "of", "mine", ",", "and", "so", "on", ".", *"0123456",
    }  # fmt: skip
    first = next(iter(dataset.train_loader()))
    assert dataset.vocabulary.decode(first.tokens[0].tolist()) == "line 0 of mine , "
    assert dataset.preprocessing == {"level": "word", "style": "word"}
    assert dataset.class_names == []
    assert dataset.checksums == {"text": hashlib.sha256("".join(lines).encode()).hexdigest()}
    # Sizes are of characters; the parts lie one after the other.
    words = tokens_of(dataset.test_loader()) + 1
    assert abs(words - 0.1 * 60 * 10) <= 10


def test_rare_words_of_a_file_are_unknown_in_all_of_it(tmp_path: Path):
    text = "common word\n" * 50 + "once upon a time\n" + "common word\n" * 30
    dataset = textfile(tmp_path, text, vocabulary=3)
    assert len(dataset.vocabulary) == 3
    assert textfile(tmp_path, text, vocabulary=3).prepare() == TextSpec(3, "word")
    everything = textfile(tmp_path, text, vocabulary=None)
    assert "upon" in everything.vocabulary.tokens
    assert "upon" not in textfile(tmp_path, text).vocabulary.tokens, "it comes once"


def test_a_file_of_characters_keeps_all_of_them(tmp_path: Path):
    # Characters that training does not have are known too: there is no <unk> to stand for them.
    dataset = textfile(tmp_path, "ab\n" * 100 + "é", level="character", vocabulary=2)
    assert dataset.prepare() == TextSpec(4, "character")
    assert "é" in dataset.vocabulary.tokens


def test_a_mark_at_the_beginning_and_line_ends_of_other_systems_are_no_text(tmp_path: Path):
    plain = textfile(tmp_path, "two words\n" * 50)
    marked = textfile(tmp_path, codecs.BOM_UTF8 + b"two words\r\n" * 50)
    assert marked.vocabulary.tokens == plain.vocabulary.tokens
    assert marked.checksums == plain.checksums


def test_a_file_is_looked_for_in_the_folder_that_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "own.txt").write_text("two words\n" * 50)
    assert prepared("textfile", dir=str(tmp_path / "texts"), file="own.txt", **SMALL)
    monkeypatch.chdir(tmp_path)
    assert prepared("textfile", file="texts/own.txt", **SMALL)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared("textfile", file="~/texts/own.txt", **SMALL)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", r"mine.txt is empty: expected a text"),
        (b" \n\t\n", "is empty"),
        (b"good until here \xff\xfe", r"mine.txt is no UTF-8 text \(byte 16\): convert it"),
        (b"\x00\x9f\x92\x96", "is no UTF-8 text"),
        (b"short\n", r"the training text has 1 tokens, fewer than the 12 of one batch \(2 x 5, and one more"),
        (b"a b\n" * 16, r"the validation text has \d tokens, fewer than the 12 of one batch"),
        (b" ".join(b"%dx" % number for number in range(200)), "no two words to tell apart"),
    ],
)
def test_files_that_are_no_text_or_too_short(tmp_path: Path, content: bytes, told: str):
    with pytest.raises(ZooError, match=told):
        textfile(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(ZooError, match=r"data.file=.*nothing.txt does not exist: name a text file in UTF-8"):
        prepared("textfile", file=str(tmp_path / "nothing.txt"))
    with pytest.raises(ZooError, match="is no file"):
        prepared("textfile", file=str(tmp_path))
    with pytest.raises(ZooError, match=r"name it with data.file=PATH"):
        prepared("textfile")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"batch_size": 0}, r"data.batch_size=0 is not possible: expected 1 or more"),
        ({"unroll": 0}, r"data.unroll=0"),
        ({"vocabulary": 1}, r"data.vocabulary=1 is not possible: expected 2 or more"),
        ({"level": "wrong"}, r"data.level=wrong is not possible: choose word or character"),
        ({"batch_size": 100_000}, "fewer than the 3,600,000 of one batch"),
    ],
)
def test_settings_that_make_no_sense(settings, told):
    with pytest.raises(ZooError, match=told):
        prepared("python_docs", **settings)


@pytest.mark.parametrize(("key", "share"), [("validation_share", 0.0), ("test_share", 1.0), ("test_share", -0.1)])
def test_shares_that_make_no_sense(tmp_path: Path, key: str, share: float):
    with pytest.raises(ZooError, match=rf"data.{key}={share} is not possible"):
        textfile(tmp_path, "two words\n" * 50, **{key: share})


def test_python_s_documentation_is_there_without_a_download(tmp_path):
    words, characters = prepared("python_docs"), prepared("python_docs", level="character")
    assert 1000 < len(words.vocabulary) <= 10_000
    assert {"def", "class", "import", "<eos>", "<unk>"} <= set(words.vocabulary.tokens)
    assert words.files == ()
    assert list(words.checksums) == ["text"]
    unknown = torch.cat([batch.tokens.flatten() for batch in words.train_loader()]) == words.vocabulary.unknown
    assert 0 < unknown.float().mean() < 0.05, "training meets unknown words"
    assert characters.prepare().level == "character"
    assert not (tmp_path / "cache").exists()


def test_all_but_environments_and_what_needs_a_file_of_one_s_own_is_prepared_ahead_of_time(monkeypatch):
    some = ("digits", "python_docs", "textfile", "imagefolder", "imagenet", "cartpole", "minatar_freeway", "atari_pong")
    monkeypatch.setattr(preparation, "DATASETS", {name: DATASETS[name] for name in some})
    assert [row.name for row in preparation.prepare_all([])] == ["digits", "python_docs"]
    with pytest.raises(ZooError, match=r"name it with data\.file=PATH"):
        preparation.prepare_all(["textfile"])


def test_two_readings_are_the_same():
    one, other = prepared("python_docs"), prepared("python_docs")
    assert one.vocabulary.tokens == other.vocabulary.tokens
    assert one.train_loader().state_dict() == other.train_loader().state_dict()
    assert one.prepare() is not None


def test_the_vocabulary_is_known_once_the_text_is_read():
    with pytest.raises(RuntimeError, match="comes first"):
        _ = create_dataset("python_docs").vocabulary
