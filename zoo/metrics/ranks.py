"""What several processes found, put together."""

from typing import TypeVar

import torch

Item = TypeVar("Item")


def gathered(items: list[Item]) -> list[Item]:
    """Returns the lists of all processes one behind the other, in order of their ranks; alone, the list itself."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return items
    shares: list[list[Item]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(shares, items)
    return [item for share in shares for item in share]
