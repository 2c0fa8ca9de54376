"""`zoo verify`: releases measured again, beside what their cards and their records say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from zoo.data.catalog import DATASETS
from zoo.data.preparation import missing_files
from zoo.errors import ZooError
from zoo.pretrained.card import read_card
from zoo.pretrained.hub import find_release, list_pretrained
from zoo.pretrained.release import load_release, read_files
from zoo.training.records import record_of
from zoo.training.screen import columns, show

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


def _why_not(data: str) -> str:
    """Says why a dataset cannot be measured on without the user's help; an empty string if it can."""
    if data not in DATASETS:
        return f"data={data} is not this installation's"
    if DATASETS[data].your_own:
        return f"{data} is data of its owner's"
    return f"{data} is not here: make data" if missing_files(data) else ""


def computes_bfloat16() -> bool:
    """Says whether evaluations here have instructions for bfloat16: on a GPU, or on a CPU that has them."""
    import torch  # takes seconds

    from zoo.training.environment import native_bf16

    return torch.cuda.is_available() or native_bf16()


def verify_release(folder: Path) -> Verdict:
    """Checks a release to the last byte, then measures it on its data where that is there.

    Nothing is downloaded for it.
    """
    name = folder.name
    try:
        card = read_card(folder)
        name = card.get("name") or name
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
    if reason := _why_not(card["data"]["name"]):
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


def verify(names: Sequence[str] = ()) -> bool:
    """Verifies releases and prints a table.

    Args:
        names: Releases or their paths; by default all that lie here.

    Returns:
        Whether nothing is wrong with any of them.

    Raises:
        ZooError: There is no release of that name.
    """
    folders = [find_release(name) for name in names] or [entry.folder for entry in list_pretrained() if entry.folder]
    verdicts = [
        verify_release(folder) for folder in track(folders, "verifying", transient=True, console=Console(stderr=True))
    ]
    table = columns("", "release", "metric", "record", "card", "now", "")
    for each in verdicts:
        mark = "✗" if each.wrong else "–" if each.open else "✓"
        numbers = ("" if value is None else f"{value:.4g}" for value in (each.recorded, each.told, each.now))
        table.add_row(mark, each.name, each.metric, *numbers, each.wrong or each.open)
    show(table if verdicts else "no releases yet")
    return not any(each.wrong for each in verdicts)
