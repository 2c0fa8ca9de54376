"""Loaders for environments: ticks to train in, episodes to be judged by."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from zoo.data.seeds import derived_seed
from zoo.data.vector import EnvironmentVector
from zoo.errors import ZooError
from zoo.metrics.ranks import of_all_ranks, of_this_rank


class Tick(NamedTuple):
    """A stretch of training: so many rounds, with updates on minibatches of this size.

    A round is a step in each environment of all processes, of which there are `everywhere`; `environments` and
    `batch_size` are this process's.
    """

    environments: EnvironmentVector
    rounds: int
    batch_size: int
    everywhere: int


class TickLoader:
    """Ticks in the same environments, whose state is its position.

    Args:
        environments: This process's.
        everywhere: How many all processes have together.
        ticks: How many make an epoch.
        steps: The least steps of a tick, in all environments together.
        batch_size: Transitions of an update, over all processes.
        world: How many processes share it.

    Raises:
        ZooError: They cannot.
    """

    def __init__(
        self, environments: EnvironmentVector, everywhere: int, ticks: int, steps: int, batch_size: int, world: int = 1
    ) -> None:
        if batch_size % world:
            raise ZooError(f"data.batch_size={batch_size} cannot be shared by {world} processes: take a multiple of "
                           f"{world}")  # fmt: skip
        self.environments = environments
        self.batch_size = batch_size
        self._everywhere, self._share = everywhere, batch_size // world
        self._ticks, self._rounds = ticks, -(-steps // everywhere)
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
            yield Tick(self.environments, self._rounds, self._share, self._everywhere)

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the next tick, and where the environments of all processes are."""
        environments = of_all_ranks(self.environments.state_dict())
        return {"epoch": self._epoch, "tick": self._tick, "environments": environments}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Moves to a position that `state_dict` returned, by playing what was played.

        Raises:
            ZooError: The environments do not come out the same.
        """
        self._epoch, self._tick = state_dict["epoch"], state_dict["tick"]
        environments = of_this_rank(state_dict["environments"])
        if not 0 <= self._tick < self._ticks or len(environments["actions"]) != len(self.environments):
            raise ZooError("the stored position is one among other environments or other ticks: resume with those that "
                           "the run began with")  # fmt: skip
        self.environments.load_state_dict(environments)


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
        # One for whom there are none still takes part, without environments: the others would wait for it in vain.
        self._batches = list(enumerate(sizes))[rank::world] or [(0, 0)]
        self._make, self._seed = make, seed

    def __len__(self) -> int:
        """Returns the number of batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[Episodes]:
        """Yields the batches."""
        for number, size in self._batches:
            seed = derived_seed(self._seed, number)
            yield Episodes(self._make(seed, size), seed)
