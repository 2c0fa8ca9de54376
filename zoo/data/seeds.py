"""Seeds made of other numbers."""

import numpy as np


def derived_seed(*numbers: int) -> int:
    """Returns a seed, below 2^32, that other numbers do not give but by chance; zeros at the end count for nothing."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
