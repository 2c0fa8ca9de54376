"""Translation: sentences of one language into another, judged by BLEU."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor

from zoo.data.pair_loader import PairBatch
from zoo.data.tokenizing import BEGIN, END, PAD, SentenceTokenizer
from zoo.decoding.beam import Translator, translate
from zoo.metrics.bleu import TOKENIZERS, bleu, bleu_by_length
from zoo.metrics.ranks import gathered, total, world
from zoo.metrics.totals import Totals
from zoo.tasks.label_smoothing import smoothed_loss
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 5  # translations written after each epoch
ALIGNED = 4  # of them drawn after the test


class Translated(NamedTuple):
    """A sentence in plain text: where it comes from, what the model made of it, what a person did."""

    source: str
    translation: str
    reference: str


class Translation(Task):
    """Trains a translator to say the next token of the reference, and measures what it says by itself.

    Metrics: `loss` (nats per token, without smoothing), on train, validation and test; `bleu`, of plain text: of
    greedy translations on the validation split, of beam search on the test split; `bleu_cased` beside it, and
    `exact_match`, the percentage of sentences that are the reference.

    Args:
        label_smoothing: Share of the target's probability that is spread over all tokens in training.
        beam: Hypotheses of a beam in the final test; 1 is greedy.
        length_penalty: Its exponent alpha; 0 is none.
        bleu_lowercase: Whether `bleu` takes capitals for small letters.
        bleu_tokenize: sacrebleu's tokeniser.
        headline: `test/bleu`, `test/bleu_cased` or `test/exact_match`.
    """

    headlines: ClassVar[dict[str, str]] = {"test/bleu": "max", "test/bleu_cased": "max", "test/exact_match": "max"}
    sample_unit: ClassVar[str] = "tokens"

    def __init__(
        self,
        model: Any,
        tokenizer: SentenceTokenizer,
        *shared: Any,
        headline: str = "test/bleu",
        label_smoothing: float = 0.0,
        beam: int = 5,
        length_penalty: float = 0.6,
        bleu_lowercase: bool = True,
        bleu_tokenize: str = "13a",
    ) -> None:
        super().__init__(model, [], *shared, headline=headline)
        if not isinstance(model, Translator):
            raise ValueError(
                f"{type(model).__name__} cannot translate: expected a model with begin, step and alignment"
            )
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing} is not possible: expected a share in [0, 1)")
        if beam < 1:
            raise ValueError(f"task.beam={beam} is not possible: expected 1 or more")
        if length_penalty < 0:
            raise ValueError(f"task.length_penalty={length_penalty} is not possible: expected 0 or more")
        if bleu_tokenize not in TOKENIZERS:
            raise ValueError(f"task.bleu_tokenize={bleu_tokenize} is not possible: choose {', '.join(TOKENIZERS)}")
        self.tokenizer = tokenizer
        self.label_smoothing, self.beam, self.length_penalty = label_smoothing, beam, length_penalty
        self.bleu_lowercase, self.bleu_tokenize = bleu_lowercase, bleu_tokenize
        self.sum_gradients = bool(getattr(model, "sum_gradients", False))
        self.train_totals = Totals("loss")
        self.evaluation_totals = Totals("loss")
        self.translated: dict[int, Translated] = {}

    @property
    def translator(self) -> Translator:
        """The model."""
        return cast(Translator, self.model)

    def count_samples(self, batch: PairBatch) -> int:
        """Returns how many tokens of the target a batch holds."""
        return batch.tokens

    def training_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the smoothed loss over the target's tokens, and what is shown: the mean, unsmoothed."""
        targets = batch.target[:, 1:]
        logits = self.model(batch.source, batch.target[:, :-1])
        count = self.count_samples(batch)
        smoothed, plain = smoothed_loss(logits, targets, self.label_smoothing)
        self.train_totals.add(count, loss=plain)
        # Of all processes, whose mean is made: one that a small batch leaves without a sentence has no tokens.
        mean_count = total(count)[0] / world()
        loss = smoothed * world() if self.sum_gradients else smoothed / mean_count
        return {"loss": loss, "shown": plain.detach() / mean_count}

    def on_train_epoch_end(self) -> None:
        """Reports the mean over the epoch."""
        self.publish("train", self.train_totals.means())
        self.train_totals.reset()

    def _begin_evaluation(self) -> None:
        self.evaluation_totals.reset()
        self.translated.clear()

    def _evaluate(self, batch: PairBatch, beam: int) -> None:
        logits = self.model(batch.source, batch.target[:, :-1])
        _, nats = smoothed_loss(logits, batch.target[:, 1:], 0.0)
        self.evaluation_totals.add(self.count_samples(batch), loss=nats)
        tokens = translate(self.translator, batch.source, PAD, BEGIN, END, beam, self.length_penalty)
        said = self.tokenizer.decode_all(tokens)
        for place, text, (source, reference) in zip(batch.places, said, batch.texts, strict=True):
            self.translated[place] = Translated(source, text, reference)

    def _report(self, split: str) -> None:
        self.translated = dict(sorted(gathered(list(self.translated.items()))))
        sources, said, meant = (list(texts) for texts in zip(*self.translated.values(), strict=True))
        scored = bleu(said, meant, self.bleu_lowercase, self.bleu_tokenize)
        cased = bleu(said, meant, False, self.bleu_tokenize)
        same = sum(one == " ".join(other.split()) for one, other in zip(said, meant, strict=True))
        shares = {"bleu": scored.score, "bleu_cased": cased.score, "exact_match": 100 * same / len(said)}
        self.publish(split, self.evaluation_totals.means() | shares)
        if split == "test":
            groups = bleu_by_length(sources, said, meant, self.bleu_lowercase, self.bleu_tokenize)
            self.details = {
                "signatures": {"test/bleu": scored.signature, "test/bleu_cased": cased.signature},
                "bleu_by_source_length": [asdict(group) for group in groups],
            }

    def on_validation_epoch_start(self) -> None:
        """Starts counting."""
        self._begin_evaluation()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Scores the references, and translates greedily."""
        self._evaluate(batch, 1)

    def on_validation_epoch_end(self) -> None:
        """Reports the split's numbers, and a few translations."""
        self._report(self.watched)
        shown = list(self.translated.values())[:SHOWN]
        self.texts["translations"] = "\n".join(
            f"source      {each.source}\ntranslation {each.translation}\nreference   {each.reference}\n"
            for each in shown
        )

    def on_test_epoch_start(self) -> None:
        """Starts counting."""
        self._begin_evaluation()

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Scores the references, and translates by beam search."""
        self._evaluate(batch, self.beam)

    def on_test_epoch_end(self) -> None:
        """Reports the test split's numbers."""
        self._report("test")

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws curves, the step size, BLEU by length, and what a few translations are aligned with."""
        from zoo.decoding.alignment import draw_alignments
        from zoo.tasks.curves import curves, step_size
        from zoo.tasks.translation_figures import draw_bleu_by_length

        figures = {
            "curves": curves(metrics_file, ["loss", "bleu"], {"loss": "loss, nats per token", "bleu": "BLEU"}),
            "step_size": step_size(metrics_file),
            "bleu_by_length": draw_bleu_by_length(self.details["bleu_by_source_length"]),
            "alignments": draw_alignments(self._alignments()),
        }
        return {name: figure for name, figure in figures.items() if figure is not None}

    def _alignments(self) -> "list[tuple[list[str], list[str], Tensor]]":
        """Returns source tokens, target tokens and weights (T, S) of translations from middling to long."""
        by_length = sorted(self.translated.values(), key=lambda each: len(each.source))
        places = [round((len(by_length) - 1) * share) for share in torch.linspace(0.5, 0.95, ALIGNED).tolist()]
        drawn = []
        for each in (by_length[place] for place in dict.fromkeys(places)):
            source, target = ([*tokens, END] for tokens in self.tokenizer.encode([each.source, each.translation]))
            with torch.inference_mode():
                weights = self.translator.alignment(
                    torch.tensor([source], device=self.device),
                    torch.tensor([[BEGIN, *target[:-1]]], device=self.device),
                )
            drawn.append((self.tokenizer.pieces(source), self.tokenizer.pieces(target), weights[0].float().cpu()))
        return drawn
