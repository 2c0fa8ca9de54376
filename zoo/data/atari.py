"""Atari games as the DQN of 2015 sees and plays them, over the Arcade Learning Environment (ale-py) and OpenCV."""

from typing import Any

import gymnasium
import numpy as np

from zoo.data.vector import GAME_GOES_ON
from zoo.errors import ZooError

SIDE = 84
_FRAMES_PER_SECOND = 60


def make_game(game: str) -> gymnasium.Env:
    """Makes a game as it is: every frame, in grey, its smallest set of actions, no sticky actions.

    Raises:
        ZooError: ale-py or OpenCV is not installed, or there is no such game.
    """
    try:
        import ale_py
        import cv2  # noqa: F401 - needed for the first screen
    except ImportError as error:
        raise ZooError('Atari games need ale-py and OpenCV: pip install "landmark-zoo[atari]"') from error
    gymnasium.register_envs(ale_py)
    name = "".join(word.capitalize() for word in game.split("_"))
    try:
        return gymnasium.make(
            f"ALE/{name}-v5", obs_type="grayscale", frameskip=1, repeat_action_probability=0.0, full_action_space=False
        )
    except gymnasium.error.Error as error:
        raise ZooError(f"data.game={game} is none of ale-py's games: expected one such as pong or space_invaders "
                       f"({error})") from error  # fmt: skip


class NaturePreprocessing(gymnasium.Wrapper):
    """What Mnih et al. 2015 put between a game and the network (Methods, Preprocessing and Training details).

    Each action is repeated; of the last two frames the brighter pixels are taken, since sprites flicker; screens become
    84 by 84, one channel. An episode begins with up to `no_ops` frames in which nothing is done. Stacking the last four
    is left to who keeps them.

    With the same settings the frames are those of `gymnasium.wrappers.AtariPreprocessing`: both average areas, where
    the authors' code interpolates.

    Args:
        env: Of `make_game`.
        repeat: How many frames each action lasts.
        no_ops: The most frames at the beginning in which nothing is done.
        lives_end_episodes: Whether losing a life ends an episode, though not the game: in training only.
        minutes: Of playing time, after which an episode is cut short.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        repeat: int = 4,
        no_ops: int = 30,
        lives_end_episodes: bool = False,
        minutes: float = 5,
    ) -> None:
        super().__init__(env)
        self.repeat, self.no_ops, self.lives_end_episodes = repeat, no_ops, lives_end_episodes
        self.longest = round(minutes * 60 * _FRAMES_PER_SECOND)
        self.observation_space = gymnasium.spaces.Box(0, 255, (1, SIDE, SIDE), np.uint8)
        self._played, self._lives, self._over = 0, 0, True

    def _remaining(self) -> int:
        return int(self.env.get_wrapper_attr("ale").lives())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begins a game; without a seed, and after the loss of a life only, goes on with it."""
        if seed is None and not self._over:
            frame, *_, info = self.env.step(0)
            self._played += 1
        else:
            frame, info = self.env.reset(seed=seed, options=options)
            self._played = 0
            waited = self.env.unwrapped.np_random.integers(1, self.no_ops + 1) if self.no_ops else 0
            for _ in range(waited):
                frame, _, terminated, truncated, info = self.env.step(0)
                if terminated or truncated:
                    frame, info = self.env.reset(options=options)
        self._lives, self._over = self._remaining(), False
        return _small(frame), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Repeats an action; the reward is the sum over its frames."""
        reward, recent = 0.0, list[np.ndarray]()
        for _ in range(self.repeat):
            frame, gained, self._over, truncated, info = self.env.step(action)
            self._played += 1
            reward += float(gained)
            recent = [*recent[-1:], frame]
            lost = self._remaining() < self._lives
            if self._over or truncated or (lost and self.lives_end_episodes):
                break
        self._lives = self._remaining()
        late = self._played >= self.longest
        lost = lost and self.lives_end_episodes
        info = info | {GAME_GOES_ON: lost and not self._over and not late}
        seen = np.maximum(*recent) if len(recent) == 2 else recent[0]
        if late:
            self._over = True  # for reset: this game is not gone on with
        return _small(seen), reward, bool(lost or (self._over and not late)), bool(late or truncated), info


def _small(screen: np.ndarray) -> np.ndarray:
    """Returns `(210, 160)` as `(1, 84, 84)`: each pixel the mean of the area that it covers."""
    import cv2  # on first use

    return np.asarray(cv2.resize(screen, (SIDE, SIDE), interpolation=cv2.INTER_AREA))[None]
