"""The CIFAR-10 networks of cuda-convnet: layer files written out again with loops, pools that round up, the start."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.alexnet import LocallyConnected, cuda_convnet_11, cuda_convnet_13
from zoo.models.registry import arguments_for, create_model

MAKERS = [cuda_convnet_11, cuda_convnet_13]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small_local(in_maps, maps, side):
    layer = LocallyConnected(in_maps, maps, side).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def naive_local(layer, x):
    """A kernel of its own at each place: loops over places, maps and the nine pixels around a place."""
    batch, in_maps, side, _ = x.shape
    maps = layer.bias.shape[1]
    kernels = layer.weight.view(side, side, in_maps, 3, 3, maps)
    out = torch.empty(batch, maps, side, side, dtype=x.dtype)
    for row in range(side):
        for column in range(side):
            for k in range(maps):
                total = layer.bias[row * side + column, k].expand(batch).clone()
                for down in range(3):
                    for right in range(3):
                        i, j = row + down - 1, column + right - 1
                        if 0 <= i < side and 0 <= j < side:
                            total += x[:, :, i, j] @ kernels[row, column, :, down, right, k]
                out[:, k, row, column] = total
    return out


@settings(deadline=None, max_examples=15)
@given(batch=st.integers(1, 3), in_maps=st.integers(1, 4), maps=st.integers(1, 4), side=st.integers(1, 5))
def test_local_layer_is_a_loop_over_places(batch, in_maps, maps, side):
    layer = small_local(in_maps, maps, side)
    x = torch.randn(batch, in_maps, side, side, dtype=torch.float64)
    torch.testing.assert_close(layer(x), naive_local(layer, x), rtol=1e-12, atol=1e-12)


def test_gradients_of_the_local_layer():
    layer = small_local(2, 3, 3)
    x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    inputs = (x, layer.weight, layer.bias)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(call, inputs)


def test_a_local_layer_with_equal_kernels_is_a_convolution():
    layer, convolution = small_local(3, 4, 6), torch.nn.Conv2d(3, 4, 3, padding=1).double()
    with torch.no_grad():
        layer.weight.copy_(convolution.weight.flatten(1).T.expand(36, 27, 4))
        layer.bias.copy_(convolution.bias.expand(36, 4))
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), convolution(x), rtol=1e-12, atol=1e-12)


def naive_pool(x):
    """Maxima over 3x3 at stride 2, as many as it takes to cover the image."""
    side = x.shape[-1]
    outputs = math.ceil((side - 3) / 2) + 1
    out = torch.empty(*x.shape[:2], outputs, outputs, dtype=x.dtype)
    for row in range(outputs):
        for column in range(outputs):
            out[:, :, row, column] = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].amax((2, 3))
    return out


def naive_norm(x):
    """`cmrnorm` of size 9 with scale 0.001 and pow 0.75: the scale is divided by the size, the constant is 1."""
    out = torch.empty_like(x)
    for i in range(x.shape[1]):
        around = x[:, max(0, i - 4) : i + 5]
        out[:, i] = x[:, i] / (1 + 0.001 / 9 * (around**2).sum(1)) ** 0.75
    return out


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("size", [4, 9, 24])
def test_the_network_is_its_layer_file(make, size):
    net = make(image_size=size).double()
    with torch.no_grad():
        net.conv1.weight.mul_(1000)  # so that normalisation shows
    images = 60 * torch.randn(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        x = F.relu(F.conv2d(images, net.conv1.weight, net.conv1.bias, padding=2))
        x = naive_pool(x)
        x = naive_norm(x) if make is cuda_convnet_11 else x
        x = F.relu(F.conv2d(x, net.conv2.weight, net.conv2.bias, padding=2))
        x = naive_norm(x) if make is cuda_convnet_11 else x
        x = naive_pool(x)
        x = F.relu(net.local4(F.relu(net.local3(x))))  # checked above
        expected = x.flatten(1) @ net.fc10.weight.T + net.fc10.bias
        torch.testing.assert_close(net(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "size", "parameters"),
    [
        (cuda_convnet_11, 24, 2_112_970),
        (cuda_convnet_11, 32, 3_672_906),
        (cuda_convnet_13, 24, 1_116_490),
    ],
)
def test_parameters(make, size, parameters):
    with torch.device("meta"):
        net = make(image_size=size)
    assert sum(p.numel() for p in net.parameters()) == parameters


@pytest.mark.parametrize("make", MAKERS)
def test_the_start(make):
    net = make()
    for layer, deviation in (("conv1", 1e-4), ("conv2", 0.01), ("local3", 0.04), ("local4", 0.04), ("fc10", 0.01)):
        weight, bias = net.get_parameter(f"{layer}.weight"), net.get_parameter(f"{layer}.bias")
        assert weight.std().item() == pytest.approx(deviation, rel=0.05), layer
        assert not bias.any()


@settings(deadline=None, max_examples=20)
@given(size=st.integers(4, 40), channels=st.integers(1, 3), classes=st.integers(2, 12))
def test_any_square_size_has_its_network(size, channels, classes):
    with torch.device("meta"):
        net = cuda_convnet_13(classes, channels, size)
        assert net(torch.empty(2, channels, size, size)).shape == (2, classes)


@pytest.mark.parametrize("make", MAKERS)
def test_learns_a_batch(make):
    net = make(image_size=12)
    images, labels = 60 * torch.randn(16, 3, 12, 12), torch.arange(16) % 10
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(10), abs=0.05)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("make", MAKERS)
def test_bfloat16_and_channels_last_give_the_same_answers(make):
    net = make(image_size=16).to(memory_format=torch.channels_last)
    images = 60 * torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        plain = net(images)
        torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), plain)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(net(images).float(), plain, rtol=0.05, atol=0.05 * plain.abs().max().item())


@pytest.mark.parametrize("name", ["cuda_convnet_11", "cuda_convnet_13"])
def test_the_size_comes_from_the_data(name):
    expected = {"num_classes": 10, "in_channels": 3, "image_size": 24}
    assert arguments_for(name, ImageSpec(3, 24, 24, 10), {}) == expected
    with pytest.raises(ZooError, match=f"{name} takes square images of at least 4 pixels, the data is 3x24x32"):
        arguments_for(name, ImageSpec(3, 24, 32, 10), {})
    with pytest.raises(ZooError, match=r"model\.image_size=32 contradicts the data"):
        arguments_for(name, ImageSpec(3, 24, 24, 10), {"image_size": 32})


def test_wrong_sizes_are_told():
    with pytest.raises(ZooError, match=r"cuda_convnet_13 cannot be built .*image_size is at least 4 pixels, not 3"):
        create_model("cuda_convnet_13", image_size=3)
    with pytest.raises(ValueError, match="built for images of 24x24 pixels, got 32x24"):
        cuda_convnet_13()(torch.empty(1, 3, 32, 24))
