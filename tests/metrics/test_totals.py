"""Running sums: the mean per sample, whatever the batches; they travel in checkpoints."""

import math
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing

from zoo.metrics.totals import Totals


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9), min_size=1, max_size=9))
def test_means_are_per_sample_and_not_per_batch(batches: list[list[float]]):
    totals = Totals("loss", "errors")
    for batch in batches:
        values = torch.tensor(batch)
        totals.add(len(batch), loss=values.sum(), errors=(values > 0).sum())
    flat = [value for batch in batches for value in batch]
    means = totals.means()
    assert means["loss"] == pytest.approx(math.fsum(flat) / len(flat), abs=1e-3)
    assert means["errors"] == sum(value > 0 for value in flat) / len(flat)


def test_no_samples_is_no_number_and_reset_starts_again():
    totals = Totals("loss")
    assert math.isnan(totals.means()["loss"])
    totals.add(2, loss=torch.tensor(6.0))
    assert totals.means() == {"loss": 3.0}
    totals.reset()
    totals.add(1, loss=torch.tensor(1.0))
    assert totals.means() == {"loss": 1.0}


def test_sums_travel_in_the_state_and_keep_no_graph():
    totals, other = Totals("loss"), Totals("loss")
    totals.add(4, loss=torch.ones((), requires_grad=True) * 2)
    assert not totals.sums.requires_grad
    other.load_state_dict(totals.state_dict())
    other.add(1, loss=torch.tensor(3.0))
    assert other.means() == {"loss": 1.0}


def test_many_small_batches_lose_no_digits():
    totals = Totals("errors")
    totals.add(2**26, errors=torch.tensor(2**26))
    for _ in range(10):
        totals.add(1, errors=torch.tensor(1))
    assert totals.sums.tolist() == [2**26 + 10, 2**26 + 10]


def test_half_precision_is_summed_in_double():
    totals = Totals("loss")
    totals.add(1, loss=torch.tensor(1.0, dtype=torch.bfloat16))
    totals.add(1, loss=torch.tensor(2**-20, dtype=torch.bfloat16))
    assert totals.means()["loss"] == (1 + 2**-20) / 2


def _one_of_two(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    totals = Totals("loss")
    # Rank 0 has three samples, rank 1 has one.
    for value in ([1.0, 2.0, 3.0], [10.0])[rank]:
        totals.add(1, loss=torch.tensor(value))
    assert totals.means() == {"loss": 4.0}
    assert totals.means() == {"loss": 4.0}, "reading must not change the sums"
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_their_sums(unused_port: int):
    multiprocessing.spawn(_one_of_two, args=(unused_port,), nprocs=2)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
