"""LeNet-5 as printed in 1998, and as it is usually written today.

LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition. Proceedings of the IEEE
86(11):2278-2324, 1998 (no arXiv version). The network is Section II.B and Figure 2, its loss Section II.C, the
experiments on MNIST Section III.

Claims, each tested by the experiment named after it:
    0.95 % test error on MNIST after 20 passes (Section III.B, Figures 5 and 9): lenet5_mnist
    0.8 % with distorted copies of the training digits (Section III.B, Figure 9): lenet5_mnist_distorted
    not in the paper, today's variant for comparison: lenet5_modern_mnist

Parameters: `lenet5` trains exactly 60,000 over 340,908 connections (Section II.B); `lenet5_modern` has 61,706.

Deviations of `lenet5`:
    1. Scores are the RBF outputs with the sign turned, so that as elsewhere in the zoo the highest score wins.
    2. Plain SGD with momentum on small batches stands in for the stochastic diagonal Levenberg-Marquardt method on
       single samples (Section III.B, Appendix C): an optimiser is no part of this file, see configs/model/lenet5.yaml.
    3. The ten bitmaps are redrawn after the style of Figure 3; single pixels may differ from the print.
    4. The fan-in F of the initialisation counts inputs without the bias.
    5. The paper gives no value for the constant j of equation 9; 0.1 is ours, the experiments on MNIST use 10.

Deviations of `lenet5_modern` from `lenet5`: C3 sees all maps of S2, max pooling without parameters, ReLU, a dense
output layer for cross-entropy, PyTorch's initialisation, padding with 0 (the mean of normalised pixels).
"""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.data.spec import ImageSpec
from zoo.models.derived import DerivedBuffers
from zoo.models.registry import register_model

FIELD = 32  # height and width of the input layer; digits stand in its centre
SIZES = range(28, FIELD + 1)  # what is taken and padded to the field
BACKGROUND = -0.1  # Section II.B: background -0.1, ink 1.175

