"""Gulrajani et al. 2017, Figure 1a: what clipping and what the gradient penalty make of a critic.

As in the paper the generator is held fixed: its points are the real ones with much noise. The critics are trained by
themselves, with the settings of the papers' code.
"""

import matplotlib

matplotlib.use("Agg")
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from torch import nn

from zoo.data.toy import gaussians_8, gaussians_25, points
from zoo.models.wgan import wgan_gp_toy
from zoo.tasks.adversarial_figures import draw_surface
from zoo.tasks.objectives import clip_weights, critic, gradient_penalty

NOISE = 0.25  # of the authors' code, 1 where the circle has a radius of √2, in the scale of ours
CLIP, PENALTY = 0.01, 0.1
CAPTION = (
    "What clipping and what the gradient penalty make of a critic (after Gulrajani et al. 2017, Figure 1a): lines on "
    "which it is equal, yellow where it is high, after 2,000 steps between the orange points and the same with noise"
)


def train_critic(centres: torch.Tensor, spread: float, *, penalised: bool, steps: int, seed: int = 0) -> nn.Module:
    """Trains a critic against a fixed generator.

    Args:
        centres: Of the real points, `(K, 2)`.
        spread: Of the real points around them.
        penalised: Whether by the gradient penalty; otherwise its weights are clipped.
        steps: Of 256 points each.
        seed: Of everything that is drawn.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = wgan_gp_toy().discriminator
        optimizer: torch.optim.Optimizer
        if penalised:
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.5, 0.9))
        else:
            optimizer = torch.optim.RMSprop(network.parameters(), lr=5e-5)
        for step in track(range(steps), "critics", transient=True, console=Console(stderr=True)):
            real = points(centres, spread, 256, seed, epoch=0, batch=step)
            made = points(centres, spread, 256, seed, epoch=1, batch=step)
            made += NOISE * torch.randn_like(made)
            loss = critic(network(real), network(made))
            if penalised:
                loss = loss + PENALTY * gradient_penalty(network, real, made, torch.rand(len(real)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not penalised:
                clip_weights(network, CLIP)
    return network


def critic_surfaces(steps: int = 2000) -> Figure:
    """Trains four critics, which takes minutes, and draws their levels: clipped above, penalised below."""
    figure = Figure(figsize=(6.4, 6.8), layout="constrained")
    rows = figure.subplots(2, 2)
    for row, penalised in zip(rows, (False, True), strict=True):
        for axes, data in zip(row, (gaussians_8(), gaussians_25()), strict=True):
            network = train_critic(data.centres, data.spread, penalised=penalised, steps=steps)
            draw_surface(axes, network, points(data.centres, data.spread, 600, seed=0, epoch=2))
        row[0].set_ylabel("gradient penalty" if penalised else "weights clipped")
    for axes, title in zip(rows[0], ("8 Gaussians", "25 Gaussians"), strict=True):
        axes.set_title(title)
    return figure
