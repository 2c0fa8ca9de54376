"""Where the time of our training goes: over the parts of a step on the CPU, in waiting on a GPU."""

import math
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import SimpleProfiler
from torch.profiler import ProfilerActivity, profile

from zoo.training.benchmark.cases import Case
from zoo.training.benchmark.ways import WARM_UP, Stopwatch, built_for

_PROFILED_STEPS = 20


def shares_of_a_step(case: Case, folder: Path) -> dict[str, float]:
    """Returns what percentage of a training step each of its parts takes on a CPU.

    Lightning's own profiler (`trainer.profiler=simple`) times the calls; an epoch's end is not in it.
    """
    watch = Stopwatch()
    built, _ = built_for((*case.words, *case.settings, "trainer.profiler=simple"), folder, case.steps, watch)
    built.trainer.fit(built.task, datamodule=built.data)
    profiler = vars(built.trainer)["profiler"]  # which Lightning does not declare
    assert isinstance(profiler, SimpleProfiler)

    def seconds(*endings: str) -> float:
        calls = [times for name, times in profiler.recorded_durations.items() if name.endswith(endings)]
        return math.fsum(math.fsum(times[WARM_UP:]) for times in calls)

    forward, backward = seconds("Strategy.training_step"), seconds("Strategy.backward")
    parts = {
        "loader and augmentation": seconds(".train_dataloader_next", "Strategy.batch_to_device"),
        "forward, loss and metrics": forward,
        "backward": backward,
        # Lightning computes the gradients in a closure that the optimizer calls.
        "optimizer": seconds(".optimizer_step") - forward - backward,
        "our callbacks": math.fsum(
            math.fsum(times[WARM_UP:])
            for name, times in profiler.recorded_durations.items()
            if name.startswith("[Callback]") and name.endswith(("on_train_batch_start", "on_train_batch_end"))
        ),
    }
    parts["Lightning's loop"] = watch.seconds_of_steps - math.fsum(parts.values())
    return {name: 100 * part / watch.seconds_of_steps for name, part in parts.items()}


class KernelSeconds(Callback):
    """Adds up the time in which a GPU computes or copies, over some steps after the warm-up."""

    def __init__(self) -> None:
        self.per_step = 0.0
        self._profile = profile(activities=[ProfilerActivity.CUDA])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Starts after the warm-up and stops some steps later, each time when the GPU has nothing left to do."""
        if batch_idx == WARM_UP - 1:
            torch.cuda.synchronize()
            self._profile.start()
        elif batch_idx == WARM_UP - 1 + _PROFILED_STEPS:
            torch.cuda.synchronize()
            self._profile.stop()
            busy = (
                event.time_range.elapsed_us()
                for event in self._profile.events() or ()
                if event.device_type.name == "CUDA" and not event.is_user_annotation
            )
            self.per_step = math.fsum(busy) / 1e6 / _PROFILED_STEPS


def gpu_waits(case: Case, folder: Path, seconds_per_step: float) -> float:
    """Returns in what percentage of our training time the GPU has nothing to do.

    How long its kernels take is measured with the profiler, which slows down what lies between them, not them; how
    long a step takes is measured without it.

    Args:
        case: What is trained.
        folder: Where the run's folder goes.
        seconds_per_step: How long a step of this case takes when it is not profiled.
    """
    kernels = KernelSeconds()
    built, _ = built_for((*case.words, *case.settings), folder, _PROFILED_STEPS + 1, kernels)
    built.trainer.fit(built.task, datamodule=built.data)
    return 100 * max(0.0, 1 - kernels.per_step / seconds_per_step)
