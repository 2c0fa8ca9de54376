"""The critics of Gulrajani et al. 2017, Figure 1a: what each of the two constraints does to them."""

import pytest
import torch
from torch import nn

from zoo.data.toy import gaussians_8, points
from zoo.training.critic_surfaces import CLIP, train_critic


def slopes(critic: nn.Module) -> torch.Tensor:
    """The lengths of a critic's gradients between the real points and those with noise."""
    places = (points(gaussians_8().centres, 0.1, 400, seed=9, epoch=0)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(places).sum(), places)
    return gradient.flatten(1).norm(dim=1)


@pytest.mark.slow
def test_the_penalty_keeps_slopes_near_one_and_clipping_makes_them_vanish():
    data = gaussians_8()
    penalised, clipped = (
        train_critic(data.centres, data.spread, penalised=penalised, steps=80) for penalised in (True, False)
    )
    assert 0.5 < float(slopes(penalised).median()) < 2
    assert float(slopes(clipped).max()) < 0.1
    assert max(float(parameter.abs().max()) for parameter in clipped.parameters()) == pytest.approx(CLIP)
