"""Tokenisers: sentences come back as they were, the four special tokens stand for nothing that is written."""

import json
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from zoo.data.tokenizing import BEGIN, END, PAD, UNKNOWN, SentenceTokenizer
from zoo.errors import ZooError

quick = settings(deadline=None, max_examples=60)
KINDS = ("bpe", "word", "character")
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
SENTENCES = [
    "Two young, White males are outside near many bushes.",
    "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
    "A man (in blue) doesn't climb: why?",
    "A man runs; two men run.",
]


def train(kind: str, sentences: list[str] = SENTENCES, size: int = 400, **options) -> SentenceTokenizer:
    """Each sentence comes twice: else no word of it would be learnt."""
    return SentenceTokenizer.train([*sentences, *sentences], kind, size, **options)


def back(tokenizer: SentenceTokenizer, sentence: str) -> str:
    (numbers,) = tokenizer.encode([sentence])
    return tokenizer.decode(numbers)


# Characters that every version of Unicode knows, and all kinds of white space.
WRITTEN = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), max_codepoint=0x1FFFF) | st.sampled_from(" \t\n\r\u3000▁.,"),
    max_size=80,
)


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(sentence=WRITTEN)
def test_a_sentence_comes_back_with_single_spaces_and_composed_accents(kind: str, sentence: str):
    expected = re.sub(r"[\s▁]+", " ", unicodedata.normalize("NFC", sentence)).strip(" ")
    assume(expected)
    assert back(train(kind, [sentence], size=1000), sentence) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_come_back_with_their_punctuation(kind: str):
    tokenizer = train(kind)
    assert tokenizer.decode_all(tokenizer.encode(SENTENCES)) == SENTENCES
    assert back(tokenizer, " A man \t runs ") == "A man runs"
    assert tokenizer.encode(["", " \n"]) == [[], []]
    assert tokenizer.decode([]) == ""


def test_kinds_cut_as_their_names_say():
    def pieces(kind: str, sentence: str) -> list[str]:
        tokenizer = train(kind)
        return tokenizer.pieces(tokenizer.encode([sentence])[0])

    assert pieces("word", "A man climb?") == ["A", "man", "climb", "?"]
    assert pieces("character", "A man?") == ["A", " ", "m", "a", "n", "?"]
    assert pieces("bpe", "A man climb?") == ["A", "man", "climb", "?"], "what is frequent is one piece"
    assert "".join(pieces("bpe", "womanly")) == "womanly"
    assert len(pieces("bpe", "womanly")) > 1, "what is not, several"


@pytest.mark.parametrize("kind", KINDS)
def test_the_special_tokens_have_the_first_numbers(kind: str):
    tokenizer = train(kind)
    assert [PAD, BEGIN, END, UNKNOWN] == [0, 1, 2, 3]
    assert tokenizer.tokens[:4] == SPECIAL
    assert len(set(tokenizer.tokens)) == len(tokenizer)
    sentence = tokenizer.encode(["A man runs."])[0]
    assert tokenizer.decode([BEGIN, *sentence, END, PAD, PAD]) == "A man runs."
    assert tokenizer.decode_all([[BEGIN, END], [PAD], [BEGIN, *sentence]]) == ["", "", "A man runs."]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reloaded", [False, True])
def test_a_sentence_in_which_special_tokens_are_written_holds_none(kind: str, reloaded: bool):
    sentence = "A man <s> runs </s> on <pad> and <unk><s>."
    tokenizer = train(kind, [*SENTENCES, sentence])
    if reloaded:
        tokenizer = SentenceTokenizer.from_json(tokenizer.to_json())
    (numbers,) = tokenizer.encode([sentence])
    assert min(numbers) > UNKNOWN
    assert tokenizer.decode(numbers) == sentence


def test_what_no_token_stands_for_is_shown_as_unknown():
    assert back(train("character"), "A mαn") == "A m<unk>n"
    assert back(train("bpe"), "A mαn runs") == "A m<unk>n runs", "characters, as all others are known"
    words = train("word")
    assert back(words, "A woman runs, men swim.") == "A <unk> runs, men <unk>."
    assert back(words, "Women run.") == "<unk> run."
    assert words.encode(["Women run."])[0][0] == UNKNOWN


