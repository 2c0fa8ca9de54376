"""Translations out of a model that scores the next token: the likeliest token each time, or beam search."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

Memory = tuple[Tensor, ...]

# A translation is broken off when it is this much longer than its source (Vaswani et al. 2017, Section 6.1).
LONGER = 50


@runtime_checkable
class Translator(Protocol):
    """What a model must be able to do; the first dimension of every tensor of a memory is that of the tokens."""

    def begin(self, source: Tensor) -> Memory:
        """Encodes sources `(B, S)`."""

    def step(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Takes the last tokens `(B,)`; returns logits `(B, V)` of the next ones, and the memory after it."""

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns which share of its attention each position of `(B, T)` gives each one of `(B, S)`: `(B, T, S)`."""


@dataclass(frozen=True)
class Hypothesis:
    """A translation: its tokens without begin and end, and its log-probability, as it is and divided by the penalty."""

    tokens: list[int]
    log_probability: float
    score: float


def length_penalty(length: int, alpha: float) -> float:
    """Returns ((5 + length) / 6) ** alpha (Wu et al. 2016, arXiv:1609.08144, equation 14); length counts the end."""
    return ((5 + length) / 6) ** alpha


@torch.inference_mode()
def greedy(model: Translator, source: Tensor, begin: int, end: int, max_lengths: Tensor) -> list[list[int]]:
    """Writes the likeliest token each time.

    Args:
        model: In eval mode.
        source: `(B, S)`, padded at the end.
        begin: The number of the token that begins a sentence.
        end: Of the one that ends it.
        max_lengths: Tokens after which each translation is broken off, `(B,)`, the end not counted.

    Returns:
        The tokens of each translation, without begin and end.
    """
    memory = model.begin(source)
    tokens = torch.full((len(source),), begin, device=source.device)
    limits = max_lengths.to(source.device)
    going = limits > 0
    written: list[Tensor] = []
    while going.any():
        logits, memory = model.step(tokens, memory)
        tokens = torch.where(going, logits.argmax(dim=1), end)
        going = going & (tokens != end) & (len(written) + 1 < limits)
        written.append(tokens)
    rows = torch.stack(written, dim=1).tolist() if written else [[] for _ in range(len(source))]
    return [row[: row.index(end)] if end in row else row for row in rows]


class _Search:
    """Beams of a batch of sentences: of each, the live hypotheses and the best finished ones."""

    def __init__(
        self, sentences: int, beam: int, wanted: int, begin: int, end: int, alpha: float, device: torch.device
    ) -> None:
        self.beam, self.wanted, self.end, self.alpha = beam, wanted, end, alpha
        self.sentence = list(range(sentences))  # of each row of the tensors below
        # One live hypothesis to begin with: equal ones would fill the beam with copies.
        self.live = torch.full((sentences, beam), -torch.inf, device=device)
        self.live[:, 0] = 0.0
        self.tokens = torch.full((sentences, beam, 1), begin, device=device)
        self.finished: list[list[Hypothesis]] = [[] for _ in range(sentences)]

    def finish(self, row: int, tokens: list[int], log_probability: float) -> None:
        length = len(tokens) + 1
        score = log_probability / length_penalty(length, self.alpha)
        kept = self.finished[self.sentence[row]]
        kept.append(Hypothesis(tokens, log_probability, score))
        kept.sort(key=lambda hypothesis: hypothesis.score, reverse=True)
        del kept[self.beam :]

    def advance(self, log_probabilities: Tensor) -> Tensor:
        """Extends each live hypothesis by its best tokens; returns which hypothesis each new one came from."""
        _, beam, size = log_probabilities.shape
        extended = (self.live[:, :, None] + log_probabilities).flatten(1)
        # Twice the beam: even if all live hypotheses end, as many go on.
        best, where = extended.topk(min(2 * beam, beam * size), dim=1)
        origin, token = where // size, where % size
        ends = token == self.end
        for row, place in (ends & best.isfinite()).nonzero().tolist():
            if place < beam:
                self.finish(row, self.tokens[row, origin[row, place], 1:].tolist(), float(best[row, place]))
        # The best that do not end, in their order; where there are fewer, rows of -inf fill the beam.
        going = best.masked_fill(ends, -torch.inf)
        if going.shape[1] < beam:
            going = F.pad(going, (0, beam - going.shape[1]), value=-torch.inf)
            origin, token = (F.pad(each, (0, beam - each.shape[1])) for each in (origin, token))
        self.live, order = going.topk(beam, dim=1)
        origin, token = origin.gather(1, order), token.gather(1, order)
        history = self.tokens.gather(1, origin[:, :, None].expand(-1, -1, self.tokens.shape[2]))
        self.tokens = torch.cat([history, token[:, :, None]], dim=2)
        return origin

    def settled(self, limits: list[int]) -> list[bool]:
        """Tells of each row whether no live hypothesis can still become one of those that are wanted."""
        written = self.tokens.shape[2] - 1
        answers = []
        for row, live in enumerate(self.live.tolist()):
            limit = limits[self.sentence[row]]
            if written >= limit:
                for number, log_probability in enumerate(live):
                    if log_probability > -torch.inf:  # broken off, as it stands
                        self.finish(row, self.tokens[row, number, 1:].tolist(), log_probability)
                answers.append(True)
                continue
            kept = self.finished[self.sentence[row]]
            # Log-probabilities only fall; the penalty divides by no more than that of the longest translation.
            bound = max(live) / length_penalty(limit + 1, self.alpha)
            beaten = len(kept) >= self.wanted and kept[self.wanted - 1].score >= bound
            answers.append(max(live) == -torch.inf or beaten)
        return answers

    def keep(self, rows: Tensor) -> None:
        """Drops the rows of settled sentences."""
        self.live, self.tokens = self.live[rows], self.tokens[rows]
        self.sentence = [self.sentence[row] for row in rows.tolist()]


@torch.inference_mode()
def beam_search(
    model: Translator,
    source: Tensor,
    begin: int,
    end: int,
    max_lengths: Tensor,
    beam: int = 5,
    alpha: float = 0.6,
    wanted: int | None = None,
) -> list[list[Hypothesis]]:
    """Looks for the translations of the highest score: log-probability divided by the length penalty.

    Args:
        model: In eval mode.
        source: `(B, S)`, padded at the end.
        begin: The number of the token that begins a sentence.
        end: Of the one that ends it.
        max_lengths: Tokens after which each translation is broken off, `(B,)`, the end not counted.
        beam: How many hypotheses of each sentence are alive at a time.
        alpha: Strength of the length penalty; 0 is none, which favours short translations.
        wanted: How many translations of each sentence are looked for, up to `beam`, as by default: others that are
            returned are finished, but need not be the next best.

    Returns:
        Of each sentence, up to `beam` translations, the best first.
    """
    limits = [max(1, limit) for limit in max_lengths.tolist()]
    search = _Search(len(source), beam, wanted or beam, begin, end, alpha, source.device)
    memory = tuple(part.repeat_interleave(beam, dim=0) for part in model.begin(source))
    while search.sentence:
        rows = len(search.sentence)
        logits, memory = model.step(search.tokens[:, :, -1].flatten(), memory)
        origin = search.advance(logits.float().log_softmax(dim=1).unflatten(0, (rows, beam)))
        going = [row for row, settled in enumerate(search.settled(limits)) if not settled]
        kept = torch.tensor(going, device=source.device, dtype=torch.int64)
        first = torch.arange(rows, device=source.device)[:, None] * beam
        memory = tuple(part[(first + origin)[kept].flatten()] for part in memory)
        search.keep(kept)
    return search.finished


def translate(
    model: Translator, source: Tensor, pad: int, begin: int, end: int, beam: int = 5, alpha: float = 0.6
) -> list[list[int]]:
    """Returns the best translation found of each source, without begin and end.

    Args:
        model: In eval mode.
        source: `(B, S)`, padded at the end.
        pad: The number of the token that fills up short sentences.
        begin: Of the one that begins a sentence.
        end: Of the one that ends it.
        beam: How many hypotheses of each sentence are alive at a time; 1 is greedy.
        alpha: Strength of the length penalty.
    """
    limits = (source != pad).sum(dim=1) + LONGER
    if beam == 1:
        return greedy(model, source, begin, end, limits)
    return [best[0].tokens for best in beam_search(model, source, begin, end, limits, beam, alpha, wanted=1)]
