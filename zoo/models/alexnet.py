"""AlexNet as printed in 2012, the one tower that became its usual form, and its author's networks for CIFAR-10.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks. NIPS 2012 (no arXiv
version). The network is Section 3 and Figure 2, dropout Section 4.2, initialisation and training Section 5.
Krizhevsky: One Weird Trick for Parallelizing Convolutional Neural Networks. 2014, arXiv:1404.5997: the one tower.

Claims, each tested by the experiment named after it:
    40.7 % top-1 and 18.2 % top-5 error on the validation images of ILSVRC 2012 (Table 2): alexnet_2012_imagenet
    11 % error on CIFAR-10 with response normalisation, 13 % without (Section 3.3): cuda_convnet_11_cifar10

The paper prints no more of its "four-layer CNN" for CIFAR-10 than these two numbers. `cuda_convnet_11` and
`cuda_convnet_13` are the two networks that its author released with his program cuda-convnet
(`layers-conv-local-11pct.cfg` and `-13pct.cfg`). They differ by more than the normalisation: the first also has 64
instead of 32 maps in local3 and another weight decay on its last layer.

Parameters: `alexnet_2012` 60,965,224 (the paper says 60 million), `alexnet` 61,100,840; on 24x24 images
`cuda_convnet_11` 2,112,970 and `cuda_convnet_13` 1,116,490.

Deviations of `alexnet_2012`:
    1. The halves that two GPUs held are groups of one convolution. Response normalisation runs over all maps of a
       layer, also from one half to the other: N of its formula is the total number of kernels.
    2. The input is 227x227. The paper says 224, but 55 positions of an 11x11 kernel at stride 4 need 227 pixels;
       images of 224 to 226 are padded with 0, the mean of the pixels.
    3. Dropout doubles the kept outputs in training instead of halving all of them in the test: the same function.

Deviations of `alexnet`, which is torchvision's and takes its weights, from the paper of 2014: no response
normalisation, padding 2 before the first layer, dropout before and not behind the dense layers, average pooling that
lets it take larger and smaller images, PyTorch's initialisation.

Deviation of the two CIFAR-10 networks: none known; how they are trained is told in configs/model/_cuda_convnet.yaml.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data.spec import ImageSpec
from zoo.models.derived import DerivedBuffers
from zoo.models.registry import register_model

FIELD = 227  # height and width of the input layer of 2012
SIZES = range(224, FIELD + 1)  # what is taken and padded to it
SMALLEST_ONE_TOWER = 63  # pixels; of anything less the last pooling would leave nothing
SMALLEST_CUDA_CONVNET = 4


class ResponseNorm(DerivedBuffers):
    """Local response normalisation across maps, the equation of Section 3.3: b_i = a_i / (k + alpha Σ_j a_j²)^beta.

    The sum runs over the `size` maps around map i, fewer at the first and last ones. PyTorch's `LocalResponseNorm`
    divides its alpha by `size`; it is also several times slower on CPUs and not deterministic on CUDA.

    Args:
        maps: How many there are.
        size: n, an odd number.
        alpha: As in the equation.
        k: As in the equation.
    """

    beta = 0.75
    neighbours: Tensor

    def __init__(self, maps: int, size: int, alpha: float, k: float) -> None:
        super().__init__()
        self.maps, self.size, self.alpha, self.k = maps, size, alpha, k
        self.derive()

    def derived_buffers(self) -> dict[str, Tensor]:
        """Returns which maps lie near each other, as a 1x1 convolution."""
        near = torch.ones(self.maps, self.maps).tril(self.size // 2).triu(-(self.size // 2))
        return {"neighbours": near[:, :, None, None]}

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, maps, H, W)` to the same shape."""
        squares = (self.alpha**0.5 * x).square()  # with alpha, since float16 ends at 65,504
        sums = F.conv2d(squares, self.neighbours)  # a 1x1 convolution with ones adds up neighbouring maps
        return x * (self.k + sums) ** -self.beta


