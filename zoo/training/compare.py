"""Runs beside each other: configurations ranked by their headline, seeds averaged."""

import csv
import io
import json
import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from zoo.errors import ZooError
from zoo.training.run_folder import WITHOUT_EFFECT, RunFolder, seedless_hash
from zoo.training.screen import columns, show

# Words that do not make two runs different from each other.
_ALIKE = (*WITHOUT_EFFECT, "seed=", "name=")


def command(words: Sequence[str], config_dirs: Sequence[str | Path]) -> str:
    """Returns a `zoo train` command to be pasted."""
    folders = [word for folder in config_dirs for word in ("--config-dir", str(Path(folder).absolute()))]
    return shlex.join(["zoo", "train", *folders, *words])


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seed alone.

    Attributes:
        words: What was typed behind `zoo train`, but for seed, folders and loggers.
        label: Those of the words that not all compared configurations share.
        runs: The finished runs, in the order of their seeds.
        summaries: Their summaries.
    """

    words: tuple[str, ...]
    label: str
    runs: tuple[RunFolder, ...]
    summaries: tuple[dict[str, Any], ...]

    @property
    def values(self) -> list[float]:
        """The headline of each run."""
        return [summary["headline"]["value"] for summary in self.summaries]

    @property
    def mean(self) -> float:
        """Of the headline, over the seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation of the headline; None for one seed, NaN where a value is not finite."""
        if len(self.values) < 2:
            return None
        return stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return [summary["seed"] for summary in self.summaries]

    @property
    def duration(self) -> float:
        """Seconds of training, the mean over the seeds."""
        return fmean(summary["duration_s"] for summary in self.summaries)

    @property
    def command(self) -> str:
        """The command that runs it once more, with another seed than any so far."""
        folders = self.runs[0].read_overrides().get("config_dirs", [])
        return command([*self.words, f"seed={max(self.seeds) + 1}"], folders)


@dataclass(frozen=True)
class Comparison:
    """Configurations, the best first, and the runs that have not finished."""

    metric: str
    direction: str
    configurations: tuple[Configuration, ...]
    unfinished: tuple[RunFolder, ...]


def telling(words: Sequence[str]) -> list[str]:
    """Returns those of the words behind `zoo train` that say what is computed, the seed not among them."""
    return [word for word in words if not word.startswith(_ALIKE)]


def _runs_in(path: str | Path) -> list[RunFolder]:
    """Returns the run at a path, or those in the folder of a sweep, of a name or of all runs."""
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise ZooError(f"{path} is no folder: expected that of a run or of a sweep")
    for pattern in ("config.yaml", "*/config.yaml", "*/*/config.yaml"):
        if found := sorted(folder.glob(pattern)):
            return [RunFolder(config.parent) for config in found]
    raise ZooError(f"{path} holds no run: expected the folder of a run, or of a sweep's runs")


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Reads runs and ranks their configurations.

    Args:
        paths: Folders of runs, or of sweeps, whose runs are all taken.

    Raises:
        ZooError: No run has finished, a folder is none, or the runs are judged by different metrics.
    """
    runs = {run.path: run for path in paths for run in _runs_in(path)}
    finished: dict[tuple[str, ...], dict[int, tuple[RunFolder, dict[str, Any], tuple[str, ...]]]] = defaultdict(dict)
    unfinished: list[RunFolder] = []
    metrics: dict[str, RunFolder] = {}
    for run in runs.values():
        summary = run.read_summary()
        if summary is None or summary.get("status") != "finished":
            unfinished.append(run)
            continue
        words = tuple(telling(run.read_overrides()["overrides"]))
        # A folder that was typed may be the data itself. Of two runs with the same seed the later one counts.
        key = (seedless_hash(run.read_config()), *(word for word in words if word.startswith("data.dir=")))
        finished[key][summary["seed"]] = run, summary, words
        metrics.setdefault(summary["headline"]["metric"], run)
    if not finished:
        raise ZooError(f"none of the {len(runs)} runs has finished: there is nothing to compare yet")
    if len(metrics) > 1:
        examples = ", ".join(f"{metric} ({run.path})" for metric, run in metrics.items())
        raise ZooError(f"the runs are judged by different metrics: {examples}; compare those of one")
    shared = set.intersection(*(set(words) for group in finished.values() for *_, words in group.values()))
    configurations = []
    for group in finished.values():
        folders, summaries, typed = zip(*(group[seed] for seed in sorted(group)), strict=True)
        own = [word for word in typed[0] if word not in shared]
        label = " ".join(own) or (" ".join(typed[0]) if len(finished) == 1 else "") or "(as shipped)"
        configurations.append(Configuration(typed[0], label, folders, summaries))
    headline = configurations[0].summaries[0]["headline"]
    sign = 1 if headline["direction"] == "min" else -1
    configurations.sort(key=lambda configuration: sign * configuration.mean)
    return Comparison(headline["metric"], headline["direction"], tuple(configurations), tuple(unfinished))


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank, "configuration": each.label, "metric": comparison.metric, "mean": each.mean,
            "standard_deviation": each.deviation, "seeds": each.seeds, "values": each.values,
            "duration_s": each.duration, "command": each.command, "folders": [str(run.path) for run in each.runs],
        }
        for rank, each in enumerate(comparison.configurations, 1)
    ]  # fmt: skip


def as_json(comparison: Comparison) -> str:
    """Returns the ranking as JSON, a list of configurations with all their numbers."""
    return json.dumps(_rows(comparison), indent=2, ensure_ascii=False)


def as_csv(comparison: Comparison) -> str:
    """Returns the ranking as CSV, a row for each configuration."""
    text = io.StringIO()
    rows = [{key: value for key, value in row.items() if key not in ("values", "folders")} for row in _rows(comparison)]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row | {"seeds": " ".join(map(str, row["seeds"]))} for row in rows)
    return text.getvalue().removesuffix("\n")


def ranking(comparison: Comparison) -> Table:
    """Returns the ranking as a table."""
    table = columns("rank", comparison.metric, "seeds", "time", "configuration")
    for rank, each in enumerate(comparison.configurations, 1):
        spread = f" ± {each.deviation:.3g}" if each.deviation is not None else ""
        table.add_row(str(rank), f"{each.mean:.4g}{spread}", str(len(each.runs)), f"{each.duration:,.0f} s", each.label)
    return table


def print_ranking(comparison: Comparison) -> None:
    """Prints the table, what has not finished, and how to run the best configuration."""
    show(ranking(comparison))
    if comparison.unfinished:
        named = ", ".join(str(run.path) for run in comparison.unfinished[:3])
        more = ", …" if len(comparison.unfinished) > 3 else ""
        print(f"not finished, {len(comparison.unfinished)} of them: {named}{more}")
    print(f"the best: {comparison.configurations[0].command}")
