"""Replay memory: against a list of whole transitions, saved and loaded at any moment."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.replay import ReplayMemory
from zoo.errors import ZooError


class PlainMemory:
    """What the ring must amount to: every transition with its observations written out."""

    def __init__(self, slots: int, stack: int) -> None:
        self.slots, self.stack = slots, stack
        self.frames: list[list[int]] = [[]]  # of each episode
        self.transitions: list[
            tuple
        ] = []  # (oldest slot it needs, its slot, observation, action, reward, next, terminal)
        self.slot = 0

    def seen(self) -> tuple[int, ...]:
        frames = self.frames[-1][-self.stack :]
        return (0,) * (self.stack - len(frames)) + tuple(frames)

    def begin(self, frame: int) -> None:
        self.frames.append([frame])

    def step(self, action: int, reward: float, following: int, terminal: bool, ended: bool) -> None:
        before, age = self.seen(), min(len(self.frames[-1]) - 1, self.stack - 1)
        self.frames[-1].append(following)
        self.transitions.append((self.slot - age, self.slot, before, action, reward, self.seen(), terminal))
        self.slot += 2 if ended else 1

    def expected(self, written: int) -> set[tuple]:
        oldest = max(0, written - self.slots)
        return {each[2:] for each in self.transitions if each[0] >= oldest and each[1] < written - 1}


def play(memory: ReplayMemory, plain: list[PlainMemory], steps: int, draw: np.random.Generator, frame: int = 1) -> int:
    """Plays in all environments; each frame is a number of its own."""
    for _ in range(steps):
        for environment, other in enumerate(plain):
            if not other.frames[-1]:
                other.frames[-1] = [frame]
                frame += 1
            now = other.frames[-1][-1]
            action, reward = int(draw.integers(4)), float(draw.integers(-1, 2))
            terminal = bool(draw.random() < 0.15)
            ended = terminal or bool(draw.random() < 0.1)
            other.step(action, reward, frame, terminal, ended)
            memory.add(environment, np.array([now]), action, reward, terminal)
            if ended:
                memory.add(environment, np.array([frame]), 0, 0.0, False, last=True)
                other.begin(frame + 1)
                frame += 1
            frame += 1
    return frame


def drawn(memory: ReplayMemory, count: int, seed: int = 0) -> set[tuple]:
    parts = memory.sample(count, np.random.default_rng(seed))
    rows = zip(*(part.tolist() for part in parts), strict=True)
    return {(tuple(seen), action, reward, tuple(after), end) for seen, action, reward, after, end in rows}


@settings(deadline=None, max_examples=60)
@given(
    slots=st.integers(6, 40), environments=st.integers(1, 3), stack=st.integers(1, 4), steps=st.integers(4, 90),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_what_is_drawn_are_the_transitions_that_were_made(slots, environments, stack, steps, seed):
    memory = ReplayMemory(slots * environments, environments, (1,), "int64", stack)
    plain = [PlainMemory(slots, stack) for _ in range(environments)]
    play(memory, plain, steps, np.random.default_rng(seed))
    expected = set().union(*(each.expected(int(w)) for each, w in zip(plain, memory.written, strict=True)))
    if not expected:
        return
    assert drawn(memory, 40 * slots * environments) == expected


def test_each_transition_is_as_likely_as_any_other():
    memory = ReplayMemory(60, 2, (1,), "int64", 2)
    play(memory, [PlainMemory(30, 2) for _ in range(2)], 50, np.random.default_rng(3))
    observations = memory.sample(40_000, np.random.default_rng(1)).observations[:, -1].numpy()
    counts = np.unique(observations, return_counts=True)[1]
    expected = 40_000 / len(counts)
    assert abs(counts - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("stop", [3, 20, 57])
def test_a_memory_is_saved_piece_by_piece_and_loaded_whole(stop: int, tmp_path: Path):
    memory, plain = ReplayMemory(40, 2, (1,), "int64", 3), [PlainMemory(20, 3) for _ in range(2)]
    draw = np.random.default_rng(5)
    frame = 1
    states = []
    for _ in range(stop):
        frame = play(memory, plain, 2, draw, frame)
        states.append(memory.save(tmp_path))
    play(memory, plain, 7, draw, frame)
    memory.save(tmp_path)  # a checkpoint that was never finished
    again = ReplayMemory(40, 2, (1,), "int64", 3)
    again.load(tmp_path, states[-1])
    same = ReplayMemory(40, 2, (1,), "int64", 3)
    same.load(tmp_path, states[-1])
    frames = [
        play(each, [PlainMemory(20, 3) for _ in range(2)], 9, np.random.default_rng(8), 900) for each in (again, same)
    ]
    assert frames[0] == frames[1]
    assert drawn(again, 3000) == drawn(same, 3000)
    # Few files stay: those of the frames that are still in the ring, and of the last calls before.
    assert len(list(tmp_path.glob("segment_*.npz"))) <= 20


def test_a_loaded_memory_is_the_one_that_was_saved(tmp_path: Path):
    memory, plain = ReplayMemory(40, 2, (1,), "int64", 3), [PlainMemory(20, 3) for _ in range(2)]
    play(memory, plain, 70, np.random.default_rng(5))
    again = ReplayMemory(40, 2, (1,), "int64", 3)
    again.load(tmp_path, memory.save(tmp_path))
    for seed in range(5):
        ours, theirs = (each.sample(64, np.random.default_rng(seed)) for each in (memory, again))
        assert all(bool((one == other).all()) for one, other in zip(ours, theirs, strict=True))
    assert len(again) == len(memory)


def test_an_earlier_state_stays_good_for_two_more_calls(tmp_path: Path):
    memory, plain = ReplayMemory(40, 2, (1,), "int64", 3), [PlainMemory(20, 3) for _ in range(2)]
    draw = np.random.default_rng(5)
    frame = play(memory, plain, 70, draw)
    state = memory.save(tmp_path)
    expected = memory.sample(64, np.random.default_rng(1))
    for _ in range(2):
        frame = play(memory, plain, 70, draw, frame)
        memory.save(tmp_path)
    again = ReplayMemory(40, 2, (1,), "int64", 3)
    again.load(tmp_path, state)
    found = again.sample(64, np.random.default_rng(1))
    assert all(bool((one == other).all()) for one, other in zip(found, expected, strict=True))


def test_a_million_screens_take_seven_and_a_half_gigabytes():
    memory = ReplayMemory(1000, 8, (1, 84, 84), "uint8", 4)
    arrays = ("frames", "actions", "rewards", "terminal", "last", "age")
    assert sum(getattr(memory, name).nbytes for name in arrays) * 1000 <= 7.5e9


def test_ten_thousand_screens_are_saved_in_a_fraction_of_a_second(tmp_path: Path):
    """A tenth of what two seconds are allowed for; several times what it takes, for a machine that is busy."""
    memory = ReplayMemory(10_000, 8, (1, 84, 84), "uint8", 4)
    screen = np.random.default_rng(0).integers(0, 256, (1, 84, 84), np.uint8)
    for number in range(10_000):
        memory.add(number % 8, screen, 0, 0.0, False)
    start = time.process_time()
    memory.save(tmp_path)
    assert time.process_time() - start < 0.5


def test_damage_and_nonsense_are_told_in_one_line(tmp_path: Path):
    with pytest.raises(
        ZooError, match=r"task\.memory=20 holds 5 frames of each of 4 environments: expected at least 24"
    ):
        ReplayMemory(20, 4, (1,), "uint8", 4)
    memory = ReplayMemory(40, 2, (1,), "int64")
    with pytest.raises(RuntimeError, match="holds no transition yet"):
        memory.sample(3, np.random.default_rng())
    play(memory, [PlainMemory(20, 1) for _ in range(2)], 9, np.random.default_rng(5))
    state = memory.save(tmp_path)
    path = tmp_path / state["segments"][0]["name"]
    content = path.read_bytes()
    for damaged in (content[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(ZooError, match="a part of the replay memory, is missing or damaged"):
            ReplayMemory(40, 2, (1,), "int64").load(tmp_path, state)
    path.unlink()
    with pytest.raises(ZooError, match="a part of the replay memory, is missing or damaged"):
        ReplayMemory(40, 2, (1,), "int64").load(tmp_path, state)
