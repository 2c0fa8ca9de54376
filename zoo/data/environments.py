"""Environments to act in: CartPole, any of Gymnasium's with discrete actions, MinAtar's games, Atari's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import torch

from zoo.data.atari import NaturePreprocessing, make_game
from zoo.data.episodes import EpisodeLoader, TickLoader
from zoo.data.minatar import GAMES, MinAtarGame
from zoo.data.registry import register_dataset
from zoo.data.seeds import derived_seed
from zoo.data.spec import ControlSpec
from zoo.data.vector import EnvironmentVector
from zoo.errors import ZooError

_TRAINING, _VALIDATION, _TEST = range(3)  # whose episodes a seed is for


class EnvironmentData:
    """An environment to train and to be judged in.

    Args:
        make: Makes it, given whether it is for training.
        seed: Decides all episodes.
        batch_size: Transitions of an update, over all ranks.
        environments: How many are stepped side by side, over all ranks.
        ticks_per_epoch: How many ticks make an epoch.
        steps_per_tick: Steps of a tick, in all environments together.
        episodes: That are played after each epoch.
        test_episodes: That are played in the final test.
        stack: Frames of an observation.

    Raises:
        ZooError: A setting makes no sense.
    """

    files = ()

    def __init__(
        self,
        make: Callable[[bool], gym.Env],
        *,
        seed: int,
        batch_size: int,
        environments: int,
        ticks_per_epoch: int,
        steps_per_tick: int,
        episodes: int,
        test_episodes: int,
        stack: int = 1,
    ) -> None:
        counts = {
            "batch_size": batch_size, "environments": environments, "ticks_per_epoch": ticks_per_epoch,
            "steps_per_tick": steps_per_tick, "episodes": episodes, "test_episodes": test_episodes,
        }  # fmt: skip
        for key, value in counts.items():
            if value < 1:
                raise ZooError(f"data.{key}={value} is not possible: expected 1 or more")
        self._make, self._seed, self._stack = make, seed, stack
        self._batch_size, self._environments = batch_size, environments
        self._ticks, self._steps = ticks_per_epoch, steps_per_tick
        self._episodes, self._test_episodes = episodes, test_episodes
        self._frame: tuple[tuple[int, ...], str] | None = None

    def prepare(self) -> ControlSpec:
        """Makes one environment and looks at it.

        Raises:
            ZooError: It does not exist, its package is not installed, or it has no discrete actions.
        """
        environment = self._make(False)
        actions, seen = environment.action_space, environment.observation_space
        name = environment.spec.id if environment.spec else type(environment).__name__
        environment.close()
        if not isinstance(actions, gym.spaces.Discrete):
            raise ZooError(f"{name} has the actions {actions}: Q-learning needs a few discrete ones to choose from")
        assert isinstance(seen, gym.spaces.Box)
        self._frame = seen.shape, str(seen.dtype)
        shape = (self._stack * seen.shape[0], *seen.shape[1:])
        return ControlSpec(shape, int(actions.n), str(seen.dtype))

    def vector(self, seed: int, count: int, *, training: bool) -> EnvironmentVector:
        """Returns environments that are stepped together."""
        return self._vector(seed, range(count), training)

    def _vector(self, seed: int, numbers: range, training: bool) -> EnvironmentVector:
        if self._frame is None:
            raise RuntimeError("prepare() comes first")
        return EnvironmentVector(lambda: self._make(training), numbers, seed, *self._frame, self._stack)

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> TickLoader:
        """Returns the ticks of a rank, which has some of the environments, and a memory of its own.

        Raises:
            ZooError: There are fewer environments than ranks, or `world` does not divide the batch size.
        """
        if self._environments < world:
            raise ZooError(f"data.environments={self._environments} cannot be shared by {world} processes: take as "
                           "many or more")  # fmt: skip
        numbers = range(rank, self._environments, world)
        mine = self._vector(derived_seed(self._seed, _TRAINING, 0), numbers, True)
        return TickLoader(mine, self._environments, self._ticks, self._steps, self._batch_size, world)

    def _episodes_of(self, split: int, episodes: int, rank: int, world: int) -> EpisodeLoader:
        make = partial(self.vector, training=False)
        return EpisodeLoader(make, derived_seed(self._seed, split), episodes, 2 * self._environments, rank, world)

    def validation_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> EpisodeLoader:
        """Returns the episodes after each epoch."""
        return self._episodes_of(_VALIDATION, self._episodes, rank, world)

    def test_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> EpisodeLoader:
        """Returns the episodes of the final test."""
        return self._episodes_of(_TEST, self._test_episodes, rank, world)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Nothing: a pipeline makes the environment that the card names."""
        return {}

    @property
    def class_names(self) -> list[str]:
        """None."""
        return []

    @property
    def checksums(self) -> dict[str, str]:
        """None: nothing is read."""
        return {}


_LONGEST = 1000  # steps, where an environment has no limit: a policy that goes round in circles would never end


