"""The processes of one distributed run on this machine: started together, watched, ended together; imports no torch.

`python -m zoo.training.run RUN_FOLDER` starts them where no one else does: each is that very line with its rank in the
environment. torchrun and srun start one process for each rank by themselves.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from zoo.errors import ZooError
from zoo.training.run_folder import RunFolder, write_json

SUPERVISOR = "ZOO_SUPERVISOR"  # the process that started this rank and watches it
_MARK = ".ended.under-"  # where no supervisor tells how a run ended: that one of its ranks has
_LOOK_S = 0.1  # between two looks at whether a process has ended
_GRACE_S = 20.0  # for the others, when one has ended: over gloo they notice by themselves, over NCCL they may not


@dataclass(frozen=True)
class Outcome:
    """How a run ended before its end: `status` as in its summary, the one line that says why, the exit code."""

    status: str
    message: str
    code: int


def training_command(run: RunFolder) -> list[str]:
    """Returns the command that trains in a run folder: the same for a single run, a sweep's job and a resumed one."""
    return [sys.executable, "-m", "zoo.training.run", str(run.path)]


def supervised() -> bool:
    """Tells whether this is a rank that a process of ours started."""
    return SUPERVISOR in os.environ


def early_rank() -> int:
    """Returns 0 in a run's main process and another number in each other, before there is a process group to ask."""
    for name in ("RANK", "SLURM_PROCID"):
        if not supervised() and name in os.environ:
            return int(os.environ[name])
    return _rank_of(int(os.environ.get("LOCAL_RANK", 0)))


def _rank_of(local_rank: int) -> int:
    return int(os.environ.get("NODE_RANK", 0)) * 1000 + local_rank


def under_torchrun() -> bool:
    """Tells whether torchrun has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def started_from_outside() -> int | None:
    """Returns how many processes torchrun or srun has started for this run, None where neither has."""
    if supervised():
        return None
    if under_torchrun():
        return int(os.environ["WORLD_SIZE"])
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))  # which a batch script itself does not have
    return tasks if tasks > 1 else None


def processes_here(trainer: dict[str, Any]) -> int:
    """Returns how many processes a run has on each machine: one for each device.

    Args:
        trainer: The part of the run's config.
    """
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, str) and "," in devices:
        return len([each for each in devices.split(",") if each.strip()])
    if str(devices) not in ("auto", "-1"):
        return int(devices)
    if trainer["accelerator"] == "cpu":
        return 1
    import torch  # takes seconds

    return max(1, torch.cuda.device_count())


def processes(trainer: dict[str, Any]) -> int:
    """Returns how many processes a run has on all machines together."""
    return processes_here(trainer) * trainer["num_nodes"]


def end_with_supervisor() -> None:
    """Ends this rank as soon as the process that started it is gone: no one would tell it to stop."""
    parent = int(os.environ[SUPERVISOR])

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2 * _LOOK_S)
        os._exit(1)  # also while it waits for another rank

    threading.Thread(target=watch, daemon=True).start()


def leave_report(run: RunFolder, outcome: Outcome) -> bool:
    """Leaves word of how this rank ended; tells whether it is the first of those that torchrun or srun started here."""
    if not run.path.is_dir():
        return True
    try:
        if supervised():
            write_json(run.path / f".ended.{early_rank()}", {"time": time.time(), **asdict(outcome)})
            return False
        # Several may end at once: one of them makes the mark.
        (run.path / f"{_MARK}{socket.gethostname()}-{os.getppid()}").open("x").close()
    except FileExistsError:
        return False
    except OSError:  # a full disk
        return True
    return True


def remove_marks(run: RunFolder) -> None:
    """Removes what `leave_report` left at an earlier start."""
    for mark in run.path.glob(f"{_MARK}*"):
        mark.unlink(missing_ok=True)


def _first_report(run: RunFolder, count: int) -> Outcome | None:
    """Takes away what this machine's ranks have left, and returns the first: others may have failed for want of it."""
    reports = []
    for path in (run.path / f".ended.{_rank_of(local_rank)}" for local_rank in range(count)):
        if path.exists():
            reports.append(json.loads(path.read_text(encoding="utf-8")))
            path.unlink()
    first = min(reports, key=lambda report: report.pop("time"), default=None)
    return None if first is None else Outcome(**{key: first[key] for key in ("status", "message", "code")})


def _environment(run: RunFolder, trainer: dict[str, Any], count: int) -> dict[str, str]:
    own = {SUPERVISOR: str(os.getpid())}
    if trainer["num_nodes"] == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    elif missing := [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]:
        raise ZooError(f"trainer.num_nodes={trainer['num_nodes']}: {', '.join(missing)} must be set on each machine "
                       f"before `python -m zoo.training.run {run.path}`, or torchrun or srun start it")  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // count))} | dict(os.environ) | own


def _was_killed(codes: Sequence[int | None], received: int | None) -> str | None:
    for number, code in enumerate(codes):
        if code is not None and code < 0 and -code != received:
            return f"process {number + 1} of {len(codes)} was killed by {signal.Signals(-code).name}"
    return None


def supervise(run: RunFolder, trainer: dict[str, Any]) -> Outcome | None:
    """Starts a process for each device of this machine, and waits for them; when one dies, so do the others.

    SIGTERM and Ctrl-C are handed on; the processes agree among themselves on the batch after which they stop.

    Args:
        run: The run's folder.
        trainer: The part of the run's config.

    Returns:
        None if all came to their end.

    Raises:
        ZooError: It is not known where the other machines are.
    """
    count, command = processes_here(trainer), training_command(run)
    environment = _environment(run, trainer, count)
    ranks: list[subprocess.Popen[bytes]] = []
    first: list[int | None] = []  # how those ended that ended first; over NCCL the others then abort
    received: int | None = None

    def hand_on(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = number
        for each in ranks:
            each.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in range(count):
            # In a session of its own, so that Ctrl-C in a terminal comes once: from here.
            ranks.append(subprocess.Popen(command, env=environment | {"LOCAL_RANK": str(number)},
                                          start_new_session=True))  # fmt: skip
            if received is not None:
                ranks[-1].send_signal(received)
        failed_at: float | None = None
        while None in (codes := [each.poll() for each in ranks]):
            if failed_at is None and any(codes):
                failed_at, first = time.monotonic(), codes
            if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
                break
            time.sleep(_LOOK_S)
        if failed_at is None:
            first = codes
    finally:
        for each in ranks:  # where something else went wrong: none goes on alone
            each.kill()
            each.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    report = _first_report(run, count)
    if not any(each.returncode for each in ranks):
        return None
    if (killed := _was_killed(first, received)) is not None:
        goes_on = f"; zoo train resume={run.path} goes on" if run.started else "; nothing was trained yet"
        return Outcome("failed", f"{killed}, which ended the run{goes_on}", 1)
    if report is not None:
        return report
    if received is not None:
        return interrupted(run, signal.Signals(received).name, 128 + received)
    ended = next(number for number, code in enumerate(first) if code)
    return Outcome("failed", f"process {ended + 1} of {count} ended with exit code {first[ended]}", 1)


def interrupted(run: RunFolder, name: str, code: int) -> Outcome:
    """Returns how a run ended that a signal has stopped."""
    goes_on = f"zoo train resume={run.path}" if run.started else "nothing was trained yet"
    return Outcome("interrupted", f"interrupted by {name}; {goes_on}", code)
