"""Residual networks for photographs: torchvision's, the papers' equations and tables, the authors' order of layers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models as theirs

from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.registry import arguments_for, create_model
from zoo.models.resnet import BasicBlock, Bottleneck, PaddedIdentity, Place


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def in_order(net: nn.Module, source: nn.Module) -> nn.Module:
    """Copies the tensors of `source` to those of `net` at the same place in the order, whatever they are called."""
    net.load_state_dict(dict(zip(net.state_dict(), source.state_dict().values(), strict=True)))
    return net


def assert_same_in_evaluation(ours: nn.Module, reference: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), reference.eval()(images), rtol=0, atol=1e-5)


def assert_same_in_training(ours: nn.Module, reference: nn.Module, images: Tensor) -> None:
    """Compares scores, gradients, and what a step leaves behind, running statistics included."""
    labels = torch.arange(len(images))
    for net in (ours.train(), reference.train()):
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)
    for one, other in zip(ours.state_dict().values(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), reference(images), rtol=0, atol=1e-5)


TWINS = {
    "resnet18": theirs.resnet18,
    "resnet34": theirs.resnet34,
    "resnet50_v1_5": theirs.resnet50,
    "resnet101_v1_5": theirs.resnet101,
    "resnet152_v1_5": theirs.resnet152,
}
DEEP = ("resnet101_v1_5", "resnet152_v1_5")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in DEEP)) for name in TWINS])
def test_equals_torchvision_s(name: str, unlike_new):
    reference = unlike_new(TWINS[name](num_classes=7))
    ours = in_order(create_model(name, num_classes=7), reference)
    images = torch.randn(4, 3, 64, 64)
    assert_same_in_evaluation(ours, reference, images)
    assert_same_in_training(ours, reference, images)


@pytest.mark.parametrize("name", TWINS)
def test_tensors_have_torchvision_s_order_and_shapes(name: str):
    with torch.device("meta"):
        reference, ours = TWINS[name]().state_dict(), create_model(name).state_dict()
    assert [tensor.shape for tensor in ours.values()] == [tensor.shape for tensor in reference.values()]
    # What a tensor is does not follow from its shape: a gain, a shift and a running mean are all alike.
    assert [key.rpartition(".")[2] for key in ours] == [key.rpartition(".")[2] for key in reference]


def test_the_paper_s_bottleneck_is_torchvision_s_with_the_stride_in_the_first_convolution(unlike_new):
    reference = unlike_new(theirs.resnet50(num_classes=7))
    ours = in_order(create_model("resnet50", num_classes=7), reference)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(ours.eval()(images), reference.eval()(images), atol=1e-2)
    for block in reference.modules():
        if isinstance(block, theirs.resnet.Bottleneck) and block.conv2.stride == (2, 2):
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    assert_same_in_evaluation(ours, reference, images)


# Table 1: multiplications and additions in billions, to which the place of the stride matters.
@pytest.mark.parametrize(
    ("name", "printed"),
    [("resnet18", 1.8), ("resnet34", 3.6), ("resnet50", 3.8), ("resnet101", 7.6), ("resnet152", 11.3)],
)
def test_computes_as_much_as_table_1_says(name: str, printed: float):
    with torch.device("meta"):
        net, images = create_model(name).eval(), torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images)
    assert counter.get_total_flops() / 2e9 == pytest.approx(printed, abs=0.08)


# torchvision's metadata of its weights; Table 3's options differ in the shortcuts alone.
@pytest.mark.parametrize(
    ("name", "arguments", "count"),
    [
        ("resnet18", {}, 11_689_512),
        ("resnet34", {}, 21_797_672),
        ("resnet50", {}, 25_557_032),
        ("resnet101", {}, 44_549_160),
        ("resnet152", {}, 60_192_808),
        ("resnet50_v1_5", {}, 25_557_032),
        ("resnet101_v1_5", {}, 44_549_160),
        ("resnet152_v1_5", {}, 60_192_808),
        ("resnet34", {"shortcut": "A"}, 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512))),
    ],
)
def test_parameters(name: str, arguments: dict[str, str], count: int):
    with torch.device("meta"):
        net = create_model(name, **arguments)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_v1_5", "resnet101_v1_5"),
        *("resnet152_v1_5", "resnet50_v2", "resnet101_v2", "resnet152_v2", "resnet200_v2"),
    ],
)
def test_the_name_counts_the_layers(name: str):
    with torch.device("meta"):
        net = create_model(name)
    layers = [key for key, layer in net.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert f"resnet{sum('shortcut' not in key for key in layers)}" == name.partition("_")[0]


@pytest.mark.parametrize(("option", "projections"), [("A", 0), ("B", 3), ("C", 3 + 13)])
def test_the_options_of_table_3(option: str, projections: int):
    with torch.device("meta"):
        net = create_model("resnet34", shortcut=option)
    shortcuts = [block.shortcut for block in net.modules() if isinstance(block, BasicBlock)]
    assert len(shortcuts) == 16
    assert sum(isinstance(shortcut, nn.Sequential) for shortcut in shortcuts) == projections
    assert sum(isinstance(shortcut, PaddedIdentity) for shortcut in shortcuts) == (3 if option == "A" else 0)


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet50_v1_5", "resnet50_v2"])
def test_the_maps_of_table_1(name: str):
    with torch.device("meta"):
        net, x = create_model(name), torch.empty(1, 3, 224, 224)
    x = net.conv1(x)
    sides = [x.shape[-1]]
    x = net.pool(x)
    for stage in net.stages:
        x = stage(x)
        sides.append(x.shape[-1])
    assert sides == [112, 56, 28, 14, 7]
    assert x.shape[1] == (512 if name == "resnet34" else 2048)


@pytest.mark.parametrize("place", [Place(6, 6), Place(4, 8, stride=2)], ids=str)
def test_a_basic_block_is_equation_2(place: Place, tensors, normalised, rectified):
    block = BasicBlock(place, "B")
    w1, g1, b1, w2, g2, b2, *projection = tensors(block)
    x = torch.randn(3, place.in_channels, 8, 8, dtype=torch.float64)
    residual = rectified(normalised(F.conv2d(x, w1, stride=place.stride, padding=1), g1, b1))
    residual = normalised(F.conv2d(residual, w2, padding=1), g2, b2)
    if place.in_channels == place.width:
        assert not projection
        expected = rectified(residual + x)  # equation 1
    else:
        ws, gs, bs = projection
        expected = rectified(residual + normalised(F.conv2d(x, ws, stride=place.stride), gs, bs))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("strided", [1, 2])
@pytest.mark.parametrize("place", [Place(12, 3), Place(4, 3), Place(4, 3, stride=2)], ids=str)
def test_a_bottleneck_is_figure_5(place: Place, strided: int, tensors, normalised, rectified):
    block = Bottleneck(place, "B", strided)
    w1, g1, b1, w2, g2, b2, w3, g3, b3, *projection = tensors(block)
    x = torch.randn(3, place.in_channels, 8, 8, dtype=torch.float64)
    first, second = (place.stride, 1) if strided == 1 else (1, place.stride)
    residual = rectified(normalised(F.conv2d(x, w1, stride=first), g1, b1))
    residual = rectified(normalised(F.conv2d(residual, w2, stride=second, padding=1), g2, b2))
    residual = normalised(F.conv2d(residual, w3), g3, b3)
    if place.in_channels == 4 * place.width:
        assert not projection
        expected = rectified(residual + x)
    else:
        ws, gs, bs = projection
        expected = rectified(residual + normalised(F.conv2d(x, ws, stride=place.stride), gs, bs))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(
    channels=st.integers(1, 5),
    new_channels=st.integers(0, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.sampled_from([1, 2]),
)
def test_option_a_is_slicing(channels: int, new_channels: int, height: int, width: int, stride: int):
    shortcut = PaddedIdentity(new_channels, stride)
    x = torch.randn(2, channels, height, width)
    out = shortcut(x)
    assert torch.equal(out[:, :channels], x[:, :, ::stride, ::stride])
    assert out.shape == (2, channels + new_channels, math.ceil(height / stride), math.ceil(width / stride))
    assert not out[:, channels:].any()
    assert not shortcut.state_dict()


def test_the_identity_does_not_change_what_comes_in():
    for block in (BasicBlock(Place(4, 4), "A"), Bottleneck(Place(16, 4), "A"), BasicBlock(Place(4, 4), plain=True)):
        x = torch.randn(2, 16 if isinstance(block, Bottleneck) else 4, 6, 6)
        before = x.clone()
        block(x)
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2"])
def test_the_initialisation_is_that_of_the_authors_code(name: str):
    net = create_model(name)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            deviation = math.sqrt(2 / (layer.kernel_size[0] ** 2 * layer.out_channels))
            assert layer.weight.std().item() == pytest.approx(deviation, rel=0.1)
            assert abs(layer.weight.mean().item()) < 0.05 * deviation
            assert layer.bias is None
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()
    assert (net.fc.bias == 0).all()
    assert net.fc.weight.abs().max().item() == pytest.approx(net.fc.in_features**-0.5, rel=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2"])
def test_channels_last_and_another_size_change_nothing_but_the_layout(name: str, unlike_new):
    net = unlike_new(create_model(name, num_classes=3, in_channels=1)).eval()
    images = torch.randn(2, 1, 70, 45)
    other = copy.deepcopy(net).to(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = net(images)
        torch.testing.assert_close(other(images.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (2, 3)


def test_wrong_arguments_are_told():
    with pytest.raises(ZooError, match=r"^resnet34 cannot be built .*shortcut is one of A, B, C, not 'D'"):
        create_model("resnet34", shortcut="D")
    with pytest.raises(ZooError, match=r"^resnet18 takes images of at least 32x32 pixels, the data is 1x28x28"):
        arguments_for("resnet18", ImageSpec(1, 28, 28, 10), {})
    assert arguments_for("resnet18", ImageSpec(3, 32, 40, 100), {}) == {"num_classes": 100, "in_channels": 3}
