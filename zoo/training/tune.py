"""`zoo tune`: Optuna looks for a good configuration, each trial in a process and a folder of its own."""

import csv
import io
import json
import os
import re
import socket
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from zoo.errors import ZooError
from zoo.training.callbacks.pruning import STORAGE
from zoo.training.compare import command, telling
from zoo.training.compose import compose, parse_overrides
from zoo.training.launchers import INTERRUPTED
from zoo.training.run_folder import RunFolder, folder_name, freeze, group_runs, write_atomically
from zoo.training.search_space import Search, read_search
from zoo.training.start import checked_config, refuse_if_busy, train_in_subprocess

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_MACHINE = "machine"  # the attribute of a trial that says where its folder is
_ASKING = timedelta(minutes=10)  # far more than it takes to ask for a trial
_NO_STRINGS = ("null", "true", "false", "nan", "inf")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ZooError('zoo tune needs Optuna: pip install "landmark-zoo[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _typed(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value not in _NO_STRINGS:
        return value
    return json.dumps(value)


def _words(search: Search, parameters: dict[str, Any]) -> list[str]:
    """Returns what is typed for a trial; of a number that was drawn more than four digits tell nothing."""
    rounded = {
        key: float(f"{value:.4g}") if isinstance(value, float) and "choices" not in search.parameters[key] else value
        for key, value in parameters.items()
    }
    return [f"{key}={_typed(value)}" for key, value in rounded.items()]


class _Tuner:
    """A search in its folder, and the study that it shares with whoever names the same storage."""

    def __init__(self, search: Search, overrides: Sequence[str], config_dirs: Sequence[Path], storage: str | None):
        self.search, self.overrides, self.config_dirs = search, list(overrides), config_dirs
        # Whatever does not compose, or has no key of the search, is told before anything is made.
        lows = {
            key: each["choices"][0] if "choices" in each else each["low"] for key, each in search.parameters.items()
        }
        config, _ = checked_config(compose([*self.overrides, *_words(search, lows)], config_dirs), config_dirs)
        if config["sweep"]["jobs"] is not None or config["sweep"]["launcher"] != "process":
            raise ZooError("zoo tune makes one trial at a time: for several, type the line in several terminals")
        self.name = config["sweep"]["name"] or folder_name("tune", [search.name, *overrides])
        self.folder = Path(config["runs_dir"]) / self.name
        self.metric, direction = _watched(config)
        self.best_counts = config["select"] == "best"
        optuna = _optuna()
        self.distributions = search.distributions()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.storage = storage or f"sqlite:///{self.folder / 'study.db'}"
        os.environ[STORAGE] = self.storage  # for the trials
        try:
            self.study: Study = optuna.create_study(
                storage=self.storage, study_name=self.name, load_if_exists=True, direction=direction,
                sampler=optuna.samplers.TPESampler(n_startup_trials=search.startup),
            )  # fmt: skip
        except Exception as error:  # whatever the database's driver makes of a wrong URL, which may hold a password
            kind = self.storage.partition("://")[0]
            raise ZooError(f"the study in {kind}://… cannot be opened: {type(error).__name__}") from error

    def run_folder(self, number: int) -> RunFolder:
        """Returns the folder of a trial."""
        return RunFolder(self.folder / f"trial_{number:04}")

    def trials(self, *states: str) -> "list[FrozenTrial]":
        """Returns the trials in these states, of all machines."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.name in states]

    def _taken(self, number: int) -> FileLock | None:
        """Takes a trial for this process; None when another one of this machine is at it."""
        lock = FileLock(self.folder / f".trial_{number:04}.lock")
        try:
            lock.acquire(timeout=0)
            refuse_if_busy(self.run_folder(number))  # a training whose search was killed alone
        except (Timeout, ZooError):
            lock.release()
            return None
        return lock

    def _next(self) -> "tuple[FrozenTrial, FileLock] | None":
        """Returns a trial that nobody is working at, or a new one; None when there are as many as wanted."""
        machine = socket.gethostname()
        with FileLock(self.folder / ".lock"):  # of all searches of this machine, one at a time looks around
            for trial in self.trials("RUNNING"):
                owner = trial.user_attrs.get(_MACHINE)
                long_ago = trial.datetime_start is None or datetime.now() - trial.datetime_start > _ASKING
                if owner is None and long_ago:  # killed while it was asked for
                    self.study.tell(trial.number, state=_state("FAIL"), skip_if_finished=True)
                elif owner == machine and (lock := self._taken(trial.number)):
                    return trial, lock
            if len(self.trials("RUNNING", "COMPLETE", "PRUNED", "FAIL")) >= self.search.trials:
                return None
            try:
                asked = self.study.ask(self.distributions)
            except ValueError as error:
                raise ZooError(f"the search {self.search.name} was changed since {self.folder} was begun: {error}; "
                               "give it another name with sweep.name=…") from error  # fmt: skip
            asked.set_user_attr(_MACHINE, machine)
            lock = FileLock(self.folder / f".trial_{asked.number:04}.lock")
            lock.acquire(timeout=0)
            return self.study.get_trials(deepcopy=False)[asked.number], lock

    def _typed(self, trial: "FrozenTrial") -> list[str]:
        return [*self.overrides, *_words(self.search, trial.params)]

    def _freeze(self, trial: "FrozenTrial") -> RunFolder:
        config, typed = checked_config(compose(self._typed(trial), self.config_dirs), self.config_dirs)
        config["callbacks"]["pruning"] = {
            "_target_": "zoo.training.callbacks.pruning.Pruning", "study": self.name, "trial": trial.number,
            "startup": self.search.startup, "monitor": self.metric,
        }  # fmt: skip
        group_runs(config, self.name, "trial")
        run = self.run_folder(trial.number)
        run.summary.unlink(missing_ok=True)
        return freeze(config, typed, run.path)

    def _value(self, number: int) -> float | None:
        """Returns what was measured on what is held out, of the weights that the run keeps."""
        if self.metric.startswith("val/"):
            metrics = (self.run_folder(number).read_summary() or {})["metrics"]
            return metrics.get(self.metric)
        # Players: the games of the final test are others than those after each epoch, and choose nothing.
        reported = self.study.get_trials(deepcopy=False)[number].intermediate_values
        if not reported:
            return None
        if self.best_counts:
            return (min if self.study.direction.name == "MINIMIZE" else max)(reported.values())
        return reported[max(reported)]

    def _try(self, trial: "FrozenTrial") -> int:
        """Trains a trial, or goes on with it, and tells Optuna what it came to; returns an exit code."""
        run = self.run_folder(trial.number)
        if run.config.is_file() and run.read_overrides()["overrides"] != self._typed(trial):
            raise ZooError(f"{run.path} holds a trial of another study: delete {self.folder}, or give this search "
                           "another name with sweep.name=…")  # fmt: skip
        goes_on = " (going on)" if run.started else ""
        drawn = " ".join(_words(self.search, trial.params))
        print(f"[{trial.number + 1}/{self.search.trials}] {drawn}{goes_on}", flush=True)
        code = 0 if run.finished else train_in_subprocess(self._freeze(trial))
        if code in INTERRUPTED:
            return code
        value = self._value(trial.number) if run.finished else None
        pruned = (run.read_summary() or {}).get("status") == "pruned"
        state = None if value is not None else _state("PRUNED" if pruned else "FAIL")
        self.study.tell(trial.number, value, state, skip_if_finished=True)
        if run.finished and value is None:
            raise ZooError(f"{self.metric} was not measured in {run.path}: a search needs a validation")
        return 0

    def run(self) -> int:
        """Tries until there are enough trials; returns an exit code."""
        while (taken := self._next()) is not None:
            trial, lock = taken
            try:
                code = self._try(trial)
            finally:
                lock.release()
            self._write_summary()
            if code in INTERRUPTED:
                print("the search is interrupted: type the same line again, and it goes on here", flush=True)
                return code
        self._write_summary()
        return self._report()

    def _write_summary(self) -> None:
        text = io.StringIO()
        keys = list(self.search.parameters)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["trial", "state", *keys, self.metric, "error", "folder"])
        for trial in self.study.get_trials(deepcopy=False):
            run = self.run_folder(trial.number)
            error = (run.read_summary() or {}).get("error") or ""
            row = [trial.number, trial.state.name.lower(), *(trial.params.get(key, "") for key in keys)]
            writer.writerow([*row, "" if trial.value is None else trial.value, error, run.path.name])
        write_atomically(self.folder / "summary.csv", text.getvalue())

    def _report(self) -> int:
        states = {name: len(self.trials(name)) for name in ("COMPLETE", "PRUNED", "FAIL")}
        counts = f"{states['COMPLETE']} finished, {states['PRUNED']} pruned, {states['FAIL']} failed"
        print(f"{sum(states.values())} trials: {counts}; {self.folder / 'summary.csv'}")
        if not states["COMPLETE"]:
            return 1
        for path in self._draw():
            print(path)
        best = self.study.best_trial
        print(f"best {self.metric} {best.value:.4g}, trial {best.number}")
        print(f"the best: {command([*telling(self.overrides), *_words(self.search, best.params)], self.config_dirs)}")
        return 0

    def _draw(self) -> list[Path]:
        """Writes Optuna's own plots."""
        import warnings

        import matplotlib

        matplotlib.use("Agg")
        from optuna.exceptions import ExperimentalWarning
        from optuna.visualization import matplotlib as plots

        drawn: dict[str, Any] = {"history": plots.plot_optimization_history, "slice": plots.plot_slice}
        if len(self.trials("COMPLETE")) > 1:
            drawn["importances"] = plots.plot_param_importances
        written = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            for name, draw in drawn.items():
                axes = draw(self.study)
                figure = (axes if hasattr(axes, "figure") else axes.flat[0]).figure
                written.append(self.folder / f"{name}.png")
                figure.savefig(written[-1], dpi=120, bbox_inches="tight")
        return written


def _watched(config: dict[str, Any]) -> tuple[str, str]:
    """Returns the metric that a search goes by, and whether it is to be made small or large.

    Raises:
        ZooError: Nothing is held out: the test split chooses no configuration.
    """
    from zoo.tasks.catalog import task_class

    if not config["data"].get("validation", True):
        raise ZooError(
            "a search needs a validation split, since the test split chooses nothing: give data.validation=…"
        )
    headlines = task_class(config["task"]["name"]).headlines
    headline = config["task"].get("headline") or next(iter(headlines))
    if not headline.startswith(("test/", "eval/")):
        raise ZooError(f"task.headline={headline} is known at the end alone: a search goes by what is held out")
    direction = "minimize" if headlines[headline] == "min" else "maximize"
    return headline.replace("test/", "val/"), direction


def tune(
    name: str,
    overrides: Sequence[str],
    config_dirs: Sequence[Path] = (),
    trials: int | None = None,
    storage: str | None = None,
) -> int:
    """Searches, going on with what an earlier call of the same line has left.

    Args:
        name: A file under `configs/search/`.
        overrides: Words as for a single run, which all trials share.
        config_dirs: Folders with config groups of the user's own.
        trials: How many configurations are tried in all; by default as the search says.
        storage: URL of a database that several machines share; by default a file in the search's folder.

    Returns:
        0 when there is a best configuration, 1 when no trial came to its end, 130 or 143 when interrupted.

    Raises:
        ZooError: The search or a word makes no sense; nothing was started.
    """
    for override in parse_overrides(overrides):
        if override.is_sweep_override() or override.key_or_group in ("resume", "from_run"):
            raise ZooError(f"{override.input_line} does not go with a search: it is for zoo train")
    search = read_search(name, config_dirs)
    if trials is not None:
        if trials < 1:
            raise ZooError(f"--trials {trials} is not possible: expected 1 or more")
        search = Search(search.name, trials, search.startup, search.parameters)
    return _Tuner(search, overrides, config_dirs, storage).run()
