"""metrics.csv: one row per logged step, epoch and test, only ever appended to."""

import csv
import io
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.training.run_folder import write_atomically

# What a row is about: a step within an epoch, the end of an epoch, the final test.
LEADING_COLUMNS = ("row", "epoch", "step")


class MetricsFile:
    """Appends rows to a CSV file; a metric that was never seen before becomes a new last column.

    Args:
        path: The file; read when it exists, made at the first row otherwise.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = list(LEADING_COLUMNS)
        self.rows = 0
        if path.exists():
            self._read()

    def _read(self) -> list[dict[str, str]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            self.columns = list(reader.fieldnames or LEADING_COLUMNS)
        self.rows = len(rows)
        return rows

    def _text(self, rows: list[dict[str, Any]], *, header: bool) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def append(self, row: dict[str, Any]) -> None:
        """Adds one row; numbers are written in full precision.

        Raises:
            ZooError: The file cannot be written (disk full, say).
        """
        new = [name for name in row if name not in self.columns]
        try:
            if new or not self.path.exists():
                before = self._read() if self.path.exists() else []
                self.columns += [name for name in row if name not in self.columns]
                write_atomically(self.path, self._text([*before, row], header=True))
            else:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(self._text([row], header=False))
        except OSError as error:
            raise ZooError(f"cannot write {self.path}: {error.strerror}") from error
        self.rows += 1

    def truncate(self, rows: int) -> None:
        """Drops what was written after the first `rows` rows, and columns that only those had."""
        if not self.path.exists():
            return
        kept = self._read()[:rows]
        used = {name for row in kept for name, value in row.items() if value not in ("", None)}
        self.columns = [name for name in self.columns if name in used or name in LEADING_COLUMNS]
        kept = [{name: row[name] for name in self.columns} for row in kept]
        write_atomically(self.path, self._text(kept, header=True))
        self.rows = len(kept)
