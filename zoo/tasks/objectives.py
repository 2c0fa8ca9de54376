"""What generator and discriminator are trained to do: the losses, and how their gradients reach one network only."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.metrics.ranks import average_gradients

ScoreLoss = Callable[[Tensor], Tensor]
PairLoss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Half the sum of both cross-entropies, real ones to be 1 and generated ones 0 (Goodfellow et al. 2014, eq. 1).

    Args:
        real: Logits `(B, 1)` of real images.
        fake: Of generated ones.
    """
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def minimax(fake: Tensor) -> Tensor:
    """log(1 - D(G(z))), to be made small (Goodfellow et al. 2014, equation 1)."""
    return -F.softplus(fake).mean()


def non_saturating(fake: Tensor) -> Tensor:
    """-log D(G(z)): the same fixed point with stronger gradients early on (Goodfellow et al. 2014, Section 3)."""
    return F.softplus(-fake).mean()


def critic(real: Tensor, fake: Tensor) -> Tensor:
    """The negative difference of mean scores, the critic's part (Arjovsky et al. 2017, equation 3)."""
    return fake.mean() - real.mean()


def wasserstein(fake: Tensor) -> Tensor:
    """The generator's part (Arjovsky et al. 2017, Algorithm 1)."""
    return -fake.mean()


class Objective(NamedTuple):
    """The discriminator's loss of scores of real and generated images, and the generator's of its own."""

    discriminator: PairLoss
    generator: ScoreLoss


OBJECTIVES = {
    "minimax": Objective(cross_entropy, minimax),
    "non_saturating": Objective(cross_entropy, non_saturating),
    "wasserstein": Objective(critic, wasserstein),
    "wasserstein_gp": Objective(critic, wasserstein),
}


def clip_weights(module: nn.Module, limit: float) -> None:
    """Clips every parameter to ±limit (Arjovsky et al. 2017, Algorithm 1, line 7)."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-limit, limit)


def gradient_penalty(module: nn.Module, real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """The mean of (|gradient| - 1)² at points between real and generated images (Gulrajani et al. 2017, equation 3).

    Args:
        module: The critic.
        real: `(B, …)`.
        fake: `(B, …)`.
        shares: Where each point lies, from 0 (generated) to 1 (real), `(B,)`.
    """
    share = shares.view(-1, *[1] * (real.ndim - 1))
    between = (share * real + (1 - share) * fake.detach()).requires_grad_()
    (gradient,) = torch.autograd.grad(module(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def set_gradients(part: nn.Module, loss: Tensor, weight: float, *, last: bool) -> Tensor:
    """Puts the gradients of a loss, the mean of all processes', into the parameters of one network only.

    Args:
        part: The network.
        loss: A mean over this process's images.
        weight: By which it counts among the processes'.
        last: Whether nothing else is differentiated after it.

    Returns:
        The norm of the gradients.
    """
    parameters = list(part.parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=not last)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    average_gradients(parameters, weight)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
