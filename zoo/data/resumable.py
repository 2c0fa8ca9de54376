"""What loaders of training batches have in common: a position that can be stored, and come back to."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

from zoo.errors import ZooError

BatchT = TypeVar("BatchT")


class ResumableLoader(ABC, Generic[BatchT]):
    """Batches that epoch and number alone decide, so that they can be continued from any position.

    The position moves on *before* a batch is handed out, past the epoch's edge before the last one: who stops asking
    after the last batch, as Lightning does, still finds the next epoch. A pass that begins within an epoch, because
    the last one was left early or the position was restored, goes on into the next and is as long as any other; so
    a limit on the batches of a pass makes all passes alike, and in the end every sample still comes equally often.

    Args:
        length: Batches in an epoch, the same on every rank.
        made_of: What batches hold, in the plural, for messages.
        contents: A number that tells these data from others, kept with the position; None where other data cannot
            come in their place.
    """

    def __init__(self, length: int, made_of: str, contents: int | None = None) -> None:
        self._length, self._made_of, self._contents = length, made_of, contents
        self._epoch, self._number = 0, 0

    @abstractmethod
    def _make(self, epoch: int, number: int) -> BatchT:
        """Makes this rank's share of a batch."""

    def __len__(self) -> int:
        """Returns the number of batches in an epoch, the same on every rank."""
        return self._length

    def __iter__(self) -> Iterator[BatchT]:
        """Yields `len(self)` batches, from the position on."""
        for _ in range(self._length):
            batch = self._make(self._epoch, self._number)
            self._epoch, self._number = self._after(self._epoch, self._number)
            yield batch

    def _after(self, epoch: int, number: int) -> tuple[int, int]:
        """Returns the position that follows another."""
        return (epoch, number + 1) if number + 1 < self._length else (epoch + 1, 0)

    def state_dict(self) -> dict[str, int]:
        """Returns the position of the next batch, and in which data."""
        state = {"epoch": self._epoch, "batch": self._number}
        return state if self._contents is None else state | {"contents": self._contents}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Moves to a position that `state_dict` returned.

        Raises:
            ZooError: The position is in other data, or lies beyond an epoch of these.
        """
        if state_dict.get("contents", self._contents) != self._contents:
            raise ZooError(f"the {self._made_of} are not those that the run began with: put them back, or start a new "
                           "run")  # fmt: skip
        epoch, number = int(state_dict["epoch"]), int(state_dict["batch"])
        if epoch < 0 or not 0 <= number < self._length:
            raise ZooError(
                f"the stored position (epoch {epoch}, batch {number}) is not in epochs of {self._length} batches: "
                f"resume with the {self._made_of} and the batch size that the run began with"
            )
        self._epoch, self._number = epoch, number
