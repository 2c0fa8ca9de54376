"""SIGTERM and Ctrl-C: training goes on to the end of the batch, writes a checkpoint and stops."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was told to stop; not an `Exception`, so that nothing swallows it on its way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


class Interrupts:
    """Remembers the first signal while training is under way; otherwise, and at the second, stops at once.

    Args:
        tells: Whether it says so; of several processes one does.
    """

    def __init__(self, *, tells: bool = True) -> None:
        self.tells = tells
        self.received: int | None = None
        self.deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.deferred and self.received is None:
            self.received = number
            if self.tells:
                os.write(2, b"\nstopping after this batch; a checkpoint will be written\n")
        else:
            raise Interrupted(number)

    def install(self) -> None:
        """Takes over SIGTERM and SIGINT from whoever has them."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """While inside, the first signal is only remembered."""
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False

    def raise_if_received(self) -> None:
        """Stops the run if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)
