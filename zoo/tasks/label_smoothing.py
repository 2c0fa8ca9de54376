"""The cross-entropy of a translator, with and without label smoothing, in one pass over its logits.

Autograd would keep several arrays of the logits' size, hundreds of megabytes for one step, and spend more time on them
than the network does; here it is one, made in pieces that fit a processor's cache.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.data.tokenizing import PAD

_ROWS = 64  # tokens whose probabilities are worked on at once, on a CPU


def smoothed_loss(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy with label smoothing and without, each the sum over all tokens but padding.

    As `torch.nn.functional.cross_entropy` with `label_smoothing`, the share is spread over all tokens, the right one
    among them (Szegedy et al. 2015, arXiv:1512.00567, Section 7). Only the smoothed sum can be differentiated, once.

    Args:
        logits: `(B, T, V)`.
        targets: `(B, T)`.
        smoothing: Share of the target's probability that is spread evenly over all V tokens.

    Returns:
        Two scalars in nats, of float32 or, for logits of that kind, float64.
    """
    smoothed, plain = _SmoothedSum.apply(logits.flatten(0, 1), targets.flatten(), smoothing)
    return smoothed, plain


class _SmoothedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        kind = torch.promote_types(logits.dtype, torch.float32)  # a sum is too large for the few digits of bfloat16
        plain, spread = torch.zeros(2, dtype=kind, device=logits.device)
        ctx.kind = logits.dtype
        # float16 has no digits left for small probabilities before the loss is scaled.
        kept = kind if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=kept) if ctx.needs_input_grad[0] else None
        step = _ROWS if logits.device.type == "cpu" else max(1, len(logits))
        for start in range(0, len(logits), step):
            rows = slice(start, start + step)
            right, written = targets[rows, None], (targets[rows, None] != PAD).to(kind)
            log_probabilities = logits[rows].to(kind).log_softmax(dim=1)
            plain -= (log_probabilities.gather(1, right) * written).sum()
            if smoothing:
                spread -= (log_probabilities.mean(dim=1, keepdim=True) * written).sum()
            if gradient is not None:  # the probabilities, less those that they should be
                slope = log_probabilities.exp_()
                slope.sub_(smoothing / slope.shape[1]).scatter_add_(
                    1, right, (smoothing - 1) * torch.ones_like(written)
                )
                gradient[rows] = slope.mul_(written)
        ctx.gradient = gradient
        ctx.mark_non_differentiable(plain)
        return (1 - smoothing) * plain + smoothing * spread, plain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient of smoothed_loss is there once: no second backward pass")
        return gradient.mul_(scale).to(ctx.kind), None, None