class LocallyConnected(nn.Module):
    """A 3x3 convolution, padded with 0, whose kernels and biases differ from place to place.

    Args:
        in_maps: Maps it sees.
        maps: Maps it makes.
        side: Height and width of both.
    """

    def __init__(self, in_maps: int, maps: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side * side, in_maps * 3 * 3, maps))  # one matrix for each place
        self.bias = nn.Parameter(torch.empty(side * side, maps))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in_maps, side, side)` to `(B, maps, side, side)`."""
        patches = F.unfold(x, 3, padding=1).permute(2, 0, 1)  # (places, B, in_maps 3 3)
        sums = torch.baddbmm(self.bias.unsqueeze(1), patches, self.weight)  # (places, B, maps)
        return sums.permute(1, 2, 0).unflatten(2, (self.side, self.side))  # (B, maps, side, side)


def draw_normal(layer: nn.Conv2d | nn.Linear | LocallyConnected, deviation: float, bias: float = 0.0) -> None:
    """Draws a layer's weights from N(0, deviation²) and sets its biases."""
    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


class AlexNet2012(nn.Module):
    """The network of Figure 2, both towers in one."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv1 = nn.Conv2d(in_channels, 96, 11, stride=4)
        self.norm1 = ResponseNorm(96, size=5, alpha=1e-4, k=2)  # Section 3.3
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.norm2 = ResponseNorm(256, size=5, alpha=1e-4, k=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)  # the only one whose kernels see both towers
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        # Section 5; a bias of 1 gives a layer's ReLUs positive inputs at the start.
        for layer in (self.conv1, self.conv3, self.fc8):
            draw_normal(layer, 0.01)
        for layer in (self.conv2, self.conv4, self.conv5, self.fc6, self.fc7):
            draw_normal(layer, 0.01, bias=1.0)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, S, S)`, S in 224...227; pixels of 0 to 255 less their mean.

        Returns:
            Logits, `(B, num_classes)`.

        Raises:
            ValueError: The images are smaller, larger or not square.
        """
        height, width = images.shape[-2:]
        if height != width or height not in SIZES:
            raise ValueError(f"AlexNet of 2012 takes images of 224x224 to 227x227 pixels, got {height}x{width}")
        if height < FIELD:
            first, last = (FIELD - height) // 2, (FIELD - height + 1) // 2
            images = F.pad(images, (first, last, first, last))  # (B, C, 227, 227)
        x = F.max_pool2d(self.norm1(F.relu(self.conv1(images))), 3, 2)  # (B, 96, 27, 27); pools overlap: Section 3.4
        x = F.max_pool2d(self.norm2(F.relu(self.conv2(x))), 3, 2)  # (B, 256, 13, 13)
        x = F.relu(self.conv3(x))  # (B, 384, 13, 13)
        x = F.relu(self.conv4(x))  # (B, 384, 13, 13)
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2)  # (B, 256, 6, 6)
        x = self.dropout(F.relu(self.fc6(x.flatten(1))))  # (B, 4096)
        x = self.dropout(F.relu(self.fc7(x)))  # (B, 4096)
        return self.fc8(x)


class AlexNet2014(nn.Module):
    """The one tower, with torchvision's simplifications and its order of parameters."""

    def __init__(self, num_classes: int, in_channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.conv1 = nn.Conv2d(in_channels, 64, 11, stride=4, padding=2)
        self.conv2 = nn.Conv2d(64, 192, 5, padding=2)
        self.conv3 = nn.Conv2d(192, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 256, 3, padding=1)
        self.conv5 = nn.Conv2d(256, 256, 3, padding=1)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, H, W)`, normalised, H and W at least 63; the shapes below are those of 224x224.

        Returns:
            Logits, `(B, num_classes)`.

        Raises:
            ValueError: The images are smaller.
        """
        height, width = images.shape[-2:]
        if min(height, width) < SMALLEST_ONE_TOWER:
            raise ValueError(f"AlexNet takes images of at least 63x63 pixels, got {height}x{width}")
        x = F.max_pool2d(F.relu(self.conv1(images)), 3, 2)  # (B, 64, 27, 27)
        x = F.max_pool2d(F.relu(self.conv2(x)), 3, 2)  # (B, 192, 13, 13)
        x = F.relu(self.conv3(x))  # (B, 384, 13, 13)
        x = F.relu(self.conv4(x))  # (B, 256, 13, 13)
        x = F.max_pool2d(F.relu(self.conv5(x)), 3, 2)  # (B, 256, 6, 6)
        if x.shape[-2:] != (6, 6):  # else it would change nothing, and its gradient is not deterministic on CUDA
            x = F.adaptive_avg_pool2d(x, 6)  # (B, 256, 6, 6)
        x = self.dropout(x.flatten(1))  # (B, 9216)
        x = self.dropout(F.relu(self.fc6(x)))  # (B, 4096)
        x = F.relu(self.fc7(x))  # (B, 4096)
        return self.fc8(x)


class CudaConvnet(nn.Module):
    """Two convolutions, two locally connected layers and a dense one; names are those of the author's layer files.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        image_size: Height and width of the images.
        local_maps: Maps of the first locally connected layer.
        normalised: Whether there is response normalisation.
    """

    def __init__(self, num_classes: int, in_channels: int, image_size: int, local_maps: int, normalised: bool) -> None:
        super().__init__()
        if image_size < SMALLEST_CUDA_CONVNET:
            raise ValueError(f"image_size is at least {SMALLEST_CUDA_CONVNET} pixels, not {image_size}")
        self.image_size = image_size
        side = image_size // 4  # after two pools
        self.conv1 = nn.Conv2d(in_channels, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 5, padding=2)
        self.local3 = LocallyConnected(64, local_maps, side)
        self.local4 = LocallyConnected(local_maps, 32, side)
        self.fc10 = nn.Linear(32 * side * side, num_classes)
        # The files' scale; like PyTorch, that program divides it by the size.
        self.norm1 = ResponseNorm(64, size=9, alpha=0.001 / 9, k=1) if normalised else nn.Identity()
        self.norm2 = ResponseNorm(64, size=9, alpha=0.001 / 9, k=1) if normalised else nn.Identity()
        draw_normal(self.conv1, 0.0001)
        draw_normal(self.conv2, 0.01)
        draw_normal(self.local3, 0.04)
        draw_normal(self.local4, 0.04)
        draw_normal(self.fc10, 0.01)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, S, S)`, S the `image_size`; pixels of 0 to 255 less their mean.

        Returns:
            Logits, `(B, num_classes)`.

        Raises:
            ValueError: The images have another size.
        """
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            size = f"{self.image_size}x{self.image_size}"
            raise ValueError(f"this network was built for images of {size} pixels, got {height}x{width}")
        # Pools round up: the last windows may hang over the border. The first pool comes before its normalisation, the
        # second after it.
        x = self.norm1(F.max_pool2d(F.relu(self.conv1(images)), 3, 2, ceil_mode=True))  # (B, 64, S/2, S/2)
        x = F.max_pool2d(self.norm2(F.relu(self.conv2(x))), 3, 2, ceil_mode=True)  # (B, 64, S/4, S/4)
        x = F.relu(self.local3(x))  # (B, local_maps, S/4, S/4)
        x = F.relu(self.local4(x))  # (B, 32, S/4, S/4)
        return self.fc10(x.flatten(1))


def _fits_2012(spec: ImageSpec) -> str | None:
    fits = spec.height == spec.width and spec.height in SIZES
    return None if fits else "square images of 224 to 227 pixels"


def _fits_one_tower(spec: ImageSpec) -> str | None:
    return None if min(spec.height, spec.width) >= SMALLEST_ONE_TOWER else "images of at least 63x63 pixels"


def _fits_square(spec: ImageSpec) -> str | None:
    fits = spec.height == spec.width and spec.height >= SMALLEST_CUDA_CONVNET
    return None if fits else f"square images of at least {SMALLEST_CUDA_CONVNET} pixels"


FROM_DATA = {"num_classes": "classes", "in_channels": "channels"}


@register_model(task="image_classification", paper="krizhevsky2012", from_spec=FROM_DATA, fits=_fits_2012)
def alexnet_2012(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet2012:
    """AlexNet as in 2012, 60,965,224 parameters.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        dropout: The share of the first two dense layers' outputs that is dropped in training.
    """
    return AlexNet2012(num_classes, in_channels, dropout)


@register_model(task="image_classification", paper="krizhevsky2014", from_spec=FROM_DATA, fits=_fits_one_tower)
def alexnet(num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> AlexNet2014:
    """AlexNet in one tower, as torchvision has it, 61,100,840 parameters.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        dropout: The share of the first two dense layers' inputs that is dropped in training.
    """
    return AlexNet2014(num_classes, in_channels, dropout)


FROM_SQUARE = FROM_DATA | {"image_size": "height"}


@register_model(task="image_classification", paper="krizhevsky2012", from_spec=FROM_SQUARE, fits=_fits_square)
def cuda_convnet_11(num_classes: int = 10, in_channels: int = 3, image_size: int = 24) -> CudaConvnet:
    """The network of cuda-convnet with 11 % error on CIFAR-10, 2,112,970 parameters on 24x24 images.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        image_size: Height and width of the images, in pixels; at least 4.

    Raises:
        ValueError: The images are smaller.
    """
    return CudaConvnet(num_classes, in_channels, image_size, local_maps=64, normalised=True)


@register_model(task="image_classification", paper="krizhevsky2012", from_spec=FROM_SQUARE, fits=_fits_square)
def cuda_convnet_13(num_classes: int = 10, in_channels: int = 3, image_size: int = 24) -> CudaConvnet:
    """The network of cuda-convnet with 13 % error on CIFAR-10, 1,116,490 parameters on 24x24 images.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
        image_size: Height and width of the images, in pixels; at least 4.

    Raises:
        ValueError: The images are smaller.
    """
    return CudaConvnet(num_classes, in_channels, image_size, local_maps=32, normalised=False)
