"""Runs in this process, and what they left in metrics.csv."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run


@pytest.fixture(scope="session")
def train(train_here: Callable[[RunFolder], int]) -> Callable[..., RunFolder]:
    """Trains in this process: `train(root, *words)` or `train(root, *words, code=1)`; returns the run."""

    def run(root: Path, *words: str, code: int = 0) -> RunFolder:
        # A stored config has its hardware already.
        cpu = [] if any(word.startswith("from_run=") for word in words) else ["trainer=cpu"]
        prepared = prepare_run([f"runs_dir={root}", *cpu, *words])
        assert train_here(prepared) == code
        return prepared

    return run


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[dict[str, str]]]:
    """Reads metrics.csv: `rows(run)`, or `rows(run, "epoch")` for one kind of row."""

    def read(run: RunFolder, kind: str | None = None) -> list[dict[str, str]]:
        with run.metrics.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if kind in (None, row["row"])]

    return read