def _from_gymnasium(name: str, longest: int | None) -> gym.Env:
    if longest is not None and longest < 1:
        raise ZooError(f"data.max_episode_steps={longest} is not possible: expected 1 or more, or null")
    if ":" in name:  # Gymnasium would import what stands before it, and a release's card may name anything
        raise ZooError(f"data.id={name} names a module: register the environment in one that imports=[…] names, and "
                       "give its id alone")  # fmt: skip
    try:
        environment = gym.make(name, max_episode_steps=longest, disable_env_checker=True)
    except (gym.error.Error, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"data.id={name} cannot be made ({reason}): expected an id such as CartPole-v1") from error
    if longest is None and (environment.spec is None or environment.spec.max_episode_steps is None):
        environment = gym.wrappers.TimeLimit(environment, _LONGEST)
    seen = environment.observation_space
    if isinstance(seen, gym.spaces.Box) and len(seen.shape) == 1:
        return environment
    return gym.wrappers.FlattenObservation(environment)


@register_dataset
def cartpole(
    dir: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    environments: int = 8,
    ticks_per_epoch: int = 20,
    steps_per_tick: int = 256,
    episodes: int = 20,
    test_episodes: int = 100,
) -> EnvironmentData:
    """CartPole-v1: a pole is to be balanced for 500 steps (Barto, Sutton and Anderson 1983); embedded."""
    settings = (dir, batch_size, seed, environments, ticks_per_epoch, steps_per_tick, episodes, test_episodes)
    return gymnasium("CartPole-v1", *settings)


@register_dataset
def gymnasium(
    id: str = "Acrobot-v1",
    dir: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
    environments: int = 8,
    ticks_per_epoch: int = 20,
    steps_per_tick: int = 256,
    episodes: int = 20,
    test_episodes: int = 100,
    max_episode_steps: int | None = None,
) -> EnvironmentData:
    """Any environment of Gymnasium's that has discrete actions, by its id."""
    return EnvironmentData(
        lambda training: _from_gymnasium(id, max_episode_steps),
        seed=seed,
        batch_size=batch_size,
        environments=environments,
        ticks_per_epoch=ticks_per_epoch,
        steps_per_tick=steps_per_tick,
        episodes=episodes,
        test_episodes=test_episodes,
    )


def _register_minatar(game: str) -> None:
    def constructor(
        dir: str | None = None,
        batch_size: int = 32,
        seed: int = 0,
        environments: int = 8,
        ticks_per_epoch: int = 400,
        steps_per_tick: int = 256,
        episodes: int = 20,
        test_episodes: int = 100,
    ) -> EnvironmentData:
        return EnvironmentData(
            lambda training: MinAtarGame(game),
            seed=seed,
            batch_size=batch_size,
            environments=environments,
            ticks_per_epoch=ticks_per_epoch,
            steps_per_tick=steps_per_tick,
            episodes=episodes,
            test_episodes=test_episodes,
        )

    constructor.__name__ = f"minatar_{game}"
    constructor.__doc__ = f"MinAtar's {game.replace('_', ' ').title()}, on a board of 10 by 10."
    register_dataset(constructor)


for _game in GAMES:
    _register_minatar(_game)


@register_dataset
def atari(
    game: str = "pong",
    dir: str | None = None,
    batch_size: int = 32,
    seed: int = 0,
    environments: int = 8,
    ticks_per_epoch: int = 1000,
    steps_per_tick: int = 256,
    episodes: int = 8,
    test_episodes: int = 30,
    minutes: float = 5.0,
) -> EnvironmentData:
    """Any Atari game of ale-py's, by its name, such as `space_invaders`; seen as by the DQN of 2015."""
    if minutes <= 0:
        raise ZooError(f"data.minutes={minutes} is not possible: expected more than 0")
    return EnvironmentData(
        lambda training: NaturePreprocessing(make_game(game), lives_end_episodes=training, minutes=minutes),
        seed=seed,
        batch_size=batch_size,
        environments=environments,
        ticks_per_epoch=ticks_per_epoch,
        steps_per_tick=steps_per_tick,
        episodes=episodes,
        test_episodes=test_episodes,
        stack=4,
    )


def _register_atari(game: str) -> None:
    def constructor(
        dir: str | None = None,
        batch_size: int = 32,
        seed: int = 0,
        environments: int = 8,
        ticks_per_epoch: int = 1000,
        steps_per_tick: int = 256,
        episodes: int = 8,
        test_episodes: int = 30,
        minutes: float = 5.0,
    ) -> EnvironmentData:
        counts = (batch_size, seed, environments, ticks_per_epoch, steps_per_tick, episodes, test_episodes)
        return atari(game, dir, *counts, minutes)

    constructor.__name__ = f"atari_{game}"
    constructor.__doc__ = f"Atari's {game.replace('_', ' ').title()}, seen as by the DQN of 2015."
    register_dataset(constructor)


for _game in ("breakout", "pong"):
    _register_atari(_game)
