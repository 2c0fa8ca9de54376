"""Generative adversarial networks of linear layers.

Goodfellow et al.: Generative Adversarial Nets. NIPS 2014, arXiv:1406.2661v1.

Claim (Table 1): a Gaussian Parzen window on samples gives the test digits of MNIST 225 ± 2 nats: gan_mlp_mnist

Parameters on MNIST: generator 2,503,984, discriminator 1,231,441; the paper prints none.

The paper says little about the networks; these are those of the authors' released configuration for MNIST: noise
uniform in ±√3, two layers of 1,200 ReLUs, a sigmoid; maxout of 240 units with 5 pieces, twice, with dropout that keeps
0.8 of the input and 0.5 of the hidden units. The output biases of the generator start at the marginals of the pixels
where the task is told so, as in the released configuration. Deviation: sizes follow the data.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.data.spec import ImageSpec
from zoo.models.registry import register_model


class AdversarialNetworks(nn.Module):
    """A generator and its discriminator, or critic.

    Attributes:
        generator: Maps noise `(B, Z)` to images `(B, C, H, W)`, pixels from `low` to 1.
        discriminator: Maps such images to one score each, `(B, 1)`: for a discriminator the logit of being real.

    Args:
        generator: See above.
        discriminator: See above.
        latent: Z.
        noise: Its distribution: `"uniform"` in ±`spread`, or `"normal"` with this standard deviation.
        spread: See `noise`.
        low: The value of a black pixel, 0 or -1.

    Raises:
        ValueError: There is no noise.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        latent: int,
        noise: Literal["uniform", "normal"],
        spread: float,
        low: float,
    ) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"latent is at least 1, not {latent}: without noise all samples are the same")
        self.generator = generator
        self.discriminator = discriminator
        self.latent, self.noise, self.spread, self.low = latent, noise, spread, low

    def draw(self, count: int, draw: torch.Generator | None = None) -> Tensor:
        """Returns noise `(B, Z)`, on the CPU."""
        if self.noise == "normal":
            return torch.randn(count, self.latent, generator=draw) * self.spread
        return (2 * torch.rand(count, self.latent, generator=draw) - 1) * self.spread

    def draw_paths(self, count: int, steps: int, draw: torch.Generator | None = None) -> Tensor:
        """Returns noise on straight lines between pairs, `steps` on each of `count` lines: `(count * steps, Z)`."""
        ends = self.draw(2 * count, draw).view(count, 2, 1, -1)
        share = torch.linspace(0, 1, steps).view(1, steps, 1)
        return (ends[:, 0] * (1 - share) + ends[:, 1] * share).flatten(0, 1)

    def pixels(self, images: Tensor) -> Tensor:
        """Returns what the generator makes as pixels from 0 to 1."""
        return (images - self.low) / (1 - self.low)

    def images(self, pixels: Tensor) -> Tensor:
        """Returns pixels from 0 to 1 as the discriminator sees them."""
        return pixels * (1 - self.low) + self.low

    @property
    def output_bias(self) -> nn.Parameter | None:
        """The biases of the sigmoids that make the pixels, None where the generator ends otherwise."""
        layers = [layer for layer in self.generator.children() if not isinstance(layer, nn.Unflatten)]
        linear, last = layers[-2:] if len(layers) > 1 else (None, None)
        return linear.bias if isinstance(linear, nn.Linear) and isinstance(last, nn.Sigmoid) else None

    def compile(self, *arguments: Any, **settings: Any) -> None:
        """Compiles both networks, which training calls by themselves."""
        self.generator.compile(*arguments, **settings)
        self.discriminator.compile(*arguments, **settings)

    def forward(self, z: Tensor) -> Tensor:
        """Returns images for noise `(B, Z)`: `(B, C, H, W)`, pixels from 0 to 1."""
        return self.pixels(self.generator(z))


class Maxout(nn.Module):
    """The largest of several linear functions (Goodfellow et al. 2013, arXiv:1302.4389).

    Args:
        inputs: Size of an input.
        units: How many outputs.
        pieces: Linear functions of each.
    """

    def __init__(self, inputs: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, units * pieces)
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, inputs)` to `(B, units)`."""
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(dim=2)


def _initialise(module: nn.Module, spread: float) -> None:
    for each in module.modules():
        if isinstance(each, nn.Linear):
            nn.init.uniform_(each.weight, -spread, spread)
            nn.init.zeros_(each.bias)


def _takes_pictures(spec: ImageSpec) -> str | None:
    return "pictures, no points in the plane" if spec.height == 1 else None


@register_model(
    task="adversarial",
    paper="goodfellow2014",
    from_spec={"channels": "channels", "height": "height", "width": "width"},
    fits=_takes_pictures,
)
def gan_mlp(channels: int = 1, height: int = 28, width: int = 28, latent: int = 100) -> AdversarialNetworks:
    """The networks for MNIST of the released configuration.

    Args:
        channels: Of an image.
        height: Of an image.
        width: Of an image.
        latent: Numbers of noise.
    """
    size = channels * height * width
    generator = nn.Sequential(
        nn.Linear(latent, 1200),
        nn.ReLU(),
        nn.Linear(1200, 1200),
        nn.ReLU(),
        nn.Linear(1200, size),
        nn.Sigmoid(),
        nn.Unflatten(1, (channels, height, width)),
    )
    discriminator = nn.Sequential(
        nn.Flatten(),
        nn.Dropout(0.2),
        Maxout(size, 240, 5),
        nn.Dropout(0.5),
        Maxout(240, 240, 5),
        nn.Dropout(0.5),
        nn.Linear(240, 1),
    )
    _initialise(generator, 0.05)
    _initialise(discriminator, 0.005)
    return AdversarialNetworks(generator, discriminator, latent, "uniform", math.sqrt(3), 0.0)
