"""The loss of a translator is PyTorch's, in one pass."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from zoo.data.tokenizing import PAD
from zoo.tasks.label_smoothing import smoothed_loss

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-3}


@pytest.mark.parametrize("kind", list(TOLERANCE))
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_the_loss_is_pytorchs_cross_entropy_without_the_padding(smoothing: float, kind: torch.dtype):
    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 70, 11, generator=draw, dtype=torch.float64).to(kind).requires_grad_()
    targets = torch.randint(1, 11, (3, 70), generator=draw)
    targets[0, 4:] = targets[2, 6:] = PAD
    smoothed, plain = smoothed_loss(logits, targets, smoothing)
    exact = logits.double().flatten(0, 1)
    expected = partial(F.cross_entropy, exact, targets.flatten(), ignore_index=PAD, reduction="sum")
    close = partial(torch.testing.assert_close, rtol=TOLERANCE[kind], atol=TOLERANCE[kind], check_dtype=False)
    torch.testing.assert_close(smoothed.double(), expected(label_smoothing=smoothing), rtol=1e-6, atol=0)
    torch.testing.assert_close(plain.double(), expected(), rtol=1e-6, atol=0)
    (ours,) = torch.autograd.grad(smoothed / 3, logits)
    (theirs,) = torch.autograd.grad(expected(label_smoothing=smoothing) / 3, logits)
    assert ours.dtype == kind
    close(ours, theirs)


def test_evaluation_keeps_no_gradient():
    logits, targets = torch.zeros(1, 2, 5), torch.tensor([[1, 2]])
    smoothed, plain = smoothed_loss(logits, targets, 0.1)
    assert smoothed.grad_fn is None
    assert plain == pytest.approx(2 * torch.tensor(5.0).log())


def test_a_second_backward_pass_is_refused():
    logits = torch.zeros(1, 2, 5, requires_grad=True)
    smoothed, _ = smoothed_loss(logits, torch.tensor([[1, 2]]), 0.1)
    smoothed.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="no second backward pass"):
        smoothed.backward()


def test_float16_keeps_small_probabilities_until_the_loss_is_scaled():
    logits = torch.zeros(1, 1, 4, dtype=torch.float16)
    logits[..., 1] = 18.0  # the others have a probability of 1.5e-8, which is 0 in float16
    logits.requires_grad_()
    smoothed, _ = smoothed_loss(logits, torch.tensor([[1]]), 0.0)
    (gradient,) = torch.autograd.grad(smoothed * 65536, logits)
    expected = logits.detach().double().softmax(dim=2)[0, 0, 2] * 65536
    assert gradient.dtype == torch.float16
    assert float(gradient[0, 0, 2]) == pytest.approx(float(expected), rel=0.01)
