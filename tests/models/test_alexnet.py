"""AlexNet: two towers written out apart, the paper's normalisation in float64, its start, torchvision's one tower."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models as torchvision_models

from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.alexnet import ResponseNorm, alexnet, alexnet_2012
from zoo.models.registry import arguments_for, create_model

# The shapes of Section 3.5 and Figure 2: 48 and 128 kernels on each GPU are 96 and 256 in all.
SHAPES_2012 = {
    "conv1": (96, 3, 11, 11),
    "conv2": (256, 48, 5, 5),
    "conv3": (384, 256, 3, 3),
    "conv4": (384, 192, 3, 3),
    "conv5": (256, 192, 3, 3),
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
}
COUNTS_2012 = (34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return alexnet_2012(num_classes=5).eval()


def equation_of_section_3_3(a, n, alpha, k):
    """The normalisation with a loop over maps, as printed; `a` is `(B, N, H, W)`."""
    last = a.shape[1] - 1
    b = torch.empty_like(a)
    for i in range(last + 1):
        total = torch.zeros_like(a[:, 0])
        for j in range(max(0, i - n // 2), min(last, i + n // 2) + 1):
            total += a[:, j] ** 2
        b[:, i] = a[:, i] / (k + alpha * total) ** 0.75
    return b


@settings(deadline=None, max_examples=25)
@given(
    maps=st.integers(1, 20), n=st.sampled_from([1, 3, 5, 9]), alpha=st.floats(1e-5, 10), k=st.sampled_from([1.0, 2.0])
)
def test_response_normalisation_is_the_equation(maps, n, alpha, k):
    draw = torch.Generator().manual_seed(maps)
    a = 30 * torch.randn(2, maps, 3, 4, dtype=torch.float64, generator=draw)
    expected = equation_of_section_3_3(a, n, alpha, k)
    torch.testing.assert_close(ResponseNorm(maps, n, alpha, k).double()(a), expected, rtol=1e-12, atol=1e-12)


def test_response_normalisation_against_pytorch_which_divides_alpha():
    a = 100 * torch.randn(2, 12, 5, 5)
    ours, theirs = a.clone().requires_grad_(), a.clone().requires_grad_()
    expected = nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2)(theirs)
    found = ResponseNorm(12, 5, alpha=1e-4, k=2)(ours)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(a)
    found.backward(weights)
    expected.backward(weights)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_response_normalisation_of_large_float16():
    a = torch.full((1, 5, 1, 1), 1000.0, dtype=torch.float16)
    found = ResponseNorm(5, 5, alpha=1e-4, k=2).half()(a)[0, 2].item()
    assert found == pytest.approx(1000 / (2 + 1e-4 * 5 * 1000**2) ** 0.75, rel=5e-3)


def test_shapes_and_counts_of_2012():
    with torch.device("meta"):
        net = alexnet_2012()
    named = dict(net.named_parameters())
    assert {name: tuple(named[f"{name}.weight"].shape) for name in SHAPES_2012} == SHAPES_2012
    counts = tuple(sum(p.numel() for p in net.get_submodule(name).parameters()) for name in SHAPES_2012)
    assert counts == COUNTS_2012
    assert sum(counts) == sum(p.numel() for p in net.parameters()) == 60_965_224
    assert sum(p.numel() for p in create_model("alexnet_2012", num_classes=10, in_channels=1).parameters()) == (
        60_965_224 - 990 * 4097 - 2 * 96 * 121
    )


def test_the_network_is_two_towers(net):
    """The two GPUs of Figure 2 apart, each with its half of the kernels; they meet in conv3, fc6, fc7 and fc8."""
    state = net.state_dict()

    def halves(layer, x_of_each, **options):
        weights, biases = state[f"{layer}.weight"].chunk(2), state[f"{layer}.bias"].chunk(2)
        parts = zip(x_of_each, weights, biases, strict=True)
        return [F.relu(F.conv2d(x, weight, bias, **options)) for x, weight, bias in parts]

    def normalised_and_pooled(towers):
        x = equation_of_section_3_3(torch.cat(towers, 1), 5, 1e-4, 2)
        return F.max_pool2d(x, kernel_size=3, stride=2).chunk(2, 1)

    images = 60 * torch.randn(2, 3, 227, 227)
    x = normalised_and_pooled(halves("conv1", [images, images], stride=4))
    assert [tuple(tower.shape) for tower in x] == [(2, 48, 27, 27)] * 2
    x = normalised_and_pooled(halves("conv2", x, padding=2))
    assert [tuple(tower.shape) for tower in x] == [(2, 128, 13, 13)] * 2
    x = halves("conv3", [torch.cat(x, 1)] * 2, padding=1)
    x = halves("conv5", halves("conv4", x, padding=1), padding=1)
    x = torch.cat([F.max_pool2d(tower, 3, 2) for tower in x], 1)
    assert x.shape == (2, 256, 6, 6)
    x = x.flatten(1)
    for layer in ("fc6", "fc7"):
        x = F.relu(F.linear(x, state[f"{layer}.weight"], state[f"{layer}.bias"]))
    expected = F.linear(x, state["fc8.weight"], state["fc8.bias"])
    with torch.no_grad():
        torch.testing.assert_close(net(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_dropout_is_in_the_first_two_dense_layers(net):
    seen = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name, layer in (("fc6", net.fc6), ("fc7", net.fc7), ("fc8", net.fc8))
    ]
    net.train()
    with torch.no_grad():
        net(60 * torch.randn(1, 3, 227, 227))
    net.eval()
    for handle in handles:
        handle.remove()
    kept = {name: (inputs != 0).float().mean().item() for name, inputs in seen.items()}
    assert kept["fc6"] > 0.95  # the biases of conv5 make nearly all positive
    assert kept["fc7"] < 0.55
    assert kept["fc8"] < 0.55


def test_the_start_of_2012(net):
    for name, parameter in net.named_parameters():
        layer, kind = name.split(".")
        if kind == "weight":
            assert abs(parameter.mean()) < 1e-3
            assert parameter.std().item() == pytest.approx(0.01, rel=0.05), name
        else:
            one = layer in ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert torch.equal(parameter, torch.full_like(parameter, float(one))), name


@pytest.mark.parametrize("size", [224, 225, 226])
def test_smaller_images_are_padded_with_the_mean(net, size):
    images = torch.randn(1, 3, size, size)
    field = torch.zeros(1, 3, 227, 227)
    first = (227 - size) // 2
    field[:, :, first : first + size, first : first + size] = images
    with torch.no_grad():
        assert torch.equal(net(images), net(field))


@pytest.mark.parametrize("size", [(223, 223), (228, 228), (224, 227)])
def test_other_images_are_refused(net, size):
    with pytest.raises(ValueError, match=rf"224x224 to 227x227 pixels, got {size[0]}x{size[1]}$"):
        net(torch.empty(1, 3, *size))


@pytest.fixture(scope="module")
def both():
    """Ours and torchvision's one tower on the same tensors."""
    with torch.device("meta"):
        ours, theirs = alexnet(), torchvision_models.alexnet()
    torch.manual_seed(1)
    state = {
        key: torch.empty_like(value, device="cpu").uniform_(-1, 1).mul_(value[0].numel() ** -0.5 if value.ndim else 1)
        for key, value in ours.state_dict().items()
    }
    ours.load_state_dict(state, assign=True)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), state.values(), strict=True)), assign=True)
    return ours, theirs


