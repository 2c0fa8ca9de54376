"""Residual networks with normalisation and ReLU before each convolution, for photographs.

He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks. ECCV 2016, arXiv:1603.05027. The blocks are equation 9
and Figure 4(e), their special cases and the training the appendix. The stages are those of `zoo/models/resnet.py`.

Parameters, of which the paper prints none: `resnet50_v2` 25,549,352; `resnet101_v2` 44,541,480; `resnet152_v2`
60,185,128; `resnet200_v2` 64,666,152.

Deviations, besides 2 and 3 of `zoo/models/resnet.py`:
    1. The paper does not say where its networks for ImageNet have the stride: here it is in the first 1x1 convolution,
       as in ResNet and in the authors' code for CIFAR; the Torch code of its best ResNet-200 has it in the 3x3
       convolution.
    2. `resnet50_v2` and `resnet101_v2` are not in the paper, which has 152 and 200 layers.
"""

from functools import partial

from torch import Tensor, nn

from zoo.models.resnet import (
    ARGUMENTS,
    BLOCKS,
    SMALLEST,
    Place,
    ResNet,
    changes_shape,
    convolution,
    register_resnet,
    relu,
    shortcut_of,
)


class PreactivationBlock(nn.Module):
    """Convolutions with normalisation and ReLU before each (Figure 4(e)): x + F(ReLU(norm(x))), equation 9.

    Where the shape changes, a bottleneck projects what is already activated, by a convolution alone; two 3x3
    convolutions are passed by option A from x itself. The network's first block gets x activated (appendix).

    Args:
        place: Its channels and stride; the stride is in the first convolution.
        bottleneck: Convolutions of 1x1, 3x3 and 1x1 instead of two of 3x3.
    """

    def __init__(self, place: Place, bottleneck: bool) -> None:
        super().__init__()
        width, out_channels = place.width, 4 * place.width if bottleneck else place.width
        self.norm1 = None if place.first else nn.BatchNorm2d(place.in_channels)
        self.conv1 = convolution(place.in_channels, width, 1 if bottleneck else 3, place.stride)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.norm3 = nn.BatchNorm2d(width) if bottleneck else None
        self.conv3 = convolution(width, out_channels, 1) if bottleneck else None
        self.projects = bottleneck and changes_shape(place, out_channels)
        if self.projects:
            self.shortcut: nn.Module = convolution(place.in_channels, out_channels, 1, place.stride)
        else:
            self.shortcut = shortcut_of("A", place, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H/stride, W/stride)`."""
        activated = x if self.norm1 is None else relu(self.norm1(x))
        out = self.conv2(relu(self.norm2(self.conv1(activated))))
        if self.norm3 is not None and self.conv3 is not None:
            out = self.conv3(relu(self.norm3(out)))
        out += self.shortcut(activated if self.projects else x)
        return out


def _preactivated(blocks: tuple[int, ...], num_classes: int, in_channels: int) -> ResNet:
    stem, block = convolution(in_channels, 64, 7, stride=2), partial(PreactivationBlock, bottleneck=True)
    return ResNet(stem, block, blocks, num_classes, expansion=4, pool=True, preactivated=True)


_he2016 = register_resnet("he2016", SMALLEST, ARGUMENTS)


@_he2016
def resnet50_v2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-50 of preactivation blocks."""
    return _preactivated(BLOCKS[50], num_classes, in_channels)


@_he2016
def resnet101_v2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-101 of preactivation blocks."""
    return _preactivated(BLOCKS[101], num_classes, in_channels)


@_he2016
def resnet152_v2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-152 of preactivation blocks."""
    return _preactivated(BLOCKS[152], num_classes, in_channels)


@_he2016
def resnet200_v2(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """ResNet-200 of preactivation blocks."""
    return _preactivated((3, 24, 36, 3), num_classes, in_channels)
