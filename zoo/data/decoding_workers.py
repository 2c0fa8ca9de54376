"""Processes that turn image files into squares of bytes.

They are those of torch's DataLoader, which finds out when one of them dies; what is added here is that they leave
no trace: whatever signal ends the run, it is the training process alone that answers it.
"""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from zoo.data.class_folders import ImageFiles
from zoo.data.cropping import Centre, RandomPart, RandomWindow
from zoo.data.image_file import ImageFile
from zoo.data.image_loader import seeded_generator
from zoo.data.pictures import pixels_of
from zoo.errors import ZooError

MOST_WORKERS = 8

# A process that is forked begins at once and shares the list of files; torch's own threads are not used in it, and
# neither is CUDA. Elsewhere forking is not safe (macOS) or not known (Windows), and Python's own choice is taken.
_START = "fork" if sys.platform == "linux" else None


def worker_count(asked: int | None, world: int = 1) -> int:
    """Returns how many processes decode for this one: those asked for, or one per core of its share, up to 8.

    Args:
        asked: The setting `data.workers`.
        world: How many training processes there are.
    """
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    return max(1, min(MOST_WORKERS, cores // here))


class Request(NamedTuple):
    """A piece of a batch: which images, at which places of which epoch's order."""

    samples: list[int]
    places: list[int]
    epoch: int


class Chunk(NamedTuple):
    """A decoded piece of a batch.

    Attributes:
        pixels: `(N, 3, size, size)`, uint8.
        labels: Their N class numbers.
        broken: Images that could not be decoded: path -> reason.
    """

    pixels: Tensor
    labels: list[int]
    broken: dict[str, str]


def _stacked(squares: list[Tensor], size: int) -> Tensor:
    return torch.stack(squares) if squares else torch.empty(0, 3, size, size, dtype=torch.uint8)


class TrainingImages(Dataset[Chunk]):
    """Training images with a random part cut out of each; for a broken one another of its class stands in.

    Args:
        files: The images.
        crop: What is cut out.
        seed: The part is drawn from it, the epoch and the image's place in the epoch's order.
    """

    def __init__(self, files: ImageFiles, crop: RandomPart | RandomWindow, seed: int) -> None:
        self._files, self._crop, self._seed = files, crop, seed

    def __getitem__(self, request: Request) -> Chunk:
        """Decodes a piece of a batch; an image is missing where none of its class can be decoded."""
        squares, labels = [], []
        broken: dict[str, str] = {}
        for sample, place in zip(request.samples, request.places, strict=True):
            if (square := self._square(sample, request.epoch, place, broken)) is not None:
                squares.append(square)
                labels.append(int(self._files.labels[sample]))
        return Chunk(_stacked(squares, self._crop.size), labels, broken)

    def _square(self, sample: int, epoch: int, place: int, broken: dict[str, str]) -> Tensor | None:
        for candidate in self._with_stand_ins(sample):
            generator = seeded_generator("crop", self._seed, epoch, place)
            path = self._files.path(candidate)
            try:
                with ImageFile(path) as file:
                    return pixels_of(self._crop(file, generator))
            except ZooError as error:
                broken[path] = str(error)
        return None

    def _with_stand_ins(self, sample: int) -> Iterator[int]:
        """Yields a sample, then the others of its class in the order of the files."""
        yield sample
        labels = self._files.labels
        first, end = torch.searchsorted(labels, labels[sample] + torch.arange(2)).tolist()
        yield from (first + (sample - first + step) % (end - first) for step in range(1, end - first))


class EvaluationImages(Dataset[Chunk]):
    """Test images with their centre cut out; broken ones are left out.

    Args:
        files: The images.
        crop: What is cut out.
    """

    def __init__(self, files: ImageFiles, crop: Centre) -> None:
        self._files, self._crop = files, crop

    def __getitem__(self, request: Request) -> Chunk:
        """Decodes a piece of a batch."""
        squares, labels = [], []
        broken: dict[str, str] = {}
        for sample in request.samples:
            path = self._files.path(sample)
            try:
                with ImageFile(path) as file:
                    squares.append(pixels_of(self._crop(file)))
                labels.append(int(self._files.labels[sample]))
            except ZooError as error:
                broken[path] = str(error)
        return Chunk(_stacked(squares, self._crop.size), labels, broken)


class _Feed:
    """What the workers are asked for next; exchanged when they are to go on elsewhere."""

    def __init__(self) -> None:
        self.requests: Iterator[Request] = iter(())

    def __iter__(self) -> Iterator[Request]:
        return self.requests


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)  # also in the middle of an image; nothing here needs to be put in order


def _end_when_told_by(parent: BaseProcess) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent.pid:
        continue  # all processes of the run were told; it is the parent that decides what becomes of this one
    os._exit(0)


def _tell(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Prints an error, but not that the parent ended while it was being handed a batch."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, where)


def _begin(worker: int) -> None:
    """Lets a fresh worker live exactly as long as its parent wants, whatever signals all processes of a run get."""
    gc.freeze()  # what it has inherited is for its parent to take down
    warnings.simplefilter("ignore")  # Pillow's remarks about odd files
    sys.excepthook = _tell
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    # torch looks after the parent every five seconds; until then the run's lock would be held, and resuming refused.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if hasattr(signal, "sigwaitinfo"):
        threading.Thread(target=_end_when_told_by, args=(parent,), daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Starts processes with SIGINT and SIGTERM blocked: none comes before they know what to do about it.

    In this process the signals come a moment later.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Decoders:
    """Decodes pieces of batches, in as many processes as are asked for, which stay from pass to pass.

    Args:
        images: What decodes one piece.
        workers: How many processes; with 0 this one decodes.
        start: How Python starts them: `"fork"`, `"spawn"`, `"forkserver"`; by default what suits the platform.
    """

    def __init__(self, images: TrainingImages | EvaluationImages, workers: int, start: str | None = _START) -> None:
        self._images, self._feed = images, _Feed()
        self._loader: DataLoader[Chunk] | None = None
        if workers:
            self._loader = DataLoader(
                images,
                batch_size=None,  # a request is a piece of a batch already
                sampler=self._feed,
                num_workers=workers,
                collate_fn=_as_it_is,
                multiprocessing_context=start,
                generator=torch.Generator(),  # else each pass would draw a number from the global one
                persistent_workers=True,
                worker_init_fn=_begin,
            )

    def decode(self, requests: Iterator[Request]) -> Iterator[Chunk]:
        """Yields what is asked for, in that order; what an earlier call has left unfinished is dropped.

        Raises:
            ZooError: A process died.
        """
        if self._loader is None:
            yield from map(self._images.__getitem__, requests)
            return
        self._feed.requests = requests
        with _signals_blocked():
            chunks = iter(self._loader)
        while (chunk := self._next(chunks)) is not None:
            yield chunk

    def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        try:
            return next(chunks, None)
        # One that dies may be noticed as such, or because what it had to say cannot be fetched any more.
        except (RuntimeError, OSError, EOFError) as error:
            if "Original Traceback" in str(error):  # it lives and tells of an error in the program
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ZooError(
                f"a process that decodes images has ended ({reason}): if memory or /dev/shm is short, take fewer with "
                "data.workers=2, or none with data.workers=0"
            ) from error

    @property
    def running(self) -> bool:
        """Whether an earlier `decode` can go on: its processes are there, or none are needed."""
        return self._loader is None or self._loader._iterator is not None

    def close(self) -> None:
        """Ends the processes; asked again, `decode` starts others.

        Left to Python's collection of garbage, they may take many seconds to end.
        """
        iterator = None if self._loader is None else self._loader._iterator
        if self._loader is not None and isinstance(iterator, _MultiProcessingDataLoaderIter):
            iterator._shutdown_workers()
            self._loader._iterator = None

    @contextmanager
    def closed_by_errors(self) -> Iterator[None]:
        """Ends the processes if what is done inside fails: the traceback would keep them."""
        try:
            yield
        except Exception:
            self.close()
            raise
