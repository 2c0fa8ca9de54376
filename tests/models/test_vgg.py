"""VGG against torchvision with the same tensors, the paper's Table 1 and 2, Glorot's range."""

import math

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models import vgg
from zoo.models.alexnet import ResponseNorm
from zoo.models.registry import arguments_for, create_model, list_models

IN_TORCHVISION = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]

# Table 1, column by column: the kernel size and width of each convolution; M is a pool.
TABLE_1 = {
    "vgg11": "3-64 M 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
    "vgg11_lrn": "3-64 LRN M 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
    "vgg13": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 M 3-512 3-512 M 3-512 3-512 M",
    "vgg16_c": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 1-256 M 3-512 3-512 1-512 M 3-512 3-512 1-512 M",
    "vgg16": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 3-256 M 3-512 3-512 3-512 M 3-512 3-512 3-512 M",
    "vgg19": "3-64 3-64 M 3-128 3-128 M 3-256 3-256 3-256 3-256 M 3-512 3-512 3-512 3-512 M 3-512 3-512 3-512 3-512 M",
}
PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg11_lrn": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16_c": 133_638_952,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}
TABLE_2 = {"vgg11": 133, "vgg11_lrn": 133, "vgg13": 133, "vgg16_c": 134, "vgg16": 138, "vgg19": 144}  # millions


def on_meta(name, **arguments):
    with torch.device("meta"):
        return create_model(name, **arguments)


@pytest.mark.parametrize("name", TABLE_1)
def test_layers_are_table_1(name):
    drawn = []
    for layer in on_meta(name).features:
        if isinstance(layer, nn.Conv2d):
            assert layer.stride == (1, 1)
            assert layer.padding == (layer.kernel_size[0] // 2,) * 2  # keeps height and width
            drawn.append(f"{layer.kernel_size[0]}-{layer.out_channels}")
        elif isinstance(layer, nn.MaxPool2d):
            assert (layer.kernel_size, layer.stride) == (2, 2)
            drawn.append("M")
        elif isinstance(layer, ResponseNorm):
            assert (layer.alpha, layer.k, layer.beta) == (1e-4, 2, 0.75)
            drawn.append("LRN")
        else:
            assert isinstance(layer, nn.ReLU)
    assert " ".join(drawn) == TABLE_1[name]


@pytest.mark.parametrize("name", TABLE_1)
def test_parameters_are_table_2(name):
    parameters = sum(p.numel() for p in on_meta(name).parameters())
    assert parameters == PARAMETERS[name]
    assert round(parameters / 1e6) == TABLE_2[name]


def test_parameters_of_the_small_head():
    assert sum(p.numel() for p in on_meta("vgg16_bn_small").parameters()) == 14_728_266


@pytest.fixture(scope="module")
def head():
    """The three dense layers' tensors, drawn once: 124 million numbers."""
    torch.manual_seed(0)
    with torch.device("meta"):
        shapes = [p.shape for p in vgg.dense_layers(1000, 0.5).parameters()]
    return [torch.empty(shape).uniform_(-1, 1).mul_(shape[-1] ** -0.5) for shape in shapes]


def drawn_state(net, head):
    """Draws what is not the head: kernels that keep the variance, sensible statistics for batch normalisation."""
    state = net.state_dict()
    for key, value in state.items():
        tensor = torch.empty_like(value, device="cpu")
        if value.ndim == 4:
            tensor.normal_(std=(2 / value[0].numel()) ** 0.5)
        elif value.is_floating_point():
            tensor.uniform_(0.5, 1.5) if key.endswith("running_var") else tensor.uniform_(-0.5, 0.5)
        else:
            tensor.zero_()
        state[key] = tensor
    return state | dict(zip([key for key in state if key.startswith("classifier")], head, strict=True))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("vgg13", "vgg19", "vgg13_bn", "vgg19_bn")]


@pytest.mark.parametrize("name", ["vgg11", "vgg16", "vgg11_bn", "vgg16_bn", *SLOW])
def test_equals_torchvision(name, head):
    ours = on_meta(name)
    with torch.device("meta"):
        theirs = getattr(torchvision_models, name)()
    torch.manual_seed(1)
    state = drawn_state(ours, head)
    ours.load_state_dict(state, assign=True)
    # In order, not by name: the same tensors, copied where training changes them.
    copies = (value.clone() if value.ndim < 2 else value for value in state.values())
    theirs.load_state_dict(dict(zip(theirs.state_dict(), copies, strict=True)), assign=True)
    for training, size in ((False, (64, 32)), (True, (32, 32))):
        images = torch.randn(2, 3, *size)
        outputs = []
        for net in (ours, theirs):
            net.train(training)
            torch.manual_seed(2)  # of dropout
            with torch.no_grad():
                outputs.append(net(images))
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
        assert outputs[0].std() > 0.01
    for one, other in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(one, other)  # both learnt the same statistics