# Table I: the maps of S2 that feed each map of C3.
C3_INPUTS = (
    # 6 maps see three neighbours,
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
    # 6 maps see four neighbours,
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
    # 3 maps see four with a gap, and the last one sees all.
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# Figure 3: the target of F6 for each digit is its picture on a 7x12 grid, +1 for ink and -1 for paper.
DIGITS = """
..###..  ...##..  .#####.  #######  ....##.  #######  ..####.  #######  .#####.  .#####.
.##.##.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  ##...##  ##...##  ##...##
##...##  .####..  ##...##  ....##.  ..####.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  ...##..  .##.##.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  ##..##.  ######.  ######.  ....##.  .#####.  ##..###
##...##  ...##..  ..###..  .....##  ##..##.  ##...##  ###..##  ...##..  ##...##  .######
##...##  ...##..  .##....  .....##  #######  .....##  ##...##  ...##..  ##...##  .....##
##...##  ...##..  ##.....  .....##  ....##.  .....##  ##...##  ..##...  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  ..##...  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  ..##...  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""

Criterion = Literal["mse", "discriminative"]


def bitmaps() -> Tensor:
    """Returns the targets of F6, `(10, 84)` of +1 and -1: one 7x12 picture per digit, row by row."""
    rows = [line.split() for line in DIGITS.split("\n") if line]  # 12 lines of 10 pieces
    pictures = ("".join(row[digit] for row in rows) for digit in range(10))
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in picture] for picture in pictures])


def squash(a: Tensor) -> Tensor:
    """The sigmoid of equation 6, any shape: f(a) = A tanh(S a), so scaled that f(1) = 1 and f(-1) = -1."""
    amplitude, slope = 1.7159, 2 / 3  # Appendix A
    # tanh(z) = 2 sigmoid(2z) - 1, which PyTorch computes several times faster on CPUs.
    return torch.sigmoid(2 * slope * a) * (2 * amplitude) - amplitude


def uniform_by_fan_in(fan_in: int, *parameters: Tensor) -> None:
    """Draws parameters uniformly from ±2.4 / fan-in (Appendix A)."""
    for parameter in parameters:
        nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)


def pad_to_field(images: Tensor, background: float) -> Tensor:
    """Centres `(B, C, 28...32, 28...32)` in the 32x32 field.

    Raises:
        ValueError: The images are smaller or larger than that.
    """
    height, width = images.shape[-2:]
    if height not in SIZES or width not in SIZES:
        raise ValueError(f"LeNet-5 takes images of 28x28 to 32x32 pixels, got {height}x{width}")
    top, left = (FIELD - height) // 2, (FIELD - width) // 2
    return F.pad(images, (left, FIELD - width - left, top, FIELD - height - top), value=background)


class Subsampling(nn.Module):
    """S2 and S4: the sum of 2x2 inputs times a trained coefficient plus a trained bias, one of each per map."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(maps, 1, 1))
        self.bias = nn.Parameter(torch.empty(maps, 1, 1))
        uniform_by_fan_in(4, *self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Halves `(B, C, H, W)` to `(B, C, H/2, W/2)`."""
        rows = x[:, :, 0::2] + x[:, :, 1::2]  # (B, C, H/2, W); on CPUs twice as fast as 4 * avg_pool2d
        return (rows[..., 0::2] + rows[..., 1::2]) * self.coefficient + self.bias


class PartialConv(DerivedBuffers):
    """C3: a 5x5 convolution in which each output map sees only some of the input maps.

    Only the kernels that exist are parameters. Each pass lays them out in a dense weight that is zero elsewhere:
    one dense convolution is much faster than sixteen small ones.
    """

    places: Tensor

    def __init__(self, in_maps: int, inputs: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.shape = (len(inputs), in_maps, 5, 5)
        self.inputs = inputs
        self.derive()
        self.weight = nn.Parameter(torch.empty(len(self.places), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(inputs)))
        with torch.no_grad():
            kernels = self.weight.split([len(sources) for sources in inputs])
            for sources, kernel, bias in zip(inputs, kernels, self.bias, strict=True):
                uniform_by_fan_in(25 * len(sources), kernel, bias)

    def derived_buffers(self) -> dict[str, Tensor]:
        """Returns where each kernel goes in the grid."""
        in_maps = self.shape[1]
        return {"places": torch.tensor([out * in_maps + source for out, sources in enumerate(self.inputs)
                                        for source in sources])}  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(B, in, H, W)` to `(B, out, H - 4, W - 4)`."""
        maps_out, maps_in = self.shape[:2]
        grid = self.weight.new_zeros(maps_out * maps_in, 5, 5).index_copy(0, self.places, self.weight)
        return F.conv2d(x, grid.view(self.shape), self.bias)


class LeNet5(nn.Module):
    """The network of Figure 2; capital letters of its layers are small here."""

    targets: Tensor

    def __init__(self, criterion: Criterion = "mse", j: float = 0.1) -> None:
        super().__init__()
        if criterion not in get_args(Criterion):
            raise ValueError(f"loss is one of {', '.join(get_args(Criterion))}, not {criterion!r}")
        if not (j > 0 and math.isfinite(j)):
            raise ValueError(f"j is a positive number, not {j!r}")
        self.criterion = criterion
        self.j = j
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConv(6, C3_INPUTS)
        self.s4 = Subsampling(16)
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # a 5x5 convolution of 5x5 maps is a dense layer
        self.f6 = nn.Linear(120, 84)
        self.register_buffer("targets", bitmaps())  # the fixed weights of the RBF units
        uniform_by_fan_in(25, *self.c1.parameters())
        uniform_by_fan_in(16 * 25, *self.c5.parameters())
        uniform_by_fan_in(120, *self.f6.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Scores digits.

        Args:
            images: `(B, 1, H, W)`, H and W in 28...32; background -0.1, ink 1.175.

        Returns:
            `(B, 10)`: minus the RBF outputs, at most 0; the highest is the answer.

        Raises:
            ValueError: The images are smaller or larger.
        """
        x = pad_to_field(images, BACKGROUND)  # (B, 1, 32, 32)
        x = squash(self.c1(x))  # (B, 6, 28, 28)
        x = squash(self.s2(x))  # (B, 6, 14, 14)
        x = squash(self.c3(x))  # (B, 16, 10, 10)
        x = squash(self.s4(x))  # (B, 16, 5, 5)
        x = squash(self.c5(x.flatten(1)))  # (B, 120)
        x = squash(self.f6(x))  # (B, 84)
        distances = (x.unsqueeze(1) - self.targets).square().sum(2)  # (B, 10), equation 7
        return -distances

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Returns the loss of Section II.C, averaged over the batch.

        Args:
            scores: `(B, 10)` from `forward`; y of the paper is minus these.
            labels: `(B,)` in 0...9.
        """
        right = F.nll_loss(scores, labels)  # equation 8: the mean of y at the right class
        if self.criterion == "mse":
            return right
        return right + self._evidence(scores).mean()  # equation 9

    def _evidence(self, scores: Tensor) -> Tensor:
        rubbish = scores.new_tensor(-self.j)  # a class at the fixed distance j, beyond which none is pushed away
        return torch.logaddexp(rubbish, scores.logsumexp(1))

    def posterior(self, scores: Tensor) -> Tensor:
        """Returns how probable each digit is, `(B, 10)`; what is missing to 1 is the rubbish class of equation 9.

        Equation 8 has no such class, and no probabilities: then it is the softmax.

        Args:
            scores: `(B, 10)` from `forward`.
        """
        if self.criterion == "mse":
            return scores.softmax(1)
        return (scores - self._evidence(scores)[:, None]).exp()

    def connections(self) -> dict[str, int]:
        """Returns the number of connections per layer, biases included, as Section II.B counts them."""
        return {
            "c1": 28 * 28 * _trained(self.c1),
            "s2": 14 * 14 * 6 * (4 + 1),  # four inputs share one coefficient
            "c3": 10 * 10 * _trained(self.c3),
            "s4": 5 * 5 * 16 * (4 + 1),
            "c5": _trained(self.c5),
            "f6": _trained(self.f6),
            "output": self.targets.numel(),
        }


class LeNet5Modern(nn.Module):
    """LeNet-5 with the parts of today."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Linear(16 * 5 * 5, 120)  # a 5x5 convolution of 5x5 maps is a dense layer
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Scores images.

        Args:
            images: `(B, C, H, W)`, normalised, H and W in 28...32.

        Returns:
            Logits, `(B, num_classes)`.

        Raises:
            ValueError: The images are smaller or larger.
        """
        x = pad_to_field(images, 0.0)  # (B, C, 32, 32)
        x = F.relu(F.max_pool2d(self.c1(x), 2))  # (B, 6, 14, 14); the order of the two makes no difference but time
        x = F.relu(F.max_pool2d(self.c3(x), 2))  # (B, 16, 5, 5)
        x = F.relu(self.c5(x.flatten(1)))  # (B, 120)
        x = F.relu(self.f6(x))  # (B, 84)
        return self.output(x)


def _trained(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())


def _is_in_the_field(spec: ImageSpec) -> bool:
    return spec.height == spec.width and spec.height in SIZES


def _fits_lenet5(spec: ImageSpec) -> str | None:
    fits = spec.channels == 1 and spec.classes == 10 and _is_in_the_field(spec)
    return None if fits else "square images of 1 channel and 28 to 32 pixels in 10 classes"


def _fits_modern(spec: ImageSpec) -> str | None:
    return None if _is_in_the_field(spec) else "square images of 28 to 32 pixels"


@register_model(task="image_classification", paper="lecun1998", fits=_fits_lenet5)
def lenet5(loss: Criterion = "mse", j: float = 0.1) -> LeNet5:
    """LeNet-5 as in 1998, 60,000 parameters.

    Args:
        loss: `"mse"` is equation 8, `"discriminative"` equation 9.
        j: The distance of equation 9 beyond which a wrong class is far enough away; greater than 0.

    Raises:
        ValueError: The loss has another name, or j is not positive.
    """
    return LeNet5(loss, j)


@register_model(
    task="image_classification",
    paper="lecun1998",
    from_spec={"num_classes": "classes", "in_channels": "channels"},
    fits=_fits_modern,
)
def lenet5_modern(num_classes: int = 10, in_channels: int = 1) -> LeNet5Modern:
    """LeNet-5 as usually written today, 61,706 parameters at 1 channel and 10 classes.

    Args:
        num_classes: How many classes are told apart.
        in_channels: 1 for grey images, 3 for colour.
    """
    return LeNet5Modern(num_classes, in_channels)
