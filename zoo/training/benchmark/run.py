"""The whole benchmark, from the command line's words to the report."""

import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch.utilities import disable_possible_user_warnings

from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.training.benchmark.cases import DECODING, LOADING, cases
from zoo.training.benchmark.decoding import measure_decoding
from zoo.training.benchmark.loading import measure_loading
from zoo.training.benchmark.measure import measure
from zoo.training.benchmark.report import check_page, report, write_page
from zoo.training.benchmark.shares import shares_of_a_step


def _hush() -> None:
    """Keeps the remarks of libraries, which `zoo train` writes into train.log, out of the report."""
    disable_possible_user_warnings()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def benchmark(
    device: str = "auto", rounds: int = 5, steps: int | None = None, only: Sequence[str] = (), write: bool = False
) -> bool:
    """Times the cases, prints the report and, if asked to, writes it into docs/performance.md.

    Args:
        device: `"cpu"`, `"cuda"`, or `"auto"`: CUDA where there is such a GPU.
        rounds: How often each way is timed.
        steps: How many training steps, or sentences the usual way, are timed at a time, instead of each case's own
            number.
        only: Names of cases; by default all.
        write: Whether the report goes into docs/performance.md too.

    Returns:
        Whether every ratio reached what is expected of it.

    Raises:
        ZooError: There is no such case, the data or the device is missing, or a part of the cases would be written.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if rounds < 1 or (steps is not None and steps < 1):
        raise ZooError("--rounds and --steps are counts: give 1 or more")
    if write and (only or steps is not None):
        raise ZooError("--write is for the whole benchmark: leave out --only and --steps")
    page = shipped("results").parent / "docs" / "performance.md"
    if write:
        check_page(page, device)
    chosen = cases(device, only)
    if steps is not None:
        chosen = [replace(case, steps=steps) for case in chosen]
    _hush()
    with tempfile.TemporaryDirectory() as folder:
        ways = {DECODING: measure_decoding, LOADING: measure_loading}
        measured = [ways.get(case.kind, measure)(case, rounds, Path(folder)) for case in chosen]
        trained = [case for case in chosen if device == "cpu" and case.kind.parts]
        shares = {case.name: shares_of_a_step(case, Path(folder)) for case in trained}
    text = report(torch.device(device), rounds, measured, shares)
    print(text)
    if write:
        write_page(page, device, text)
        print(f"\nwritten to {page}")
    return all(each.reached(other) for each in measured for other in each.others)
