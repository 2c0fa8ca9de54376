import random

import numpy as np
import torch

from zoo.training.callbacks.generators import GeneratorStates


def draw() -> tuple[float, float, list[float]]:
    return random.random(), float(np.random.random()), torch.rand(3).tolist()  # noqa: NPY002


def test_every_global_generator_goes_on_where_it_stopped(tmp_path):
    draw()
    torch.save(GeneratorStates().state_dict(), tmp_path / "states")
    expected = draw()
    restored = GeneratorStates()
    # What is in a checkpoint loads without running code.
    restored.load_state_dict(torch.load(tmp_path / "states", weights_only=True))
    draw()
    restored.on_train_start(None, None)  # type: ignore[arg-type]
    assert draw() == expected
