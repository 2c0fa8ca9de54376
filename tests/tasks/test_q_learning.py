"""Q-learning: its targets, its counts, when it learns and from what; a run that is stopped goes on exactly."""

from functools import partial
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.episodes import Tick
from zoo.data.replay import Transitions
from zoo.data.vector import EnvironmentVector
from zoo.errors import ZooError
from zoo.tasks.q_learning import QLearning


class Corridor(gymnasium.Env):
    """Five places in a row: left or right; the right end pays 3 and ends, the time is up after eight steps."""

    observation_space = gymnasium.spaces.Box(0, 1, (5,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 0, 0
        return self._seen(), {}

    def _seen(self) -> np.ndarray:
        return np.eye(5, dtype=np.float32)[self.place]

    def step(self, action):
        self.steps += 1
        self.place = max(0, self.place + (1 if action else -1))
        there = self.place == 4
        return self._seen(), 3.0 if there else 0.0, there, self.steps >= 8 and not there, {}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 2)


def task_for(model: nn.Module | None = None, rate: float = 0.1, **settings) -> QLearning:
    small = {"memory": 400, "warmup": 16, "steps_per_update": 2, "target_every": 40, "epsilon_steps": 100}
    task = QLearning(
        model or network(), [], partial(torch.optim.SGD, lr=rate), None, "epoch", "val", **(small | settings)
    )
    # What the trainer lends a task.
    optimizer = task.configure_optimizers()
    task.optimizers = lambda use_pl_optimizer=False: optimizer
    task.trainer = SimpleNamespace(world_size=1, global_rank=0)
    return task


def environments(count: int = 4) -> EnvironmentVector:
    return EnvironmentVector(Corridor, range(count), 3, (5,), "float32")


def batch(seed: int = 1) -> Transitions:
    draw = torch.Generator().manual_seed(seed)
    seen, after = (torch.rand(6, 5, generator=draw) for _ in range(2))
    rewards = torch.tensor([0.0, 1.0, -1.0, 5.0, 0.0, 0.0])
    return Transitions(seen, torch.tensor([0, 1, 0, 1, 1, 0]), rewards, after, torch.tensor([0, 0, 1, 0, 1, 0]).bool())


@pytest.mark.parametrize("double_q", [False, True])
def test_the_gradient_is_that_of_the_clipped_error(double_q: bool):
    """Mnih et al. 2015: the error r + γ max Q' - Q, clipped to ±1, times the gradient of Q, summed over the batch."""
    task = task_for(double_q=double_q, discount=0.9)
    task.target.load_state_dict(network(1).state_dict())
    before = {name: parameter.detach().clone() for name, parameter in task.model.named_parameters()}
    weight, bias = before["weight"].double(), before["bias"].double()
    target = {name: parameter.double() for name, parameter in task.target.named_parameters()}
    drawn = batch()
    expected = torch.zeros_like(weight)
    for seen, action, reward, after, terminal in zip(*(part.double() for part in drawn), strict=True):
        theirs = target["weight"] @ after + target["bias"]
        chosen = (weight @ after + bias).argmax() if double_q else theirs.argmax()
        goal = reward + (0.0 if terminal else 0.9 * theirs[chosen])
        error = goal - (weight @ seen + bias)[int(action)]
        expected[int(action)] += error.clamp(-1, 1) * seen
    task._learn(drawn)
    torch.testing.assert_close(task.model.weight.detach().double(), weight + 0.1 * expected)


@pytest.mark.parametrize("double_q", [False, True])
def test_updates_that_are_drawn_together_are_made_one_after_the_other(double_q: bool):
    together, apart = task_for(double_q=double_q), task_for(double_q=double_q)
    losses = together._learn(batch(), updates=3)
    expected = [apart._learn(Transitions(*(part[first : first + 2] for part in batch())))[0] for first in (0, 2, 4)]
    torch.testing.assert_close(losses, torch.stack(expected))
    torch.testing.assert_close(together.model.weight, apart.model.weight)
    assert together.updates == apart.updates == 3


def test_the_mean_is_a_share_of_the_sum():
    whole, mean = task_for(sum_gradients=True), task_for(sum_gradients=False)
    before = whole.model.weight.detach().clone()
    for task in (whole, mean):
        task._learn(batch())
    torch.testing.assert_close(whole.model.weight - before, 6 * (mean.model.weight - before))


def test_an_episode_that_is_cut_short_still_has_a_future():
    """A step at which the time is up bootstraps from what was seen last; one that reaches the end does not."""
    task = task_for(epsilon_first=1.0, epsilon_last=1.0, warmup=10_000)
    play = environments()
    for _ in range(20):
        task.training_step(Tick(play, 16, 8, 4), 0)
    seen, _, rewards, after, terminal = task.memory.sample(3000, np.random.default_rng(0))
    places, reached = seen.argmax(dim=1), after.argmax(dim=1)
    assert bool((reached[terminal] == 4).all())
    assert bool((rewards[terminal] == 1).all())  # clipped
    cut = ~terminal & ((reached - places).abs() > 1)
    assert not cut.any()  # what follows is the episode's own last frame, not the next one's first
    assert bool(terminal.any())


@pytest.mark.parametrize("clip", [True, False])
def test_rewards_are_clipped_for_learning_but_not_for_scores(clip: bool):
    task, play = task_for(clip_rewards=clip, warmup=10_000), environments()
    for _ in range(10):
        task.training_step(Tick(play, 16, 8, 4), 0)
    assert task.memory.rewards.max() == (1 if clip else 3)
    assert {score for _, score, _ in task._games} == {0.0, 3.0}


def test_updates_keep_their_ratio_and_wait_for_the_warm_up():
    task, play = task_for(), environments()
    tick = Tick(play, 3, 8, 4)
    assert task.count_samples(tick) == 12
    assert task.training_step(tick, 0) is None
    assert (task.steps, task.updates) == (12, 0)
    assert set(task.training_step(tick, 0)) == {"loss"}
    assert (task.steps, task.updates) == (24, 4)
    task.training_step(tick, 0)
    assert (task.steps, task.updates) == (36, 10)
    several = task_for(steps_per_update=0.5)
    for _ in range(3):
        several.training_step(Tick(environments(), 3, 8, 4), 0)
    assert several.updates == 40


def test_the_target_network_follows_at_its_own_pace():
    task, play = task_for(target_every=40), environments()
    first = task.target.weight.clone()
    for steps in range(8, 41, 8):
        task.training_step(Tick(play, 2, 8, 4), 0)
        same = torch.equal(task.target.weight, first)
        assert same == (steps < 40)
    assert torch.equal(task.target.weight, task.model.weight)


def test_epsilon_falls_after_the_warm_up():
    task = task_for(warmup=50, epsilon_steps=100, epsilon_first=1.0, epsilon_last=0.2)
    for steps, expected in ((0, 1.0), (50, 1.0), (100, 0.6), (150, 0.2), (9999, 0.2)):
        task.steps = steps
        assert task.epsilon() == pytest.approx(expected)


def test_it_finds_the_way():
    task = task_for(rate=0.5, clip_rewards=False, sum_gradients=False, discount=0.9, memory=2000)
    play = environments()
    for _ in range(60):
        task.training_step(Tick(play, 16, 32, 4), 0)
    values = task.model(torch.eye(5)).detach()
    assert values[:4].argmax(dim=1).tolist() == [1, 1, 1, 1]
    # The discounted reward of the end, seen from each place.
    torch.testing.assert_close(values[:4, 1], 3 * 0.9 ** torch.tensor([3.0, 2.0, 1.0, 0.0]), rtol=0.1, atol=0.1)


def test_actions_are_the_best_ones_but_for_epsilon():
    from zoo.decoding.playing import act

    def values(observations: Tensor) -> Tensor:
        return observations

    seen = np.eye(4, dtype=np.float32)[np.arange(4000) % 4]
    draw = np.random.default_rng(0)
    greedy = act(values, seen, 0.0, draw, torch.device("cpu"))
    assert (greedy == np.arange(4000) % 4).all()
    loose = act(values, seen, 0.4, draw, torch.device("cpu"))
    assert (loose == greedy).mean() == pytest.approx(0.6 + 0.4 / 4, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"discount": 1.5}, "task.discount=1.5 is not possible: expected 0 to 1"),
        ({"evaluation_epsilon": -0.1}, "task.evaluation_epsilon=-0.1"),
        ({"memory": 0}, "task.memory=0"),
        ({"steps_per_update": 0}, "task.steps_per_update=0"),
        ({"target_every": 0}, "task.target_every=0"),
        ({"headline": "test/error"}, "task.headline=test/error is not measured here"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, told: str):
    with pytest.raises(ValueError, match=told):
        task_for(**settings)


def test_a_schedule_is_refused():
    schedule = partial(torch.optim.lr_scheduler.StepLR, step_size=3)
    task = QLearning(network(), [], partial(torch.optim.SGD, lr=0.1), schedule, "epoch", "val")
    with pytest.raises(ZooError, match="Q-learning keeps its step size: give scheduler=none"):
        task.configure_optimizers()


def test_huber_is_the_square_with_a_clipped_gradient():
    errors = torch.linspace(-3, 3, 25, requires_grad=True)
    (gradient,) = torch.autograd.grad(F.huber_loss(errors, torch.zeros(25), reduction="sum"), errors)
    torch.testing.assert_close(gradient, errors.detach().clamp(-1, 1))
