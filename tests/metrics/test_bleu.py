"""BLEU: the very numbers of sacrebleu, said how they were computed; in groups by the length of the source."""

import itertools
import random

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.metrics.bleu import TOKENIZERS, LengthGroup, bleu, bleu_by_length

TRANSLATIONS = ["The cat sat on the mat.", "a man, in BLUE, is walking", "two dogs run fast", ""]
REFERENCES = ["the cat sat on the mat .", "A man in blue is walking.", "Two dogs run very fast", "nothing was said"]


@pytest.mark.parametrize("tokenize", TOKENIZERS)
@pytest.mark.parametrize("lowercase", [False, True])
def test_the_score_is_that_of_sacrebleu_s_own_function(tokenize: str, lowercase: bool):
    ours = bleu(TRANSLATIONS, REFERENCES, lowercase, tokenize)
    theirs = sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES], lowercase=lowercase, tokenize=tokenize)
    assert ours.score == theirs.score
    assert 0 < ours.score < 100


def test_the_score_is_one_of_the_whole_text_and_not_a_mean_of_sentences():
    # By hand: of 8 words 7 are right, of 6 pairs 4, of 4 triples 2, of 2 quadruples 1; as long as the reference.
    score = bleu(["a b c d", "e f g h"], ["a b c d", "e f x h"]).score
    assert score == pytest.approx(100 * (7 / 8 * 4 / 6 * 2 / 4 * 1 / 2) ** 0.25)


def test_short_translations_are_penalised():
    # By hand: all words right, 5 of 8: exp(1 - 8/5).
    score = bleu(["a b c d e"], ["a b c d e f g h"]).score
    assert score == pytest.approx(100 * 2.718281828459045 ** (1 - 8 / 5))


def test_the_extremes():
    assert bleu(REFERENCES, REFERENCES).score == pytest.approx(100)
    assert bleu(["x y z w v"], ["a b c d e"], tokenize="none").score < 10
    assert bleu(["", ""], ["a b", "c"]).score == 0


def test_capitals_and_spaces_before_marks_count_as_asked():
    assert bleu(["THE CAT SAT ON THE MAT."], ["the cat sat on the mat ."], lowercase=True).score == pytest.approx(100)
    assert bleu(["THE CAT SAT ON THE MAT."], ["the cat sat on the mat ."]).score < 50
    assert bleu(["The cat sat on it."], ["The cat sat on it ."], tokenize="none").score < 100


def test_the_signature_names_case_and_tokeniser():
    version = sacrebleu.__version__
    assert bleu(["a"], ["a"]).signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
    assert bleu(["a"], ["a"], lowercase=True, tokenize="intl").signature == (
        f"nrefs:1|case:lc|eff:no|tok:intl|smooth:exp|version:{version}"
    )


@pytest.mark.parametrize("tokenize", ["13b", "", "flores200"])
def test_an_unknown_tokeniser_is_refused_in_one_line(tokenize: str):
    told = rf"^there is no tokeniser '{tokenize}' for BLEU: choose 13a, intl, char, zh, none$"
    with pytest.raises(ValueError, match=told):
        bleu(["a"], ["a"], tokenize=tokenize)


def test_each_translation_has_a_reference():
    with pytest.raises(ValueError, match="2 translations and 1 references: expected one each"):
        bleu(["a", "b"], ["a"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 8))
def test_groups_by_length_hold_each_sentence_once(lengths: list[int], groups: int):
    draw = random.Random(0)
    sources = ["w " * length for length in lengths]
    translations = ["".join(draw.choices("ab ", k=20)) for _ in lengths]
    references = ["".join(draw.choices("ab ", k=20)) for _ in lengths]
    found = bleu_by_length(sources, translations, references, groups=groups)
    assert 1 <= len(found) <= groups
    assert sum(group.sentences for group in found) == len(lengths)
    assert all(shorter.longest < longer.shortest for shorter, longer in itertools.pairwise(found))
    for group in found:
        members = [i for i, length in enumerate(lengths) if group.shortest <= length <= group.longest]
        assert len(members) == group.sentences
        ours, theirs = ([texts[i] for i in members] for texts in (translations, references))
        assert group.score == pytest.approx(bleu(ours, theirs).score)


def test_groups_are_about_equally_large():
    lengths = [*range(1, 31)]
    sources, same = ["w " * length for length in lengths], ["a b c d"] * 30
    found = bleu_by_length(sources, same, same, groups=3)
    assert found == [LengthGroup(first, first + 9, 10, pytest.approx(100)) for first in (1, 11, 21)]
