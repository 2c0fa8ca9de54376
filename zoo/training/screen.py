"""Where tables are printed: wrapped to a terminal's width, but one line a row in a pipe or a file."""

import os
import sys

from rich.console import Console, RenderableType
from rich.table import Table

_UNBOUNDED = 10_000


def show(*parts: RenderableType) -> None:
    """Prints tables and lines as wide as the terminal, or as `COLUMNS` says; elsewhere nothing wraps.

    Raises:
        BrokenPipeError: The reader, such as `head`, has had enough.
    """
    wraps = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if wraps else _UNBOUNDED, highlight=False)
    with console.capture() as captured:
        console.print(*parts, sep="\n")
    # Not by the console itself: it pads lines with spaces, and ends the process where a pipe is closed.
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def columns(*titles: str) -> Table:
    """Returns an empty table without lines; where a terminal is too narrow, its last column wraps.

    Args:
        titles: The headings; without any there is no heading.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(titles))
    for title in titles:
        table.add_column(title, no_wrap=title != titles[-1], overflow="fold")
    return table
