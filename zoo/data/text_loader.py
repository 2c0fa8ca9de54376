"""Loaders of text as parallel streams, in the order in which it was written."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.data.resumable import ResumableLoader
from zoo.errors import ZooError


class TextBatch(NamedTuple):
    """A piece of each stream and what comes after each of its tokens.

    `tokens` and `targets` are int64 `(B, T)`; `begins` says that nothing came before: a model's state starts at zero.
    """

    tokens: Tensor
    targets: Tensor
    begins: bool


def as_streams(numbers: Tensor, count: int) -> Tensor:
    """Cuts a text `(N,)` into `count` streams of equal length `(count, N // count)`; what is left over is dropped."""
    length = len(numbers) // count
    return numbers[: count * length].view(count, length)


def check_length(split: str, tokens: int, streams: int, unroll: int) -> None:
    """Refuses a text that is shorter than one batch.

    Args:
        split: What it is for, such as `"training"`.
        tokens: How many it has.
        streams: Into how many streams it is cut.
        unroll: Tokens of each stream in a batch.

    Raises:
        ZooError: It is.
    """
    least = streams * (unroll + 1)
    if tokens < least:
        raise ZooError(
            f"the {split} text has {tokens:,} tokens, fewer than the {least:,} of one batch ({streams} x {unroll}, and "
            "one more in each stream to predict): take a longer text, or lower data.batch_size or data.unroll"
        )


def _pieces(streams: Tensor, unroll: int) -> int:
    return max(0, (streams.shape[1] - 1) // unroll)


def _piece(streams: Tensor, start: int, unroll: int) -> TextBatch:
    end = min(start + unroll, streams.shape[1] - 1)
    return TextBatch(streams[:, start:end], streams[:, start + 1 : end + 1], start == 0)


class TrainingTextLoader(ResumableLoader[TextBatch]):
    """Pieces of all streams one after the other, so that a model's state is carried from each to the next.

    An epoch is one pass over the streams; nothing is shuffled.

    Args:
        numbers: The text, `(N,)` int64, on the CPU.
        batch_size: Streams over all ranks.
        unroll: Tokens of each stream in a batch.
        rank: This process.
        world: How many processes share the streams.
        device: Where the text is kept.

    Raises:
        ZooError: The text is shorter than one batch, or `world` does not divide the streams.
    """

    def __init__(
        self,
        numbers: Tensor,
        batch_size: int,
        unroll: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size % world:
            raise ZooError(
                f"data.batch_size={batch_size} streams cannot be shared by {world} processes: "
                f"take a multiple of {world}"
            )
        check_length("training", len(numbers), batch_size, unroll)
        self.batch_size, self._unroll = batch_size, unroll
        self._streams = as_streams(numbers, batch_size)[rank::world].to(device)
        super().__init__(_pieces(self._streams, unroll), "tokens of the text", zlib.crc32(numbers.numpy().data))

    def _make(self, epoch: int, number: int) -> TextBatch:
        return _piece(self._streams, number * self._unroll, self._unroll)


class EvaluationTextLoader:
    """A text from its beginning to its end.

    Of several streams each comes at exactly one rank. One stream cannot be shared, and a rank without batches would
    leave the others waiting for its part of the mean: it comes whole at every rank, which leaves the mean as it is.

    Args:
        numbers: The text, `(N,)` int64.
        streams: Into how many streams it is cut; 1 reads it as one, whole.
        unroll: Tokens of each stream in a batch; with several streams a shorter piece at the end is dropped, as
            Zaremba's code does.
        rank: This process.
        world: How many processes share the streams.
        device: Where the text is kept.
    """

    def __init__(
        self,
        numbers: Tensor,
        streams: int,
        unroll: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        cut = as_streams(numbers, streams)
        self._streams = (cut if streams == 1 else cut[rank::world]).to(device)
        self._unroll = unroll
        rest = streams == 1 and (len(numbers) - 1) % unroll > 0
        self._length = _pieces(self._streams, unroll) + rest

    def __len__(self) -> int:
        """Returns the number of batches of this rank."""
        return self._length

    def __iter__(self) -> Iterator[TextBatch]:
        """Yields the pieces in order."""
        for number in range(self._length):
            yield _piece(self._streams, number * self._unroll, self._unroll)
