"""Running sums over batches, exact across a kill and over several processes."""

import torch
from torch import Tensor, nn

from zoo.metrics.ranks import total


class Totals(nn.Module):
    """Sums of named quantities over the samples seen so far.

    The sums are a float64 buffer: they travel in checkpoints, so that a run resumed in the middle of an epoch
    reports the mean over the whole epoch; they are added over processes once, when read.

    Args:
        names: What is summed, e.g. `("loss", "errors")`.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.sums: Tensor
        self.register_buffer("sums", torch.zeros(len(names) + 1, dtype=torch.float64))

    def add(self, samples: int, **sums: Tensor) -> None:
        """Adds one batch: the number of its samples, and for each name the sum over them (a scalar tensor)."""
        batch = torch.stack([sums[name].detach().to(torch.float64) for name in self.names])
        self.sums[1:] += batch
        self.sums[0] += samples

    def means(self) -> dict[str, float]:
        """Returns for each name the mean per sample over all processes (NaN when there was no sample)."""
        samples, *rest = total(*self.sums.tolist())
        return {
            name: value / samples if samples else float("nan") for name, value in zip(self.names, rest, strict=True)
        }

    def reset(self) -> None:
        """Starts again from zero."""
        self.sums.zero_()
