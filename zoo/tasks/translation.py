"""Translation: sentences of one language into another, judged by BLEU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.pair_loader import PairBatch
from zoo.data.tokenizing import BEGIN, END, PAD, SentenceTokenizer
from zoo.decoding.beam import beam_search, greedy
from zoo.metrics.bleu import bleu
from zoo.metrics.totals import Totals
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A translation is broken off when it is this much longer than its source (Vaswani et al. 2017, Section 6.1).
LONGER = 50


def longest(source: Tensor) -> Tensor:
    """Returns after how many tokens the translations of `(B, S)` are broken off."""
    return (source != PAD).sum(dim=1) + LONGER


class Translation(Task):
    """Trains a translator to say the next token of the reference, and measures what it says by itself.

    Metrics: `loss` (nats per token, without smoothing), on train, validation and test; `bleu`, of plain text: of
    greedy translations on the validation split, of beam search on the test split; `bleu_cased` beside it, and
    `exact_match`, the percentage of sentences that are the reference.

    Args:
        label_smoothing: Share of the target's probability that is spread over all tokens in training.
        beam: Hypotheses of a beam in the final test; 1 is greedy.
        length_penalty: Its exponent alpha; 0 is none.
        lowercase: Whether `bleu` takes capitals for small letters.
        tokenize: sacrebleu's tokeniser.
        headline: `test/bleu` or `test/exact_match`.
    """

    headlines: ClassVar[dict[str, str]] = {"test/bleu": "max", "test/bleu_cased": "max", "test/exact_match": "max"}
    sample_unit: ClassVar[str] = "tokens"

    def __init__(
        self,
        model: Any,
        tokenizer: SentenceTokenizer,
        *shared: Any,
        headline: str = "test/bleu",
        label_smoothing: float = 0.1,
        beam: int = 5,
        length_penalty: float = 0.6,
        lowercase: bool = True,
        tokenize: str = "13a",
    ) -> None:
        super().__init__(model, [], *shared, headline=headline)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing} is not possible: expected a share in [0, 1)")
        if beam < 1:
            raise ValueError(f"task.beam={beam} is not possible: expected 1 or more")
        self.tokenizer = tokenizer
        self.label_smoothing, self.beam, self.length_penalty = label_smoothing, beam, length_penalty
        self.lowercase, self.tokenize = lowercase, tokenize
        self.train_totals = Totals("loss")
        self.evaluation_totals = Totals("loss")
        self.translations: dict[int, tuple[str, str]] = {}

    def count_samples(self, batch: PairBatch) -> int:
        """Returns how many tokens of the target a batch holds."""
        return int((batch.target[:, 1:] != PAD).sum())

    def _nats(self, logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        flat = logits.flatten(0, 1).float()
        return F.cross_entropy(flat, targets.flatten(), ignore_index=PAD, label_smoothing=smoothing, reduction="sum")

    def training_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the smoothed loss, a mean over the target's tokens, and what is shown: the same unsmoothed."""
        targets = batch.target[:, 1:]
        logits = self.model(batch.source, batch.target[:, :-1])
        count = self.count_samples(batch)
        loss = self._nats(logits, targets, self.label_smoothing) / count
        with torch.no_grad():
            shown = self._nats(logits.detach(), targets, 0.0)
        self.train_totals.add(count, loss=shown)
        return {"loss": loss, "shown": shown / count}

    def on_train_epoch_end(self) -> None:
        """Reports the mean over the epoch."""
        self.publish("train", {"loss": self.train_totals.means()["loss"]})
        self.train_totals.reset()

    def _begin_evaluation(self) -> None:
        self.evaluation_totals.reset()
        self.translations.clear()

    def _score(self, batch: PairBatch) -> None:
        logits = self.model(batch.source, batch.target[:, :-1])
        nats = self._nats(logits, batch.target[:, 1:], 0.0)
        self.evaluation_totals.add(self.count_samples(batch), loss=nats)

    def _keep(self, batch: PairBatch, translations: list[list[int]]) -> None:
        references = self.tokenizer.decode_all(batch.target.tolist())
        for place, tokens, reference in zip(batch.places.tolist(), translations, references, strict=True):
            self.translations[place] = (self.tokenizer.decode(tokens), reference)

    def _report(self, split: str) -> None:
        kept = _of_all_ranks(self.translations)
        said, meant = zip(*(kept[index] for index in sorted(kept)), strict=True)
        cased = bleu(said, meant, False, self.tokenize)
        scored = bleu(said, meant, self.lowercase, self.tokenize)
        self.signatures = {"bleu": scored.signature, "bleu_cased": cased.signature}
        same = sum(one == other for one, other in zip(said, meant, strict=True))
        metrics = {
            "loss": self.evaluation_totals.means()["loss"],
            "bleu": scored.score,
            "bleu_cased": cased.score,
            "exact_match": 100 * same / len(said),
        }
        self.publish(split, metrics)

    def on_validation_epoch_start(self) -> None:
        """Starts counting."""
        self._begin_evaluation()

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Scores the references, and translates greedily."""
        self._score(batch)
        self._keep(batch, greedy(self.model, batch.source, BEGIN, END, longest(batch.source)))

    def on_validation_epoch_end(self) -> None:
        """Reports the split's numbers, and a few translations."""
        self._report(self.watched)
        shown = [self.translations[index] for index in sorted(self.translations)[:5]]
        self.texts["translations"] = "\n".join(f"said   {said}\nmeant  {meant}\n" for said, meant in shown)

    def on_test_epoch_start(self) -> None:
        """Starts counting."""
        self._begin_evaluation()

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Scores the references, and translates by beam search."""
        self._score(batch)
        if self.beam == 1:
            self._keep(batch, greedy(self.model, batch.source, BEGIN, END, longest(batch.source)))
            return
        found = beam_search(self.model, batch.source, BEGIN, END, longest(batch.source), self.beam, self.length_penalty)
        self._keep(batch, [hypotheses[0].tokens for hypotheses in found])

    def on_test_epoch_end(self) -> None:
        """Reports the test split's numbers."""
        self._report("test")


def _of_all_ranks(kept: dict[int, tuple[str, str]]) -> dict[int, tuple[str, str]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return kept
    shares: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, kept)
    return {index: pair for share in shares for index, pair in share.items()}
