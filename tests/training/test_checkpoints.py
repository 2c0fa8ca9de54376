"""What goes into a checkpoint can be read again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.errors import ZooError
from zoo.training.callbacks.checkpoints import AtomicCheckpointIO, newest_intact
from zoo.training.run_folder import LAST


@pytest.mark.parametrize(("state", "told"), [(np.float64(1), "numpy"), (Path("a"), "pathlib")])
def test_what_could_not_be_read_again_is_not_written(state, told: str, tmp_path: Path):
    with pytest.raises(ZooError, match=rf"cannot be stored: a callback's or the optimizer's state holds {told}"):
        AtomicCheckpointIO().save_checkpoint({"callbacks": {"own": {"best": state}}}, tmp_path / LAST)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read_again(tmp_path: Path):
    content = {"best": 1.5, "weights": torch.arange(3), "names": ["a"]}
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / LAST)
    found = newest_intact(tmp_path)
    assert found is not None
    path, read, damaged = found
    assert (path, damaged) == (tmp_path / LAST, [])
    assert torch.equal(read["weights"], content["weights"])
    assert (read["best"], read["names"]) == (1.5, ["a"])
