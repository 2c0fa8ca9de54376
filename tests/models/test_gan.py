"""The adversarial networks: sizes, noise and first weights as the papers and their code have them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.models.dcgan import dcgan
from zoo.models.gan import AdversarialNetworks, gan_mlp
from zoo.models.wgan import wgan, wgan_gp, wgan_gp_toy


def count(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def test_the_networks_of_2014():
    networks = gan_mlp()
    assert (count(networks.generator), count(networks.discriminator)) == (2_503_984, 1_231_441)
    assert [layer.p for layer in networks.discriminator if isinstance(layer, nn.Dropout)] == [0.2, 0.5, 0.5]
    for part, spread in ((networks.generator, 0.05), (networks.discriminator, 0.005)):
        for layer in (module for module in part.modules() if isinstance(module, nn.Linear)):
            assert layer.bias.detach().abs().max() == 0
            # Of a uniform distribution: never beyond the spread, and its standard deviation.
            assert 0.95 * spread < float(layer.weight.detach().abs().max()) <= spread
            assert float(layer.weight.detach().std()) == pytest.approx(spread / math.sqrt(3), rel=0.1)


def test_compiling_reaches_both_networks():
    networks = gan_mlp()
    networks.compile(backend="eager")
    assert all(part._compiled_call_impl for part in (networks.generator, networks.discriminator))


@pytest.mark.parametrize(("make", "kind", "limit"), [(gan_mlp, "uniform", math.sqrt(3)), (dcgan, "uniform", 1.0),
                                                     (wgan, "normal", 1.0), (wgan_gp, "normal", 1.0)])  # fmt: skip
def test_noise(make, kind: str, limit: float):
    noise = make().draw(5000, torch.Generator().manual_seed(0))
    assert noise.shape == (5000, 100)
    if kind == "uniform":
        assert 0.99 * limit < float(noise.abs().max()) <= limit
        assert float(noise.std()) == pytest.approx(limit / math.sqrt(3), rel=0.01)
    else:
        assert float(noise.std()) == pytest.approx(limit, rel=0.01)
        assert float(noise.abs().max()) > 3


@settings(max_examples=20, deadline=None)
@given(lines=st.integers(1, 4), steps=st.integers(2, 9), seed=st.integers(0, 99))
def test_paths_are_straight(lines: int, steps: int, seed: int):
    networks = AdversarialNetworks(nn.Identity(), nn.Identity(), 5, "uniform", 1.0, 0.0)
    paths = networks.draw_paths(lines, steps, torch.Generator().manual_seed(seed)).view(lines, steps, 5)
    ends = networks.draw(2 * lines, torch.Generator().manual_seed(seed)).view(lines, 2, 5)
    torch.testing.assert_close(paths[:, [0, -1]], ends)
    torch.testing.assert_close(paths.diff(dim=1), paths.diff(dim=1)[:, :1].expand(-1, steps - 1, -1))


@pytest.mark.parametrize("make", [dcgan, wgan, wgan_gp])
@pytest.mark.parametrize("side", [28, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_convolutions_for_each_size(make, side: int, channels: int):
    networks = make(channels, side, filters=4)
    images = networks.generator(networks.draw(2))
    assert images.shape == (2, channels, side, side)
    assert float(images.detach().abs().max()) <= 1
    assert networks.discriminator(images).shape == (2, 1)
    torch.testing.assert_close(networks.images(networks.pixels(images)), images)


def test_the_paper_s_dcgan_ends_in_maps_of_four_pixels_and_1024_channels():
    first = next(module for module in dcgan(3, 64, filters=128).generator if isinstance(module, nn.Unflatten))
    assert tuple(first.unflattened_size) == (1024, 4, 4)


@pytest.mark.parametrize("make", [dcgan, wgan, wgan_gp])
def test_first_weights_of_convolutions(make):
    torch.manual_seed(0)
    for module in make().modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            few = 4 / math.sqrt(2 * module.weight.numel())  # four standard errors of a standard deviation
            assert float(module.weight.detach().std()) == pytest.approx(0.02, rel=few)
            assert module.bias is None or not module.bias.detach().any()
        elif isinstance(module, nn.BatchNorm2d):
            assert float(module.weight.detach().mean()) == pytest.approx(1, abs=0.02)
            assert not module.bias.detach().any()


def test_only_a_critic_under_a_penalty_has_no_norms():
    assert not any(isinstance(module, nn.BatchNorm2d) for module in wgan_gp().discriminator)
    assert any(isinstance(module, nn.BatchNorm2d) for module in wgan().discriminator)
    # The first layer has none in any of them (Radford et al. 2015, Section 3).
    assert isinstance(wgan().discriminator[1], nn.LeakyReLU)


def test_points():
    networks = wgan_gp_toy(hidden=8)
    made = networks(networks.draw(3))
    assert made.shape == (3, 1, 1, 2)
    assert networks.discriminator(made).shape == (3, 1)


def test_no_noise_is_told():
    with pytest.raises(ValueError, match="latent is at least 1, not 0"):
        gan_mlp(latent=0)


@pytest.mark.parametrize("make", [dcgan, wgan, wgan_gp])
def test_other_sizes_are_told(make):
    with pytest.raises(ValueError, match="images of 30x30 are not possible: expected 28, 32, 64"):
        make(side=30)
