"""The process that trains: `python -m zoo.training.run RUN_FOLDER`.

A single run, a sweep's job, a resumed run and every rank of a distributed run start by this very line. What is done
here is to turn every way a run can end into one line, an exit code and a summary.
"""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import PrunedError, ZooError
from zoo.training.interrupts import Interrupted, Interrupts
from zoo.training.run_folder import RunFolder, remove_fresh, remove_torn_writes, write_json

log = logging.getLogger("zoo")
log.addHandler(logging.NullHandler())  # until there is a train.log; else Python prints errors a second time


def _is_main_process() -> bool:
    return all(os.environ.get(rank, "0") == "0" for rank in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _report(run: RunFolder, status: str, message: str, fresh: bool) -> None:
    """Prints the one line, and leaves a summary in a run that has something to keep."""
    # With another rank's error the first line is enough.
    if not _is_main_process():
        return
    print(f"zoo: {message}", file=sys.stderr, flush=True)
    try:
        log.error(message)
        if fresh and not run.environment.exists() and not run.started:
            logging.shutdown()
            remove_fresh(run)
        if run.path.is_dir():
            summary = {"status": status, "error": None if status == "interrupted" else message}
            write_json(run.summary, summary)
    except (OSError, ZooError) as error:
        print(f"zoo: the summary could not be written: {error}", file=sys.stderr)


def _fail(run: RunFolder, error: BaseException, fresh: bool) -> int:
    if os.environ.get("ZOO_DEBUG") == "1":
        traceback.print_exc()
    if isinstance(error, Interrupted):
        goes_on = f"zoo train resume={run.path}" if run.started else "nothing was trained yet"
        _report(run, "interrupted", f"interrupted by {error}; {goes_on}", fresh)
        return error.exit_code
    if isinstance(error, ZooError):
        _report(run, "pruned" if isinstance(error, PrunedError) else "failed", str(error), fresh)
        return 1
    log.error("".join(traceback.format_exception(error)))
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    kept = run.environment.exists()
    where = f"{run.log} and ZOO_DEBUG=1 show" if kept else "ZOO_DEBUG=1 shows"
    _report(run, "failed", f"{reason} ({where} the traceback)", fresh)
    return 1


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
    interrupts = Interrupts()
    interrupts.install()
    lock = FileLock(run.path / ".lock")
    fresh = run.fresh.exists()
    try:
        config = run.read_config()
        if _is_main_process():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                print(f"zoo: {run.path} is being trained by another process", file=sys.stderr)
                return 1
            run.fresh.unlink(missing_ok=True)
            remove_torn_writes(run)
        # Importing Lightning takes seconds; signals are already looked after.
        from zoo.training.trainer import train

        train(run, config, interrupts)
        return 0
    except (Exception, Interrupted) as error:
        return _fail(run, error, fresh)
    finally:
        if lock.is_locked:  # never another process's
            (run.path / ".lock").unlink(missing_ok=True)
            lock.release()


if __name__ == "__main__":
    sys.exit(main())
