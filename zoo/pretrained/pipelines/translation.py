"""Translations, with what each of their words is aligned with."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast, overload

import torch
from torch import Tensor, nn

from zoo.data.text_file import read_text_file
from zoo.data.tokenizing import BEGIN, END, PAD, SentenceTokenizer
from zoo.decoding.beam import Translator, translate
from zoo.decoding.beam import length_penalty as penalty
from zoo.errors import ZooError
from zoo.locations import output_file, writing
from zoo.pretrained.release import load_release, read_files

_AT_ONCE = 320  # hypotheses alive at a time, of all sentences of a batch: it bounds the memory
_DRAWN = 6  # alignments in a picture at the most


class Translated(NamedTuple):
    """A translation.

    Attributes:
        translation: In plain words.
        score: Its log-probability in nats, the end included, divided by the length penalty: what the search maximises,
            but that of a translation which was broken off it counts no end.
        source_tokens: What the model read, its S tokens, the end of the sentence the last of them.
        target_tokens: What it wrote, T tokens, with the end.
        alignment: Which share of its attention each written token gave each one of the source, `(T, S)`; rows sum to
            1. `(T, 0)` for a model that does not attend.
    """

    translation: str
    score: float
    source_tokens: list[str]
    target_tokens: list[str]
    alignment: Tensor

    def __str__(self) -> str:
        return self.translation


class TranslationPipeline:
    """Translates sentences.

    Args:
        model: Translates token by token, see `zoo.decoding.beam.Translator`; on any device.
        card: Of its release.
        tokenizer: The model's tokens, of source and target.

    Raises:
        ZooError: The tokeniser is that of another model, or the model cannot translate.

    Example:
        >>> translate = zoo.pipeline("rnnsearch_small-multi30k_de_en")
        >>> translate("Ein brauner Hund rennt durch den tiefen Schnee.").translation
        'A brown dog runs through the deep snow.'
    """

    def __init__(self, model: nn.Module, card: dict[str, Any], tokenizer: SentenceTokenizer) -> None:
        if not isinstance(model, Translator):
            raise ZooError(f"{card['model']} cannot translate: it has no begin, step and alignment")
        self.model = model
        self.card = card
        self.tokenizer = tokenizer
        expected = card["arguments"].get("target_vocabulary_size")
        if expected is not None and expected != len(tokenizer):
            raise ZooError(
                f"{tokenizer.file_name} has {len(tokenizer)} tokens, the model {expected}: get the release anew"
            )

    @classmethod
    def from_release(cls, folder: Path) -> "TranslationPipeline":
        """Loads a release.

        Raises:
            ZooError: It is damaged, or holds no tokeniser.
        """
        files = read_files(folder)
        name = SentenceTokenizer.file_name
        if name not in files:
            raise ZooError(f"{folder} holds no {name}: its tokens have no names; get the release anew")
        return cls(*load_release(folder), SentenceTokenizer.from_json(files[name]))

    @overload
    def __call__(self, sentences: str, beam: int | None = None, length_penalty: float | None = None) -> Translated: ...

    @overload
    def __call__(
        self, sentences: list[str] | tuple[str, ...], beam: int | None = None, length_penalty: float | None = None
    ) -> list[Translated]: ...

    def __call__(
        self,
        sentences: str | list[str] | tuple[str, ...],
        beam: int | None = None,
        length_penalty: float | None = None,
    ) -> Translated | list[Translated]:
        """Translates a sentence or several.

        Args:
            sentences: Plain text.
            beam: How many hypotheses are alive at a time, 1 is greedy; by default as the release was measured.
            length_penalty: Its exponent, 0 is none; by default as the release was measured.

        Returns:
            A translation, for several sentences a list of them.

        Raises:
            ZooError: A sentence is empty or no text, or a setting makes no sense.
        """
        if isinstance(sentences, str):
            return self._translate([sentences], beam, length_penalty)[0]
        if not isinstance(sentences, list | tuple):
            raise ZooError(f"expected a sentence or a list of sentences, not {type(sentences).__name__}")
        return self._translate(list(sentences), beam, length_penalty)

    def _translate(self, sentences: list[str], beam: int | None, length_penalty: float | None) -> list[Translated]:
        beam = self.card["task"]["beam"] if beam is None else beam
        alpha = self.card["task"]["length_penalty"] if length_penalty is None else length_penalty
        if type(beam) is not int or beam < 1:
            raise ZooError(f"beam={beam!r} is not possible: expected a whole number, 1 or more")
        if not isinstance(alpha, int | float) or not alpha >= 0:
            raise ZooError(f"length_penalty={alpha!r} is not possible: expected a number, 0 or more")
        for number, sentence in enumerate(sentences, 1):
            _check_text(sentence, number)
        encoded = self.tokenizer.encode(sentences)
        for number, (sentence, tokens) in enumerate(zip(sentences, encoded, strict=True), 1):
            if not tokens:
                where = f"sentence {number} is" if len(sentences) > 1 else "it is"
                raise ZooError(f"there is nothing to translate: {where} empty ({sentence!r})")
        # Sentences of about one length together: little is padded.
        order = sorted(range(len(encoded)), key=lambda number: len(encoded[number]))
        found: dict[int, Translated] = {}
        at_once = max(1, _AT_ONCE // beam)
        for start in range(0, len(order), at_once):
            numbers = order[start : start + at_once]
            found |= dict(zip(numbers, self._batch([encoded[n] for n in numbers], beam, alpha), strict=True))
        return [found[number] for number in range(len(sentences))]

    def _batch(self, sentences: list[list[int]], beam: int, alpha: float) -> list[Translated]:
        model = cast(Translator, self.model)
        device = next(self.model.parameters()).device
        source = _padded([[*tokens, END] for tokens in sentences]).to(device)
        written = translate(model, source, PAD, BEGIN, END, beam, alpha)
        before, after = (
            _padded([[*head, *tokens, *tail] for tokens in written]).to(device)
            for head, tail in (([BEGIN], []), ([], [END]))
        )
        with torch.inference_mode():
            weights = model.alignment(source, before).float().cpu()
            likely = self.model(source, before).float().log_softmax(dim=2).gather(2, after[:, :, None])[:, :, 0]
            likelihoods = likely.masked_fill(after == PAD, 0.0).sum(dim=1).tolist()
        translated = []
        for tokens, target, likelihood, weight in zip(sentences, written, likelihoods, weights, strict=True):
            ends = ([*tokens, END], [*target, END])
            alignment = weight[: len(ends[1]), : len(ends[0])]
            read, said = (self.tokenizer.pieces(numbers) for numbers in ends)
            score = likelihood / penalty(len(ends[1]), alpha)
            translated.append(Translated(self.tokenizer.decode(target), score, read, said, alignment))
        return translated

    def answer(
        self,
        sentences: list[str],
        *,
        beam: int | None = None,
        length_penalty: float | None = None,
        file: str | None = None,
        alignment: str | None = None,
    ) -> Iterator[str]:
        """Answers a command line: each sentence's translation on a line of its own.

        Args:
            sentences: Plain text; `-` alone for the lines of standard input.
            beam: How many hypotheses are alive at a time; 1 is greedy.
            length_penalty: Exponent of the length penalty; 0 is none, which favours short translations.
            file: A text file whose lines are translated instead; empty lines stay empty.
            alignment: Where to draw what the words of the first few are aligned with, e.g. `alignment.png`.

        Yields:
            What is to be printed.

        Raises:
            ZooError: There is nothing to translate, a setting makes no sense, or a file cannot be read or written.
        """
        if alignment is not None:
            output_file("--alignment", alignment)
        if file is not None:
            if sentences:
                raise ZooError("give sentences to translate, or --file FILE, not both")
            lines = read_text_file(Path(file), "--file").removesuffix("\n").split("\n")
        elif sentences == ["-"]:
            lines = sys.stdin.read().removesuffix("\n").split("\n")
        elif sentences:
            lines = sentences
        else:
            raise ZooError(
                'give a sentence to translate, such as "ein Hund läuft", - for standard input, or --file FILE'
            )
        typed = lines is sentences
        if not typed and not any(line.strip() for line in lines):
            raise ZooError("there is nothing to translate: standard input has no text in it" if file is None else
                           f"there is nothing to translate: --file={file} has no text in it")  # fmt: skip
        translated = self._translate([line for line in lines if typed or line.strip()], beam, length_penalty)
        found = iter(translated)
        for line in lines:
            yield f"{next(found)}\n" if line.strip() else "\n"
        if alignment is not None:
            self._draw(translated, alignment)
            yield f"{alignment}\n"

    def _draw(self, translated: list[Translated], alignment: str) -> None:
        from zoo.decoding.alignment import draw_alignments

        figure = draw_alignments(
            [(each.source_tokens, each.target_tokens, each.alignment) for each in translated[:_DRAWN]]
        )
        if figure is None:
            raise ZooError(f"{self.card['name']} does not attend to its source: it has no alignment to draw")
        with writing("--alignment", alignment) as path:
            figure.savefig(path, dpi=150)


def _check_text(sentence: str, number: int) -> None:
    """Makes sure that the numbered sentence is a string of whole characters.

    Raises:
        ZooError: It is none.
    """
    if not isinstance(sentence, str):
        raise ZooError(
            f"expected sentences, but number {number} is {sentence!r}, of the type {type(sentence).__name__}"
        )
    try:
        sentence.encode()
    except UnicodeEncodeError as error:
        raise ZooError(f"sentence {number} is no UTF-8 text (character {error.start + 1}): convert it, e.g. with "
                       "`iconv -f latin1 -t utf-8`") from error  # fmt: skip


def _padded(rows: list[list[int]]) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
