"""Splits that are the same in every run, whatever its seed."""

import hashlib

import torch
from torch import Tensor


def stratified_split(labels: Tensor, held_out: int) -> tuple[Tensor, Tensor]:
    """Divides samples so that each class keeps its share on both sides; always the same for the same labels.

    Args:
        labels: `(N,)`, int64.
        held_out: How many samples to hold out, 0…N.

    Returns:
        The indices that stay and those that are held out, each in rising order.
    """
    counts = torch.bincount(labels)
    exact = counts.double() * held_out / len(labels)
    quota = exact.floor().long()
    # Largest remainders get what rounding down has left over; a stable sort breaks ties by class.
    order = torch.argsort(exact - quota, descending=True, stable=True)
    quota[order[: held_out - int(quota.sum())]] += 1
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, amount in enumerate(quota.tolist() if held_out else []):
        members = torch.nonzero(labels == label).flatten().tolist()
        # By hash, since no library promises that its random streams stay the same for years.
        held[sorted(members, key=lambda index: hashlib.sha256(f"split {index}".encode()).digest())[:amount]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()
