"""Beam search against exhaustive search over all translations, and greedy decoding step by step."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.decoding.beam import beam_search, greedy, length_penalty

BEGIN, END = 1, 2


class Table:
    """A translator whose next token depends on the sentence, the last token and how many there are."""

    def __init__(self, seed: int, words: int = 5, longest: int = 9) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.logits = 2 * torch.randn(7, longest + 1, words, words, generator=draw)

    def begin(self, source: Tensor) -> tuple[Tensor, ...]:
        return source[:, 0], torch.zeros(len(source), dtype=torch.int64)

    def step(self, tokens: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        sentence, written = memory
        return self.logits[sentence, written, tokens], (sentence, written + 1)

    def log_probability(self, sentence: int, tokens: list[int]) -> float:
        before, total = BEGIN, 0.0
        for place, token in enumerate(tokens):
            total += self.logits[sentence, place, before].log_softmax(0)[token].item()
            before = token
        return total


def all_translations(model: Table, sentence: int, longest: int, alpha: float) -> list[tuple[float, list[int]]]:
    words = [token for token in range(5) if token != END]
    found = []
    for length in range(longest + 1):
        for tokens in itertools.product(words, repeat=length):
            ended = [*tokens, END] if length < longest else list(tokens)  # the longest are broken off
            score = model.log_probability(sentence, ended) / length_penalty(length + 1, alpha)
            found.append((score, list(tokens)))
    return sorted(found, reverse=True)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), longest=st.integers(1, 3), alpha=st.sampled_from([0.0, 0.6, 1.0]))
def test_a_wide_beam_finds_what_exhaustive_search_finds(seed: int, longest: int, alpha: float):
    model = Table(seed)
    source = torch.tensor([[3], [0], [6]])
    found = beam_search(model, source, BEGIN, END, torch.full((3,), longest), beam=80, alpha=alpha)
    for sentence, hypotheses in zip((3, 0, 6), found, strict=True):
        expected = all_translations(model, sentence, longest, alpha)
        assert len(hypotheses) == min(80, len(expected))
        for hypothesis, (score, tokens) in zip(hypotheses[:5], expected, strict=False):
            assert hypothesis.score == pytest.approx(score, abs=1e-4)
            assert hypothesis.tokens == tokens


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), beam=st.integers(1, 6), alpha=st.sampled_from([0.0, 0.6]))
def test_a_sentence_is_translated_the_same_in_any_company(seed: int, beam: int, alpha: float):
    model = Table(seed)
    limits = torch.tensor([4, 8, 1, 6])
    source = torch.tensor([[0], [1], [2], [3]])
    together = beam_search(model, source, BEGIN, END, limits, beam, alpha)
    for row in range(4):
        (alone,) = beam_search(model, source[row : row + 1], BEGIN, END, limits[row : row + 1], beam, alpha)
        assert [h.tokens for h in alone] == [h.tokens for h in together[row]]
        assert len(alone) <= beam
        (best, *_), *_ = beam_search(
            model, source[row : row + 1], BEGIN, END, limits[row : row + 1], beam, alpha, wanted=1
        )
        assert best.tokens == alone[0].tokens
        scores = [h.score for h in alone]
        assert scores == sorted(scores, reverse=True)
        for h in alone:
            assert END not in h.tokens
            assert len(h.tokens) <= limits[row]
            ended = [*h.tokens, END] if len(h.tokens) < limits[row] else h.tokens
            assert h.log_probability == pytest.approx(model.log_probability(row, ended), abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_greedy_takes_the_likeliest_token_each_time(seed: int):
    model = Table(seed)
    limits = [0, 3, 8]
    found = greedy(model, torch.tensor([[0], [1], [2]]), BEGIN, END, torch.tensor(limits))
    for sentence, (limit, tokens) in enumerate(zip(limits, found, strict=True)):
        expected: list[int] = []
        before = BEGIN
        while len(expected) < limit:
            before = int(model.logits[sentence, len(expected), before].argmax())
            if before == END:
                break
            expected.append(before)
        assert tokens == expected


def test_the_length_penalty_is_the_paper_s():
    assert length_penalty(7, 0.6) == pytest.approx(2**0.6)
    assert length_penalty(20, 0.0) == 1
