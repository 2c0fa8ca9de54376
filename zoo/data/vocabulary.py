"""Which tokens there are, how text becomes their numbers, and how numbers become text again."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from zoo.errors import ZooError

Level = Literal["word", "character"]

VOCABULARY = "vocabulary.json"  # what it is called in a release
END_OF_LINE = "<eos>"  # what a line break is among words, as in Mikolov's Penn Treebank
UNKNOWN = "<unk>"

# What a token is. `split` takes text whose tokens stand between spaces; `word` also cuts punctuation off.
_PATTERNS = {"split": r"\n|\S+", "word": r"\n|\w+|[^\w\s]", "character": r"[\s\S]"}
Style = Literal["split", "word", "character"]


def split_tokens(text: str, style: Style) -> list[str]:
    """Cuts text into tokens; among words a line break is the token `<eos>`, other white space is none."""
    found = re.findall(_PATTERNS[style], text)
    return found if style == "character" else [END_OF_LINE if token == "\n" else token for token in found]


class Vocabulary:
    """Tokens and their numbers.

    Attributes:
        file_name: What it is called in a release.

    Args:
        tokens: All different tokens, by their number.
        style: How text is cut into them.

    Raises:
        ZooError: A token comes twice, or there is none.
    """

    file_name: ClassVar[str] = VOCABULARY

    def __init__(self, tokens: Sequence[str], style: Style) -> None:
        self.tokens = list(tokens)
        self.style: Style = style
        self._number = {token: number for number, token in enumerate(self.tokens)}
        if not self.tokens or len(self._number) < len(self.tokens):
            raise ZooError("a vocabulary holds at least one token, and each of them once")

    @classmethod
    def of(cls, tokens: Iterable[str], style: Style, most: int | None = None) -> "Vocabulary":
        """Gathers the tokens of a training text, the most frequent first, ties in order of appearance.

        Args:
            tokens: The text, cut.
            style: How it was cut; `"word"` adds `<unk>`, which prepared texts bring along.
            most: How many different words of style `"word"` are kept at the most, `<unk>` included. It stands for the
                others and for words that come only once: else a model would never meet it in training, and be
                surprised by each word that is new in validation. None keeps all words.
        """
        counted = Counter(tokens).most_common()
        if style != "word":
            return cls([token for token, _ in counted], style)
        least = 1 if most is None else 2
        known = [token for token, count in counted if count >= least]
        return cls([*known[: None if most is None else most - 1], UNKNOWN], style)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def level(self) -> Level:
        """What the tokens are."""
        return "character" if self.style == "character" else "word"

    @property
    def unknown(self) -> int | None:
        """The number of `<unk>`, None where every token must be known."""
        return None if self.level == "character" else self._number.get(UNKNOWN)

    @property
    def line_break(self) -> int | None:
        """The number of the token that ends a line, None where there is none."""
        return self._number.get("\n" if self.level == "character" else END_OF_LINE)

    def encode_tokens(self, tokens: Sequence[str]) -> Tensor:
        """Returns the numbers of tokens, `(N,)` int64.

        Raises:
            ZooError: A token is not in the vocabulary, which has no `<unk>` either.
        """
        unknown = self.unknown
        try:
            if unknown is None:
                return torch.tensor([self._number[token] for token in tokens], dtype=torch.int64)
        except KeyError as error:
            raise ZooError(
                f"{error.args[0]!r} is not in this vocabulary of {len(self)} {self.level}s, which knows no {UNKNOWN}"
            ) from error
        return torch.tensor([self._number.get(token, unknown) for token in tokens], dtype=torch.int64)

    def encode(self, text: str) -> Tensor:
        """Returns the numbers of the tokens of a text, `(N,)` int64.

        Raises:
            ZooError: As `encode_tokens`.
        """
        return self.encode_tokens(split_tokens(text, self.style))

    def piece(self, number: int) -> str:
        """Returns what a token adds to a text that is written piece by piece: words end in a space."""
        token = self.tokens[number]
        if self.level == "character":
            return token
        return "\n" if token == END_OF_LINE else f"{token} "

    def decode(self, numbers: Iterable[int]) -> str:
        """Returns the text of tokens."""
        return "".join(self.piece(number) for number in numbers)

    def to_json(self) -> bytes:
        """Returns the content of `vocabulary.json`."""
        return json.dumps({"format": 1, "style": self.style, "tokens": self.tokens}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Vocabulary":
        """Reads what `to_json` wrote.

        Raises:
            ZooError: It is something else.
        """
        try:
            parsed: Any = json.loads(content.decode("utf-8"))
        # RecursionError: brackets nested a million deep.
        except (ValueError, RecursionError) as error:
            raise ZooError(f"{VOCABULARY} is damaged (no JSON: {error}): get the release anew") from error
        told: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        tokens, style = told.get("tokens"), told.get("style")
        good = isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)
        if told.get("format") != 1 or style not in list(_PATTERNS) or not good:
            raise ZooError(f"{VOCABULARY} is damaged, or written by a newer zoo: get the release anew")
        return cls(told["tokens"], told["style"])
