"""Loaders for environments: ticks to train in, episodes to be judged by."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from zoo.data.seeds import derived_seed
from zoo.data.vector import EnvironmentVector
from zoo.errors import ZooError


class Tick(NamedTuple):
    """A stretch of training: at least so many steps in these environments, with updates on minibatches of this size."""

    environments: EnvironmentVector
    steps: int
    batch_size: int


class TickLoader:
    """Ticks in the same environments, whose state is its position.

    Args:
        make: Makes the environments, given a seed.
        seed: Decides all episodes.
        ticks: How many make an epoch.
        steps: The least steps of a tick, in all environments together.
        batch_size: Transitions of an update.
    """

    def __init__(
        self, make: Callable[[int], EnvironmentVector], seed: int, ticks: int, steps: int, batch_size: int
    ) -> None:
        self.environments = make(seed)
        self.batch_size = batch_size
        self._ticks, self._steps = ticks, steps
        self._epoch, self._tick = 0, 0

    def __len__(self) -> int:
        """Returns how many ticks make an epoch."""
        return self._ticks

    def __iter__(self) -> Iterator[Tick]:
        """Yields the ticks of an epoch from the position on."""
        for _ in range(self._ticks):
            self._tick += 1
            if self._tick == self._ticks:
                self._epoch, self._tick = self._epoch + 1, 0
            yield Tick(self.environments, self._steps, self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the next tick, and where the environments are."""
        return {"epoch": self._epoch, "tick": self._tick, "environments": self.environments.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Moves to a position that `state_dict` returned, by playing what was played.

        Raises:
            ZooError: The environments do not come out the same.
        """
        self._epoch, self._tick = state_dict["epoch"], state_dict["tick"]
        if not 0 <= self._tick < self._ticks or len(state_dict["environments"]["actions"]) != len(self.environments):
            raise ZooError("the stored position is one among other environments or other ticks: resume with those that "
                           "the run began with")  # fmt: skip
        self.environments.load_state_dict(state_dict["environments"])


class Episodes(NamedTuple):
    """Environments of which each plays one game, and the seed of everything else that is drawn in them."""

    environments: EnvironmentVector
    seed: int


class EpisodeLoader:
    """Episodes in fresh environments, always the same ones.

    Args:
        make: Makes environments, given a seed and how many.
        seed: Decides the episodes; others than those of training.
        episodes: How many there are, over all ranks.
        together: How many are played side by side.
        rank: This process.
        world: How many processes share them.
    """

    def __init__(
        self,
        make: Callable[[int, int], EnvironmentVector],
        seed: int,
        episodes: int,
        together: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        sizes = [min(together, episodes - first) for first in range(0, episodes, together)]
        self._batches = list(enumerate(sizes))[rank::world]
        self._make, self._seed = make, seed

    def __len__(self) -> int:
        """Returns the number of batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Episodes]:
        """Yields the batches."""
        for number, size in self._batches:
            seed = derived_seed(self._seed, number)
            yield Episodes(self._make(seed, size), seed)
