"""Deep Q-networks: from what is seen to the value of each action.

Mnih et al.: Human-level control through deep reinforcement learning. Nature 518:529-533, 2015; before it, Mnih et al.:
Playing Atari with Deep Reinforcement Learning. NIPS workshop 2013, arXiv:1312.5602. `dqn_minatar` is the network of
Young and Tian: MinAtar. arXiv:1903.03176, 2019.

Claims, each tested by the experiment named after it:
    Pong 18.9, Breakout 401.2 (Nature, Extended Data Table 2): dqn_nature_atari_pong, dqn_nature_atari_breakout
    MinAtar Breakout, about 10 in training (Young and Tian 2019, Figure 2): dqn_minatar_breakout

Parameters: `dqn_nature` 1,686,180 and `dqn_2013` 677,172 with 4 actions, `dqn_minatar` 132,566 on Breakout with 6
actions, `dqn_mlp` 10,934 on CartPole.

Deviations: the authors' code pads the first convolution by 1, the paper does not say so and here is none; the maps have
the same sizes. Screens are scaled by averaging areas, where the authors' code interpolates. The target network is
renewed every so many steps, as in their code; the paper counts updates. Games end after five minutes in training too;
the paper says so of evaluation. Weights are drawn as torch does, uniform within ±1/sqrt(inputs), as Torch 7 did.
`dqn_2013` trains without a target network and with an update at each step, as that paper's Algorithm 1, with
`data.environments=1` exactly: of eight games side by side each makes a step before the eight updates, whose targets are
up to seven updates old. What the paper does not print of its recipe is that of 2015, as are the screens (scaled whole,
not cropped) and the error (clipped). `dqn_mlp` is in none of the papers: its size is that of CleanRL's script for
CartPole.
"""

import torch
from torch import Tensor, nn

from zoo.data.spec import ControlSpec
from zoo.models.registry import register_model


def _as_float(observations: Tensor) -> Tensor:
    """Returns bytes as numbers from 0 to 1, and what is true or false as 1 or 0."""
    return observations.float() / 255 if observations.dtype == torch.uint8 else observations.float()


class ScreenNetwork(nn.Module):
    """Convolutions over the last screens, one hidden layer, a value for each action.

    Args:
        features: The convolutions, which turn `(B, C, H, W)` into `(B, F)`.
        inputs: F.
        hidden: Units of the hidden layer.
        actions: A.
    """

    def __init__(self, features: nn.Sequential, inputs: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.features = features
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, actions)

    def forward(self, observations: Tensor) -> Tensor:
        """Returns the values of the actions, `(B, A)`, for screens `(B, C, H, W)`: bytes, bools or floats up to 1."""
        return self.output(nn.functional.relu(self.hidden(self.features(_as_float(observations)))))


class VectorNetwork(nn.Sequential):
    """Layers over observations that are vectors."""

    def forward(self, observations: Tensor) -> Tensor:
        """Returns the values of the actions, `(B, A)`, for vectors `(B, F)` of any type of number."""
        return super().forward(_as_float(observations))


def _takes_screens(spec: ControlSpec) -> str | None:
    if len(spec.observation_shape) == 3 and spec.observation_shape[1:] == (84, 84):
        return None
    return "screens of 84x84"


def _takes_boards(spec: ControlSpec) -> str | None:
    if len(spec.observation_shape) == 3 and spec.observation_shape[1:] == (10, 10):
        return None
    return "MinAtar's boards of 10x10"


def _takes_vectors(spec: ControlSpec) -> str | None:
    return None if len(spec.observation_shape) == 1 else "observations that are vectors"


_FROM_SPEC = {"actions": "actions", "in_channels": "channels"}
_ARGUMENTS = """
    Args:
        actions: How many there are to choose from, A.
        in_channels: Of what is seen, the last few screens one behind the other.
"""


@register_model(task="q_learning", paper="mnih2015", from_spec=_FROM_SPEC, fits=_takes_screens, sections=_ARGUMENTS)
def dqn_nature(actions: int = 4, in_channels: int = 4) -> ScreenNetwork:
    """The network of 2015 (Methods, Model architecture)."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, kernel_size=8, stride=4),  # (B, 32, 20, 20)
        nn.ReLU(),
        nn.Conv2d(32, 64, kernel_size=4, stride=2),  # (B, 64, 9, 9)
        nn.ReLU(),
        nn.Conv2d(64, 64, kernel_size=3, stride=1),  # (B, 64, 7, 7)
        nn.ReLU(),
        nn.Flatten(),
    )
    return ScreenNetwork(features, 64 * 7 * 7, 512, actions)


@register_model(task="q_learning", paper="mnih2013", from_spec=_FROM_SPEC, fits=_takes_screens, sections=_ARGUMENTS)
def dqn_2013(actions: int = 4, in_channels: int = 4) -> ScreenNetwork:
    """The network of 2013 (Section 4.1)."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 16, kernel_size=8, stride=4),  # (B, 16, 20, 20)
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=4, stride=2),  # (B, 32, 9, 9)
        nn.ReLU(),
        nn.Flatten(),
    )
    return ScreenNetwork(features, 32 * 9 * 9, 256, actions)


@register_model(task="q_learning", paper="young2019", from_spec=_FROM_SPEC, fits=_takes_boards, sections=_ARGUMENTS)
def dqn_minatar(actions: int = 6, in_channels: int = 4) -> ScreenNetwork:
    """The network of MinAtar's authors: one convolution, 128 hidden units."""
    features = nn.Sequential(nn.Conv2d(in_channels, 16, kernel_size=3), nn.ReLU(), nn.Flatten())  # (B, 16 * 8 * 8)
    return ScreenNetwork(features, 16 * 8 * 8, 128, actions)


@register_model(
    task="q_learning", paper="mnih2015", from_spec={"actions": "actions", "features": "channels"}, fits=_takes_vectors
)
def dqn_mlp(actions: int = 2, features: int = 4, hidden: tuple[int, ...] = (120, 84)) -> VectorNetwork:
    """Linear layers with ReLUs, for observations that are vectors; not in the paper.

    Args:
        actions: How many there are to choose from, A.
        features: Numbers of an observation.
        hidden: Units of each hidden layer.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return VectorNetwork(*layers, nn.Linear(features, actions))
