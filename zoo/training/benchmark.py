"""Training speed beside two yardsticks, alternated in one run: a bare loop, and the script one usually finds.

(a) bare: the same model, loader, optimizer and precision in a plain loop of six lines;
(b) zoo:  `zoo train`'s own trainer with its callbacks, metrics and checkpoints;
(c) usual: the same network fed by torchvision's per-sample transforms through a DataLoader with two workers.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import disable_possible_user_warnings
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from zoo.errors import unknown
from zoo.locations import cache_dir
from zoo.training.build import Built, build_all
from zoo.training.compose import compose
from zoo.training.interrupts import Interrupts
from zoo.training.run_folder import freeze
from zoo.training.start import checked_config
from zoo.training.trainer import keep_log


@dataclass(frozen=True)
class Case:
    """What is timed: a model on a dataset, and the ratios it should reach."""

    model: str
    data: str
    overrides: tuple[str, ...]
    expected_of_bare: float
    expected_of_usual: float


CASES = (
    Case("lenet5", "mnist", ("data.batch_size=256",), 0.85, 1.8),
    Case("lenet5_modern", "mnist", ("data.batch_size=256",), 0.85, 2.3),
)


def _loss(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return getattr(model, "loss", None) or F.cross_entropy


def _fresh(case: Case, folder: Path, batches: int) -> tuple[Built, dict[str, Any]]:
    """Builds a run as `zoo train` does, one epoch long, without evaluation."""
    words = [f"model={case.model}", f"data={case.data}", f"runs_dir={folder}", "trainer.max_epochs=1",
             "trainer.limit_val_batches=0", f"trainer.limit_train_batches={batches}", "trainer=cpu",
             "trainer.enable_progress_bar=false",
             *case.overrides]  # fmt: skip
    config, typed = checked_config(compose(words))
    run = freeze(config, typed)
    keep_log(run)
    return build_all(run, config, Interrupts()), config


def _time_loop(built: Built, batches: Any) -> float:
    model = built.task.model.train()
    loss_of = _loss(model)
    configured = built.task.configure_optimizers()
    optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
    seen, start = 0, time.perf_counter()
    for images, labels in batches:
        optimizer.zero_grad()
        loss_of(model(images), labels).backward()
        optimizer.step()
        seen += len(labels)
    return seen / (time.perf_counter() - start)


def _bare(case: Case, folder: Path, batches: int) -> float:
    built, _ = _fresh(case, folder, batches)
    loader = built.data.dataset.train_loader()
    return _time_loop(built, (batch for batch, _ in zip(loader, range(batches), strict=False)))


class Stopwatch(Callback):
    """Times training from its first step to the end of the checkpoint after its last."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts."""
        self.seconds = -time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops; the checkpoint at the epoch's end has been written."""
        self.seconds += time.perf_counter()


def _zoo(case: Case, folder: Path, batches: int) -> float:
    built, _ = _fresh(case, folder, batches)
    watch = Stopwatch()
    built.trainer.callbacks.append(watch)  # type: ignore[attr-defined]
    built.trainer.fit(built.task, datamodule=built.data)
    return built.recorder.samples / watch.seconds


def _usual(case: Case, folder: Path, batches: int) -> float:
    from torchvision import transforms
    from torchvision.datasets import MNIST

    built, config = _fresh(case, folder, batches)
    preprocessing = built.data.dataset.preprocessing
    per_sample = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(preprocessing["mean"], preprocessing["std"])]
    )
    images = MNIST(str(_unpacked_mnist(config)), train=True, download=False, transform=per_sample)
    loader = DataLoader(images, config["data"]["batch_size"], shuffle=True, num_workers=2)
    return _time_loop(built, (batch for batch, _ in zip(loader, range(batches), strict=False)))


def _unpacked_mnist(config: dict[str, Any]) -> Path:
    """Returns a folder from which torchvision reads MNIST: it wants the files decompressed."""
    import gzip

    target = cache_dir() / "benchmark" / "MNIST" / "raw"
    source = Path(config["data"]["dir"] or cache_dir() / "data") / "MNIST" / "raw"
    target.mkdir(parents=True, exist_ok=True)
    for packed in source.glob("*.gz"):
        if not (plain := target / packed.stem).exists():
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
    return cache_dir() / "benchmark" if any(target.iterdir()) else source.parent.parent


def benchmark(rounds: int = 5, batches: int = 234, only: Sequence[str] = ()) -> bool:
    """Times all cases, the three ways in turn, and prints medians of paired ratios with their range.

    Args:
        rounds: How often each way is timed.
        batches: Training steps in each timing; 234 are a pass over MNIST.
        only: Names of models; by default all cases.

    Returns:
        Whether every ratio reached what is expected of it.

    Raises:
        ZooError: There is no such case, or the data is missing.
    """
    disable_possible_user_warnings()
    for name in only:
        if name not in (known := [case.model for case in CASES]):
            raise unknown("benchmark", name, known)
    cases = [case for case in CASES if not only or case.model in only]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("case", "bare", "zoo", "usual", "zoo / bare", "zoo / usual"):
        table.add_column(title)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            speeds: dict[str, list[float]] = {"bare": [], "zoo": [], "usual": []}
            ways = {"bare": _bare, "zoo": _zoo, "usual": _usual}
            for _ in track(range(rounds + 1), description=f"{case.model} on {case.data}", transient=True):
                for name, way in ways.items():
                    speeds[name].append(way(case, Path(folder), batches))
            speeds = {name: values[1:] for name, values in speeds.items()}  # the first round warms up
            cells = []
            for other, expected in (("bare", case.expected_of_bare), ("usual", case.expected_of_usual)):
                ratios = sorted(a / b for a, b in zip(speeds["zoo"], speeds[other], strict=True))
                reached = median(ratios) >= expected
                good &= reached
                cells.append(f"{median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) "
                             f"{'✓' if reached else '✗'} ≥ {expected}")  # fmt: skip
            table.add_row(f"{case.model}, {case.data}, {' '.join(case.overrides)}",
                          *(f"{median(values):,.0f}" for values in speeds.values()), *cells)  # fmt: skip
    console = Console()
    threads = torch.get_num_threads()
    console.print(f"training images/s on {threads} threads, median of {rounds} rounds of {batches} steps")
    console.print(table)
    return good
