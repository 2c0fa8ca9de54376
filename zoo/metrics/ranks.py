"""What the processes of one run tell each other: numbers, lists and gradients; a process alone waits for nobody.

Numbers and lists that live on the host travel over gloo, on GPUs too: they wait for the other processes, but not for
what the GPU has still to do.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

Item = TypeVar("Item")


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Returns the number of this process, from 0 on."""
    return dist.get_rank() if _together() else 0


def world() -> int:
    """Returns how many processes there are."""
    return dist.get_world_size() if _together() else 1


@cache
def _host_group() -> Any:
    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")


def gathered(items: list[Item]) -> list[Item]:
    """Returns the lists of all processes one behind the other, in order of their ranks; alone, the list itself."""
    if not _together():
        return items
    shares: list[list[Item]] = [[] for _ in range(world())]
    dist.all_gather_object(shares, items, group=_host_group())
    return [item for share in shares for item in share]


def interleaved(share: Tensor) -> Tensor:
    """Returns what was dealt out: rank r has the items r, r + world and so on, along the first dimension."""
    if not _together():
        return share
    shares = gathered([share.cpu()])
    whole = torch.cat(shares)
    for number, each in enumerate(shares):
        whole[number :: len(shares)] = each
    return whole.to(share.device)


def total(*numbers: float) -> list[float]:
    """Returns the sum over all processes of each number."""
    if not _together():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums, group=_host_group())
    return sums.tolist()


def largest(*numbers: int) -> list[int]:
    """Returns the largest of all processes' for each number."""
    if not _together():
        return list(numbers)
    found = torch.tensor(numbers, dtype=torch.int64)
    dist.all_reduce(found, op=dist.ReduceOp.MAX, group=_host_group())
    return found.tolist()


def weight_of_mean(count: int) -> float:
    """Returns by what to multiply a mean over `count` samples so that the mean over processes is that over all samples.

    Gradients are averaged over processes, each counting the same; of an uneven batch their shares differ.
    """
    return count * world() / total(count)[0] if _together() else 1.0


def average_gradients(parameters: Iterable[nn.Parameter], weight: float = 1.0) -> None:
    """Puts in place of each gradient the mean of all processes', where what makes the step is not Lightning.

    Args:
        parameters: The same ones in every process, all of them with a gradient.
        weight: By what this process's gradients are multiplied first.
    """
    if not _together():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).mul_(weight / world())
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def share_first(tensors: Iterable[Tensor]) -> None:
    """Puts the first process's numbers into tensors that all have."""
    for tensor in tensors if _together() else ():
        dist.broadcast(tensor, src=0)


def of_all_ranks(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what a checkpoint keeps of a state that each process has for itself; `of_this_rank` takes it back."""
    return {"ranks": gathered([state])} if _together() else state


def of_this_rank(state: dict[str, Any]) -> dict[str, Any]:
    """Returns this process's part of what `of_all_ranks` returned."""
    return state["ranks"][rank()] if "ranks" in state else state