def test_words_that_come_once_are_not_learnt():
    tokenizer = SentenceTokenizer.train(["a dog runs", "a dog sleeps"], "word", 100)
    assert tokenizer.tokens == [*SPECIAL, "▁a", "▁dog"]


@pytest.mark.parametrize("kind", KINDS)
def test_capitals_are_made_small(kind: str):
    tokenizer = train(kind, lowercase=True)
    assert back(tokenizer, "A MAN runs, ZWEI Männer IN DER NÄHE.") == "a man runs, zwei männer in der nähe."
    assert back(train(kind), "Zwei Männer") == "Zwei Männer"


@pytest.mark.parametrize(("kind", "size"), [("bpe", 60), ("bpe", 61), ("word", 5), ("word", 20), ("character", 9)])
def test_no_more_is_learnt_than_asked_for(kind: str, size: int):
    assert len(train(kind, size=size)) == size
    assert train(kind, size=size).tokens[:4] == SPECIAL


def test_the_most_frequent_is_learnt_first():
    sentences = ["aaa bb"] * 3 + ["aaa ccc"] * 2
    assert SentenceTokenizer.train(sentences, "word", 6).tokens[4:] == ["▁aaa", "▁bb"]
    assert SentenceTokenizer.train(sentences, "character", 6).tokens[4:] == ["a", "b"]


def test_fewer_tokens_than_characters_are_refused():
    told = r"data\.vocabulary=20 is less than the 4\d tokens that all characters of the training sentences need"
    with pytest.raises(ZooError, match=told):
        train("bpe", size=20)


@pytest.mark.parametrize(
    ("kind", "sentences"), [("bpe", []), ("bpe", ["", " "]), ("character", ["▁"]), ("word", ["one two", "three"])]
)
def test_nothing_to_learn_is_refused(kind: str, sentences: list[str]):
    with pytest.raises(ZooError, match=r"hold nothing to learn: expected a (word that comes at least twice|character)"):
        SentenceTokenizer.train(sentences, kind, 50)


def test_another_process_learns_the_same(tmp_path):
    program = (
        "import sys; from zoo.data.tokenizing import SentenceTokenizer; text = sys.argv[1].split('|') * 2\n"
        "for kind in ('bpe', 'word', 'character'):\n"
        "    sys.stdout.buffer.write(SentenceTokenizer.train(text, kind, 80).to_json())"
    )
    command = [sys.executable, "-c", program, "|".join(SENTENCES)]
    there = subprocess.run(command, check=True, capture_output=True).stdout
    assert there == b"".join(train(kind, size=80).to_json() for kind in KINDS)
    turned = [*reversed(SENTENCES)]
    assert there == b"".join(train(kind, turned, size=80).to_json() for kind in KINDS), "whatever the order"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_json_holds_all_of_it(kind: str, lowercase: bool):
    tokenizer = train(kind, lowercase=lowercase)
    again = SentenceTokenizer.from_json(tokenizer.to_json())
    assert again.tokens == tokenizer.tokens
    assert again.to_json() == tokenizer.to_json()
    unseen = ["Some MEN\tclimb (two) bushes — why?", *SENTENCES]
    assert again.encode(unseen) == tokenizer.encode(unseen)
    assert again.decode_all(again.encode(unseen)) == tokenizer.decode_all(tokenizer.encode(unseen))


def changed(**parts) -> bytes:
    return json.dumps(json.loads(train("word").to_json()) | parts).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff", b"[]", b"[" * 100_000, b"3", b"{}", b"null",
        train("bpe").to_json()[:-40],
        changed(version="9.0"),
        changed(model={"type": "Nothing"}),
    ],
)  # fmt: skip
def test_damaged_json_is_refused_in_one_line(content: bytes):
    with pytest.raises(ZooError, match=r"^the tokenizer is damaged.*: get the release anew$") as error:
        SentenceTokenizer.from_json(content)
    assert "\n" not in str(error.value)


def test_a_tokeniser_of_somebody_else_s_is_refused_in_one_line():
    theirs = Tokenizer(models.WordLevel({"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "a": 4}, "[UNK]"))
    for content in (theirs.to_str(), Tokenizer(models.BPE()).to_str()):
        with pytest.raises(ZooError, match=r"^the tokenizer is none of the zoo's: get the release anew$"):
            SentenceTokenizer.from_json(content.encode())
