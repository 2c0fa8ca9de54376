"""`zoo train -m`: every combination of comma-separated values, each in a process and a folder of its own."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException

from zoo.errors import ZooError
from zoo.training.compose import compose, parse_overrides
from zoo.training.imports import import_modules
from zoo.training.launchers import INTERRUPTED, by_submitit, console, one_after_the_other, side_by_side
from zoo.training.run_folder import RunFolder, config_hash, folder_name, freeze, group_runs, write_atomically
from zoo.training.start import checked_config, refuse_if_busy


@dataclass
class Job:
    """One combination of a sweep."""

    run: RunFolder
    config: dict[str, Any]
    typed: dict[str, Any]
    swept: dict[str, str]

    @property
    def seed(self) -> int:
        """The job's seed."""
        return self.config["seed"]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _jobs(overrides: Sequence[str], config_dirs: Sequence[Path]) -> list[Job]:
    """Composes and checks all jobs before the first one starts."""
    parsed = parse_overrides(overrides)
    for override in parsed:
        if override.key_or_group in ("resume", "from_run"):
            raise ZooError(f"{override.input_line} does not go with -m: a sweep typed again resumes by itself")
    lines = [override.input_line or "" for override in parsed if override.is_sweep_override()]
    names = {_key(line) for line in lines}
    default_name = folder_name("sweep", overrides)
    jobs: dict[Path, Job] = {}
    try:
        combinations = BasicSweeper.split_arguments(parsed, None)[0]
    except HydraException as error:  # such as glob(…) and interval(…)
        raise ZooError(f"-m does not know how to try all of {' '.join(lines)}: write the values out, as in seed=1,2; "
                       "`zoo tune` searches ranges") from error  # fmt: skip
    for words in combinations:
        config, typed = checked_config(compose(words, config_dirs), config_dirs)
        config["sweep"]["name"] = config["sweep"]["name"] or default_name
        pairs = ((_key(word), word.partition("=")[2]) for word in words)
        swept = {key: value for key, value in pairs if key in names}
        name = config_hash(config)
        if "data.dir" in swept:  # not in the hash: the same data may lie elsewhere, here they are others
            name += f"_{sha256(swept['data.dir'].encode()).hexdigest()[:8]}"
        folder = Path(config["runs_dir"]) / config["sweep"]["name"] / name
        jobs.setdefault(folder, Job(RunFolder(folder), config, typed, swept))
    return list(jobs.values())


def _check_signatures(jobs: Iterable[Job]) -> None:
    """Checks keys and types of all jobs before the first one starts, as each does by itself when its turn comes.

    The user's modules that jobs import are imported for it, into the process that waits for all of them.
    """
    from zoo.training.signatures import check_signatures  # torch and Lightning: only where something is to be trained

    for job in jobs:
        import_modules(job.config["imports"])
        check_signatures(job.config)


def _row(number: int, job: Job) -> dict[str, Any]:
    summary = job.run.read_summary() or {}
    headline = summary.get("headline") or {}
    return {
        "job": number,
        "status": summary.get("status", "interrupted" if job.run.started else "waiting"),
        "seed": job.seed,
        **job.swept,
        headline.get("metric", "headline"): headline.get("value", ""),
        "duration_s": summary.get("duration_s", ""),
        "error": summary.get("error") or "",
        "folder": job.run.path.name,
    }


def _write_summary(folder: Path, jobs: Sequence[Job]) -> None:
    """Writes summary.csv, after each job."""
    rows = [_row(number, job) for number, job in enumerate(jobs, 1)]
    summaries = [summary for job in jobs if (summary := job.run.read_summary())]
    metric = next((s["headline"]["metric"] for s in summaries if s["status"] == "finished"), "headline")
    for row in rows:
        row.setdefault(metric, row.pop("headline", ""))
    columns = ["job", "status", "seed", *(key for key in jobs[0].swept if key != "seed"), metric, "duration_s", "error",
               "folder"]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "summary.csv", text.getvalue())


def _rank(jobs: Sequence[Job]) -> None:
    """Prints configurations by their headline, best first, seeds averaged, and draws their curves."""
    if not any(job.run.finished for job in jobs):
        return
    from zoo.training.compare import compare, print_ranking
    from zoo.training.compare_figure import save_comparison  # matplotlib takes a second

    try:
        comparison = compare([job.run.path for job in jobs])
        print_ranking(comparison)
        if written := save_comparison(comparison, jobs[0].run.path.parent / "comparison.png"):
            print(written)
    except ZooError as error:  # such as jobs of different tasks: they have finished all the same
        print(f"no ranking: {error}")


def _outcome(run: RunFolder, code: int) -> str:
    """Returns what a job without a terminal came to, in a few words."""
    summary = run.read_summary() or {}
    if summary.get("status") == "finished":
        return f"{summary['headline']['metric']} {summary['headline']['value']:.4g}, {summary['duration_s']:,.0f} s"
    return summary.get("error") or ("interrupted" if code in INTERRUPTED else f"exit code {code}, see {console(run)}")


def sweep(overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> int:
    """Runs all jobs of a sweep line, skipping finished ones and resuming those that were killed.

    Args:
        overrides: Words as for a single run, some with comma-separated values.
        config_dirs: Folders with config groups of the user's own.

    Returns:
        0 when every job has finished, 1 when some failed, 130 or 143 when the sweep was interrupted.

    Raises:
        ZooError: A job does not compose, imports a module that fails, or has a key or type that does not fit; nothing
            was started.
    """
    jobs = _jobs(overrides, config_dirs)
    waiting = {job.run: job for job in jobs if not job.run.finished}
    _check_signatures(waiting.values())
    folder, settings = jobs[0].run.path.parent, jobs[0].config["sweep"]
    titles = {}
    for number, job in enumerate(jobs, 1):
        words = " ".join(f"{key}={value}" for key, value in job.swept.items()) or "the only configuration"
        titles[job.run] = f"[{number}/{len(jobs)}] {words}"
        if job.run.finished:
            print(f"{titles[job.run]}: finished before, skipped", flush=True)

    def begin(run: RunFolder) -> None:
        print(f"{titles[run]}{' (going on)' if run.started else ''}", flush=True)
        refuse_if_busy(run)
        run.summary.unlink(missing_ok=True)
        group_runs(waiting[run].config, folder.name, "sweep")
        freeze(waiting[run].config, waiting[run].typed, run.path)

    at_once = settings["jobs"]
    if settings["launcher"] != "process":
        ended = by_submitit(list(waiting), begin, at_once, settings["launcher"], settings["slurm"], folder / "submitit")
    elif (at_once or 1) > 1:
        ended = side_by_side(list(waiting), begin, at_once)
    else:
        ended = one_after_the_other(list(waiting), begin)
    failed, interrupted = [], 0
    try:
        for run, code in ended:
            _write_summary(folder, jobs)
            if console(run).exists():
                print(f"{titles[run]}: {_outcome(run, code)}", flush=True)
            if code in INTERRUPTED:
                interrupted = code
            elif code:
                failed.append(titles[run])
    except KeyboardInterrupt:  # here, and not while a launcher waited for its jobs
        ended.close()
        interrupted = INTERRUPTED[0]
    _write_summary(folder, jobs)
    if interrupted:
        print("the sweep is interrupted: type the same line again, and it goes on here", flush=True)
        return interrupted
    _rank(jobs)
    if failed:
        print(f"failed: {', '.join(failed)}")
    print(f"{len(jobs) - len(failed)} of {len(jobs)} jobs finished; {folder / 'summary.csv'}")
    return 1 if failed else 0
