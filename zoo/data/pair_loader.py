"""Loaders of sentence pairs: batches of about equal numbers of tokens, of sentences of about equal length."""

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.data.resumable import ResumableLoader
from zoo.data.tokenizing import BEGIN, END, PAD
from zoo.data.windows import to_device
from zoo.errors import ZooError

_BUCKET = 2  # neighbouring lengths of the longer side that share a bucket
_SORTED = 16  # batches whose pairs are sorted by source length together


class Pair(NamedTuple):
    """Numbers of a source and a target sentence, without begin and end, and both as they were written."""

    source: list[int]
    target: list[int]
    texts: tuple[str, str] = ("", "")


class PairBatch(NamedTuple):
    """Sentences of similar length, int64, padded at the end.

    `source` is `(B, S)`, each with its end; `target` is `(B, T)`, each with begin and end; `tokens` is how many of the
    target a model has to say, all but begin and padding; `places` tell where in the split each pair stands; `texts` are
    the sentences as they were written.
    """

    source: Tensor
    target: Tensor
    tokens: int
    places: tuple[int, ...]
    texts: tuple[tuple[str, str], ...]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    filled = np.full((len(rows), max(map(len, rows))), PAD, dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return torch.from_numpy(filled)


def collate(pairs: Sequence[Pair], places: Sequence[int], device: torch.device | str = "cpu") -> PairBatch:
    """Makes a batch of the pairs at `places`."""
    source = _padded([[*pairs[number].source, END] for number in places])
    target = _padded([[BEGIN, *pairs[number].target, END] for number in places])
    tokens = sum(len(pairs[number].target) + 1 for number in places)
    texts = tuple(pairs[number].texts for number in places)
    device = torch.device(device)
    return PairBatch(to_device(source, device), to_device(target, device), tokens, tuple(places), texts)


def _padding(device: torch.device | str) -> PairBatch:
    """Makes a batch of one row without a token that a model would have to say."""
    source, target = torch.tensor([[END]]), torch.tensor([[BEGIN, PAD]])
    return PairBatch(source.to(device), target.to(device), 0, (), ())


def longer_sides(pairs: Sequence[Pair]) -> np.ndarray:
    """Returns how many tokens the longer side of each pair has in a batch, with its begin and end."""
    return np.array([max(len(pair.source) + 1, len(pair.target) + 2) for pair in pairs], dtype=np.int64)


def check_batch_size(pairs: Sequence[Pair], batch_size: int) -> None:
    """Makes sure that the longest pair fits into a batch.

    Raises:
        ZooError: It does not.
    """
    longest = longer_sides(pairs).max(initial=0)
    if longest > batch_size:
        raise ZooError(f"data.batch_size={batch_size} is less than the longest pair needs, {longest} tokens: "
                       "raise it, or lower data.max_tokens")  # fmt: skip


class TrainingPairLoader(ResumableLoader[PairBatch]):
    """Batches of pairs in a random order that seed and epoch decide.

    Pairs are put into buckets by their longer side. Each epoch shuffles every bucket, sorts stretches of it by source
    length, cuts it into batches of `batch_size` tokens a side, and shuffles the batches of all buckets. How many
    batches there are is the same in each epoch.

    Of each batch the ranks take the rows in turn; one that a small batch leaves without any gets a row of padding,
    which has no token to count.

    Args:
        pairs: The training split.
        batch_size: Tokens of the longer side of a batch, over all ranks, padding included.
        seed: Decides the order.
        rank: This process.
        world: How many processes share the batches.
        device: Where batches go.

    Raises:
        ZooError: A pair is longer than a batch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self._pairs, self._seed, self._rank, self._world, self._device = pairs, seed, rank, world, device
        self.batch_size = batch_size
        check_batch_size(pairs, batch_size)
        self._source_lengths = np.array([len(pair.source) for pair in pairs])
        longer = longer_sides(pairs)
        numbers = (longer + _BUCKET - 1) // _BUCKET
        self._buckets = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
        self._rows = [max(1, batch_size // int(longer[bucket].max())) for bucket in self._buckets]
        batches = sum(-(-len(bucket) // rows) for bucket, rows in zip(self._buckets, self._rows, strict=True))
        super().__init__(batches, "sentences", zlib.crc32(repr(pairs).encode()))
        self._plan: tuple[int, list[np.ndarray]] | None = None

    def _batches(self, epoch: int) -> list[np.ndarray]:
        """Returns which pairs each batch of an epoch holds."""
        if self._plan is None or self._plan[0] != epoch:
            draw = np.random.default_rng([self._seed, epoch])
            batches = []
            for bucket, rows in zip(self._buckets, self._rows, strict=True):
                order = draw.permutation(bucket)
                for start in range(0, len(order), rows * _SORTED):
                    stretch = order[start : start + rows * _SORTED]
                    stretch = stretch[np.argsort(self._source_lengths[stretch], kind="stable")]
                    batches += [stretch[first : first + rows] for first in range(0, len(stretch), rows)]
            self._plan = epoch, [batches[number] for number in draw.permutation(len(batches))]
        return self._plan[1]

    def _make(self, epoch: int, number: int) -> PairBatch:
        chosen = self._batches(epoch)[number][self._rank :: self._world]
        return collate(self._pairs, chosen.tolist(), self._device) if len(chosen) else _padding(self._device)


class EvaluationPairLoader:
    """Each pair once, sorted by length so that little is padded; ranks take the pairs in turn.

    Args:
        pairs: The split.
        batch_size: Tokens of the longer side of a batch of this rank, padding included; a longer pair is a batch of
            its own.
        rank: This process.
        world: How many processes share the pairs.
        device: Where batches go.

    Raises:
        ZooError: There are fewer pairs than ranks: one without any would be waited for in vain.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(pairs) < world:
            raise ZooError(f"{len(pairs)} pairs to evaluate cannot be shared by {world} processes: take fewer of them")
        self._pairs, self._device = pairs, device
        longer = longer_sides(pairs)
        self._batches: list[list[int]] = []
        for number in np.argsort(longer, kind="stable")[rank::world].tolist():
            # Sorted: the one that comes is the longest of its batch.
            if not self._batches or (len(self._batches[-1]) + 1) * longer[number] > batch_size:
                self._batches.append([])
            self._batches[-1].append(number)

    def __len__(self) -> int:
        """Returns the number of batches of this rank."""
        return len(self._batches)

    def __iter__(self) -> Iterator[PairBatch]:
        """Yields the batches, the shortest sentences first."""
        for batch in self._batches:
            yield collate(self._pairs, batch, self._device)
