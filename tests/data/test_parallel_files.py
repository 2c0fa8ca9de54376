"""Any two files of the user's: what is held out, what is left out, what is refused."""

import codecs
from pathlib import Path

import pytest

from zoo.data.registry import create_dataset
from zoo.data.sentence_pairs import PairData
from zoo.data.spec import PairSpec
from zoo.data.tokenizing import BEGIN, END, PAD, UNKNOWN, SentenceTokenizer
from zoo.errors import ZooError

Texts = list[tuple[str, str]]


def prepared(name: str, **settings) -> PairData:
    dataset = create_dataset(name, **settings)
    assert isinstance(dataset, PairData)
    dataset.prepare()
    return dataset


def write(folder: Path, sources: str | bytes, targets: str | bytes) -> dict[str, str]:
    """Writes two files; returns the settings that name them."""
    named = {}
    for key, content in (("source", sources), ("target", targets)):
        path = folder / f"mine.{key}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        named[key] = str(path)
    return named


def counting(lines: int) -> Texts:
    return [(f"source number {number}", f"target number {number}") for number in range(lines)]


def parallel(folder: Path, pairs: Texts, **settings) -> PairData:
    sides = ("".join(f"{line}\n" for line in side) for side in zip(*pairs, strict=True))
    return prepared("parallel_files", **write(folder, *sides), **settings)


def test_the_last_lines_of_two_files_are_held_out(tmp_path: Path, splits):
    pairs = counting(20)
    dataset = parallel(tmp_path, pairs, validation_share=0.1, test_share=0.2)
    assert splits(dataset) == [pairs[:14], pairs[14:16], pairs[16:]]
    # At least one pair each.
    assert splits(parallel(tmp_path, pairs[:3])) == [pairs[:1], pairs[1:2], pairs[2:3]]


def test_a_second_preparation_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dataset = parallel(tmp_path, [("", "one"), *counting(20)])
    assert "left out" in capsys.readouterr().out
    tokenizer, checksums = dataset.vocabulary, dataset.checksums
    for path in tmp_path.glob("mine.*"):
        path.unlink()
    assert dataset.prepare() == PairSpec(len(tokenizer), len(tokenizer), PAD, BEGIN, END)
    assert dataset.vocabulary is tokenizer
    assert dataset.checksums is checksums
    assert capsys.readouterr().out == ""


def test_what_could_not_be_prepared_is_refused_again(tmp_path: Path):
    dataset = create_dataset("parallel_files", **write(tmp_path, "a a\n\n\n", "a a\n\n\n"))
    for _ in range(2):
        with pytest.raises(ZooError, match="no pair is left in the validation split, 1 with an empty side"):
            dataset.prepare()


def test_tokens_are_learnt_from_the_training_split_alone(tmp_path: Path):
    pairs = [*counting(18), ("Ω Ω", "validation validation"), ("Ψ Ψ", "test test")]
    for tokenizer in ("bpe", "word", "character"):
        dataset = parallel(tmp_path, pairs, tokenizer=tokenizer)
        assert not {"Ω", "Ψ", "▁Ω", "▁Ψ", "▁validation", "v"} & set(dataset.vocabulary.tokens)
        (batch,) = dataset.test_loader()
        assert UNKNOWN in batch.source


def test_weights_bring_their_own_tokeniser(tmp_path: Path):
    theirs = SentenceTokenizer.train(["number source target"] * 2, "word", 50)
    dataset = create_dataset("parallel_files", **write(tmp_path, "source\n" * 4, "target\n" * 4))
    assert isinstance(dataset, PairData)
    dataset.read_with(theirs)
    assert dataset.prepare() == PairSpec(7, 7, PAD, BEGIN, END)
    (batch,) = dataset.test_loader()
    source, target = (theirs.tokens.index(word) for word in ("▁source", "▁target"))
    assert (batch.source.tolist(), batch.target.tolist()) == ([[source, END]], [[BEGIN, target, END]])


def test_two_readings_are_the_same(tmp_path: Path):
    one, other = (parallel(tmp_path, counting(30)) for _ in range(2))
    assert one.vocabulary.to_json() == other.vocabulary.to_json()
    assert one.train_loader().state_dict() == other.train_loader().state_dict()
    assert one.checksums == other.checksums
    assert parallel(tmp_path, counting(31)).checksums != one.checksums


EMPTY = [("", "x"), ("x", " \t"), ("\u3000", "")]


def test_pairs_with_an_empty_side_are_left_out_of_every_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], splits
):
    pairs = counting(27)
    train, validation, test = pairs[:21], pairs[21:24], pairs[24:]
    written = [*train[:7], *EMPTY, *train[7:], EMPTY[0], *validation[:2], EMPTY[1], *validation[2:], *test, EMPTY[2]]
    dataset = parallel(tmp_path, written, validation_share=5 / 33, test_share=4 / 33)
    assert splits(dataset) == [train, validation, test]
    assert capsys.readouterr().out.splitlines() == [
        "train split: 3 with an empty side left out, 21 pairs remain",
        "validation split: 2 with an empty side left out, 3 pairs remain",
        "test split: 1 with an empty side left out, 3 pairs remain",
    ]


