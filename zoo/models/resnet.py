"""Residual networks for photographs, and the blocks that the ones for small images share.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385. The blocks are equations
1 and 2 and Figure 5, the networks Section 3.3 and Table 1, training and testing Section 3.4.

Claim, tested by the experiment named after it:
    22.85 % top-1 and 6.71 % top-5 error of ResNet-50 on the validation images of ILSVRC 2012, ten views (Table 3):
    resnet50_imagenet

Parameters, of which the paper prints none: `resnet18` 11,689,512; `resnet34` 21,797,672; `resnet50` 25,557,032;
`resnet101` 44,549,160; `resnet152` 60,192,808. The networks with `_v1_5` have as many.

Names: `resnet50`, `resnet101` and `resnet152` have the stride of a block that halves its maps in the first 1x1
convolution, as the authors' released models do. With `_v1_5` it is in the 3x3 convolution, as in torchvision, whose
weights fit these, `resnet18` and `resnet34`. With `_v2`, normalisation and ReLU stand before each convolution:
`zoo/models/resnet_v2.py`.

Deviations:
    1. Shortcuts are of option B, as in the released models: projections where the shape changes, identities elsewhere.
       ResNet-18 and 34 are of option A in Table 2; Table 3 has ResNet-34 with each option: `shortcut` chooses.
    2. Section 3.4 initialises as He et al. 2015 (arXiv:1502.01852), where n of the deviation sqrt(2/n) may be the
       fan-in or the fan-out. Here it is the fan-out, as in Facebook's Torch code. As there, the last layer is uniform
       in ±1/sqrt(fan-in), with a bias of 0.
    3. Batch normalisation takes its statistics over the whole batch, as far as it is on one device, and tests with
       running averages. The authors shared a batch among several devices, and averaged the statistics anew for the
       models that they released.
    4. The dense test at several scales (Table 4) is left out.
    5. Weight decay is on all parameters, as in Facebook's code, which lists this as a difference: the authors' is on
       the weights of convolutions alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data.spec import ImageSpec
from zoo.models.registry import Constructor, register_model

SMALLEST = 32  # pixels; five halvings leave 1

# Table 1: the blocks of each stage by the depth of the network.
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

Shortcut = Literal["A", "B", "C"]


class Place(NamedTuple):
    """Where a block stands in its network.

    Attributes:
        in_channels: Of its input.
        width: Channels of its convolutions, but for the last one of a bottleneck, which has four times as many.
        stride: 2 where it halves H and W.
        first: Whether it is the network's first.
    """

    in_channels: int
    width: int
    stride: int = 1
    first: bool = False


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Builds a padded convolution; it has no bias, since the batch normalisation behind it does."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def relu(x: Tensor) -> Tensor:
    """Overwrites `x` with its ReLU, which saves memory: nothing else may need `x`."""
    return F.relu(x, inplace=True)


class PaddedIdentity(nn.Module):
    """Option A where the shape changes: every second pixel as it is, and new channels of zeros behind those there are.

    Args:
        new_channels: How many channels of zeros.
        stride: 2 takes every second row and column, 1 all of them.
    """

    def __init__(self, new_channels: int, stride: int) -> None:
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, C, H, W)` to `(B, C + new_channels, H/stride, W/stride)`, rounded up."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


def changes_shape(place: Place, out_channels: int) -> bool:
    """Tells whether a block's output has other channels or another size than its input."""
    return place.stride != 1 or place.in_channels != out_channels


def shortcut_of(option: Shortcut, place: Place, out_channels: int) -> nn.Module:
    """Builds a shortcut (Section 3.3; the options in Section 4.1).

    Args:
        option: `"A"` has no parameters, `"B"` projects where the shape changes, `"C"` projects always.
        place: The block's.
        out_channels: Of its output.

    Raises:
        ValueError: There is no such option.
    """
    if option not in get_args(Shortcut):
        raise ValueError(f"shortcut is one of {', '.join(get_args(Shortcut))}, not {option!r}")
    changes = changes_shape(place, out_channels)
    if option == "C" or (option == "B" and changes):
        projection = convolution(place.in_channels, out_channels, 1, place.stride)
        return nn.Sequential(projection, nn.BatchNorm2d(out_channels))
    return PaddedIdentity(out_channels - place.in_channels, place.stride) if changes else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (Figure 5, left): ReLU(x + F(x)).

    Args:
        place: Its channels and stride.
        shortcut: How it passes x on.
        plain: Whether it is a block of a plain network, without one: ReLU(F(x)).
    """

    def __init__(self, place: Place, shortcut: Shortcut = "A", plain: bool = False) -> None:
        super().__init__()
        self.conv1 = convolution(place.in_channels, place.width, 3, place.stride)
        self.norm1 = nn.BatchNorm2d(place.width)
        self.conv2 = convolution(place.width, place.width, 3)
        self.norm2 = nn.BatchNorm2d(place.width)
        self.shortcut = None if plain else shortcut_of(shortcut, place, place.width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, width, H/stride, W/stride)`."""
        out = relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        if self.shortcut is not None:
            out += self.shortcut(x)
        return relu(out)


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 (Figure 5, right): ReLU(x + F(x)).

    Args:
        place: Its channels and stride.
        shortcut: How it passes x on.
        strided: Which of the convolutions has the stride: 1 in the released models, 2 in torchvision.
    """

    def __init__(self, place: Place, shortcut: Shortcut, strided: int = 1) -> None:
        super().__init__()
        width, out_channels = place.width, 4 * place.width
        self.conv1 = convolution(place.in_channels, width, 1, place.stride if strided == 1 else 1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, place.stride if strided == 2 else 1)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, out_channels, 1)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut_of(shortcut, place, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, 4 * width, H/stride, W/stride)`."""
        out = relu(self.norm1(self.conv1(x)))
        out = relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        out += self.shortcut(x)
        return relu(out)


