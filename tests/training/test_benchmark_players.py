"""The benchmark of adversarial training, of Q-learning and of loading: that it compares like with like."""

from itertools import islice
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import zoo
from zoo.pretrained.hub import find_release
from zoo.training.benchmark.bare import bare_steps
from zoo.training.benchmark.cases import LOADING, Q_LEARNING, Case
from zoo.training.benchmark.loading import load_unchecked, measure_loading
from zoo.training.benchmark.measure import measure
from zoo.training.benchmark.usual_q_learning import ReplayBuffer, Settings, training_steps
from zoo.training.benchmark.ways import WARM_UP, built_for, usual_steps

pytestmark = pytest.mark.usefixtures("own_signals")

STEPS = 3
CARTPOLE = ("model=dqn_mlp", "data=cartpole", "logger=none", "task.warmup=200", "task.memory=1000")
MINATAR = ("model=dqn_minatar", "data=minatar_breakout", "logger=none", "task.warmup=200", "task.memory=1000")


@pytest.mark.parametrize("simultaneous", [True, False])
def test_the_bare_loop_plays_as_our_trainer_does(simultaneous: bool, tmp_path: Path):
    words = ("model=gan_mlp", "data=digits", "data.batch_size=20", f"task.simultaneous={simultaneous}", "logger=none",
             "task.samples=10", "trainer=cpu", "optimizer=sgd_goodfellow2014", "scheduler=goodfellow2014")  # fmt: skip
    ours, _ = built_for(words, tmp_path, STEPS)
    ours.trainer.fit(ours.task, datamodule=ours.data)
    bare, config = built_for(words, tmp_path, STEPS)
    beginning = {name: tensor.clone() for name, tensor in bare.task.model.state_dict().items()}
    assert list(islice(bare_steps(bare, config), WARM_UP + STEPS)) == [20] * (WARM_UP + STEPS)
    for name, tensor in ours.task.model.state_dict().items():
        assert torch.allclose(tensor, bare.task.model.state_dict()[name], rtol=0, atol=1e-6), name
        assert not torch.equal(tensor, beginning[name]), name


def test_the_buffer_keeps_the_last_transitions_whole():
    buffer = ReplayBuffer(4, gymnasium.spaces.Box(0, 255, (2,), np.uint8), torch.device("cpu"))
    for number in range(6):
        seen = np.full(2, number, np.uint8)
        buffer.add(seen, seen + 1, number % 2, number / 2, number == 3)
    seen, following, actions, rewards, terminal = buffer.sample(200)
    assert set(seen[:, 0].tolist()) == {2, 3, 4, 5}
    assert torch.equal(following, seen + 1)
    assert torch.equal(actions, seen[:, 1].long() % 2)
    assert torch.equal(rewards, seen[:, 0] / 2)
    assert torch.equal(terminal, (seen[:, 0] == 3).float())


class Bandit(gymnasium.Env):
    """Says yes to the second action and ends."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), float(action == 1), True, False, {}


def test_the_usual_script_learns_which_action_pays():
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 2)
    settings = Settings(8, 50, 20, 0.5, 10, 0.9, 1.0, 0.5, 100)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    steps = training_steps(network, optimizer, Bandit(), settings, 10, torch.device("cpu"))
    assert list(islice(steps, 30)) == [10] * 30
    with torch.no_grad():
        assert torch.allclose(network(torch.zeros(1)), torch.tensor([0.0, 1.0]), atol=0.1)


@pytest.mark.parametrize(
    "words",
    [CARTPOLE, pytest.param(MINATAR, marks=pytest.mark.slow)],
)
def test_the_usual_script_updates_as_often_as_we_do(words: tuple[str, ...], tmp_path: Path):
    case = Case("small", (*words, "data.steps_per_tick=128"), ("trainer=cpu",), STEPS, kind=Q_LEARNING)
    built, _ = built_for((*case.words, *case.settings), tmp_path, STEPS)
    built.trainer.fit(built.task, datamodule=built.data)
    updates = built.task.updates
    assert updates > 0
    counted: list[int] = []
    hook = register_optimizer_step_post_hook(lambda *_: counted.append(1))
    assert list(islice(usual_steps(case, tmp_path), WARM_UP + STEPS)) == [128] * (WARM_UP + STEPS)
    hook.remove()
    assert len(counted) == updates


def test_learning_is_timed_beside_the_usual_script_alone(tmp_path: Path):
    case = Case("cartpole", CARTPOLE, ("trainer=cpu",), STEPS, of_usual=1.0, kind=Q_LEARNING)
    measured = measure(case, 1, tmp_path)
    assert measured.titles() == ["case", "zoo", "usual", "zoo / usual"]
    assert {way: len(speeds) for way, speeds in measured.speeds.items()} == {"zoo": 1, "usual": 1}


def test_loading_is_timed_beside_what_checks_nothing(tmp_path: Path):
    case = Case("load", ("lenet5-mnist",), (), 2, of_bare=0.5, kind=LOADING)
    measured = measure_loading(case, 2, tmp_path)
    assert measured.titles() == ["case", "bare", "zoo", "zoo / bare"]
    assert {way: len(speeds) for way, speeds in measured.speeds.items()} == {"bare": 2, "zoo": 2}
    ours, theirs = zoo.load_pretrained("lenet5-mnist"), load_unchecked(find_release("lenet5-mnist"))
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), theirs.parameters(), strict=True))
