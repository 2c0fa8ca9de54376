"""DCGAN: adversarial networks of strided convolutions.

Radford, Metz, Chintala: Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks.
ICLR 2016, arXiv:1511.06434v2. Section 3 and Figure 1 have the architecture, Section 4 the training.

The paper prints no likelihood and no distance; ours is measured by dcgan_mnist. What it prints for MNIST are the errors
of a nearest neighbour among samples of a conditional DCGAN (Table 3), which is not here.

Parameters for 28 pixels and filters=64: 898,370; the paper prints none.

Variants for images of 28, 32 and 64 pixels; 64 is the paper's, with its 128 channels at the top. Weights and gains of
the norms are drawn from N(0, 0.02) and N(1, 0.02), as in the authors' code.

Deviations:

1. Kernels are 4x4 where the paper's are 5x5, so that strides of 2 double sizes without asymmetric padding.
2. The discriminator minimises half the sum of both cross-entropies, as Goodfellow's code does; the authors' code adds
   them, and an L2 penalty of 1e-5 that the paper does not mention and that is left out here.
3. Layers without a norm have biases.
"""

from itertools import pairwise

from torch import nn

from zoo.data.spec import ImageSpec
from zoo.models.gan import AdversarialNetworks
from zoo.models.registry import register_model

LATENT = 100


def initialise(module: nn.Module) -> None:
    """Draws weights from N(0, 0.02) (Section 4) and gains of norms from N(1, 0.02)."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(each.weight, 0.0, 0.02)
            if each.bias is not None:
                nn.init.zeros_(each.bias)
        elif isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(each.weight, 1.0, 0.02)
            nn.init.zeros_(each.bias)


def _doublings(side: int) -> tuple[int, int]:
    """Returns the side of the smallest maps and how often it is doubled, e.g. 7 and 2 for 28 pixels."""
    doublings = {28: 2, 32: 3, 64: 4}
    if side not in doublings:
        raise ValueError(f"images of {side}x{side} are not possible: expected {', '.join(map(str, doublings))}")
    return side >> doublings[side], doublings[side]


def generator(side: int, channels: int, filters: int, latent: int = LATENT) -> nn.Sequential:
    """Returns the generator: a linear layer to small maps, then transposed convolutions that double them.

    Args:
        side: Of an image.
        channels: Of an image.
        filters: Of the largest maps but the image; doubled at each halving.
        latent: Numbers of noise.
    """
    small, doublings = _doublings(side)
    widths = [filters << n for n in range(doublings)][::-1]  # e.g. 4f, 2f, f
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * small * small, bias=False),
        nn.Unflatten(1, (widths[0], small, small)),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(filters, channels, 4, 2, 1), nn.Tanh())


def discriminator(side: int, channels: int, filters: int, *, norms: bool = True) -> nn.Sequential:
    """Returns the discriminator: strided convolutions with leaky ReLUs, then one score.

    Args:
        side: Of an image.
        channels: Of an image.
        filters: Of the first convolution; doubled at each halving.
        norms: Whether its maps are batch-normalised, but for the first: a critic under a gradient penalty has none.
    """
    small, halvings = _doublings(side)
    widths = [filters << n for n in range(halvings)]  # e.g. f, 2f, 4f
    layers: list[nn.Module] = [nn.Conv2d(channels, filters, 4, 2, 1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, 2, 1, bias=not norms), *([nn.BatchNorm2d(after)] if norms else [])]
        layers += [nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * small * small, 1))


def takes_squares(spec: ImageSpec) -> str | None:
    """Returns what images these networks are for, None for images that they can take."""
    fit = spec.height == spec.width and spec.height in (28, 32, 64)
    return None if fit else "square images of 28, 32 or 64 pixels"


@register_model(
    task="adversarial", paper="radford2015", from_spec={"channels": "channels", "side": "side"}, fits=takes_squares
)
def dcgan(channels: int = 1, side: int = 28, filters: int = 64) -> AdversarialNetworks:
    """DCGAN; `filters` is 128 in the paper, for images of 64 pixels.

    Args:
        channels: Of an image.
        side: Of an image: 28, 32 or 64.
        filters: Of the largest maps.

    Raises:
        ValueError: Images of another size.
    """
    networks = generator(side, channels, filters), discriminator(side, channels, filters)
    for network in networks:
        initialise(network)
    return AdversarialNetworks(*networks, LATENT, "uniform", 1.0, -1.0)
