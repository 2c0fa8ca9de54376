"""Image classification: one label per image, judged by the share of wrong answers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.metrics.probabilities import class_probabilities
from zoo.metrics.ranks import gathered, total, weight_of_mean
from zoo.metrics.totals import Totals
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MISTAKES_SHOWN = 24

Mistake = tuple[float, Tensor, int, int]  # how sure, of which image, its label, the answer


class ImageClassification(Task):
    """Trains a classifier with its own `loss(scores, labels)` where it has one, else with cross-entropy.

    Metrics, on train, validation and test: `loss`, `error` (percent of images, 0-100), `accuracy` (100 - error); with
    more than ten classes also `top5_error`.

    Args:
        label_smoothing: For cross-entropy: the share of the target spread evenly over all classes, 0 to 1.
    """

    headlines: ClassVar[dict[str, str]] = {
        "test/error": "min",
        "test/accuracy": "max",
        "test/loss": "min",
        "test/top5_error": "min",
    }
    sample_unit: ClassVar[str] = "images"

    def __init__(self, *shared: Any, headline: str = "test/error", label_smoothing: float = 0.0) -> None:
        super().__init__(*shared, headline=headline)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"task.label_smoothing={label_smoothing} is outside [0, 1)")
        own_loss: Callable[[Tensor, Tensor], Tensor] | None = getattr(self.model, "loss", None)
        if own_loss and label_smoothing:
            raise ValueError("task.label_smoothing does nothing here: the model has a loss of its own")
        self.loss = own_loss or nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.top5 = len(self.class_names) > 10
        if headline == "test/top5_error" and not self.top5:
            raise ValueError("task.headline=test/top5_error is for more than ten classes: choose test/error")
        counted = ("loss", "errors", "top5_errors") if self.top5 else ("loss", "errors")
        self.train_totals = Totals(*counted)
        self.evaluation_totals = Totals(*counted)
        classes = len(self.class_names)
        self.confusion = torch.zeros(classes, classes, dtype=torch.int64)
        self.mistakes: list[Mistake] = []

    def forward(self, images: Tensor) -> Tensor:
        """Scores images (B, C, H, W) -> (B, classes); the largest score is the answer."""
        return self.model(images)

    def _step(self, batch: tuple[Tensor, Tensor], totals: Totals) -> tuple[Tensor, Tensor]:
        images, labels = batch
        scores = self._mean_over_views(images) if images.ndim == 5 else self.model(images)
        loss = self.loss(scores, labels)
        with torch.no_grad():
            sums = {"loss": loss * len(labels), "errors": (scores.argmax(1) != labels).sum()}
            if self.top5:
                sums["top5_errors"] = (scores.topk(5).indices != labels[:, None]).all(1).sum()
            totals.add(len(labels), **sums)
        return loss, scores

    def _mean_over_views(self, views: Tensor) -> Tensor:
        """Scores images seen in several views (B, V, C, H, W): the log of the mean of their probabilities."""
        scores = self.model(views.flatten(0, 1)).view(*views.shape[:2], -1)  # (B, V, classes)
        return scores.float().log_softmax(2).logsumexp(1) - math.log(views.shape[1])

    def _publish(self, split: str, totals: Totals) -> None:
        means = totals.means()
        error = 100 * means["errors"]
        metrics = {"loss": means["loss"], "error": error, "accuracy": 100 - error}
        if self.top5:
            metrics["top5_error"] = 100 * means["top5_errors"]
        self.publish(split, metrics)
        totals.reset()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Returns the loss of a batch of images (B, C, H, W) and labels (B,)."""
        return self._step(batch, self.train_totals)[0] * weight_of_mean(len(batch[1]))

    def on_train_epoch_end(self) -> None:
        """Reports the means over the epoch."""
        self._publish("train", self.train_totals)

    def on_validation_epoch_start(self) -> None:
        """Starts counting."""
        self.evaluation_totals.reset()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Counts one batch."""
        self._step(batch, self.evaluation_totals)

    def on_validation_epoch_end(self) -> None:
        """Reports the means over the split."""
        self._publish(self.watched, self.evaluation_totals)

    def on_test_epoch_start(self) -> None:
        """Starts counting, and collecting what the figures show."""
        self.evaluation_totals.reset()
        self.confusion.zero_()
        self.mistakes = []

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Counts one batch and keeps its worst mistakes."""
        scores = self._step(batch, self.evaluation_totals)[1]
        images, labels = batch[0], batch[1].cpu()
        if images.ndim == 5:
            images = images[:, 0]  # a figure shows the first view
        confidence, answers = class_probabilities(self.model, scores).cpu().max(1)
        pairs = labels * len(self.class_names) + answers
        self.confusion += torch.bincount(pairs, minlength=self.confusion.numel()).view_as(self.confusion)
        self.mistakes = worst(self.mistakes + wrong_answers(images, labels, confidence, answers))

    def on_test_epoch_end(self) -> None:
        """Reports the means over the test split, each image counted once over all processes."""
        counts = total(*self.confusion.flatten().tolist())
        self.confusion = torch.tensor(counts, dtype=torch.int64).view_as(self.confusion)
        self.mistakes = worst(gathered(self.mistakes))
        self._publish("test", self.evaluation_totals)

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws curves, first-layer filters, confusion matrix and the worst mistakes."""
        from zoo.tasks import classification_figures as draw
        from zoo.tasks.curves import curves

        first = next((m for m in self.model.modules() if isinstance(m, nn.Conv2d)), None)
        figures = {
            "curves": curves(metrics_file, ["error", "loss"], {"error": "error, %", "loss": "loss"}),
            "confusion": draw.confusion_matrix(self.confusion, self.class_names),
            "filters": draw.first_layer_filters(first.weight.detach().cpu()) if first is not None else None,
            "mistakes": draw.worst_mistakes(self.mistakes, self.class_names) if self.mistakes else None,
        }
        return {name: figure for name, figure in figures.items() if figure is not None}


def wrong_answers(images: Tensor, labels: Tensor, confidence: Tensor, answers: Tensor) -> list[Mistake]:
    """Returns the mistakes among answers on images `(B, C, H, W)`; the others are `(B,)`, on the CPU."""
    wrong = torch.nonzero(answers != labels).flatten().tolist()
    return [(confidence[i].item(), images[i].cpu(), int(labels[i]), int(answers[i])) for i in wrong]


def worst(mistakes: list[Mistake]) -> list[Mistake]:
    """Returns the mistakes that a figure shows, the surest first."""
    return sorted(mistakes, key=lambda mistake: -mistake[0])[:MISTAKES_SHOWN]
