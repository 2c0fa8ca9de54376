"""Image classification against scikit-learn's metrics and by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from zoo.tasks.image_classification import MISTAKES_SHOWN, ImageClassification

TESTER = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


class Table(nn.Module):
    """Answers image i with row i of a table, so that scores are known."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores[images[:, 0, 0, 0].long()]


def task_for(model: nn.Module, classes: int, watched: str = "test", **settings) -> ImageClassification:
    names = [f"class {number}" for number in range(classes)]
    return ImageClassification(model, names, partial(torch.optim.SGD, lr=0.1), None, "epoch", watched, **settings)


def measured(task: ImageClassification, labels: Tensor, batch: int) -> dict[str, float]:
    images = torch.arange(len(labels)).float().view(-1, 1, 1, 1)
    TESTER.test(task, DataLoader(TensorDataset(images, labels), batch), verbose=False)
    return task.published


@pytest.mark.parametrize("classes", [2, 10, 11, 30])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), samples=st.integers(1, 80), batch=st.integers(1, 40))
def test_every_number_agrees_with_scikit_learn(classes: int, seed: int, samples: int, batch: int):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(samples, classes, generator=generator)
    labels = torch.randint(classes, (samples,), generator=generator)
    task = task_for(Table(scores), classes)
    found = measured(task, labels, batch)
    truth, answers, every = labels.numpy(), scores.argmax(1).numpy(), np.arange(classes)
    assert found["test/accuracy"] == pytest.approx(100 * accuracy_score(truth, answers))
    assert found["test/error"] == pytest.approx(100 - found["test/accuracy"])
    probabilities = scores.double().softmax(1).numpy()
    # Of a loss near zero the sums in float32 leave a millionth of the scores.
    assert found["test/loss"] == pytest.approx(log_loss(truth, probabilities, labels=every), rel=1e-4, abs=1e-6)
    assert np.array_equal(task.confusion.numpy(), confusion_matrix(truth, answers, labels=every))
    assert ("test/top5_error" in found) == (classes > 10)
    if classes > 10:
        top5 = top_k_accuracy_score(truth, scores.numpy(), k=5, labels=every)
        assert found["test/top5_error"] == pytest.approx(100 * (1 - top5))


def test_a_second_test_starts_from_nothing():
    labels = torch.arange(8) % 3
    task = task_for(Table(torch.randn(8, 3)), 3)
    first = dict(measured(task, labels, 4))
    assert measured(task, labels, 8) == pytest.approx(first)
    assert task.confusion.sum() == 8


def test_the_worst_mistakes_are_the_surest_wrong_answers():
    scores = torch.zeros(100, 4)
    scores[:, 1] = torch.linspace(0.1, 9, 100)  # ever surer of class 1
    labels = torch.tensor([1, 0] * 50)
    task = task_for(Table(scores), 4)
    measured(task, labels, 7)
    assert len(task.mistakes) == MISTAKES_SHOWN
    wrong = [index for index in reversed(range(100)) if labels[index] == 0][:MISTAKES_SHOWN]
    assert [int(image) for _, image, _, _ in task.mistakes] == wrong
    assert [probability for probability, *_ in task.mistakes] == pytest.approx(scores[wrong].softmax(1)[:, 1].tolist())
    assert {(truth, answer) for _, _, truth, answer in task.mistakes} == {(0, 1)}


class OwnLoss(Table):
    """A model whose paper has a loss of its own."""

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        return (scores.gather(1, labels[:, None]) ** 2).mean()


def test_a_model_s_own_loss_comes_before_cross_entropy():
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    found = measured(task_for(OwnLoss(scores), 3), labels, 4)
    assert found["test/loss"] == pytest.approx((scores[range(6), labels] ** 2).mean().item())


def test_label_smoothing_is_pytorch_s():
    scores, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    found = measured(task_for(Table(scores), 3, label_smoothing=0.2), labels, 6)
    expected = nn.functional.cross_entropy(scores, labels, label_smoothing=0.2)
    assert found["test/loss"] == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("model", "wrong", "told"),
    [
        (Table, {"label_smoothing": 1.0}, r"outside \[0, 1\)"),
        (OwnLoss, {"label_smoothing": 0.1}, "a loss of its own"),
        (Table, {"headline": "test/bleu"}, "choose test/error"),
        (Table, {"headline": "val/error"}, "not measured here"),
    ],
)
def test_settings_that_make_no_sense(model, wrong, told):
    with pytest.raises(ValueError, match=told):
        task_for(model(torch.zeros(1, 3)), 3, **wrong)


def test_the_gradient_is_that_of_the_loss():
    scores, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    model = Table(scores)
    task_for(model, 3).training_step((torch.arange(5.0).view(-1, 1, 1, 1), labels), 0).backward()
    expected = (scores.softmax(1) - nn.functional.one_hot(labels, 3)) / 5
    assert torch.allclose(model.scores.grad, expected, atol=1e-6)


def test_figures_are_drawn_for_grey_and_colour_and_without_a_convolution(tmp_path):
    class Coloured(Table):
        def __init__(self) -> None:
            super().__init__(torch.randn(6, 12))
            self.first = nn.Conv2d(3, 5, 3)

    metrics = tmp_path / "metrics.csv"
    metrics.write_text("row,epoch,step,train/error,train/loss\nepoch,0,1,50.0,1.5\n")
    labels = torch.arange(6)
    coloured, plain = task_for(Coloured(), 12), task_for(Table(torch.eye(6, 12)), 12)
    for task in (coloured, plain):
        measured(task, labels, 6)
    assert {"curves", "confusion", "filters"} <= set(coloured.figures(metrics))
    # Without a convolution there are no filters, without a mistake no worst ones.
    assert set(plain.figures(metrics)) == {"curves", "confusion"}
    for name, figure in coloured.figures(metrics).items():
        figure.savefig(tmp_path / f"{name}.png")


def test_the_model_is_scored_once_a_batch():
    model = Table(torch.randn(4, 3))
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    measured(task_for(model, 3), torch.tensor([0, 1, 2, 0]), 2)
    assert len(calls) == 2


def test_five_guesses_need_more_than_ten_classes():
    with pytest.raises(ValueError, match="test/top5_error is for more than ten classes"):
        task_for(Table(torch.zeros(1, 10)), 10, headline="test/top5_error")
