"""Wasserstein GANs: the discriminator becomes a critic, kept from growing steep by clipping or by a penalty.

Arjovsky, Chintala, Bottou: Wasserstein GAN. ICML 2017, arXiv:1701.07875v3. Gulrajani et al.: Improved Training of
Wasserstein GANs. NIPS 2017, arXiv:1704.00028v3.

No number of theirs is for MNIST; ours are measured by wgan_mnist and wgan_gp_mnist.

Parameters for 28 pixels and filters=64: wgan 898,370, wgan_gp 898,242; wgan_gp_toy 1,055,235. The papers print none.

Generators are those of `zoo.models.dcgan`. The critic has no sigmoid; under the penalty it has no batch normalisation
either, as the gradient is to be that of each image by itself (Gulrajani et al. 2017, Section 4).

Deviations:

1. The authors' code of 2017 gives the clipped critic 100 steps for each of the generator's first 25 and for one in 500
   later on, which the paper does not tell; here it has `task.discriminator_steps` always, as in Algorithm 1.
2. The authors' script of WGAN-GP for MNIST has a generator and a critic of its own and batches of 50; here both are
   DCGAN's, and batches are of 64, as in Algorithm 1.
3. The points that wgan_gp_toy is for lie in the unit square, a quarter as large as the script's, with the script's
   weight of the penalty; layers start as PyTorch's do.
"""

from itertools import pairwise

from torch import nn

from zoo.data.spec import ImageSpec
from zoo.models.dcgan import LATENT, discriminator, generator, initialise, takes_squares
from zoo.models.gan import AdversarialNetworks
from zoo.models.registry import register_model

_FROM_SPEC = {"channels": "channels", "side": "side"}
_ARGUMENTS = """
    Args:
        channels: Of an image.
        side: Of an image: 28, 32 or 64.
        filters: Of the largest maps.

    Raises:
        ValueError: Images of another size.
"""


def _networks(channels: int, side: int, filters: int, norms: bool) -> AdversarialNetworks:
    networks = generator(side, channels, filters), discriminator(side, channels, filters, norms=norms)
    for network in networks:
        initialise(network)
    return AdversarialNetworks(*networks, LATENT, "normal", 1.0, -1.0)


@register_model(task="adversarial", paper="arjovsky2017", from_spec=_FROM_SPEC, fits=takes_squares, sections=_ARGUMENTS)
def wgan(channels: int = 1, side: int = 28, filters: int = 64) -> AdversarialNetworks:
    """For a critic whose weights are clipped."""
    return _networks(channels, side, filters, norms=True)


@register_model(
    task="adversarial", paper="gulrajani2017", from_spec=_FROM_SPEC, fits=takes_squares, sections=_ARGUMENTS
)
def wgan_gp(channels: int = 1, side: int = 28, filters: int = 64) -> AdversarialNetworks:
    """For a critic under a gradient penalty."""
    return _networks(channels, side, filters, norms=False)


def _takes_points(spec: ImageSpec) -> str | None:
    return None if (spec.channels, spec.height, spec.width) == (1, 1, 2) else "points in the plane"


@register_model(task="adversarial", paper="gulrajani2017", fits=_takes_points)
def wgan_gp_toy(hidden: int = 512, latent: int = 2) -> AdversarialNetworks:
    """Three layers of ReLUs each, for points in the plane (the authors' code for Figure 1).

    Args:
        hidden: Units of a layer.
        latent: Numbers of noise.
    """

    def layers(inputs: int, outputs: int) -> list[nn.Module]:
        sizes = [inputs, hidden, hidden, hidden]
        found: list[nn.Module] = []
        for before, after in pairwise(sizes):
            found += [nn.Linear(before, after), nn.ReLU()]
        return [*found, nn.Linear(hidden, outputs)]

    generator = nn.Sequential(*layers(latent, 2), nn.Unflatten(1, (1, 1, 2)))
    critic = nn.Sequential(nn.Flatten(), *layers(2, 1))
    return AdversarialNetworks(generator, critic, latent, "normal", 1.0, 0.0)
