"""Several environments side by side, whose state is a seed and the actions since: plain numbers for a checkpoint."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from zoo.data.seeds import derived_seed
from zoo.errors import ZooError

# In `info`, by an environment whose episode ended with a life while its game goes on: `reset()` without a seed goes on.
GAME_GOES_ON = "game_goes_on"
_RESET = -1  # among the actions: a reset within a game


class Steps(NamedTuple):
    """What came of an action in each environment.

    `frames` `(N, C, …)` are the newest ones, of an ended episode its last one; `rewards` `(N,)` are as the environment
    gave them; `terminal` `(N,)` where nothing can follow; `ended` `(N,)` where an episode ended, by that or because
    its time is up.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminal: np.ndarray
    ended: np.ndarray


class Game(NamedTuple):
    """A game that was played to its end: where, the sum of its rewards, and how many actions it took."""

    environment: int
    score: float
    length: int


class EnvironmentVector:
    """Environments that are stepped together; each begins a new episode when one has ended.

    Args:
        make: Makes an environment.
        numbers: Of the N environments among all that the seed is for.
        seed: Decides every episode of every environment.
        frame_shape: Of a frame, `(C, …)`.
        dtype: Of a frame.
        stack: Frames of an observation; those before an episode's first frame are zeros.
    """

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        numbers: Sequence[int],
        seed: int,
        frame_shape: tuple[int, ...],
        dtype: str,
        stack: int = 1,
    ) -> None:
        count = len(numbers)
        self.environments = [make() for _ in numbers]
        self.count, self._numbers, self._seed, self.stack = count, numbers, seed, stack
        self.frame_shape, self.dtype = frame_shape, dtype
        self.observations = np.zeros((count, stack * frame_shape[0], *frame_shape[1:]), dtype)
        self.games: list[Game] = []  # that ended since the caller last took them away
        self._episode = [0] * count
        self._actions: list[list[int]] = [[] for _ in range(count)]  # since the reset with a seed
        self._score, self._length = [0.0] * count, [0] * count
        for number in range(count):
            self._begin(number)

    def __len__(self) -> int:
        """Returns how many environments there are."""
        return self.count

    @property
    def frames(self) -> np.ndarray:
        """The newest frame of each, `(N, C, …)`."""
        return self.observations[:, -self.frame_shape[0] :]

    def _frame(self, number: int, frame: Any, *, first: bool) -> None:
        shown, channels = self.observations[number], self.frame_shape[0]
        if first:
            shown[:] = 0
        elif self.stack > 1:
            shown[:-channels] = shown[channels:].copy()
        shown[-channels:] = np.asarray(frame).reshape(self.frame_shape)

    def _begin(self, number: int) -> None:
        """Begins an episode, of a new game."""
        seed = derived_seed(self._seed, self._numbers[number], self._episode[number])
        frame, _ = self.environments[number].reset(seed=seed)
        self._actions[number] = []
        self._score[number], self._length[number] = 0.0, 0
        self._frame(number, frame, first=True)

    def step(self, actions: np.ndarray) -> Steps:
        """Acts in each environment.

        Args:
            actions: Numbers of actions, `(N,)`.

        Returns:
            What came of it; `observations` are those to act on next, of a new episode where one has ended.
        """
        frames = np.empty((self.count, *self.frame_shape), self.dtype)
        rewards = np.zeros(self.count, np.float32)
        terminal, ended = np.zeros(self.count, bool), np.zeros(self.count, bool)
        for number, action in enumerate(actions.tolist()):
            frame, reward, terminated, truncated, info = self.environments[number].step(action)
            frames[number] = np.asarray(frame).reshape(self.frame_shape)
            rewards[number], terminal[number], ended[number] = reward, terminated, terminated or truncated
            self._actions[number].append(action)
            self._score[number] += float(reward)
            self._length[number] += 1
            if not (terminated or truncated):
                self._frame(number, frame, first=False)
            elif info.get(GAME_GOES_ON):
                frame, _ = self.environments[number].reset()
                self._actions[number].append(_RESET)
                self._frame(number, frame, first=True)
            else:
                self.games.append(Game(number, self._score[number], self._length[number]))
                self._episode[number] += 1
                self._begin(number)
        return Steps(frames, rewards, terminal, ended)

    def state_dict(self) -> dict[str, Any]:
        """Returns where each environment is: which episode, and what was done in it."""
        return {
            "episodes": list(self._episode),
            "actions": [list(actions) for actions in self._actions],
            "frames": [int(observation.view(np.uint8).astype(np.int64).sum()) for observation in self.observations],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Plays each environment's episode again up to where it was.

        Raises:
            ZooError: It does not come out the same.
        """
        self.games = []
        self._episode = list(state_dict["episodes"])
        for number, actions in enumerate(state_dict["actions"]):
            self._begin(number)
            for action in actions:
                if action == _RESET:
                    frame, _ = self.environments[number].reset()
                    self._frame(number, frame, first=True)
                else:
                    frame, reward, *_ = self.environments[number].step(action)
                    self._score[number] += float(reward)
                    self._length[number] += 1
                    self._frame(number, frame, first=False)
                self._actions[number].append(action)
        if self.state_dict()["frames"] != state_dict["frames"]:
            name = self.environments[0].spec.id if self.environments[0].spec else "this environment"
            raise ZooError(f"{name} does not repeat itself for the same seed and actions: a run in it cannot go on "
                           "exactly; start a new one with from_run=…")  # fmt: skip
