"""Language modelling: the next token of a text, judged by perplexity."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.data.text_loader import TextBatch
from zoo.data.vocabulary import Vocabulary
from zoo.decoding.sampling import sample
from zoo.metrics.ranks import rank
from zoo.metrics.totals import Totals
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

State = tuple[Tensor, ...]

SAMPLE_TOKENS = {"word": 60, "character": 300}
_LN2 = math.log(2)


def perplexity(nats: float) -> float:
    """Returns the perplexity of a mean negative log-likelihood in nats per token."""
    return math.exp(nats) if nats < 700 else math.inf


class LanguageModeling(Task):
    """Trains a recurrent language model by truncated back-propagation: the state goes on from batch to batch, detached.

    The loss is the model's own `loss(logits, targets)` where it has one, summed over time and averaged over the streams
    (Zaremba et al. 2014), else the mean over all tokens. Metrics, on train, validation and test: `loss` (nats per
    token) and `perplexity`; for characters also `bits_per_character`. The training metrics are taken with dropout,
    over the epoch in which the weights changed.

    Args:
        headline: By default `test/perplexity` for words, `test/bits_per_character` for characters.
    """

    headlines: ClassVar[dict[str, str]] = {
        "test/perplexity": "min",
        "test/bits_per_character": "min",
        "test/loss": "min",
    }
    sample_unit: ClassVar[str] = "tokens"

    def __init__(self, model: Any, vocabulary: Vocabulary, *shared: Any, headline: str | None = None) -> None:
        characters = vocabulary.level == "character"
        if headline == "test/bits_per_character" and not characters:
            raise ValueError("task.headline=test/bits_per_character is for characters; this text is read by words")
        own = "test/bits_per_character" if characters else "test/perplexity"
        super().__init__(model, vocabulary.tokens, *shared, headline=headline or own)
        self.vocabulary = vocabulary
        self.own_loss: Callable[[Tensor, Tensor], Tensor] | None = getattr(self.model, "loss", None)
        self.train_totals = Totals("loss")
        self.evaluation_totals = Totals("loss")
        self.state: State | None = None
        self._evaluation_state: State | None = None

    def _score(self, batch: TextBatch, state: State | None) -> tuple[Tensor, State]:
        tokens, _, begins = batch
        before = None if begins or state is None else tuple(part.to(tokens.device) for part in state)
        logits, after = self.model(tokens, before)
        return logits, tuple(part.detach() for part in after)

    def count_samples(self, batch: TextBatch) -> int:
        """Returns how many tokens a batch holds."""
        return batch.tokens.numel()

    def training_step(self, batch: TextBatch, batch_idx: int) -> dict[str, Tensor]:
        """Returns the loss of a piece of each stream, and what is shown of it: nats per token."""
        logits, self.state = self._score(batch, self.state)
        if self.own_loss:
            loss = self.own_loss(logits, batch.targets)
            # It is a sum over time: what it comes to per token is what people compare.
            per_token = loss.detach() / batch.targets.shape[1]
        else:
            loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten())
            per_token = loss.detach()
        self.train_totals.add(batch.targets.numel(), loss=per_token * batch.targets.numel())
        return {"loss": loss, "shown": per_token}

    def on_train_epoch_end(self) -> None:
        """Reports the means over the epoch."""
        self._publish("train", self.train_totals)

    def _publish(self, split: str, totals: Totals) -> None:
        nats = totals.means()["loss"]
        metrics = {"loss": nats, "perplexity": perplexity(nats)}
        if self.vocabulary.level == "character":
            metrics["bits_per_character"] = nats / _LN2
        self.publish(split, metrics)
        totals.reset()

    def _begin_evaluation(self) -> None:
        self.evaluation_totals.reset()
        self._evaluation_state = None

    def _evaluate(self, batch: TextBatch, *, counted: bool = True) -> None:
        logits, self._evaluation_state = self._score(batch, self._evaluation_state)
        nats = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="sum")
        if counted:
            self.evaluation_totals.add(batch.targets.numel(), loss=nats)

    def on_validation_epoch_start(self) -> None:
        """Starts counting, from an empty memory."""
        self._begin_evaluation()

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Counts a piece of each stream."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Reports the means over the split, and writes a sample."""
        self._publish(self.watched, self.evaluation_totals)
        self.texts["sample"] = self._sample()

    def on_test_epoch_start(self) -> None:
        """Starts counting, from an empty memory."""
        self._begin_evaluation()

    def test_step(self, batch: TextBatch, batch_idx: int) -> None:
        """Counts a piece of the one stream, which every process reads and one counts."""
        self._evaluate(batch, counted=rank() == 0)

    def on_test_epoch_end(self) -> None:
        """Reports the means over the test split."""
        self._publish("test", self.evaluation_totals)

    def _sample(self) -> str:
        """Draws a text from the model as it stands, always from the same random numbers."""
        begin = self.vocabulary.line_break or 0
        forbidden = [] if self.vocabulary.unknown is None else [self.vocabulary.unknown]
        drawn = sample(
            self.model.forward,  # not the compiled one, which would be compiled anew for single tokens
            torch.tensor([begin], device=self.device),
            SAMPLE_TOKENS[self.vocabulary.level],
            torch.Generator().manual_seed(0),
            forbidden=forbidden,
        )
        return self.vocabulary.decode(drawn)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the state in the checkpoint: a run killed within an epoch remembers what it had read."""
        checkpoint["hidden_state"] = None if self.state is None else [_of_all_ranks(part) for part in self.state]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes this rank's share of the state back."""
        state = checkpoint["hidden_state"]
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        self.state = None if state is None else tuple(part[:, share].contiguous() for part in state)

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws the perplexity over the epochs, or for characters their bits."""
        from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

        from zoo.tasks.curves import curves

        if self.vocabulary.level == "character":
            drawn = curves(metrics_file, ["bits_per_character"], {"bits_per_character": "bits per character"})
        else:
            drawn = curves(metrics_file, ["perplexity"], {"perplexity": "perplexity"})
            for axes in drawn.axes if drawn is not None else ():
                # From hundreds down to what a paper prints: steps that look equal divide it equally.
                axes.autoscale(axis="y")
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
                axes.yaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        return {"curves": drawn} if drawn is not None else {}


def _of_all_ranks(part: Tensor) -> Tensor:
    """Puts all streams' states side by side, `(layers, B, D)`; rank r holds the streams r, r + world and so on."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return part
    shares = [torch.empty_like(part) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(shares, part.contiguous())
    return torch.stack(shares, dim=2).flatten(1, 2)
