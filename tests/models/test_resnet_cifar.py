"""Residual and plain networks for small images: the papers' tables, their layers one by one, their recipe."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.cli import main
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError
from zoo.models.registry import arguments_for, create_model
from zoo.models.resnet import BasicBlock, PaddedIdentity
from zoo.training.compose import compose, resolve
from zoo.training.targets import build

# Layers: parameters with option A, with option B, and millions of them as Table 6 prints them.
TABLE_6 = {
    20: (269_722, 272_474, "0.27"),
    32: (464_154, 466_906, "0.46"),
    44: (658_586, 661_338, "0.66"),
    56: (853_018, 855_770, "0.85"),
    110: (1_727_962, 1_730_714, "1.7"),
}
RESIDUAL = [f"resnet{depth}" for depth in TABLE_6]
PLAIN = ["plain20", "plain32", "plain44", "plain56"]
PREACTIVATED = ["resnet110_v2", "resnet164_v2", "resnet1001_v2"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def on_meta(name: str, **arguments: str) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, **arguments)


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("depth", TABLE_6)
def test_parameters_are_those_of_table_6(depth: int):
    option_a, option_b, printed = TABLE_6[depth]
    assert count(on_meta(f"resnet{depth}")) == count(on_meta(f"resnet{depth}", shortcut="A")) == option_a
    assert count(on_meta(f"resnet{depth}", shortcut="B")) == option_b
    assert f"{option_a / 1e6:.{len(printed) - 2}f}" == printed
    if depth < 110:
        assert count(on_meta(f"plain{depth}")) == option_a  # Section 4.2: "exactly the same"


@pytest.mark.parametrize(("name", "printed"), [("resnet110_v2", 1.7), ("resnet164_v2", 1.7), ("resnet1001_v2", 10.2)])
def test_parameters_of_v2_are_those_of_its_table_4(name: str, printed: float):
    net = on_meta(name)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert sum(map(count, layers)) / 1e6 == pytest.approx(printed, abs=0.05)
    # The name counts the layers that are on the way, so without projections.
    projections = 0 if name == "resnet110_v2" else 3
    assert f"resnet{len(layers) - projections}_v2" == name


@pytest.mark.parametrize("name", [*RESIDUAL, *PLAIN])
def test_the_name_counts_the_layers(name: str):
    layers = [layer for layer in on_meta(name).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert name.removeprefix("resnet").removeprefix("plain") == str(len(layers))
    kernels = {layer.kernel_size for layer in layers if isinstance(layer, nn.Conv2d)}
    assert kernels == {(3, 3)}


# Section 4.2: 1 + 2n layers of 16 filters on maps of 32x32, 2n of 32 on 16x16, 2n of 64 on 8x8.
@pytest.mark.parametrize("name", ["resnet20", "plain56", "resnet110"])
def test_filters_and_maps_of_section_4_2(name: str):
    net, found = on_meta(name), []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: found.append(tuple(output.shape[1:])))
    net(torch.empty(2, 3, 32, 32, device="meta"))
    n = (int(name.removeprefix("resnet").removeprefix("plain")) - 2) // 6
    assert found == [(16, 32, 32)] * (1 + 2 * n) + [(32, 16, 16)] * (2 * n) + [(64, 8, 8)] * (2 * n)


NORMALISATION = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


@pytest.mark.parametrize("option", ["A", "B"])
def test_the_order_of_the_tensors(option: str):
    """What a converter of others' weights relies on: names may differ, the order does not."""
    expected = []
    for width, inputs in [(16, 3)] + [(16, 16)] * 6 + [(32, 16)] + [(32, 32)] * 5 + [(64, 32)] + [(64, 64)] * 5:
        expected += [(width, inputs, 3, 3), *[(width,)] * 4, ()]
        if option == "B" and len(expected) in (6 * 9, 6 * 16):  # behind the second convolution of a wider stage
            expected += [(width, width // 2, 1, 1), *[(width,)] * 4, ()]
    expected += [(10, 64), (10,)]
    tensors = on_meta("resnet20", shortcut=option).state_dict()
    assert [tuple(tensor.shape) for tensor in tensors.values()] == expected
    kinds = [key.rpartition(".")[2] for key in tensors]
    assert kinds == ["weight", *NORMALISATION] * ((len(expected) - 2) // 6) + ["weight", "bias"]


class Layers:
    """A network's tensors, taken one after the other by the papers' own operations."""

    def __init__(self, net: nn.Module) -> None:
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
                nn.init.uniform_(layer.running_mean, -0.2, 0.2)
                nn.init.uniform_(layer.running_var, 0.5, 1.5)
        net.double().eval()
        state = net.state_dict()
        self.tensors: Iterator[Tensor] = iter([state[key] for key in state if "num_batches" not in key])

    def convolution(self, x: Tensor, stride: int = 1) -> Tensor:
        kernels = next(self.tensors)
        return F.conv2d(x, kernels, stride=stride, padding=kernels.shape[2] // 2)

    def norm(self, x: Tensor) -> Tensor:
        gain, shift, mean, variance = (next(self.tensors).view(-1, 1, 1) for _ in range(4))
        return gain * (x - mean) / (variance + 1e-5).sqrt() + shift

    def scores(self, x: Tensor) -> Tensor:
        weight, bias = self.tensors
        return x.flatten(2).mean(2) @ weight.T + bias


def rectified(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def wider(x: Tensor) -> Tensor:
    """Option A from one stage to the next: every second pixel, as many channels of zeros again."""
    kept = x[:, :, ::2, ::2]
    return torch.cat([kept, torch.zeros_like(kept)], 1)


IMAGES = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("option", ["A", "B", None])
def test_a_network_is_the_paper_s_layer_by_layer(option: str | None):
    net = create_model("resnet32", shortcut=option) if option else create_model("plain32")
    layers = Layers(net)
    x = rectified(layers.norm(layers.convolution(IMAGES)))
    for number in range(15):
        stride = 2 if number in (5, 10) else 1
        out = rectified(layers.norm(layers.convolution(x, stride)))
        out = layers.norm(layers.convolution(out))
        if option == "B" and stride == 2:
            out = out + layers.norm(layers.convolution(x, stride))
        elif option:
            out = out + (wider(x) if stride == 2 else x)
        x = rectified(out)
    torch.testing.assert_close(net(IMAGES), layers.scores(x), rtol=1e-10, atol=1e-10)


def test_two_convolutions_with_preactivation_are_the_paper_s_layer_by_layer():
    net = create_model("resnet110_v2")
    layers = Layers(net)
    x = rectified(layers.norm(layers.convolution(IMAGES)))  # appendix: activated before it is split into two paths
    for number in range(54):
        stride = 2 if number in (18, 36) else 1
        out = layers.convolution(rectified(layers.norm(x)) if number else x, stride)
        out = layers.convolution(rectified(layers.norm(out)))
        x = out + (wider(x) if stride == 2 else x)
    x = rectified(layers.norm(x))  # appendix: an extra activation after the last addition
    torch.testing.assert_close(net(IMAGES), layers.scores(x), rtol=1e-10, atol=1e-10)


def test_bottlenecks_with_preactivation_are_the_authors_code_layer_by_layer():
    """resnet-pre-act.lua: units that change the shape share their activation; all others add to what came in."""
    net = create_model("resnet164_v2")
    layers = Layers(net)
    x = layers.convolution(IMAGES)
    for number in range(54):
        stride = 2 if number in (18, 36) else 1
        activated = rectified(layers.norm(x))
        out = layers.convolution(activated, stride)
        out = layers.convolution(rectified(layers.norm(out)))
        out = layers.convolution(rectified(layers.norm(out)))
        x = out + (x if number % 18 else layers.convolution(activated, stride))
    x = rectified(layers.norm(x))
    torch.testing.assert_close(net(IMAGES), layers.scores(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [*RESIDUAL, *PLAIN])
def test_shortcuts(name: str):
    blocks = [layer for layer in on_meta(name).modules() if isinstance(layer, BasicBlock)]
    if name in PLAIN:
        assert all(block.shortcut is None for block in blocks)
    else:
        padded = [number for number, block in enumerate(blocks) if isinstance(block.shortcut, PaddedIdentity)]
        assert padded == [len(blocks) // 3, 2 * len(blocks) // 3]
        assert all(type(block.shortcut) in (nn.Identity, PaddedIdentity) for block in blocks)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 32)])
def test_takes_images_of_any_size_from_8_on(size: tuple[int, int]):
    assert create_model("resnet20")(torch.randn(2, 3, *size)).shape == (2, 10)
    expected = {"num_classes": 7, "in_channels": 3}
    assert arguments_for("resnet20", ImageSpec(3, *size, 7), {}) == expected


def test_what_does_not_fit_is_told():
    with pytest.raises(ZooError, match=r"^resnet20 takes images of at least 8x8 pixels, the data is 3x7x8"):
        arguments_for("resnet20", ImageSpec(3, 7, 8, 10), {})
    with pytest.raises(ZooError, match=r"^resnet20 cannot be built .*shortcut is one of A, B, C, not 'D'"):
        create_model("resnet20", shortcut="D")


@pytest.mark.parametrize("name", ["resnet20", "plain20", "resnet110_v2"])
def test_channels_last_changes_nothing_but_the_layout(name: str):
    net, images = create_model(name).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = net(images)
        net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(net(images.to(memory_format=torch.channels_last)), expected, rtol=1e-4, atol=1e-4)


# Section 4.2, and the footnote of 110 layers; the appendix of v2 warms up all its networks.
PRINTED = {0: 0.1, 31_999: 0.1, 32_000: 0.01, 47_999: 0.01, 48_000: 0.001, 63_999: 0.001}
WARMED_UP = PRINTED | {0: 0.01, 399: 0.01, 400: 0.1}


@pytest.mark.parametrize("name", ["resnet20", "plain56", "resnet110", "resnet164_v2"])
def test_the_recipe_of_section_4_2(name: str):
    config = resolve(compose([f"model={name}"]).config)
    assert (config["scheduler_interval"], config["data"]["batch_size"]) == ("step", 128)
    assert (config["trainer"]["max_steps"], config["trainer"]["max_epochs"]) == (64_000, -1)
    named = [(key, nn.Parameter(torch.zeros(1))) for key in ("conv1.weight", "norm1.weight", "fc.bias")]
    optimizer = build(config["optimizer"], Optimizer, params=named)
    schedule = build(config["scheduler"], LRScheduler, optimizer=optimizer)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, 1e-4, False)
    assert group["lr"] == schedule.get_last_lr()[0]
    for update, printed in (WARMED_UP if name in ("resnet110", "resnet164_v2") else PRINTED).items():
        schedule.last_epoch = update
        assert schedule.get_lr() == pytest.approx([printed], rel=1e-12), update


@pytest.mark.parametrize("name", ["resnet20", "resnet110", "plain56"])
def test_the_data_of_section_4_2(name: str):
    data = resolve(compose([f"experiment={name}_cifar10"]).config)["data"]
    assert (data["name"], data["batch_size"], data["validation"]) == ("cifar10", 128, 0)
    assert (data["mean"], data["std"]) == ("per_pixel", [1.0, 1.0, 1.0])
    assert data["augment"] == {"crop_padding": 4, "flip": True}
    assert (data["crop"], data["views"]) == (None, 1)


def test_the_scale_of_the_images_makes_no_difference():
    """Why the experiments divide by nothing: batch normalisation follows a convolution without a bias."""
    net = create_model("resnet20").double()
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.arange(4)
    gradients = []
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-30
    for scale in (1.0, 4.0):
        net.zero_grad()
        F.cross_entropy(net(scale * images), labels).backward()
        gradients.append([parameter.grad.clone() for parameter in net.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_run_that_ends_within_an_epoch_is_whole(tmp_path: Path, in_this_process: None):
    words = ["model=resnet20", "data=digits", "trainer=cpu", "logger=none", "channels_last=true"]
    limits = ["trainer.max_steps=4", "trainer.limit_train_batches=3", "trainer.limit_test_batches=1"]
    limits += ["trainer.limit_val_batches=1", "trainer.log_every_n_steps=2", "data.batch_size=16"]
    assert main(["train", "-q", *words, *limits, f"runs_dir={tmp_path}"]) == 0
    (folder,) = tmp_path.glob("resnet20_digits/*")
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["samples"], summary["selection"]) == ("finished", 4 * 16, "last epoch")
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [(row["row"], row["step"], row["train/error"] != "") for row in csv.DictReader(file)]
    assert rows == [("step", "2", False), ("epoch", "3", True), ("step", "4", False), ("epoch", "4", True),
                    ("test", "4", False)]  # fmt: skip
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == last["lr_schedulers"][0]["last_epoch"] == 4
    released = json.loads((folder / "release" / "card.json").read_text())
    assert released["arguments"] == {"num_classes": 10, "in_channels": 1, "shortcut": "A"}
    assert math.isfinite(summary["metrics"]["test/loss"])
