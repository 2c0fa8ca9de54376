"""LeNet-5 against the paper: its equations written out map by map, its counts, its losses, its ranges."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models import lenet
from zoo.models.lenet import lenet5, lenet5_modern
from zoo.models.registry import arguments_for, create_model

# Table I as printed: a column per map of C3, a row per map of S2.
TABLE_1 = """
X...XXX..XXXX.XX
XX...XXX..XXXX.X
XXX...XXX..X.XXX
.XXX..XXXX..X.XX
..XXX..XXXX.XX.X
...XXX..XXXX.XXX
"""

# Section II.B, layer by layer: trained parameters, connections.
COUNTS = {
    "c1": (156, 122_304),
    "s2": (12, 5_880),
    "c3": (1_516, 151_600),
    "s4": (32, 2_000),
    "c5": (48_120, 48_120),
    "f6": (10_164, 10_164),
    "output": (0, 840),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def naive_forward(net, image):
    """The paper's equations with a loop over maps and units, and the connections that each layer used.

    Returns the ten RBF outputs of one padded 32x32 image and `{layer: connections}`.
    """
    state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    used = dict.fromkeys(COUNTS, 0)

    def f(a):
        return 1.7159 * np.tanh(2.0 / 3.0 * a)

    def convolve(layer, maps, kernels, bias):  # one output map: maps and kernels are lists
        size = maps[0].shape[0] - 4
        out = np.zeros((size, size))
        for row in range(size):
            for column in range(size):
                a = bias
                used[layer] += 1
                for source, kernel in zip(maps, kernels, strict=True):
                    a += (source[row : row + 5, column : column + 5] * kernel).sum()
                    used[layer] += 25
                out[row, column] = f(a)
        return out

    def subsample(layer, source, coefficient, bias):
        size = source.shape[0] // 2
        out = np.zeros((size, size))
        for row in range(size):
            for column in range(size):
                four = [source[2 * row + i, 2 * column + k] for i in (0, 1) for k in (0, 1)]
                out[row, column] = f(coefficient * sum(four) + bias)
                used[layer] += 4 + 1
        return out

    c1 = [convolve("c1", [image], [state["c1.weight"][k, 0]], state["c1.bias"][k]) for k in range(6)]
    s2 = [subsample("s2", c1[k], state["s2.coefficient"].item(k), state["s2.bias"].item(k)) for k in range(6)]
    c3, kernels = [], iter(state["c3.weight"])
    for k, sources in enumerate(lenet.C3_INPUTS):
        c3.append(convolve("c3", [s2[i] for i in sources], [next(kernels) for _ in sources], state["c3.bias"][k]))
    s4 = [subsample("s4", c3[k], state["s4.coefficient"].item(k), state["s4.bias"].item(k)) for k in range(16)]
    c5 = [convolve("c5", s4, state["c5.weight"][k].reshape(16, 5, 5), state["c5.bias"][k]).item() for k in range(120)]
    f6 = np.zeros(84)
    for k in range(84):
        f6[k] = f(sum(c5[i] * state["f6.weight"][k, i] for i in range(120)) + state["f6.bias"][k])
        used["f6"] += 120 + 1
    outputs = [sum((f6[i] - state["targets"][digit, i]) ** 2 for i in range(84)) for digit in range(10)]
    used["output"] = 84 * 10
    return np.array(outputs), used


def test_forward_is_the_paper_in_float64_and_uses_its_connections():
    net = lenet5().double()
    images = torch.rand(2, 1, 32, 32, dtype=torch.float64) * 1.275 - 0.1
    scores = net(images).detach().numpy()
    for image, row in zip(images.numpy(), scores, strict=True):
        outputs, used = naive_forward(net, image[0])
        np.testing.assert_allclose(-row, outputs, rtol=1e-12)
        assert used == {layer: connections for layer, (_, connections) in COUNTS.items()}
        assert used == net.connections()


def test_float32_agrees_with_float64():
    net = lenet5()
    with torch.no_grad():  # near a target the distance is small: the worst case for cancellation
        net.f6.weight.mul_(1e-3)
        net.f6.bias.copy_(torch.atanh(net.targets[3] / 1.7159) * 1.5)
    images = torch.rand(8, 1, 28, 28) * 1.275 - 0.1
    exact = copy.deepcopy(net).double()(images.double())
    torch.testing.assert_close(net(images).double(), exact, rtol=1e-5, atol=1e-6)
    assert (exact[:, 3] > -1e-2).all()


@pytest.mark.parametrize(("layer", "trained"), [(layer, trained) for layer, (trained, _) in COUNTS.items()])
def test_trained_parameters_per_layer(layer, trained):
    named = lenet5().named_parameters()
    assert sum(p.numel() for name, p in named if name.startswith(layer + ".") and p.requires_grad) == trained


def test_totals():
    net = lenet5()
    assert sum(p.numel() for p in net.parameters()) == 60_000
    assert sum(net.connections().values()) == 340_908
    assert sum(p.numel() for p in lenet5_modern().parameters()) == 61_706


def test_c3_follows_table_1():
    rows = TABLE_1.split()
    printed = [{i for i in range(6) if rows[i][column] == "X"} for column in range(16)]
    assert [set(sources) for sources in lenet.C3_INPUTS] == printed
    assert sum(map(len, lenet.C3_INPUTS)) == 60


def test_unconnected_maps_of_c3_do_not_matter():
    c3 = lenet5().c3
    maps = torch.rand(1, 6, 14, 14)
    for source in range(6):
        changed = maps.clone()
        changed[:, source] += 1
        reached = (c3(changed) != c3(maps)).flatten(2).any(2)[0]
        assert reached.tolist() == [source in sources for sources in lenet.C3_INPUTS]


def test_targets_are_ten_different_pictures_of_plus_and_minus_one():
    targets = lenet5().targets
    assert targets.shape == (10, 84)
    assert set(targets.flatten().tolist()) == {-1.0, 1.0}
    different_pixels = torch.cdist(targets, targets).square() / 4
    assert (different_pixels + 84 * torch.eye(10)).min() >= 8
    assert [line.replace(".", " ") for line in _picture(targets[7])[:2]] == ["#######", "##   ##"]


def _picture(target):
    return ["".join("#" if pixel > 0 else "." for pixel in row) for row in target.view(12, 7)]


def test_targets_travel_with_the_weights_and_are_not_trained():
    net = lenet5()
    assert "targets" in net.state_dict()
    assert not net.targets.requires_grad
    other = lenet5()
    other.load_state_dict(net.state_dict())
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(net(images), other(images))


@pytest.mark.parametrize(("layer", "fan_in"), [("c1", 25), ("s2", 4), ("s4", 4), ("c5", 400), ("f6", 120)])
def test_initial_values_fill_the_range_of_the_fan_in(layer, fan_in):
    parameters = [getattr(lenet5(), layer).parameters() for _ in range(50)]
    values = torch.cat([p.flatten() for some in parameters for p in some]) * fan_in / 2.4
    _assert_uniform(values)


def test_initial_values_of_c3_follow_each_map_of_its_own():
    nets = [lenet5().c3 for _ in range(50)]
    kernels = torch.stack([net.weight.detach() for net in nets], dim=1)  # (60, nets, 5, 5)
    first = 0
    for k, sources in enumerate(lenet.C3_INPUTS):
        own = kernels[first : first + len(sources)].flatten()
        biases = torch.stack([net.bias[k].detach() for net in nets])
        _assert_uniform(torch.cat([own, biases]) * 25 * len(sources) / 2.4)
        first += len(sources)


def _assert_uniform(values):
    assert values.abs().max() <= 1 + 1e-6
    assert values.abs().max() > 0.97
    assert abs(values.mean()) < 0.1
    assert abs(values.std() - 1 / math.sqrt(3)) < 0.05


@pytest.mark.parametrize("make", [lenet5, lambda: lenet5("discriminative", j=50.0), lenet5_modern])
def test_gradients_reach_every_parameter(make):
    net = make()
    scores = net(torch.rand(16, 1, 28, 28) * 1.275 - 0.1)
    labels = torch.arange(16) % 10
    loss = net.loss(scores, labels) if hasattr(net, "loss") else F.cross_entropy(scores, labels)
    loss.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_a_few_steps_learn_a_batch():
    net = lenet5()
    images, labels = torch.rand(10, 1, 28, 28) * 1.275 - 0.1, torch.arange(10)
    optimizer = torch.optim.SGD(net.parameters(), lr=2e-3, momentum=0.9)
    losses = []
    for _ in range(60):
        loss = net.loss(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@settings(deadline=None, max_examples=15)
@given(height=st.integers(28, 32), width=st.integers(28, 32))
def test_padding_is_the_background_around_the_centre(height, width):
    images = torch.rand(1, 1, height, width)
    for net, background in ((lenet5(), -0.1), (lenet5_modern(), 0.0)):
        field = torch.full((1, 1, 32, 32), background)
        top, left = (32 - height) // 2, (32 - width) // 2
        field[:, :, top : top + height, left : left + width] = images
        assert torch.equal(net(images), net(field))


@pytest.mark.parametrize("make", [lenet5, lenet5_modern])
@pytest.mark.parametrize("size", [(27, 28), (28, 33), (8, 8)])
def test_other_sizes_are_refused(make, size):
    with pytest.raises(ValueError, match=rf"28x28 to 32x32 pixels, got {size[0]}x{size[1]}"):
        make()(torch.rand(1, 1, *size))


@settings(deadline=None)
@given(st.floats(-50, 50))
def test_squash_is_the_scaled_tanh(a):
    value = lenet.squash(torch.tensor(a, dtype=torch.float64)).item()
    assert value == pytest.approx(1.7159 * math.tanh(2 / 3 * a), abs=1e-14)


def test_squash_maps_one_to_one():
    torch.testing.assert_close(
        lenet.squash(torch.tensor([1.0, 0.0, -1.0])), torch.tensor([1.0, 0.0, -1.0]), atol=1e-4, rtol=0
    )


def test_modern_is_the_usual_stack():
    usual = nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 7),
    )  # fmt: skip
    net = lenet5_modern(num_classes=7, in_channels=3)
    usual.load_state_dict(dict(zip(usual.state_dict(), net.state_dict().values(), strict=True)))
    images = torch.randn(4, 3, 28, 28)
    torch.testing.assert_close(net(images), usual(images))


@pytest.mark.parametrize("make", [lenet5, lenet5_modern])
def test_first_filters_are_a_convolution_called_c1(make):
    assert isinstance(make().c1, nn.Conv2d)
    assert make().c1.weight.shape == (6, 1, 5, 5)


def test_builds_on_the_meta_device():
    with torch.device("meta"):
        net = lenet5()
    assert sum(p.numel() for p in net.parameters()) == 60_000


@pytest.mark.parametrize("size", range(28, 33))
def test_fits_square_digits(size):
    assert arguments_for("lenet5", ImageSpec(1, size, size, 10), {"loss": "mse"}) == {"loss": "mse"}
    expected = {"num_classes": 47, "in_channels": 3}
    assert arguments_for("lenet5_modern", ImageSpec(3, size, size, 47), {}) == expected


@pytest.mark.parametrize(
    "spec",
    [
        ImageSpec(3, 32, 32, 10),
        ImageSpec(1, 28, 28, 47),
        ImageSpec(1, 27, 27, 10),
        ImageSpec(1, 33, 33, 10),
        ImageSpec(1, 28, 32, 10),
    ],
    ids=str,
)
def test_refuses_what_does_not_fit(spec):
    with pytest.raises(ZooError, match=r"^lenet5 takes square images of 1 channel .* the data is \dx"):
        arguments_for("lenet5", spec, {})


def test_modern_refuses_other_sizes():
    with pytest.raises(ZooError, match=r"^lenet5_modern takes square images of 28 to 32 pixels, the data is 3x224x224"):
        arguments_for("lenet5_modern", ImageSpec(3, 224, 224, 10), {})


@pytest.mark.parametrize("arguments", [{"loss": "hinge"}, {"j": 0.0}, {"j": float("nan")}, {"j": -1}])
def test_wrong_arguments_are_told(arguments):
    with pytest.raises(ZooError, match=rf"lenet5 cannot be built .*{next(iter(arguments))} is"):
        create_model("lenet5", **arguments)
