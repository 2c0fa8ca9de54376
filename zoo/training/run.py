"""The process that trains: `python -m zoo.training.run RUN_FOLDER`.

A single run, a sweep's job, a resumed run and every rank of a distributed run start by this very line. What is done
here is to turn every way a run can end into one line, an exit code and a summary.
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zoo.errors import PrunedError, ZooError
from zoo.training import processes
from zoo.training.interrupts import Interrupted, Interrupts
from zoo.training.log_file import keep_log
from zoo.training.processes import Outcome
from zoo.training.run_folder import RunFolder, remove_fresh, remove_torn_writes, write_json

log = logging.getLogger("zoo")
log.addHandler(logging.NullHandler())  # until there is a train.log; else Python prints errors a second time


def _report(run: RunFolder, outcome: Outcome, fresh: bool) -> None:
    """Prints the one line, and leaves a summary in a run that has something to keep and has not finished."""
    print(f"zoo: {outcome.message}", file=sys.stderr, flush=True)
    try:
        log.error(outcome.message)
        if fresh and not run.environment.exists() and not run.started:
            logging.shutdown()
            remove_fresh(run)
        if run.path.is_dir() and not run.finished:
            error = None if outcome.status == "interrupted" else outcome.message
            write_json(run.summary, {"status": outcome.status, "error": error})
    except (OSError, ZooError) as error:
        print(f"zoo: the summary could not be written: {error}", file=sys.stderr)


def _outcome(run: RunFolder, error: BaseException) -> Outcome:
    if os.environ.get("ZOO_DEBUG") == "1":
        traceback.print_exc()
    if isinstance(error, Interrupted):
        return processes.interrupted(run, str(error), error.exit_code)
    if isinstance(error, ZooError):
        return Outcome("pruned" if isinstance(error, PrunedError) else "failed", str(error), 1)
    log.error("".join(traceback.format_exception(error)))
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    kept = run.environment.exists()
    where = f"{run.log} and ZOO_DEBUG=1 show" if kept else "ZOO_DEBUG=1 shows"
    return Outcome("failed", f"{reason} ({where} the traceback)", 1)


def _check_started(config: dict[str, Any]) -> None:
    """Makes sure that as many processes were started from outside as the run is to have.

    Raises:
        ZooError: There are more, which would all train the same, or fewer, which would wait for the others.
    """
    started, wanted = processes.started_from_outside(), processes.processes(config["trainer"])
    if started is not None and started != wanted:
        raise ZooError(f"{started} processes were started for a run that has {wanted} (trainer.devices="
                       f"{config['trainer']['devices']}, trainer.num_nodes={config['trainer']['num_nodes']}): start as "
                       "many, or give the run as many devices")  # fmt: skip


def _train(run: RunFolder, config: dict[str, Any], interrupts: Interrupts) -> Outcome | None:
    """Trains in this process, or starts those that do; returns how it ended where that was not its end."""
    _check_started(config)
    alone = processes.started_from_outside() is None and not processes.supervised()
    if alone and processes.processes(config["trainer"]) > 1:
        keep_log(run)
        return processes.supervise(run, config["trainer"])
    # Importing Lightning takes seconds; signals are already looked after.
    from zoo.training.trainer import train

    train(run, config, interrupts)
    return None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Prints nothing: what there is to see, the main process shows."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def main(argv: Sequence[str] | None = None) -> int:
    """Trains in the run folder that is the only argument.

    Returns:
        0, or 130 after Ctrl-C, 143 after SIGTERM, 1 after an error that has been told in one line.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m zoo.training.run RUN_FOLDER (made by `zoo train`)", file=sys.stderr)
        return 2
    run = RunFolder(Path(arguments[0]).absolute())
    if processes.supervised():
        processes.end_with_supervisor()
    main_process = processes.early_rank() == 0
    interrupts = Interrupts(tells=main_process)
    interrupts.install()
    lock = FileLock(run.path / ".lock")
    fresh = run.fresh.exists()
    try:
        config = run.read_config()
        if main_process and not processes.supervised():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"zoo: {run.path} is being trained by another process", file=sys.stderr)
                return 1
            run.fresh.unlink(missing_ok=True)
            remove_torn_writes(run)
            processes.remove_marks(run)
        with contextlib.nullcontext() if main_process else _silence():
            outcome = _train(run, config, interrupts)
        if outcome is not None and main_process:
            _report(run, outcome, fresh)
        elif outcome is not None:  # on another machine than the one that keeps the run
            print(f"zoo: {outcome.message}", file=sys.stderr, flush=True)
    except (Exception, Interrupted) as error:
        outcome = _outcome(run, error)
        several = processes.supervised() or processes.started_from_outside() is not None
        if not several or processes.leave_report(run, outcome):  # a supervisor tells by itself
            _report(run, outcome, fresh)
    finally:
        if lock.is_locked:  # never another process's
            (run.path / ".lock").unlink(missing_ok=True)
            lock.release()
    return 0 if outcome is None else outcome.code


if __name__ == "__main__":
    sys.exit(main())
