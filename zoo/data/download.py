"""Downloads one file over HTTP: progress, continuation where it broke off, and a verdict within seconds."""

import http.client
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A name server or a host that does not answer is given up after this long; without a network one waits for it.
CONNECT_SECONDS = 7.0
# A connection on which nothing comes for this long counts as broken.
STALL_SECONDS = 20.0
ATTEMPTS = 3
_PAUSE_SECONDS = 0.3


class DownloadError(Exception):
    """A download that failed for good, and why."""


class _BrokenError(Exception):
    """A download that failed in a way that may pass."""


def download(url: str, part: Path, limit: int) -> None:
    """Downloads into the file `part`, continuing what an earlier try left there.

    Args:
        url: An http or https address.
        part: The file to write; what was received stays there if the download breaks off.
        limit: No more than so many bytes are accepted.

    Raises:
        DownloadError: The server refuses, is not there, sends too much, or keeps breaking off.
        OSError: `part` cannot be written.
    """
    if not re.match(r"https?://", url):
        raise DownloadError("only http:// and https:// addresses can be downloaded (see ZOO_MIRROR)")
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            _attempt(url, part, before, limit)
            return
        except _BrokenError as error:
            # A try that moved on does not count: a large file over a bad line gets there.
            received = part.stat().st_size if part.is_file() else 0
            failures = failures + 1 if received <= before else 1
            if failures >= ATTEMPTS:
                kept = f"; the {received:,} bytes received are kept, try again to continue" if received else ""
                raise DownloadError(f"{error}{kept}") from error
            time.sleep(_PAUSE_SECONDS)


def fetch_verified(fetch: Callable[[], None], part: Path, damage: Callable[[Path], str]) -> None:
    """Fetches a file into `part`, and once more where what an earlier try had left there was another day's file.

    Args:
        fetch: Writes `part`, going on with what is there.
        part: The file; it stays if the line breaks, and goes if it is the wrong one.
        damage: Says what is wrong with it, an empty string if nothing is.

    Raises:
        DownloadError: What came is another file.
    """
    resumed = part.is_file() and part.stat().st_size > 0
    fetch()
    wrong = damage(part)
    if wrong and resumed:
        part.unlink()
        fetch()
        wrong = damage(part)
    if wrong:
        part.unlink()
        raise DownloadError(f"what came is not the file: {wrong}")


def _open(request: urllib.request.Request) -> Any:
    """Opens a request; gives up after `CONNECT_SECONDS` even where name resolution does not."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=STALL_SECONDS))
        except BaseException as error:
            answers.put(error)

    # A daemon: a name server that never answers must not keep the process from ending.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise DownloadError(f"no answer within {CONNECT_SECONDS:g} seconds") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _attempt(url: str, part: Path, start: int, limit: int) -> None:
    headers = {"User-Agent": "landmark-zoo", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _open(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and start:
            # The part is as long as the file, or longer: the checksum of the content decides what it is.
            return
        if error.code >= 500 or error.code == 429:
            raise _BrokenError(f"the server answers {error.code} {error.reason}") from error
        raise DownloadError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DownloadError(f"no connection ({error.reason})") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DownloadError(f"no connection ({error})") from error
    with response:
        continued = response.status == 206
        if continued and not str(response.headers.get("Content-Range", "")).startswith(f"bytes {start}-"):
            part.unlink()
            raise _BrokenError("the server sent another piece than was asked for")
        if not continued:
            # A server that knows no ranges sends everything again.
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total > limit:
            raise DownloadError(f"the server sends {total:,} bytes where at most {limit:,} were expected")
        _receive(response, part, start, total, limit)


def _receive(response: Any, part: Path, start: int, total: int | None, limit: int) -> None:
    received = start
    with part.open("ab" if start else "wb") as handle, _Progress(part.name.removesuffix(".part"), start, total) as show:
        while True:
            try:
                chunk = response.read1(1 << 16)
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenError(f"the connection broke after {received:,} bytes ({error})") from error
            if not chunk:
                break
            received += len(chunk)
            if received > limit:
                raise DownloadError(f"the server sends more than the {limit:,} bytes that were expected")
            handle.write(chunk)
            show(len(chunk))
    if total is not None and received < total:
        raise _BrokenError(f"the connection ended after {received:,} of {total:,} bytes")


class _Progress:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str, start: int, total: int | None) -> None:
        self._name, self._start, self._total = name, start, total
        self._bar: Any = None

    def __enter__(self) -> Callable[[int], None]:
        if not sys.stderr.isatty():
            return lambda _: None
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = bar = Progress(*columns, console=Console(stderr=True))
        bar.start()
        task = bar.add_task(self._name, completed=self._start, total=self._total)
        return lambda amount: bar.advance(task, amount)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
