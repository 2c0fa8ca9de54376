"""Texts from a language model: what it writes on, and how well it foresees a text of yours."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.text_file import read_text_file
from zoo.data.vocabulary import VOCABULARY, Vocabulary, split_tokens
from zoo.decoding.sampling import check_sampling, sample
from zoo.errors import ZooError
from zoo.pretrained.release import load_release, read_files

_PIECE = 256  # tokens read at once; the state is carried from piece to piece


class LanguageModelingPipeline:
    """Continues texts and measures their perplexity.

    Args:
        model: Maps tokens `(B, T)` and a state to logits `(B, T, V)` and the state after them, on any device.
        card: Of its release.
        vocabulary: The model's tokens.

    Raises:
        ZooError: The vocabulary is that of another model.

    Example:
        >>> language = zoo.pipeline("lstm_small-ptb")
        >>> language("the new york stock", max_tokens=1, temperature=0)
        'exchange'
        >>> language.perplexity("the company said") < language.perplexity("said company the")
        True
    """

    def __init__(self, model: nn.Module, card: dict[str, Any], vocabulary: Vocabulary) -> None:
        self.model = model
        self.card = card
        self.vocabulary = vocabulary
        expected = card["arguments"].get("vocabulary_size")
        if expected is not None and expected != len(self.vocabulary):
            raise ZooError(
                f"{VOCABULARY} has {len(self.vocabulary)} tokens, the model {expected}: get the release anew"
            )

    @classmethod
    def from_release(cls, folder: Path) -> "LanguageModelingPipeline":
        """Loads a release.

        Raises:
            ZooError: It is damaged, or holds no vocabulary.
        """
        files = read_files(folder)
        if VOCABULARY not in files:
            raise ZooError(f"{folder} holds no {VOCABULARY}: its tokens have no names; get the release anew")
        return cls(*load_release(folder), Vocabulary.from_json(files[VOCABULARY]))

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _prompt(self, text: str) -> Tensor:
        """Returns the tokens of a prompt; an empty one begins a line."""
        tokens = self.vocabulary.encode(text)
        if len(tokens):
            return tokens
        return torch.tensor([self.vocabulary.line_break or 0])

    def stream(
        self,
        prompt: str = "",
        max_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """Writes on, piece by piece; the arguments are those of `generate`.

        Yields:
            What each token adds to the text; words end in a space, an end of line is a line break.

        Raises:
            ZooError: As `generate`, at once.
        """
        check_sampling(max_tokens, temperature, top_k, top_p)
        if type(seed) is not int or not 0 <= seed < 2**63:
            raise ZooError(f"seed={seed} is not possible: expected a whole number of at least 0")
        unknown = self.vocabulary.unknown
        drawn = sample(
            self.model,
            self._prompt(prompt).to(self._device()),
            max_tokens,
            torch.Generator().manual_seed(seed),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            forbidden=[] if unknown is None else [unknown],
        )
        return (self.vocabulary.piece(number) for number in drawn)

    def generate(
        self,
        prompt: str = "",
        max_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> str:
        """Returns what follows a prompt, without the prompt; the same for the same seed.

        Args:
            prompt: A text. Words that the model does not know count as `<unk>`.
            max_tokens: How many tokens to write.
            temperature: Above 1 more varied, below 1 safer, 0 the likeliest token each time.
            top_k: Draw among the k likeliest tokens only.
            top_p: Draw among the fewest tokens that are together as probable as this.
            seed: Of the draws.

        Raises:
            ZooError: A setting makes no sense, or a character of the prompt is not in the vocabulary.
        """
        return "".join(self.stream(prompt, max_tokens, temperature, top_k, top_p, seed)).rstrip(" ")

    def __call__(self, prompt: str, **settings: Any) -> str:
        """As `generate`."""
        return self.generate(prompt, **settings)

    def perplexity(self, text: str) -> float:
        """Returns the perplexity of a text per token, read from its first token to its last as one stream.

        Raises:
            ZooError: The text has fewer than two tokens, or characters that are not in the vocabulary.
        """
        tokens = self.vocabulary.encode(text).to(self._device()).unsqueeze(0)  # (1, N)
        predicted = tokens.shape[1] - 1
        if predicted < 1:
            raise ZooError("a text of fewer than two tokens has no perplexity: there is nothing to foresee")
        nats, state = 0.0, None
        for start in range(0, predicted, _PIECE):
            end = min(start + _PIECE, predicted)
            with torch.inference_mode():
                logits, state = self.model(tokens[:, start:end], state)
            nats += float(F.cross_entropy(logits[0].double(), tokens[0, start + 1 : end + 1], reduction="sum"))
        mean = nats / predicted
        return math.exp(mean) if mean < 700 else math.inf

    def unknown(self, text: str) -> list[str]:
        """Returns the tokens of a text, in their order, that the model takes for `<unk>`."""
        vocabulary = self.vocabulary
        if vocabulary.unknown is None:
            return []
        pieces = split_tokens(text, vocabulary.style)
        numbers = vocabulary.encode_tokens(pieces).tolist()
        return [piece for piece, number in zip(pieces, numbers, strict=True) if number == vocabulary.unknown]

    def answer(
        self,
        texts: list[str],
        *,
        max_tokens: int = 50,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        perplexity: str | None = None,
    ) -> Iterator[str]:
        """Answers a command line: each text written on, or the perplexity of a file.

        Args:
            texts: Prompts, each to be continued.
            max_tokens: How many tokens to write.
            temperature: Above 1 more varied, below 1 safer, 0 the likeliest token each time.
            top_k: Draw among the k likeliest tokens only.
            top_p: Draw among the fewest tokens that are together as probable as this.
            seed: Of the draws.
            perplexity: A text file, whose perplexity is told instead.

        Yields:
            Pieces of what is to be printed.

        Raises:
            ZooError: As `generate` and `perplexity`, or a file that cannot be read.
        """
        if perplexity is not None:
            if texts:
                raise ZooError("give prompts to write on, or --perplexity FILE, not both")
            text = read_text_file(Path(perplexity), "--perplexity")
            yield f"{perplexity}: perplexity {self.perplexity(text):.4g} per {self.vocabulary.level}"
            unknown = self.unknown(text)
            yield f", {len(unknown):,} of them unknown to the model\n" if unknown else "\n"
            return
        if not texts:
            raise ZooError('give a text to write on, such as "the company said", or --perplexity FILE')
        for text in texts:
            pieces = self.stream(text, max_tokens, temperature, top_k, top_p, seed)
            yield text if self.vocabulary.level == "character" else f"{text} "
            yield from pieces
            yield "\n"
            if unknown := self.unknown(text):
                print(f"the model does not know {', '.join(dict.fromkeys(unknown))}", file=sys.stderr)
