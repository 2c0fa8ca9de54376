"""MinAtar: Atari games in miniature, on boards of 10 by 10 (Young and Tian 2019, arXiv:1903.03176)."""

from typing import Any

import gymnasium
import numpy as np

from zoo.errors import ZooError

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")


class MinAtarGame(gymnasium.Env):
    """A game with all its six actions, of which one in ten is the one before, and with difficulty ramping.

    What is seen is bool, `(C, 10, 10)`. The action that is repeated is forgotten when a game ends, which in the
    package it is not: so a game is decided by its seed and its actions.

    Args:
        game: One of `GAMES`.

    Raises:
        ZooError: minatar is not installed.
    """

    def __init__(self, game: str) -> None:
        try:
            from minatar import Environment
        except ImportError as error:
            raise ZooError('MinAtar needs its package: pip install "landmark-zoo[minatar]"') from error
        self.name = game
        self.game = Environment(game)
        rows, columns, channels = self.game.state_shape()
        self.observation_space = gymnasium.spaces.Box(0, 1, (channels, rows, columns), np.bool_)
        self.action_space = gymnasium.spaces.Discrete(self.game.num_actions())

    def _seen(self) -> np.ndarray:
        return self.game.state().transpose(2, 0, 1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begins a game."""
        super().reset(seed=seed)
        if seed is not None:
            self.game.seed(seed)
        self.game.last_action = 0
        self.game.reset()
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Plays a frame."""
        reward, ended = self.game.act(action)
        return self._seen(), float(reward), bool(ended), False, {}