@pytest.mark.parametrize("name", IN_TORCHVISION)
def test_the_order_of_tensors_is_torchvision_s(name):
    with torch.device("meta"):
        nets = on_meta(name), getattr(torchvision_models, name)()
    ours, theirs = ([tuple(value.shape) for value in net.state_dict().values()] for net in nets)
    assert ours == theirs


def test_response_normalisation_follows_the_first_relu():
    with torch.device("meta"):
        features = create_model("vgg11_lrn").features
    assert [type(layer).__name__ for layer in features[:4]] == ["Conv2d", "ReLU", "ResponseNorm", "MaxPool2d"]


@pytest.mark.parametrize("name", ["vgg11_lrn", "vgg16_c"])
def test_the_nets_that_torchvision_lacks_are_sums_of_known_layers(name, head):
    """Run layer by layer with functions that torchvision's nets do not share."""
    net = on_meta(name)
    torch.manual_seed(3)
    net.load_state_dict(drawn_state(net, head), assign=True)
    if name == "vgg11_lrn":  # its table of neighbours is no weight, so that the meta device left it empty
        net.features[2] = ResponseNorm(64, size=5, alpha=1e-4, k=2)
    net.eval()
    images = torch.randn(2, 3, 32, 32)
    kernels = iter([p for p in net.features.parameters() if p.ndim == 4])
    biases = iter([p for p in net.features.parameters() if p.ndim == 1])
    with torch.no_grad():
        x = images
        for entry in TABLE_1[name].split():
            if entry == "M":
                x = nn.functional.max_pool2d(x, 2)
            elif entry == "LRN":
                x = nn.functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
            else:
                kernel = next(kernels)
                x = nn.functional.conv2d(x, kernel, next(biases), padding="same").clamp(min=0)
        x = x.expand(2, 512, 7, 7).flatten(1)  # of one number, average pooling to 7x7 makes 49 equal ones
        for index in range(3):
            x = nn.functional.linear(x, head[2 * index], head[2 * index + 1])
            x = x.clamp(min=0) if index < 2 else x
        torch.testing.assert_close(net(images), x, rtol=1e-4, atol=1e-4)


def test_the_small_head_sees_the_mean_of_the_last_maps():
    torch.manual_seed(4)
    net = create_model("vgg16_bn_small", num_classes=7, in_channels=1).eval()
    for size in ((32, 32), (64, 96)):
        images = torch.randn(2, 1, *size)
        with torch.no_grad():
            x = net.features(images)
            assert x.shape[-2:] == (size[0] // 32, size[1] // 32)
            torch.testing.assert_close(net(images), net.classifier(x.mean((2, 3))))


def test_the_start_is_glorot_s():
    torch.manual_seed(5)
    net = create_model("vgg16_bn_small")
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif parameter.ndim > 1:
            field = math.prod(parameter.shape[2:])
            bound = math.sqrt(6 / (field * (parameter.shape[0] + parameter.shape[1])))
            assert parameter.abs().max().item() == pytest.approx(bound, rel=0.02), name
            assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name


def test_the_paper_s_own_size_needs_no_average():
    """At 224x224 the maps are 7x7 already, so that nothing undefined on CUDA runs."""
    net = on_meta("vgg11")
    assert net.features(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 512, 7, 7)


def test_fits():
    expected = {"num_classes": 100, "in_channels": 3}
    for name in list_models("vgg*"):
        assert arguments_for(name, ImageSpec(3, 32, 48, 100), {}) == expected
        with pytest.raises(ZooError, match=f"^{name} takes images of at least 32x32 pixels, the data is 1x28x28"):
            arguments_for(name, ImageSpec(1, 28, 28, 10), {})


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="at least 32x32 pixels, got 40x31"):
        on_meta("vgg16_bn_small")(torch.empty(1, 3, 40, 31, device="meta"))


def test_an_impossible_dropout_is_told():
    with pytest.raises(ZooError, match=r"vgg11 cannot be built .*between 0 and 1"):
        on_meta("vgg11", dropout=-0.5)


def test_every_argument_has_a_meaning():
    for name in list_models("vgg*"):
        documented = getattr(vgg, name).__doc__
        assert "num_classes: How many" in documented
        assert ("dropout: The share" in documented) == (name != "vgg16_bn_small")
