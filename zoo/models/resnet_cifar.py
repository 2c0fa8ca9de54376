"""Residual networks for small images, and the plain networks that they are held against.

v1: He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385: networks, training
and results are Section 4.2.
v2: He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027: the networks with
`_v2` are Sections 4.1 and 5, their training the appendix.

Claims on CIFAR-10, each tested by the experiment named after it:
    test error 8.75, 7.51, 7.17 and 6.97 % with 20, 32, 44 and 56 layers (Table 6): resnet20_cifar10, resnet32_cifar10,
    resnet44_cifar10, resnet56_cifar10
    6.61 ± 0.16 % with 110 layers, over five runs, 6.43 % the best of them (Table 6): resnet110_cifar10
    without shortcuts, more layers are worse, in training and in the test (Figure 6, left): plain20_cifar10 and
    plain56_cifar10. Beside resnet20_cifar10 and resnet56_cifar10 they make up the paper's main claim. It prints no
    number for them.

Parameters at ten classes: 269,722; 464,154; 658,586; 853,018; 1,727,962 with 20, 32, 44, 56 and 110 layers, plain or
not (Table 6: 0.27M, 0.46M, 0.66M, 0.85M, 1.7M); 272,474; 466,906; 661,338; 855,770; 1,730,714 with option B.
`resnet110_v2` has 1,727,962, `resnet164_v2` 1,703,258, `resnet1001_v2` 10,327,706 (v2, Table 4: 1.7M with 164 layers;
with 1001 10.2M, which is the 10,178,490 of all layers but the normalisations).

Deviations, besides 2, 3 and 5 of `zoo/models/resnet.py`:
    1. Option A has its channels of zeros behind those of the input: the paper does not say where they go.
"""

from functools import partial

from zoo.models.resnet import (
    ARGUMENTS,
    ARGUMENTS_WITH_SHORTCUT,
    BasicBlock,
    ResNet,
    Shortcut,
    convolution,
    register_resnet,
)
from zoo.models.resnet_v2 import PreactivationBlock

SMALLEST = 8  # pixels; two halvings leave 2


def _residual(depth: int, num_classes: int, in_channels: int, shortcut: Shortcut = "A", plain: bool = False) -> ResNet:
    """Builds three stages of widths 16, 32 and 64 on maps of full, half and quarter size; depth = 6n + 2."""
    block, blocks = partial(BasicBlock, shortcut=shortcut, plain=plain), (depth - 2) // 6
    return ResNet(convolution(in_channels, 16, 3), block, (blocks,) * 3, num_classes, expansion=1)


def _preactivated(depth: int, bottleneck: bool, num_classes: int, in_channels: int) -> ResNet:
    """Builds the same of preactivation blocks; of bottlenecks depth = 9n + 2."""
    stem, block = convolution(in_channels, 16, 3), partial(PreactivationBlock, bottleneck=bottleneck)
    blocks, expansion = ((depth - 2) // 9, 4) if bottleneck else ((depth - 2) // 6, 1)
    return ResNet(stem, block, (blocks,) * 3, num_classes, expansion=expansion, preactivated=True)


_residual_net = register_resnet("he2015", SMALLEST, ARGUMENTS_WITH_SHORTCUT)
_plain_net = register_resnet("he2015", SMALLEST, ARGUMENTS)
_preactivation_net = register_resnet("he2016", SMALLEST, ARGUMENTS)


@_residual_net
def resnet20(num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "A") -> ResNet:
    """ResNet-20 for small images."""
    return _residual(20, num_classes, in_channels, shortcut)


@_residual_net
def resnet32(num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "A") -> ResNet:
    """ResNet-32 for small images."""
    return _residual(32, num_classes, in_channels, shortcut)


@_residual_net
def resnet44(num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "A") -> ResNet:
    """ResNet-44 for small images."""
    return _residual(44, num_classes, in_channels, shortcut)


@_residual_net
def resnet56(num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "A") -> ResNet:
    """ResNet-56 for small images."""
    return _residual(56, num_classes, in_channels, shortcut)


@_residual_net
def resnet110(num_classes: int = 10, in_channels: int = 3, shortcut: Shortcut = "A") -> ResNet:
    """ResNet-110 for small images."""
    return _residual(110, num_classes, in_channels, shortcut)


@_plain_net
def plain20(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The layers of `resnet20` without shortcuts."""
    return _residual(20, num_classes, in_channels, plain=True)


@_plain_net
def plain32(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The layers of `resnet32` without shortcuts."""
    return _residual(32, num_classes, in_channels, plain=True)


@_plain_net
def plain44(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The layers of `resnet44` without shortcuts."""
    return _residual(44, num_classes, in_channels, plain=True)


@_plain_net
def plain56(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """The layers of `resnet56` without shortcuts."""
    return _residual(56, num_classes, in_channels, plain=True)


@_preactivation_net
def resnet110_v2(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-110 of preactivation blocks, pairs of 3x3 convolutions."""
    return _preactivated(110, False, num_classes, in_channels)


@_preactivation_net
def resnet164_v2(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-164 of preactivation blocks, bottlenecks."""
    return _preactivated(164, True, num_classes, in_channels)


@_preactivation_net
def resnet1001_v2(num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-1001 of preactivation blocks, bottlenecks."""
    return _preactivated(1001, True, num_classes, in_channels)