def test_the_one_tower_has_torchvision_s_parameters(both):
    shapes = [[tuple(value.shape) for value in net.state_dict().values()] for net in both]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in both[0].parameters()) == 61_100_840


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [(224, 224), (63, 63), (70, 95)])
def test_the_one_tower_is_torchvision_s(both, training, size):
    images = torch.randn(2, 3, *size)
    outputs = []
    for net in both:
        net.train(training)
        torch.manual_seed(2)  # of dropout
        with torch.no_grad():
            outputs.append(net(images))
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    assert outputs[0].std() > 0.01


def test_too_small_for_the_one_tower(both):
    with pytest.raises(ValueError, match="at least 63x63 pixels, got 62x80"):
        both[0](torch.empty(1, 3, 62, 80))
    with pytest.raises(RuntimeError):  # torchvision's own refusal begins at the same size
        both[1](torch.empty(1, 3, 62, 80))


@pytest.mark.parametrize("name", ["alexnet", "alexnet_2012"])
def test_fits_what_it_can_take(name):
    spec = ImageSpec(1, 227, 227, 7)
    assert arguments_for(name, spec, {}) == {"num_classes": 7, "in_channels": 1}


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        (
            "alexnet_2012",
            ImageSpec(3, 32, 32, 10),
            "alexnet_2012 takes square images of 224 to 227 pixels",
        ),
        ("alexnet_2012", ImageSpec(3, 224, 227, 10), "takes square images"),
        ("alexnet", ImageSpec(3, 63, 62, 10), "alexnet takes images of at least 63x63 pixels, the data is 3x63x62"),
    ],
)
def test_refuses_what_does_not_fit(name, spec, message):
    with pytest.raises(ZooError, match=message):
        arguments_for(name, spec, {})


@pytest.mark.parametrize("name", ["alexnet", "alexnet_2012"])
def test_an_impossible_dropout_is_told(name):
    with torch.device("meta"), pytest.raises(ZooError, match=rf"{name} cannot be built .*between 0 and 1"):
        create_model(name, dropout=1.5)