class ResNet(nn.Module):
    """A first convolution, stages of blocks, the mean of each map, one dense layer (Section 3.3, Table 1).

    The second stage and each further one is twice as wide as the one before, on maps of half the size.

    Args:
        stem: The first convolution; its channels are the width of the first stage.
        block: Builds the block for a place.
        counts: How many blocks each stage has.
        num_classes: How many classes are told apart.
        expansion: Channels of a block's output, in widths.
        pool: Whether max pooling halves the maps before the first stage.
        preactivated: Whether blocks end without normalisation and ReLU, so that these follow the last one.
    """

    def __init__(
        self,
        stem: nn.Conv2d,
        block: Callable[[Place], nn.Module],
        counts: tuple[int, ...],
        num_classes: int,
        *,
        expansion: int,
        pool: bool = False,
        preactivated: bool = False,
    ) -> None:
        super().__init__()
        width = channels = stem.out_channels
        self.conv1 = stem
        self.norm1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity()
        self.stages = nn.Sequential()
        for stage, count in enumerate(counts):
            blocks = nn.Sequential()
            for number in range(count):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(block(Place(channels, width << stage, stride, first=stage == number == 0)))
                channels = expansion * (width << stage)
            self.stages.append(blocks)
        self.last_norm = nn.BatchNorm2d(channels) if preactivated else None
        self.fc = nn.Linear(channels, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, H, W)`, their mean subtracted; 224x224 pixels, or 32x32 without pooling, in the papers.

        Returns:
            Logits, `(B, num_classes)`.
        """
        x = self.pool(relu(self.norm1(self.conv1(images))))  # (B, width, H/4, W/4), or H and W without pooling
        x = self.stages(x)  # (B, channels, H/32, W/32), or H/4 and W/4 after three stages without pooling
        if self.last_norm is not None:
            x = relu(self.last_norm(x))
        return self.fc(x.mean((2, 3)))


def _v1(depth: int, block: Callable[[Place], nn.Module], num_classes: int, in_channels: int) -> ResNet:
    stem = convolution(in_channels, 64, 7, stride=2)
    return ResNet(stem, block, BLOCKS[depth], num_classes, expansion=1 if depth < 50 else 4, pool=True)


ARGUMENTS = """
    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
"""
ARGUMENTS_WITH_SHORTCUT = f"""{ARGUMENTS}\
        shortcut: Option A of Section 4.1 has no parameters, B projects where the shape changes, C projects always.
"""


def register_resnet(paper: str, smallest: int, arguments: str) -> Callable[[Constructor], Constructor]:
    """Registers a network that takes images whose shorter side has `smallest` pixels or more."""

    def fits(spec: ImageSpec) -> str | None:
        return None if min(spec.height, spec.width) >= smallest else f"images of at least {smallest}x{smallest} pixels"

    from_spec = {"num_classes": "classes", "in_channels": "channels"}
    return register_model(task="image_classification", paper=paper, from_spec=from_spec, fits=fits, sections=arguments)


_he2015 = register_resnet("he2015", SMALLEST, ARGUMENTS_WITH_SHORTCUT)
_torchvision = register_resnet("he2015", SMALLEST, ARGUMENTS)


@_he2015
def resnet18(num_classes: int = 1000, in_channels: int = 3, shortcut: Shortcut = "B") -> ResNet:
    """ResNet-18."""
    return _v1(18, partial(BasicBlock, shortcut=shortcut), num_classes, in_channels)


@_he2015
def resnet34(num_classes: int = 1000, in_channels: int = 3, shortcut: Shortcut = "B") -> ResNet:
    """ResNet-34."""
    return _v1(34, partial(BasicBlock, shortcut=shortcut), num_classes, in_channels)


@_he2015
def resnet50(num_classes: int = 1000, in_channels: int = 3, shortcut: Shortcut = "B") -> ResNet:
    """ResNet-50, halving by the first 1x1 convolution of a block."""
    return _v1(50, partial(Bottleneck, shortcut=shortcut), num_classes, in_channels)


@_he2015
def resnet101(num_classes: int = 1000, in_channels: int = 3, shortcut: Shortcut = "B") -> ResNet:
    """ResNet-101, halving by the first 1x1 convolution of a block."""
    return _v1(101, partial(Bottleneck, shortcut=shortcut), num_classes, in_channels)


@_he2015
def resnet152(num_classes: int = 1000, in_channels: int = 3, shortcut: Shortcut = "B") -> ResNet:
    """ResNet-152, halving by the first 1x1 convolution of a block."""
    return _v1(152, partial(Bottleneck, shortcut=shortcut), num_classes, in_channels)


@_torchvision
def resnet50_v1_5(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-50, halving by the 3x3 convolution of a block as in torchvision."""
    return _v1(50, partial(Bottleneck, shortcut="B", strided=2), num_classes, in_channels)


@_torchvision
def resnet101_v1_5(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-101, halving by the 3x3 convolution of a block as in torchvision."""
    return _v1(101, partial(Bottleneck, shortcut="B", strided=2), num_classes, in_channels)


@_torchvision
def resnet152_v1_5(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-152, halving by the 3x3 convolution of a block as in torchvision."""
    return _v1(152, partial(Bottleneck, shortcut="B", strided=2), num_classes, in_channels)
