"""Shifts of colour: the axes are numpy's, the shifts the paper's equation, the draws Gaussian."""

import numpy as np
import pytest
import torch

from zoo.data.augmentation import Augmentation
from zoo.data.colour import ColourAxes, colour_axes, draw_colour, shift_colour
from zoo.errors import ZooError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=300):
    """Pictures whose red, green and blue hang together, as uint8."""
    light = torch.randn(count, 1, 8, 8, generator=generator()) * 50 + 120
    mixed = (
        light * torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1) + torch.randn(count, 3, 8, 8, generator=generator(1)) * 9
    )
    return mixed.clamp(0, 255).to(torch.uint8)


def test_the_axes_are_those_of_the_covariance_matrix():
    images, indices = pictures(), torch.arange(0, 300, 2)
    axes = colour_axes(images, indices)
    chosen = images.numpy()[::2].transpose(1, 0, 2, 3).reshape(3, -1) / 255
    values, vectors = np.linalg.eigh(np.cov(chosen, bias=True))
    assert np.allclose(axes.deviations, np.sqrt(values[::-1]), rtol=1e-9)
    aligned = np.sum(axes.vectors.numpy() * vectors[:, ::-1], axis=0)
    assert np.allclose(np.abs(aligned), 1)
    # The sign is always the same one.
    largest = axes.vectors.gather(0, axes.vectors.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    # Their projections have the deviations that are told.
    assert np.allclose((axes.vectors.numpy().T @ chosen).std(1), axes.deviations, rtol=1e-9)


def test_the_axes_do_not_depend_on_the_order_of_the_images():
    images, shuffled = pictures(), torch.randperm(300, generator=generator(2))
    for ours, theirs in zip(
        colour_axes(images, torch.arange(300)), colour_axes(images[shuffled], torch.arange(300)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_grey_pictures_in_three_channels_have_one_axis():
    images = pictures()[:, :1].expand(-1, 3, -1, -1)
    axes = colour_axes(images, torch.arange(300))
    assert axes.deviations[1:].max() < 1e-7
    assert torch.allclose(axes.vectors[:, 0], torch.full((3,), 3**-0.5, dtype=torch.float64))


def test_one_colour_is_added_to_each_image():
    """Krizhevsky et al. 2012, Sec. 4.1: [p1, p2, p3] [a1 s1, a2 s2, a3 s3]^T, written out in float64."""
    axes = colour_axes(pictures(), torch.arange(300))
    images, amounts = torch.rand(5, 3, 6, 7, generator=generator(3)), draw_colour(5, 0.1, generator(4))
    ours = shift_colour(images, amounts, axes)
    p, s = axes.vectors.numpy(), axes.deviations.numpy()
    for image, a, changed in zip(images.double().numpy(), amounts.numpy(), ours, strict=True):
        shift = sum(p[:, k] * a[k] * s[k] for k in range(3))
        np.testing.assert_allclose(changed, image + shift[:, None, None], atol=1e-6)
    assert ours.dtype == torch.float32
    # Axes may be given in single precision, as constants of a dataset are.
    given = ColourAxes(*(part.float() for part in axes))
    torch.testing.assert_close(shift_colour(images, amounts, given), ours, rtol=0, atol=1e-6)


def test_the_draws_are_gaussian():
    drawn = draw_colour(20_000, 0.1, generator())
    assert drawn.shape == (20_000, 3)
    assert drawn.mean(0).abs().max() < 0.003
    assert (drawn.std(0) - 0.1).abs().max() < 0.002
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.02
    within = (drawn.abs() < 0.1).double().mean(0)
    assert (within - 0.6827).abs().max() < 0.015


def test_an_augmentation_shifts_by_the_axes_it_is_given():
    augmentation = Augmentation({"pca_colour": 0.1})
    axes = colour_axes(pictures(), torch.arange(300))
    images = torch.rand(5, 3, 6, 6, generator=generator(3))
    draws = augmentation.draw(5, 6, 6, generator())
    assert torch.equal(augmentation.apply(images, draws, axes), shift_colour(images, draws.colour, axes))
    with pytest.raises(ValueError, match="colour axes"):
        augmentation.apply(images, draws)


@pytest.mark.parametrize("value", [-0.1, 11, "strong", True])
def test_a_deviation_that_makes_no_sense_is_refused(value):
    with pytest.raises(ZooError, match=r"data\.augment\.pca_colour=.* is not possible: expected a number"):
        Augmentation({"pca_colour": value})
