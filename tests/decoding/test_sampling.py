"""Drawing tokens: the right ones in the right proportions, the same for a seed, at the same cost for each."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.decoding.sampling import check_sampling, keep_likely, sample
from zoo.errors import ZooError

quick = settings(deadline=None, max_examples=100)
LOGITS = st.lists(st.floats(-20, 20), min_size=1, max_size=12)


def fixed(logits: Tensor):
    """A model that gives the same scores whatever came before."""
    return lambda tokens, state: (logits.expand(1, tokens.shape[1], -1), state)


def draw(step, count: int, seed: int = 0, prompt: Tensor | None = None, **settings) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return list(sample(step, torch.tensor([0]) if prompt is None else prompt, count, generator, **settings))


@quick
@given(LOGITS, st.integers(1, 14))
def test_top_k_keeps_the_k_likeliest_and_their_equals(logits: list[float], k: int):
    kept = keep_likely(torch.tensor(logits, dtype=torch.float64), top_k=k)
    least = sorted(logits, reverse=True)[min(k, len(logits)) - 1]
    assert kept.tolist() == [score if score >= least else -math.inf for score in logits]


@quick
@given(LOGITS, st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_tokens_that_reach_p(logits: list[float], p: float):
    scores = torch.tensor(logits, dtype=torch.float64)
    shares = scores.softmax(0)
    kept = keep_likely(scores, top_p=p).isfinite()
    inside = shares[kept].sum().item()
    assert inside >= p - 1e-9
    if p < 1:
        # Without its least likely member it would not reach p; and nobody outside is likelier than one inside.
        assert inside - shares[kept].min().item() < p + 1e-9
    assert shares[~kept].max().item() <= shares[kept].min().item() if (~kept).any() else True
    assert kept[scores.argmax()]


def test_limits_that_limit_nothing_change_nothing():
    logits = torch.randn(9)
    assert torch.equal(keep_likely(logits, top_k=9, top_p=1.0), logits)
    assert torch.equal(keep_likely(logits), logits)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.25, 0.125, 0.125]),
        ({"temperature": 0.5}, [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.7}, [2 / 3, 1 / 3, 0, 0]),
        ({"forbidden": [0]}, [0, 0.5, 0.25, 0.25]),
        # First the temperature, then the limit: 16/22 alone is above 0.7.
        ({"temperature": 0.5, "top_p": 0.7}, [1, 0, 0, 0]),
        ({"temperature": 0.0}, [1, 0, 0, 0]),
        ({"temperature": 0.0, "forbidden": [0]}, [0, 1, 0, 0]),
        ({"temperature": 1e-320}, [1, 0, 0, 0]),
        ({"temperature": 1e300}, [0.25, 0.25, 0.25, 0.25]),
    ],
)
def test_tokens_come_in_their_proportions(settings, expected):
    count = 600
    drawn = torch.tensor(draw(fixed(torch.tensor([0.5, 0.25, 0.125, 0.125]).log()), count, **settings))
    shares = torch.bincount(drawn, minlength=4) / count
    for share, probability in zip(shares.tolist(), expected, strict=True):
        assert abs(share - probability) <= 4 * math.sqrt(probability * (1 - probability) / count)


def test_a_seed_decides_and_global_numbers_play_no_part():
    step = fixed(torch.randn(50))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(step, 40, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert draw(step, 40, seed=3) == first
    assert draw(step, 40, seed=4) != first
    assert draw(step, 20, seed=3) == first[:20], "more tokens do not change the ones before"


def test_the_state_is_carried_and_each_token_is_read_once():
    """What a token costs does not depend on how many came before: the model reads one, and its state."""
    seen: list[tuple[list[int], int | None]] = []

    def counting(tokens: Tensor, state: int | None):
        seen.append((tokens[0].tolist(), state))
        last = int(tokens[0, -1])
        scores = torch.full((1, tokens.shape[1], 10), -50.0)
        scores[0, -1, (last + 1) % 10] = 50.0
        return scores, (state or 0) + tokens.shape[1]

    assert draw(counting, 5, prompt=torch.tensor([3, 4, 5])) == [6, 7, 8, 9, 0]
    # The prompt at once, then one token after the other; none is read that nobody asks to go on from.
    assert seen == [([3, 4, 5], None), ([6], 3), ([7], 4), ([8], 5), ([9], 6)]


def test_tokens_come_one_by_one():
    calls = []

    def step(tokens: Tensor, state: None):
        calls.append(1)
        return torch.zeros(1, tokens.shape[1], 3), state

    drawn = sample(step, torch.tensor([0]), 10, torch.Generator())
    next(drawn)
    assert len(calls) == 1
    assert draw(step, 0) == []


def test_a_model_in_double_precision_works_too():
    logits = torch.randn(7, dtype=torch.float64)
    before = logits.clone()
    with torch.inference_mode():
        inside = logits.clone()
    draw(lambda tokens, state: (inside.view(1, 1, -1), state), 5, forbidden=[2])
    draw(fixed(logits), 5, forbidden=[2])
    assert torch.equal(logits, before)
    assert torch.equal(inside, before)


@pytest.mark.parametrize("scores", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, 0.0]])
def test_scores_that_are_no_numbers(scores: list[float]):
    with pytest.raises(ZooError, match="not finite"):
        draw(fixed(torch.tensor(scores)), 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_tokens": -1}, "max_tokens=-1 is not possible"),
        ({"max_tokens": 1.5}, r"max_tokens=1\.5"),
        ({"temperature": -0.1}, r"temperature=-0\.1"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"temperature": math.inf}, "temperature=inf"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_k": 2.5}, r"top_k=2\.5"),
        ({"top_p": 0.0}, r"top_p=0\.0"),
        ({"top_p": 1.1}, r"top_p=1\.1"),
        ({"top_p": math.nan}, "top_p=nan"),
    ],
)
def test_settings_that_make_no_sense(settings, told):
    with pytest.raises(ZooError, match=told):
        check_sampling(**{"max_tokens": 1, "temperature": 1.0, "top_k": None, "top_p": None} | settings)
