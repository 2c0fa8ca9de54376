"""The script that deep Q-learning usually comes as, to be compared with: one environment and a loop over its steps.

As in the well-known single-file scripts: the network looks at one observation at a time, the memory keeps each
observation twice, as what was seen and as what came next, and every so many steps a minibatch is learned from. Network,
optimizer, minibatch and replay ratio are ours. Written anew; nothing in it is slow on purpose, nothing in it is ours.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer


@dataclass(frozen=True)
class Settings:
    """What such a script takes from its command line; counts are of environment steps."""

    batch_size: int
    memory: int
    warmup: int
    steps_per_update: float
    target_every: int
    discount: float
    epsilon_first: float
    epsilon_last: float
    epsilon_steps: int


class ReplayBuffer:
    """The last transitions, each whole.

    Args:
        capacity: How many.
        space: Of what is seen.
        device: Where minibatches go.
    """

    def __init__(self, capacity: int, space: gymnasium.spaces.Box, device: torch.device) -> None:
        self.seen = np.zeros((capacity, *space.shape), space.dtype)
        self.following = np.zeros_like(self.seen)
        self.actions = np.zeros(capacity, np.int64)
        self.rewards = np.zeros(capacity, np.float32)
        self.terminal = np.zeros(capacity, np.float32)
        self.capacity, self.device, self.added = capacity, device, 0

    def add(self, seen: np.ndarray, following: np.ndarray, action: int, reward: float, terminal: bool) -> None:
        """Writes a transition over the oldest one."""
        place = self.added % self.capacity
        self.seen[place], self.following[place] = seen, following
        self.actions[place], self.rewards[place], self.terminal[place] = action, reward, terminal
        self.added += 1

    def sample(self, size: int) -> tuple[Tensor, ...]:
        """Draws what was seen and what came next `(B, …)`, actions, rewards and ends `(B,)`."""
        drawn = np.random.randint(min(self.added, self.capacity), size=size)  # noqa: NPY002 - as such scripts do
        arrays = self.seen, self.following, self.actions, self.rewards, self.terminal
        seen, following, *rest = (torch.as_tensor(array[drawn]).to(self.device) for array in arrays)
        return seen, following, *rest


def training_steps(
    network: nn.Module,
    optimizer: Optimizer,
    environment: gymnasium.Env,
    settings: Settings,
    steps_per_tick: int,
    device: torch.device,
) -> Iterator[int]:
    """Acts and learns for ever, so many steps whenever the next ones are asked for; yields their number."""
    network.to(device)
    target = copy.deepcopy(network)
    assert isinstance(environment.observation_space, gymnasium.spaces.Box)
    buffer = ReplayBuffer(settings.memory, environment.observation_space, device)
    seen, _ = environment.reset()
    updates = 0
    for step in count(1):
        share = min(1.0, max(0, step - settings.warmup) / settings.epsilon_steps)
        if np.random.rand() < settings.epsilon_first + share * (settings.epsilon_last - settings.epsilon_first):  # noqa: NPY002
            action = int(environment.action_space.sample())
        else:
            with torch.no_grad():
                action = int(network(torch.as_tensor(seen)[None].to(device)).argmax())
        following, reward, terminated, truncated, _ = environment.step(action)
        buffer.add(seen, following, action, float(reward), terminated)
        seen = environment.reset()[0] if terminated or truncated else following
        while updates < (step - settings.warmup) // settings.steps_per_update:
            before, after, actions, rewards, terminal = buffer.sample(settings.batch_size)
            with torch.no_grad():
                goal = rewards + settings.discount * target(after).amax(dim=1) * (1 - terminal)
            values = network(before).gather(1, actions[:, None]).squeeze(1)
            loss = F.smooth_l1_loss(values, goal)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
        if step % settings.target_every == 0:
            target.load_state_dict(network.state_dict())
        if step % steps_per_tick == 0:
            yield steps_per_tick
