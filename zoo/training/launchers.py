"""Ways to run the jobs of a sweep: one after the other, side by side, or handed to submitit."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from zoo.errors import ZooError
from zoo.training.processes import processes_here, training_command
from zoo.training.run_folder import RunFolder
from zoo.training.start import train_in_subprocess

Begin = Callable[[RunFolder], None]  # what is to be done right before a job starts
Ended = Generator[tuple[RunFolder, int], None, None]  # each job when it has ended, and its exit code

INTERRUPTED = (130, 143)
_LOOK_S = 0.1  # between two looks at whether a job has ended
_LOOK_AT_QUEUE_S = 10.0  # the same where each look is a question to Slurm
_TIMEOUTS = 1000  # how often a job may run out of time and go on


def one_after_the_other(runs: Sequence[RunFolder], begin: Begin) -> Ended:
    """Trains in each run's folder, on this terminal, until one of them is interrupted."""
    for run in runs:
        begin(run)
        code = train_in_subprocess(run)
        yield run, code
        if code in INTERRUPTED:
            return


def _exit_code(code: int) -> int:
    """Returns what a shell would tell of a process that may have been killed."""
    return code if code >= 0 else 128 - code


def console(run: RunFolder) -> Path:
    """Returns the file that has what a job without a terminal printed."""
    return run.path / "console.log"


def share_of(slot: int, jobs: int, cores: int, gpus: Sequence[str], processes: int = 1) -> dict[str, str]:
    """Returns the environment of a job that runs beside others: a share of the cores, a GPU for each process.

    Args:
        slot: Which of the jobs that run at a time, from 0 on.
        jobs: How many run at a time.
        cores: How many there are.
        gpus: Names of those that may be used, as in CUDA_VISIBLE_DEVICES.
        processes: How many the job has.
    """
    threads = max(1, cores // (jobs * processes))
    environment = {"OMP_NUM_THREADS": str(threads)} | dict(os.environ)  # what is set already counts
    own = [gpus[(slot * processes + each) % len(gpus)] for each in range(min(processes, len(gpus)))]
    return environment | ({"CUDA_VISIBLE_DEVICES": ",".join(own)} if own else {})


def _gpus() -> list[str]:
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [each for each in named.split(",") if each.strip()]
    import torch  # takes seconds

    return [str(number) for number in range(torch.cuda.device_count())]


def _processes(run: RunFolder, share: int) -> int:
    """Returns how many processes a job has; one that takes all GPUs there are takes its `share` of them."""
    trainer = run.read_config()["trainer"]
    takes_all = trainer["accelerator"] != "cpu" and str(trainer["devices"]) in ("auto", "-1")
    return max(1, share) if takes_all else processes_here(trainer)


def side_by_side(runs: Sequence[RunFolder], begin: Begin, jobs: int) -> Ended:
    """Trains in several folders at a time; what they print goes to their `console.log`.

    SIGTERM is handed on, Ctrl-C reaches them from the terminal; either way no further job starts.
    """
    cores, gpus = len(os.sched_getaffinity(0)), _gpus()
    waiting, running = list(runs), dict[int, tuple[RunFolder, subprocess.Popen[bytes]]]()
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        while running or (waiting and not stopping):
            try:
                for slot in range(jobs):
                    if slot not in running and waiting and not stopping:
                        begin(run := waiting.pop(0))
                        with console(run).open("ab") as file:
                            environment = share_of(slot, jobs, cores, gpus, _processes(run, len(gpus) // jobs))
                            process = subprocess.Popen(training_command(run), stdout=file, stderr=file, env=environment)
                        running[slot] = run, process
                        if stopping:  # since it was looked at
                            process.send_signal(signal.SIGTERM)
                time.sleep(_LOOK_S)
                for slot, (run, process) in list(running.items()):
                    if (code := process.poll()) is not None:
                        del running[slot]
                        stopping = stopping or code in INTERRUPTED
                        yield run, _exit_code(code)
            except KeyboardInterrupt:
                stopping = True
    finally:
        for _, process in running.values():  # where something else went wrong: none goes on alone
            process.terminate()
            process.wait()
        signal.signal(signal.SIGTERM, before)


class TrainOnCluster:
    """What a cluster's node does: trains in a folder; preempted, it saves a checkpoint and is queued again.

    Args:
        folder: The run's, on a file system that the node sees.
        requeue: Whether a job that did not come to its end is to be queued again.
    """

    def __init__(self, folder: str, *, requeue: bool) -> None:
        self.folder, self.requeue = folder, requeue
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Trains and returns the exit code. A job that is queued again goes on by itself: its folder is the same."""
        run = RunFolder(Path(self.folder))
        with console(run).open("ab") as file:
            self._process = subprocess.Popen(training_command(run), stdout=file, stderr=file)
            try:
                return _exit_code(self._process.wait())
            except KeyboardInterrupt:  # cancelled
                self._process.terminate()
                return _exit_code(self._process.wait())

    def checkpoint(self) -> Any:
        """Called by submitit when time is up or the node is needed: ends the training after its batch."""
        from submitit.helpers import DelayedSubmission

        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            # This interrupts `wait` above, which holds the lock that another `wait` would need.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(TrainOnCluster(self.folder, requeue=True)) if self.requeue else None


def by_submitit(
    runs: Sequence[RunFolder], begin: Begin, jobs: int | None, launcher: str, slurm: dict[str, Any], folder: Path
) -> Ended:
    """Hands jobs to submitit and waits for them; interrupted, it cancels them.

    Args:
        runs: Their folders, on a file system that the nodes see.
        begin: Called before each is handed over.
        jobs: How many are handed over at a time; None for all.
        launcher: `"local"` for processes of this machine, or `"slurm"`.
        slurm: `partition`, `timeout_minutes`, `requeue`, `cpus` and `gpus`.
        folder: Where submitit keeps its files.

    Raises:
        ZooError: submitit is not installed, or there is no Slurm here.
    """
    try:
        import submitit
    except ImportError:
        raise ZooError(f'sweep.launcher={launcher} needs submitit: pip install "landmark-zoo[sweep]"') from None
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=launcher, slurm_max_num_timeout=_TIMEOUTS)
    except RuntimeError as error:
        raise ZooError(f"sweep.launcher={launcher} is not possible here: {error}") from error
    requeue = slurm["requeue"]
    executor.update_parameters(
        name="zoo", timeout_min=slurm["timeout_minutes"], cpus_per_task=slurm["cpus"], gpus_per_node=slurm["gpus"],
        slurm_additional_parameters={"requeue" if requeue else "no_requeue": True},
        **({"slurm_partition": slurm["partition"]} if slurm["partition"] else {}),
    )  # fmt: skip
    waiting, handed = list(runs), dict[RunFolder, Any]()
    received = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = number
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        while waiting or handed:
            while waiting and (jobs is None or len(handed) < jobs):
                begin(run := waiting.pop(0))
                handed[run] = executor.submit(TrainOnCluster(str(run.path), requeue=requeue))
            time.sleep(_LOOK_S if launcher == "local" else _LOOK_AT_QUEUE_S)
            for run, job in list(handed.items()):
                if job.done():
                    del handed[run]
                    yield run, 1 if job.exception() else job.result()
    except KeyboardInterrupt:
        received = received or signal.SIGINT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for job in handed.values():
            job.cancel()
    for run in handed:
        yield run, 130 if received == signal.SIGINT else 143
