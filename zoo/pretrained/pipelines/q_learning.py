"""Games played by a released network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from zoo.data.environments import EnvironmentData
from zoo.data.registry import create_dataset
from zoo.data.rendering import picture, write_gif
from zoo.data.seeds import derived_seed
from zoo.decoding.playing import play
from zoo.errors import ZooError
from zoo.locations import output_file, writing
from zoo.pretrained.release import load_release

_TOGETHER = 16  # games side by side
_LONGEST_GIF = 3000  # pictures


class Episode(NamedTuple):
    """A game that was played to its end: the sum of its rewards, and how many actions it took."""

    score: float
    length: int


class QLearningPipeline:
    """Plays in the environment that a network was trained in.

    Args:
        model: Maps observations to the values of the actions, on any device.
        card: Of its release, which names the environment.

    Raises:
        ZooError: The environment is not there, or its package is not installed.

    Example:
        >>> play = zoo.pipeline("dqn_mlp-cartpole")
        >>> [episode.score for episode in play(episodes=2, seed=1)]
        [500.0, 500.0]
    """

    def __init__(self, model: nn.Module, card: dict[str, Any]) -> None:
        self.model = model
        self.card = card
        settings = {key: value for key, value in card["data"].items() if key != "name"}
        data = create_dataset(card["data"]["name"], **settings)
        assert isinstance(data, EnvironmentData)
        data.prepare()
        self.data = data

    @classmethod
    def from_release(cls, folder: Path) -> "QLearningPipeline":
        """Loads a release.

        Raises:
            ZooError: It is damaged, or its environment is not there.
        """
        return cls(*load_release(folder))

    def __call__(self, episodes: int = 1, seed: int = 0, epsilon: float | None = None) -> list[Episode]:
        """Plays games, the same ones for the same seed.

        Args:
            episodes: How many.
            seed: Of the games and of what is random in acting.
            epsilon: Probability of a random action; by default as the release was measured.

        Raises:
            ZooError: A setting makes no sense.
        """
        return self._play(episodes, seed, epsilon, None)

    def film(self, seed: int = 0) -> list[np.ndarray]:
        """Plays one game, and returns what a person would have seen before each action, uint8 `(H, W, 3)`.

        Raises:
            ZooError: Nothing here can draw the environment, or the seed makes no sense.
        """
        frames: list[np.ndarray] = []
        self._play(1, seed, None, frames)
        return frames

    def _play(self, episodes: int, seed: int, epsilon: float | None, frames: list[np.ndarray] | None) -> list[Episode]:
        share = self.card["task"]["evaluation_epsilon"] if epsilon is None else epsilon
        if type(episodes) is not int or episodes < 1:
            raise ZooError(f"episodes={episodes} is not possible: expected 1 or more")
        if type(seed) is not int or seed < 0:
            raise ZooError(f"seed={seed} is not possible: expected a whole number of at least 0")
        if not 0 <= share <= 1:
            raise ZooError(f"epsilon={share} is not possible: expected a probability")
        device = next(self.model.parameters(), torch.empty(0)).device
        played: list[Episode] = []
        for first in range(0, episodes, _TOGETHER):
            own = derived_seed(seed, first)
            environments = self.data.vector(own, min(_TOGETHER, episodes - first), training=False)

            def watch(first: int = first, game: Any = environments.environments[0]) -> None:
                if frames is None or first or len(frames) >= _LONGEST_GIF:
                    return
                if (seen := picture(game)) is None:
                    raise ZooError(f"nothing here can draw {self.card['data']['name']}: play it without --gif")
                frames.append(seen)

            games = play(self.model, environments, share, own, device, watch)
            played += [Episode(game.score, game.length) for game in games]
        return played

    def answer(
        self,
        inputs: list[str],
        *,
        episodes: int = 1,
        seed: int = 0,
        epsilon: float | None = None,
        gif: str | None = None,
    ) -> Iterator[str]:
        """Answers a command line: each game's return and length, then their mean.

        Args:
            inputs: None: the environment is the release's own.
            episodes: How many games.
            seed: Of the games.
            epsilon: Probability of a random action.
            gif: Where an animation of the first one goes, e.g. `out.gif`.

        Yields:
            Lines to be printed.

        Raises:
            ZooError: As `__call__`, or a file cannot be written.
        """
        if inputs:
            raise ZooError(f"{inputs[0]!r} is nothing to play with: give --episodes 5, --seed 3 or --gif out.gif")
        if gif is not None:
            output_file("--gif", gif)
        frames: list[np.ndarray] | None = None if gif is None else []
        played = self._play(episodes, seed, epsilon, frames)
        for number, episode in enumerate(played, 1):
            yield f"episode {number}: return {episode.score:g} in {episode.length:,} steps\n"
        if len(played) > 1:
            yield f"mean return {np.mean([episode.score for episode in played]):.4g}\n"
        if gif is not None and frames:
            with writing("--gif", gif) as path:
                write_gif(frames, path.with_suffix(".gif"))
            yield f"{path.with_suffix('.gif')}\n"
