"""`zoo verify`: releases measured again, beside what their cards and their records say."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from zoo.data.catalog import DATASETS
from zoo.data.preparation import missing_files
from zoo.errors import ZooError
from zoo.pretrained.card import read_card
from zoo.pretrained.hub import find_release, list_pretrained
from zoo.pretrained.release import load_release, read_files
from zoo.training.records import record_of
from zoo.training.run_folder import data_folder

# Another processor adds up in another order; what is counted, such as errors, has to be the same all the same.
_RELATIVE = 1e-3
# Not so in bfloat16, whose eight bits each processor rounds in its own places. A CPU without instructions for it, which
# would take hours, measures in float32 instead.
_RELATIVE_OF_BFLOAT16 = 1e-2


@dataclass(frozen=True)
class Verdict:
    """What became of a release: the headline in its record, on its card and measured now; what is wrong with it.

    `open` says why it was not measured, where it was not and nothing is wrong.
    """

    name: str
    metric: str = ""
    recorded: float | None = None
    told: float | None = None
    now: float | None = None
    wrong: str = ""
    open: str = ""


def _why_not(data: str, folder: str | None) -> str:
    """Says why a dataset cannot be measured on without the user's help; an empty string if it can.

    Args:
        data: Its name.
        folder: The one that its run read it from, if it is there.
    """
    if data not in DATASETS:
        return f"data={data} is not this installation's"
    if DATASETS[data].your_own:
        return "" if folder else f"{data} is data of its owner's"
    return f"{data} is not here: make data" if missing_files(data, folder) else ""


def computes_bfloat16() -> bool:
    """Says whether evaluations here have instructions for bfloat16: on a GPU, or on a CPU that has them."""
    import torch  # takes seconds

    from zoo.training.environment import native_bf16

    return torch.cuda.is_available() or native_bf16()


def verify_release(folder: Path) -> Verdict:
    """Checks a release to the last byte, then measures it on its data where that is there.

    Nothing is downloaded for it.
    """
    name = _name(folder)
    try:
        card = read_card(folder)
        load_release(folder)
        read_files(folder)
    except ZooError as error:
        return Verdict(name, wrong=str(error))
    if not card.get("headline"):
        return Verdict(name, open="its numbers are not ours: nothing to compare with")
    metric, told = card["headline"]["metric"], card["headline"]["value"]
    record = record_of(card)
    recorded = record["headline"]["value"] if record else None
    if recorded is not None and not math.isclose(told, recorded, rel_tol=_RELATIVE):
        return Verdict(name, metric, recorded, told, wrong="card and record differ")
    if reason := _why_not(card["data"]["name"], data_folder(folder)):
        return Verdict(name, metric, recorded, told, open=reason)

    from zoo.training.evaluate import measure

    precision = record["precision"] if record else "32-true"
    in_other_arithmetic = precision.startswith("bf16") and not computes_bfloat16()
    try:
        now = measure(folder, [f"trainer.precision={'32-true' if in_other_arithmetic else precision}"])[0][metric]
    except ZooError as error:
        return Verdict(name, metric, recorded, told, wrong=str(error))
    same = math.isclose(now, told, rel_tol=_RELATIVE_OF_BFLOAT16 if in_other_arithmetic else _RELATIVE, abs_tol=1e-9)
    return Verdict(name, metric, recorded, told, now, wrong="" if same else "card and measurement differ")


def _name(folder: Path) -> str:
    """Returns what a release's card calls it, or else its folder's name."""
    try:
        return read_card(folder).get("name") or folder.name
    except ZooError:
        return folder.name


def _row(width: int, *cells: str) -> str:
    """Returns a row of the table, the names `width` characters wide; `test/bits_per_character` is the widest metric."""
    mark, name, metric, record, card, now, why = cells
    return f"{mark:1}  {name:<{width}}  {metric:<23}  {record:>7}  {card:>7}  {now:>7}  {why}".rstrip()


def verify(names: Sequence[str] = ()) -> bool:
    """Verifies releases and prints a row of a table as soon as each is done; all of them take a while.

    Args:
        names: Releases or their paths; by default all that lie here.

    Returns:
        Whether nothing is wrong with any of them.

    Raises:
        ZooError: There is no release of that name.
    """
    folders = [find_release(name) for name in names] or [entry.folder for entry in list_pretrained() if entry.folder]
    if not folders:
        print("no releases yet")
        return True
    told = {folder: _name(folder) for folder in folders}
    width = max(map(len, told.values()))
    right = True
    print(_row(width, "", "release", "metric", "record", "card", "now", ""), flush=True)
    # Rows stand above the bar where both are on one terminal; rich must not take them out of a pipe.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        bar = progress.add_task("", total=len(folders))
        for folder, name in told.items():
            progress.update(bar, description=f"verifying {name}")
            each = verify_release(folder)
            mark = "✗" if each.wrong else "–" if each.open else "✓"
            numbers = ("" if value is None else f"{value:.4g}" for value in (each.recorded, each.told, each.now))
            print(_row(width, mark, each.name, each.metric, *numbers, each.wrong or each.open), flush=True)
            progress.advance(bar)
            right = right and not each.wrong
    return right
