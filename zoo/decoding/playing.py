"""Games played by a network that tells the value of each action."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from zoo.data.vector import EnvironmentVector, Game


@torch.inference_mode()
def act(
    values: Callable[[Tensor], Tensor], observations: np.ndarray, epsilon: float, draw: np.random.Generator,
    device: torch.device,
) -> np.ndarray:  # fmt: skip
    """Chooses actions, `(N,)`: the best one each, or with probability epsilon any.

    Args:
        values: Maps observations `(N, C, …)` to the values of the actions, `(N, A)`.
        observations: As they come from environments.
        epsilon: Probability of a random action.
        draw: Of random numbers.
        device: Of the network.
    """
    of_actions = values(torch.from_numpy(observations).to(device))
    best = of_actions.argmax(dim=1).cpu().numpy()
    anything = draw.integers(of_actions.shape[1], size=len(best))
    return np.where(draw.random(len(best)) < epsilon, anything, best)


def play(
    values: Callable[[Tensor], Tensor],
    environments: EnvironmentVector,
    epsilon: float,
    seed: int,
    device: torch.device,
    watch: Callable[[], None] = lambda: None,
) -> list[Game]:
    """Plays one game in each environment, and returns them in order.

    Args:
        values: As in `act`.
        environments: That have just begun.
        epsilon: Probability of a random action.
        seed: Of what is drawn.
        device: Of the network.
        watch: Called before each step while the first environment's game goes on.
    """
    draw = np.random.default_rng(seed)
    ended: dict[int, Game] = {}
    while len(ended) < len(environments):
        if 0 not in ended:
            watch()
        environments.step(act(values, environments.observations, epsilon, draw, device))
        for game in environments.games:  # one that has ended goes on meanwhile with another, which is not counted
            ended.setdefault(game.environment, game)
        environments.games = []
    return [ended[number] for number in range(len(environments))]
