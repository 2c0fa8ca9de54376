"""Vocabularies: how text is cut, which tokens are kept, and numbers that become text again."""

import json
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.vocabulary import END_OF_LINE, UNKNOWN, VOCABULARY, Vocabulary, split_tokens
from zoo.errors import ZooError

quick = settings(deadline=None, max_examples=100)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
TOKENS = st.lists(st.sampled_from("abcdefg"), max_size=60)


@quick
@given(TEXTS)
def test_prepared_text_is_cut_as_mikolov_s_readers_cut_it(text: str):
    """Every reader of Penn Treebank: for each line, `line.split() + ["<eos>"]`."""
    lines = f"{text}\n".split("\n")[:-1]
    expected = [token for line in lines for token in [*line.split(), END_OF_LINE]]
    assert split_tokens(f"{text}\n", "split") == expected


@quick
@given(TEXTS)
def test_words_and_punctuation_together_are_the_text_without_its_spaces(text: str):
    tokens = split_tokens(text, "word")
    put_together = "".join("\n" if token == END_OF_LINE else token for token in tokens)
    assert put_together == "".join(letter for letter in text if letter == "\n" or not letter.isspace())
    assert split_tokens(text, "character") == list(text)


def test_punctuation_is_cut_off():
    assert split_tokens("Don't stop: x_1 = 2.5\n\nüber", "word") == [
        "Don", "'", "t", "stop", ":", "x_1", "=", "2", ".", "5", END_OF_LINE, END_OF_LINE, "über",
    ]  # fmt: skip


@quick
@given(TEXTS.filter(bool))
def test_characters_come_back_exactly(text: str):
    vocabulary = Vocabulary.of(text, "character")
    assert len(vocabulary) == len(set(text))
    numbers = vocabulary.encode(text)
    assert numbers.dtype == torch.int64
    assert vocabulary.decode(numbers.tolist()) == text
    assert vocabulary.unknown is None


def test_words_come_back_with_a_space_behind_each():
    vocabulary = Vocabulary.of(split_tokens("to be or\nnot to be\n", "split"), "split")
    assert vocabulary.decode(vocabulary.encode("not to\n be")) == "not to \nbe "
    assert vocabulary.tokens[vocabulary.line_break] == END_OF_LINE
    assert Vocabulary.of("a\nb", "character").line_break == 1
    assert Vocabulary.of("ab", "character").line_break is None


@quick
@given(TOKENS.filter(bool))
def test_the_most_frequent_come_first_ties_in_order_of_appearance(tokens: list[str]):
    expected = sorted(dict.fromkeys(tokens), key=lambda token: (-tokens.count(token), tokens.index(token)))
    for style in ("split", "character"):
        assert Vocabulary.of(tokens, style, most=2).tokens == expected, "cut by the data's own preparation only"
    assert Vocabulary.of(tokens, "word").tokens == [*expected, UNKNOWN]


@quick
@given(TOKENS, st.integers(2, 9))
def test_rare_words_are_unknown_and_so_are_those_that_come_once(tokens: list[str], most: int):
    vocabulary = Vocabulary.of(tokens, "word", most)
    assert len(vocabulary) <= most
    assert vocabulary.tokens[vocabulary.unknown] == UNKNOWN
    kept, counts = set(vocabulary.tokens) - {UNKNOWN}, Counter(tokens)
    assert all(counts[token] > 1 for token in kept)
    left_out = [token for token in counts if token not in kept and counts[token] > 1]
    assert not left_out or len(vocabulary) == most
    assert all(counts[rarer] <= counts[token] for rarer in left_out for token in kept)
    numbers = vocabulary.encode_tokens(tokens).tolist()
    assert [vocabulary.tokens[number] for number in numbers] == [t if t in kept else UNKNOWN for t in tokens]


def test_what_is_not_in_the_vocabulary():
    assert Vocabulary(["a", UNKNOWN], "split").encode("a b <unk>").tolist() == [0, 1, 1]
    with pytest.raises(ZooError, match=r"'b' is not in this vocabulary of 1 words, which knows no <unk>"):
        Vocabulary(["a"], "split").encode("a b")
    with pytest.raises(ZooError, match=r"'é' is not in this vocabulary of 2 characters"):
        Vocabulary(["a", "b"], "character").encode("abé")
    # Five characters that happen to spell it stand for themselves.
    assert Vocabulary(list("<unk>"), "character").encode("<unk>").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("tokens", [[], ["a", "a"]])
def test_each_token_has_one_number(tokens: list[str]):
    with pytest.raises(ZooError, match="each of them once"):
        Vocabulary(tokens, "word")


@quick
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, unique=True), st.sampled_from(["split", "word"]))
def test_json_holds_all_of_it(tokens: list[str], style):
    vocabulary = Vocabulary(tokens, style)
    again = Vocabulary.from_json(vocabulary.to_json())
    assert (again.tokens, again.style, again.level) == (tokens, style, "word")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"[" * 100_000, b"3", b"{}",
        json.dumps({"format": 2, "style": "word", "tokens": ["a"]}).encode(),
        json.dumps({"format": 1, "style": "words", "tokens": ["a"]}).encode(),
        json.dumps({"format": 1, "style": ["word"], "tokens": ["a"]}).encode(),
        json.dumps({"format": 1, "style": "word", "tokens": "ab"}).encode(),
        json.dumps({"format": 1, "style": "word", "tokens": ["a", 1]}).encode(),
    ],
)  # fmt: skip
def test_damaged_json_is_refused_in_one_line(content: bytes):
    with pytest.raises(ZooError, match=rf"^{VOCABULARY} is damaged.*get the release anew$"):
        Vocabulary.from_json(content)
