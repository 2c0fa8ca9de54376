"""Step-size schedules that papers print as tables."""

from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class PiecewiseConstant(LRScheduler):
    """Multiplies the first step size by `factors[k]` from epoch `milestones[k]` on, by 1 before the first.

    A schedule such as "0.0005 for two passes, 0.0002 for three, 0.0001 thereafter" is `lr=0.0005` with
    `milestones=[2, 5], factors=[0.4, 0.2]`. Where the scheduler steps once per update, milestones count updates. A
    first milestone of 0 changes the step size from the start, as a warm-up does.

    Args:
        optimizer: Its step sizes at construction are the first ones.
        milestones: Rising whole numbers, the first at least 0.
        factors: As many numbers of at least 0, each relative to the first step size.
        last_epoch: As in every scheduler of PyTorch: -1 starts anew.

    Raises:
        ValueError: The lists differ in length, milestones do not rise from 0 or more, or a factor is below 0.
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Sequence[int], factors: Sequence[float], last_epoch: int = -1
    ) -> None:
        # Plain lists: the state goes into checkpoints that are read with weights_only=True.
        self.milestones = list(milestones)
        self.factors = list(factors)
        if len(self.milestones) != len(self.factors):
            raise ValueError(
                f"one factor per milestone: got {len(self.milestones)} milestones and {len(self.factors)} factors"
            )
        if any(type(milestone) is not int for milestone in self.milestones):
            raise ValueError(f"milestones are whole numbers, got {self.milestones}")
        if any(late <= early for early, late in zip([-1, *self.milestones], self.milestones, strict=False)):
            raise ValueError(f"milestones rise strictly from 0 or more, got {self.milestones}")
        if not all(0 <= factor < float("inf") for factor in self.factors):
            raise ValueError(f"factors are finite numbers of at least 0, got {self.factors}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Returns the step size of each parameter group at `last_epoch`."""
        reached = bisect_right(self.milestones, self.last_epoch)
        factor = self.factors[reached - 1] if reached else 1.0
        return [base * factor for base in self.base_lrs]


class DecayAfter(LRScheduler):
    """Keeps the first step size for some epochs, then divides it once more in each (Zaremba et al. 2014, Sec. 4.1).

    Args:
        optimizer: Its step sizes at construction are the first ones.
        epochs: How many epochs, 0 or more, have the first step size.
        divisor: What each later one is divided by, at least 1.
        last_epoch: As in every scheduler of PyTorch: -1 starts anew.

    Raises:
        ValueError: A number out of its range.
    """

    def __init__(self, optimizer: Optimizer, epochs: int, divisor: float, last_epoch: int = -1) -> None:
        if type(epochs) is not int or epochs < 0:
            raise ValueError(f"epochs is a whole number of at least 0, not {epochs}")
        if not 1 <= divisor < float("inf"):
            raise ValueError(f"divisor is a finite number of at least 1, not {divisor}")
        self.epochs, self.divisor = epochs, divisor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Returns the step size of each parameter group at `last_epoch`."""
        return [base / self.divisor ** max(0, self.last_epoch + 1 - self.epochs) for base in self.base_lrs]


class InverseSquareRoot(LRScheduler):
    """Rises in equal steps to the optimizer's own step size, then falls with the root of the number of updates.

    This is equation 3 of Vaswani et al. 2017, d^-0.5 min(n^-0.5, n w^-1.5), written with its highest value
    (d w)^-0.5 as the optimizer's step size: 7.0e-4 for d = 512 and w = 4,000. It counts updates: `scheduler_interval`
    is `step`.

    Args:
        optimizer: Its step sizes at construction are the highest ones.
        warmup: w, the update, 1 or later, that has the highest step size.
        last_epoch: As in every scheduler of PyTorch: -1 starts anew.

    Raises:
        ValueError: `warmup` is below 1.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, last_epoch: int = -1) -> None:
        if warmup < 1:
            raise ValueError(f"warmup is a number of updates of at least 1, got {warmup}")
        self.warmup = warmup
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Returns the step size of each parameter group for the update after `last_epoch` others."""
        number = self.last_epoch + 1
        factor = min(number / self.warmup, (self.warmup / number) ** 0.5)
        return [base * factor for base in self.base_lrs]


class DecayAndMomentum(LRScheduler):
    """Divides the step size at each step, and raises the momentum in equal steps (Goodfellow et al. 2014, their code).

    It counts updates: `scheduler_interval` is `step`. The code raises the momentum once an epoch, here it rises with
    each step.

    Args:
        optimizer: With a `momentum`; its step size and momentum at construction are the first ones.
        divisor: Of the step size at each step, at least 1.
        least: The smallest step size.
        momentum: The last momentum.
        steps: After how many steps it is reached.
        last_epoch: As in every scheduler of PyTorch: -1 starts anew.

    Raises:
        ValueError: A number out of its range, or an optimizer without momentum.
    """

    def __init__(
        self, optimizer: Optimizer, divisor: float, least: float, momentum: float, steps: int, last_epoch: int = -1
    ) -> None:
        if divisor < 1 or steps < 1 or not 0 <= momentum < 1:
            raise ValueError(
                f"expected divisor ≥ 1, steps ≥ 1 and momentum in [0, 1), got {divisor}, {steps}, {momentum}"
            )
        if any("momentum" not in group for group in optimizer.param_groups):
            raise ValueError(f"{type(optimizer).__name__} has no momentum to raise: give optimizer=sgd_goodfellow2014")
        self.divisor, self.least, self.momentum, self.steps = divisor, least, momentum, steps
        self.first = [group["momentum"] for group in optimizer.param_groups]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """Returns the step size of each parameter group at this step, and sets its momentum."""
        share = min(1.0, self.last_epoch / self.steps)
        for group, first in zip(self.optimizer.param_groups, self.first, strict=True):
            group["momentum"] = first + share * (self.momentum - first)
        return [max(self.least, base / self.divisor**self.last_epoch) for base in self.base_lrs]
