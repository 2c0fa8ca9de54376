"""Environments side by side: seeds, ends of episodes, and a state that is played again."""

import gymnasium
import numpy as np
import pytest

from zoo.data.vector import GAME_GOES_ON, EnvironmentVector
from zoo.errors import ZooError


class Counting(gymnasium.Env):
    """Counts its steps from a number that the seed decides; ends where it is told to.

    A game has two lives of four steps each, is cut short after `limit` steps, and is random where `honest` is false.
    """

    observation_space = gymnasium.spaces.Box(0, 10_000, (1,), np.int64)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, limit: int = 100, lives: int = 1, honest: bool = True) -> None:
        self.limit, self.lives, self.honest = limit, lives, honest

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.number, self.steps, self.left = seed % 1000, 0, self.lives
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        return np.array([self.number if self.honest else np.random.default_rng().integers(9999)])

    def step(self, action):
        self.steps += 1
        self.number += 1 + action
        died = self.steps % 4 == 0 and self.limit == 100
        self.left -= died
        return self._seen(), 1.0, died, self.steps >= self.limit, {GAME_GOES_ON: died and self.left > 0}


def vector(count: int = 2, stack: int = 1, seed: int = 7, **settings) -> EnvironmentVector:
    return EnvironmentVector(lambda: Counting(**settings), range(count), seed, (1,), "int64", stack)


def test_an_episode_that_ends_makes_place_for_a_new_one():
    environments = vector()
    first = environments.observations.copy()
    for step in range(1, 5):
        taken = environments.step(np.array([0, 2]))
        assert taken.frames.tolist() == (first + step * np.array([[1], [3]])).tolist()
        assert taken.ended.tolist() == taken.terminal.tolist() == [step == 4] * 2
    # Its last frame was told; what is seen now is another episode's first one.
    assert environments.observations.tolist() != taken.frames.tolist()
    assert [tuple(game) for game in environments.games] == [(0, 4.0, 4), (1, 4.0, 4)]
    assert vector(seed=8).observations.tolist() != first.tolist()
    assert len({*first.flatten().tolist(), *environments.observations.flatten().tolist()}) == 4


def test_time_that_is_up_ends_an_episode_that_is_not_terminal():
    environments = vector(limit=3)
    for step in range(1, 4):
        taken = environments.step(np.array([1, 1]))
        assert taken.ended.tolist() == [step == 3] * 2
        assert not taken.terminal.any()


def test_a_life_ends_the_episode_but_not_the_game():
    environments = vector(count=1, lives=2)
    for step in range(1, 9):
        before = environments.observations.copy()
        taken = environments.step(np.array([0]))
        assert taken.terminal[0] == (step % 4 == 0)
        assert len(environments.games) == (step == 8)
        if step == 4:  # goes on where it was
            assert environments.observations.tolist() == (before + 1).tolist()
    assert tuple(environments.games[0]) == (0, 8.0, 8)


def test_an_observation_is_the_last_frames_of_its_episode():
    environments = vector(count=1, stack=3)
    (first,) = environments.frames[0].tolist()
    assert environments.observations.tolist() == [[0, 0, first]]
    environments.step(np.array([0]))
    environments.step(np.array([0]))
    assert environments.observations.tolist() == [[first, first + 1, first + 2]]
    environments.step(np.array([0]))
    environments.step(np.array([0]))
    assert environments.observations[0, :2].tolist() == [0, 0]


@pytest.mark.parametrize("settings", [{}, {"limit": 5}, {"lives": 3}])
@pytest.mark.parametrize("stop", [0, 3, 4, 11])
def test_a_state_is_played_again(settings: dict, stop: int):
    draw = np.random.default_rng(2)
    actions = draw.integers(3, size=(40, 2))
    environments = vector(stack=2, **settings)
    for action in actions[:stop]:
        environments.step(action)
    again = vector(stack=2, **settings)
    again.step(actions[30])
    again.load_state_dict(environments.state_dict())
    environments.games = []
    for action in actions[stop:]:
        ours, theirs = environments.step(action), again.step(action)
        assert all((one == other).all() for one, other in zip(ours, theirs, strict=True))
        assert environments.games == again.games
        assert (environments.observations == again.observations).all()


def test_a_real_environment_is_played_again():
    def cartpole() -> EnvironmentVector:
        return EnvironmentVector(lambda: gymnasium.make("CartPole-v1"), range(3), 5, (4,), "float32")

    draw = np.random.default_rng(2)
    environments, again = cartpole(), cartpole()
    for _ in range(57):
        environments.step(draw.integers(2, size=3))
    again.load_state_dict(environments.state_dict())
    assert (environments.observations == again.observations).all()


def test_what_does_not_repeat_itself_is_told_in_one_line():
    environments = vector(honest=False)
    environments.step(np.array([0, 0]))
    with pytest.raises(ZooError, match="does not repeat itself for the same seed and actions"):
        vector(honest=False).load_state_dict(environments.state_dict())
