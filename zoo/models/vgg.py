"""VGG: stacks of small convolutions, 11 to 19 layers deep.

Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, arXiv:1409.1556.
The networks are Section 2.1 and Table 1, training Section 3.1, testing Section 3.2.

Claims, each tested by the experiment named after it:
    27.0 % top-1 and 8.8 % top-5 error of network D on the validation images of ILSVRC 2012, trained and tested at a
    shorter side of 256 pixels (Table 3): vgg16_imagenet
    not in the paper, which has no CIFAR-10: vgg16_bn_small_cifar10

Parameters (Table 2 prints millions): A and A-LRN 132,863,336; B 133,047,848; C 133,638,952; D 138,357,544;
E 143,667,240.

Names: the paper's A, A-LRN, B, C, D and E are `vgg11`, `vgg11_lrn`, `vgg13`, `vgg16_c`, `vgg16` and `vgg19`. The nets
with `_bn` have batch normalisation behind each convolution, as torchvision adds it. `vgg16_bn_small` is what is
usually trained on CIFAR-10: D with batch normalisation and one dense layer, 14,728,266 parameters for ten classes.

Deviations:
    1. Initialisation: the paper trained A first, from a normal distribution with variance 10^-2, and started the
       deeper networks' first four convolutions and dense layers from it. It adds that the procedure of Glorot and
       Bengio (2010) makes this unnecessary; so here all weights are uniform in ±sqrt(6 / (fan-in + fan-out)), and
       biases 0.
    2. Images other than 224x224 are possible, down to 32x32: average pooling fits the last maps to 7x7, as in
       torchvision, whose weights go in unchanged. At 224x224 it does nothing.
    3. The test slides the dense layers over a larger image in the paper (Section 3.2). Here it sees one view or ten.
    4. `vgg16_bn_small` averages the last maps to one number each, which changes nothing at 32x32 pixels.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data.spec import ImageSpec
from zoo.models.alexnet import ResponseNorm
from zoo.models.registry import register_model

SMALLEST = 32  # pixels; five pools halve it to 1
WIDTHS = (64, 128, 256, 512, 512)  # maps of each block

Kernels = tuple[tuple[int, ...], ...]

# Table 1: the kernel sizes of each block's convolutions; a pool follows each block.
A: Kernels = ((3,), (3,), (3, 3), (3, 3), (3, 3))
B: Kernels = ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3))
C: Kernels = ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1))
D: Kernels = ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
E: Kernels = ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3))


def convolutions(in_channels: int, kernels: Kernels, batch_norm: bool) -> nn.Sequential:
    """Builds the part of a network that makes `(B, 512, H/32, W/32)` of images `(B, in_channels, H, W)`."""
    layers: list[nn.Module] = []
    channels = in_channels
    for width, block in zip(WIDTHS, kernels, strict=True):
        for kernel in block:
            layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def dense_layers(num_classes: int, dropout: float) -> nn.Sequential:
    """Builds the paper's three dense layers: of 512 maps of 7x7 they make `(B, num_classes)`."""
    return nn.Sequential(
        nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout),
        nn.Linear(4096, num_classes),
    )  # fmt: skip


class Vgg(nn.Module):
    """Convolutions, then dense layers on maps of a fixed size.

    Args:
        features: Makes 512 maps of an image.
        side: Height and width of the maps that the dense layers see.
        classifier: The dense layers.
    """

    def __init__(self, features: nn.Sequential, side: int, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.side = side
        self.classifier = classifier
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, H, W)`, normalised, H and W at least 32; in the paper 224 and pixels of 0 to 255 less
                their mean.

        Returns:
            Logits, `(B, num_classes)`.

        Raises:
            ValueError: The images are smaller.
        """
        height, width = images.shape[-2:]
        if min(height, width) < SMALLEST:
            raise ValueError(f"VGG takes images of at least {SMALLEST}x{SMALLEST} pixels, got {height}x{width}")
        x = self.features(images)  # (B, 512, H/32, W/32)
        if x.shape[-2:] != (self.side, self.side):  # else it would change nothing, and is not deterministic on CUDA
            x = F.adaptive_avg_pool2d(x, self.side)  # (B, 512, side, side)
        return self.classifier(x.flatten(1))


def _vgg(kernels: Kernels, num_classes: int, in_channels: int, dropout: float, batch_norm: bool = False) -> Vgg:
    return Vgg(convolutions(in_channels, kernels, batch_norm), 7, dense_layers(num_classes, dropout))


def _fits(spec: ImageSpec) -> str | None:
    return None if min(spec.height, spec.width) >= SMALLEST else f"images of at least {SMALLEST}x{SMALLEST} pixels"


ARGUMENTS = """
    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        dropout: The share of the first two dense layers' outputs that is dropped in training.
"""

_register = partial(
    register_model,
    task="image_classification",
    paper="simonyan2015",
    from_spec={"num_classes": "classes", "in_channels": "channels"},
    fits=_fits,
)
_variant = _register(sections=ARGUMENTS)


@_variant
def vgg11(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network A."""
    return _vgg(A, num_classes, in_channels, dropout)


@_variant
def vgg11_lrn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network A-LRN: A with AlexNet's response normalisation behind the first convolution."""
    net = _vgg(A, num_classes, in_channels, dropout)
    net.features.insert(2, ResponseNorm(64, size=5, alpha=1e-4, k=2))  # behind the first ReLU; Section 2.1
    return net


@_variant
def vgg13(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network B."""
    return _vgg(B, num_classes, in_channels, dropout)


@_variant
def vgg16_c(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network C: the third convolution of the last three blocks is 1x1."""
    return _vgg(C, num_classes, in_channels, dropout)


@_variant
def vgg16(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network D."""
    return _vgg(D, num_classes, in_channels, dropout)


@_variant
def vgg19(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network E."""
    return _vgg(E, num_classes, in_channels, dropout)


@_variant
def vgg11_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network A with batch normalisation."""
    return _vgg(A, num_classes, in_channels, dropout, batch_norm=True)


@_variant
def vgg13_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network B with batch normalisation."""
    return _vgg(B, num_classes, in_channels, dropout, batch_norm=True)


@_variant
def vgg16_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network D with batch normalisation."""
    return _vgg(D, num_classes, in_channels, dropout, batch_norm=True)


@_variant
def vgg19_bn(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> Vgg:
    """Network E with batch normalisation."""
    return _vgg(E, num_classes, in_channels, dropout, batch_norm=True)


@_register()
def vgg16_bn_small(num_classes: int = 10, in_channels: int = 3) -> Vgg:
    """Network D with batch normalisation and one dense layer, for small images; 14,728,266 parameters at 10 classes.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
    """
    return Vgg(convolutions(in_channels, D, batch_norm=True), 1, nn.Linear(512, num_classes))
