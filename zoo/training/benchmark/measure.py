"""Times the cases, the three ways in turn, and holds the ratios against what is expected."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import track

from zoo.training.benchmark.bare import bare_steps
from zoo.training.benchmark.cases import Case
from zoo.training.benchmark.shares import gpu_waits
from zoo.training.benchmark.ways import built_for, our_speed, samples_per_second, usual_steps


@dataclass(frozen=True)
class Measured:
    """Samples per second of a case, a number a round for each way.

    `waiting` is that of a GPU, in percent; `differing` tells how many translations are others than the usual way's,
    and how many were compared.
    """

    case: Case
    speeds: dict[str, list[float]]
    waiting: float | None = None
    differing: tuple[int, int] | None = None

    @property
    def others(self) -> list[str]:
        """The ways that ours is compared with."""
        return list(self.case.kind.others)

    def ratios(self, other: str) -> list[float]:
        """Returns our speed over another way's in each round, smallest first."""
        return sorted(ours / theirs for ours, theirs in zip(self.speeds["zoo"], self.speeds[other], strict=True))

    def expected(self, other: str) -> float | None:
        """Returns the ratio that is expected, None where none is."""
        return {"bare": self.case.of_bare, "usual": self.case.of_usual}[other]

    def reached(self, other: str) -> bool:
        """Says whether the median ratio is as large as expected."""
        return median(self.ratios(other)) >= (self.expected(other) or 0)

    def titles(self) -> list[str]:
        """Returns what stands above the cells."""
        titles = ["case", *self._ways(), *(f"zoo / {other}" for other in self.others)]
        titles += ["GPU waits"] if self.waiting is not None else []
        return titles + (["other translations"] if self.differing is not None else [])

    def cells(self) -> list[str]:
        """Returns the case's row: name, medians of the speeds, ratios with their range, and what else is known."""
        cells = [self.case.name, *(_short(median(self.speeds[way])) for way in self._ways())]
        for other in self.others:
            ratios = self.ratios(other)
            cell = f"{median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
            if expected := self.expected(other):
                cell += f" {'✓' if self.reached(other) else '✗'} ≥ {expected}"
            cells.append(cell)
        cells += [f"{self.waiting:.0f} %"] if self.waiting is not None else []
        return cells + ([f"{self.differing[0]} of {self.differing[1]}"] if self.differing is not None else [])

    def _ways(self) -> list[str]:
        return [way for way in ("bare", "zoo", "usual") if way in self.speeds]


def _short(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 50 else f"{speed:.1f}"


def measure(case: Case, rounds: int, folder: Path) -> Measured:
    """Times a case. What disturbs the machine for a while disturbs all ways of a round alike.

    Args:
        case: What is timed.
        rounds: How often each way is timed, after a round that is not counted.
        folder: Where the folders of runs go.

    Raises:
        ZooError: The data is missing, or the hardware.
    """
    built, config = built_for((*case.words, *case.settings), folder, case.steps)
    device = built.trainer.strategy.root_device
    others = {"bare": partial(bare_steps, built, config), "usual": partial(usual_steps, case, folder)}
    running = {way: others[way]() for way in case.kind.others}
    speeds: dict[str, list[float]] = {way: [] for way in ("zoo", *running)}
    for _ in track(range(rounds + 1), case.name, transient=True, console=Console(stderr=True)):
        speeds["zoo"].append(our_speed(case, folder))
        for way, steps in running.items():
            speeds[way].append(samples_per_second(steps, case.steps, device))
    speeds = {name: values[1:] for name, values in speeds.items()}
    waiting = None
    if device.type == "cuda":
        waiting = gpu_waits(case, folder, config["data"]["batch_size"] / median(speeds["zoo"]))
    return Measured(case, speeds, waiting)
