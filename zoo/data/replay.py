"""Replay memory: the last transitions of several environments, each frame stored once."""

from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from zoo.errors import ZooError


class Transitions(NamedTuple):
    """A minibatch: what was seen `(B, C, …)`, done `(B,)`, got `(B,)`, seen next `(B, C, …)`, and whether it ended.

    `terminal` `(B,)` is true where nothing can follow; an episode that was only cut short is none of those.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    following: Tensor
    terminal: Tensor


class ReplayMemory:
    """Rings of frames, one for each environment, out of which transitions are put together.

    An observation is the last `stack` frames of its episode, one behind the other; those before its first frame are
    zeros, as in DeepMind's code. A slot holds a frame and what was done then; what was seen next is in the slot after
    it. An episode's last frame has a slot of its own, at which nothing was done.

    Args:
        capacity: Transitions of all environments together.
        environments: How many there are.
        frame_shape: Of a frame, `(C, …)`.
        dtype: Of a frame.
        stack: Frames of an observation.

    Raises:
        ZooError: The memory is too small to hold an observation of each environment.
    """

    def __init__(
        self, capacity: int, environments: int, frame_shape: tuple[int, ...], dtype: str, stack: int = 1
    ) -> None:
        self.slots = capacity // environments
        if self.slots < stack + 2:
            raise ZooError(f"task.memory={capacity} holds {self.slots} frames of each of {environments} environments: "
                           f"expected at least {environments * (stack + 2)}")  # fmt: skip
        rings = (environments, self.slots)
        self.stack, self.environments = stack, environments
        self.frames = np.zeros((*rings, *frame_shape), dtype)
        self.actions = np.zeros(rings, np.int16)
        self.rewards = np.zeros(rings, np.float32)
        self.terminal = np.zeros(rings, bool)
        self.last = np.zeros(rings, bool)
        self.age = np.zeros(rings, np.uint8)  # frames of the episode before this one, as far as an observation reaches
        self.written = np.zeros(environments, np.int64)  # slots ever, of each environment
        self._saved = np.zeros(environments, np.int64)
        self._segments: list[dict[str, Any]] = []
        self._needed: list[set[str]] = []  # the files that the last few calls of `save` named

    def __len__(self) -> int:
        """Returns how many slots are filled."""
        return int(np.minimum(self.written, self.slots).sum())

    def add(
        self, environment: int, frame: np.ndarray, action: int, reward: float, terminal: bool, *, last: bool = False
    ) -> None:
        """Writes a slot: what was seen, and what was done then and came of it.

        Args:
            environment: Which ring.
            frame: The newest frame.
            action: What was done.
            reward: What was got for it.
            terminal: Whether nothing follows.
            last: Whether this is an episode's last frame, at which nothing was done.
        """
        number = int(self.written[environment])
        place, before = number % self.slots, (number - 1) % self.slots
        begins = number == 0 or self.last[environment, before]
        self.frames[environment, place] = frame
        self.actions[environment, place] = action
        self.rewards[environment, place] = reward
        self.terminal[environment, place] = terminal
        self.last[environment, place] = last
        self.age[environment, place] = 0 if begins else min(int(self.age[environment, before]) + 1, self.stack - 1)
        self.written[environment] = number + 1

    def _stacked(self, environments: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Returns the observations at slots counted from the beginning, `(B, stack * C, …)`."""
        back = np.arange(self.stack - 1, -1, -1)
        frames = self.frames[environments[:, None], (numbers[:, None] - back) % self.slots]  # (B, stack, C, …)
        frames[back > self.age[environments, numbers % self.slots][:, None]] = 0
        return frames.reshape(len(frames), -1, *frames.shape[3:])

    def sample(self, count: int, draw: np.random.Generator, device: torch.device | str = "cpu") -> Transitions:
        """Draws transitions, each as likely as any other, with repetition.

        Args:
            count: How many, B.
            draw: Of random numbers.
            device: Where they go.

        Raises:
            RuntimeError: There is none yet.
        """
        # The newest slot's next frame is not here yet.
        newest = self.written - 1
        oldest = np.maximum(0, self.written - self.slots)
        lengths = np.maximum(0, newest - oldest)
        ends = np.cumsum(lengths)
        if not ends[-1]:
            raise RuntimeError("the memory holds no transition yet")
        chosen: list[np.ndarray] = []
        found = 0
        while found < count:
            drawn = draw.integers(ends[-1], size=2 * count)
            environments = np.searchsorted(ends, drawn, side="right")
            numbers = oldest[environments] + drawn - (ends - lengths)[environments]
            places = numbers % self.slots
            # Where nothing was done, or an earlier frame of the observation has been overwritten, is no transition.
            whole = numbers - self.age[environments, places] >= oldest[environments]
            good = whole & ~self.last[environments, places]
            chosen.append(np.stack([environments[good], numbers[good]]))
            found += int(good.sum())
        environments, numbers = np.concatenate(chosen, axis=1)[:, :count]
        places = numbers % self.slots
        parts = (
            self._stacked(environments, numbers),
            self.actions[environments, places].astype(np.int64),
            self.rewards[environments, places],
            self._stacked(environments, numbers + 1),
            self.terminal[environments, places],
        )
        return Transitions(*(torch.from_numpy(part).to(device) for part in parts))

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("frames", "actions", "rewards", "terminal", "last", "age")}

    def _pieces(self, start: int, end: int) -> list[slice]:
        """Returns where in a ring slots of these numbers are: slices, which are copied faster than single places."""
        first = start % self.slots
        beyond = first + (end - start) - self.slots
        return [slice(first, self.slots), slice(0, beyond)] if beyond > 0 else [slice(first, first + end - start)]

    def save(self, folder: Path) -> dict[str, Any]:
        """Appends what is new since the last call to a folder, as a file of its own.

        Returns:
            What `load` needs besides the folder, plain Python. It stays good for the next two calls.
        """
        folder.mkdir(parents=True, exist_ok=True)
        start = np.maximum(self._saved, self.written - self.slots)
        if (self.written > start).any():
            number = self._segments[-1]["number"] + 1 if self._segments else 0
            path = folder / f"segment_{number:06}.npz"
            ranges = enumerate(zip(start.tolist(), self.written.tolist(), strict=True))
            pieces = [(environment, piece) for environment, (a, b) in ranges for piece in self._pieces(a, b)]
            arrays = self._arrays().items()
            content = {name: np.concatenate([array[piece] for piece in pieces]) for name, array in arrays}
            aside = path.with_name(f".{path.name}.new")
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, **content)
            aside.replace(path)
            segment = {"number": number, "name": path.name, "start": start.tolist(), "end": self.written.tolist()}
            self._segments.append(segment)
            self._saved = self.written.copy()
        oldest = self.written - self.slots
        self._segments = [each for each in self._segments if (np.array(each["end"]) > oldest).any()]
        self._needed = [*self._needed[-2:], {each["name"] for each in self._segments}]
        for path in folder.glob("segment_*.npz"):
            if not any(path.name in names for names in self._needed):
                path.unlink()
        return {"written": self.written.tolist(), "segments": [dict(each) for each in self._segments]}

    def load(self, folder: Path, state: dict[str, Any]) -> None:
        """Reads what `save` wrote; what was written after it is written over or removed by the next `save`.

        Raises:
            ZooError: A file is missing or damaged.
        """
        self.written = np.array(state["written"], np.int64)
        self._segments = [dict(each) for each in state["segments"]]
        for each in self._segments:
            self._read(folder / each["name"], each)
        self._saved = self.written.copy()
        self._needed = [{each["name"] for each in self._segments}]

    def _read(self, path: Path, segment: dict[str, Any]) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                content, first = dict(file), 0
                for environment, (start, end) in enumerate(zip(segment["start"], segment["end"], strict=True)):
                    places = np.arange(start, end) % self.slots
                    for name, array in self._arrays().items():
                        array[environment, places] = content[name][first : first + len(places)]
                    first += len(places)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ZooError(f"{path}, a part of the replay memory, is missing or damaged ({error}): the run cannot go "
                           "on exactly; start a new one with from_run=…") from error  # fmt: skip