def test_training_pairs_that_are_too_long_are_left_out_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], splits
):
    pairs = counting(20)
    long = [("word " * 11, "word"), ("word", "word " * 11)]
    dataset = parallel(tmp_path, [*long, ("", "x"), *pairs, *long], max_tokens=10, test_share=0.08, tokenizer="word")
    train, validation, test = splits(dataset)
    assert (train, validation) == (pairs[:-1], pairs[-1:])
    assert [source.split() for source, _ in test] == [["word"] * 11, ["word"]], "what is measured is never left out"
    assert capsys.readouterr().out.splitlines() == [
        "train split: 1 with an empty side and 2 with more than data.max_tokens=10 tokens left out, 19 pairs remain"
    ]


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("", "a a"), ("a", "b"), ("a", "b")], r"no pair is left in the train split, 1 with an empty side: take"),
        ([("a", "b b"), ("a", "b"), ("a", "")], r"no pair is left in the test split, 1 with an empty side"),
        ([("a a a a", "a a"), ("a", "b"), ("a", "b")],
         r"no pair is left in the train split, 1 with more than data\.max_tokens=3 tokens"),
    ],
)  # fmt: skip
def test_a_split_of_which_nothing_is_left_is_refused(tmp_path: Path, pairs: Texts, told: str, one_line):
    with pytest.raises(ZooError, match=told) as error:
        parallel(tmp_path, pairs, tokenizer="word", max_tokens=3)
    assert one_line(error)


def test_only_a_line_feed_ends_a_line(tmp_path: Path, splits):
    strange = [("one\rtwo", "one\u2028two"), ("one\x0btwo", "one\x85two"), ("one\x0ctwo", "one\x1etwo")]
    assert splits(parallel(tmp_path, strange)) == [strange[:1], strange[1:2], strange[2:]]


def test_a_mark_at_the_beginning_and_line_ends_of_other_systems_are_no_text(tmp_path: Path, splits):
    plain = prepared("parallel_files", **write(tmp_path, "a dog\n" * 20, "ein Hund\n" * 20))
    marked = write(tmp_path, codecs.BOM_UTF8 + b"a dog\r\n" * 20, b"ein Hund\r\n" * 19 + b"ein Hund")
    other = prepared("parallel_files", **marked)
    assert splits(other) == splits(plain)
    assert other.checksums == plain.checksums


def test_files_are_looked_for_in_the_folder_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts", "a dog\n" * 20, "ein Hund\n" * 20)
    assert prepared("parallel_files", dir=str(tmp_path / "texts"), source="mine.source", target="mine.target")
    monkeypatch.chdir(tmp_path)
    assert prepared("parallel_files", source="texts/mine.source", target="texts/mine.target")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared("parallel_files", source="~/texts/mine.source", target="~/texts/mine.target")


@pytest.mark.parametrize(
    ("sources", "targets", "told"),
    [
        ("a\nb\n", "a\n", r"data\.source=.*mine.source has 2 lines, data\.target=.*mine.target 1: expected as many"),
        ("a\nb\n", "a\nb\n\n", r"has 2 lines, data\.target=.* 3: expected as many, each the translation of the other"),
        ("", "a\n", r"data\.source=.*mine.source is empty: expected a text"),
        ("a\n", " \n", r"data\.target=.*mine.target is empty: expected a text"),
        (b"good \xff\xfe", "a\n", r"data\.source=.*mine.source is no UTF-8 text \(byte 5\): convert it"),
        ("a\n", b"\x9f", r"data\.target=.*mine.target is no UTF-8 text \(byte 0\)"),
        ("a\nb\n", "a\nb\n", r"2 pairs leave none to train on: data\.validation_share=0.05 .* take 1 and 1"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path: Path, sources, targets, told: str, one_line):
    with pytest.raises(ZooError, match=told) as error:
        prepared("parallel_files", **write(tmp_path, sources, targets))
    assert one_line(error)


def test_files_that_are_not_there(tmp_path: Path, one_line):
    named = write(tmp_path, "a\n", "b\n")
    for settings, told in (
        ({}, r"data=parallel_files needs two texts: name them with data\.source=PATH and data\.target=PATH"),
        ({"source": named["source"]}, "needs two texts"),
        ({"target": named["target"]}, "needs two texts"),
        ({"source": named["source"], "target": named["source"]}, r"are both .*mine\.source: name two files"),
        (named | {"source": "nothing.txt"}, r"data\.source=nothing\.txt does not exist: name a text file in UTF-8"),
        (named | {"target": "nothing.txt"}, r"data\.target=nothing\.txt does not exist"),
        (named | {"target": str(tmp_path)}, r"data\.target=.* is no file"),
    ):
        with pytest.raises(ZooError, match=told) as error:
            prepared("parallel_files", **settings)
        assert one_line(error)


@pytest.mark.parametrize(("validation", "test"), [(0.5, 0.5), (0.7, 0.6), (0.96, 0.01)])
def test_shares_that_leave_nothing_to_train_on(tmp_path: Path, validation: float, test: float, one_line):
    with pytest.raises(ZooError, match=r"20 pairs leave none to train on: data\.validation_share=") as error:
        parallel(tmp_path, counting(20), validation_share=validation, test_share=test)
    assert one_line(error)


def test_a_batch_smaller_than_the_longest_pair_is_refused(tmp_path: Path, one_line, splits):
    pairs = [("word " * 30, "word"), *counting(20)]
    with pytest.raises(ZooError, match=r"data\.batch_size=20 is less than the longest pair needs, 31 tokens") as error:
        parallel(tmp_path, pairs, batch_size=20, tokenizer="word")
    assert one_line(error)
    assert len(splits(parallel(tmp_path, pairs, batch_size=20, tokenizer="word", max_tokens=10))[0]) == 18
