"""Wasserstein GANs: the discriminator becomes a critic, kept from growing steep by clipping or by a penalty.

Arjovsky, Chintala, Bottou: Wasserstein GAN. ICML 2017, arXiv:1701.07875v3. Gulrajani et al.: Improved Training of
Wasserstein GANs. NIPS 2017, arXiv:1704.00028v3.

No number of theirs is for MNIST; ours are measured by wgan_mnist and wgan_gp_mnist.

Generators are those of `zoo.models.dcgan`. The critic has no sigmoid; under the penalty it has no batch normalisation
either, as the gradient is to be that of each image by itself (Section 4).
"""

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
