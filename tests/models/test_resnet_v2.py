"""Residual networks with preactivation for photographs: the paper's equation, and the whole network by hand.

What all residual networks for photographs share is tested in `test_resnet.py`.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.models.registry import create_model
from zoo.models.resnet import Place
from zoo.models.resnet_v2 import PreactivationBlock


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("place", [Place(6, 6), Place(4, 8, stride=2), Place(6, 6, first=True)], ids=str)
def test_a_preactivation_block_is_equation_9(place: Place, tensors, normalised, rectified):
    block = PreactivationBlock(place, bottleneck=False)
    given = tensors(block)
    x = torch.randn(3, place.in_channels, 8, 8, dtype=torch.float64)
    original = x.clone()
    inner = x if place.first else rectified(normalised(x, next(given), next(given)))
    inner = F.conv2d(inner, next(given), stride=place.stride, padding=1)
    inner = F.conv2d(rectified(normalised(inner, next(given), next(given))), next(given), padding=1)
    kept = original[:, :, :: place.stride, :: place.stride]
    zeros = torch.zeros(3, place.width - place.in_channels, *kept.shape[2:], dtype=torch.float64)
    torch.testing.assert_close(block(x), torch.cat([kept, zeros], 1) + inner, rtol=0, atol=1e-12)
    assert next(given, None) is None
    assert torch.equal(x, original)


@pytest.mark.parametrize(
    "place", [Place(12, 3), Place(6, 3, stride=2), Place(3, 3, first=True), Place(12, 3, first=True)], ids=str
)
def test_a_preactivation_bottleneck_is_equation_9(place: Place, tensors, normalised, rectified):
    block = PreactivationBlock(place, bottleneck=True)
    given = tensors(block)
    x = torch.randn(3, place.in_channels, 8, 8, dtype=torch.float64)
    original = x.clone()
    activated = x if place.first else rectified(normalised(x, next(given), next(given)))
    inner = F.conv2d(activated, next(given), stride=place.stride)
    inner = F.conv2d(rectified(normalised(inner, next(given), next(given))), next(given), padding=1)
    inner = F.conv2d(rectified(normalised(inner, next(given), next(given))), next(given))
    # Appendix: projections are "also with pre-activation"; identities lead around it.
    shortcut = original if place.in_channels == 12 else F.conv2d(activated, next(given), stride=place.stride)
    torch.testing.assert_close(block(x), shortcut + inner, rtol=0, atol=1e-12)
    assert next(given, None) is None
    assert torch.equal(x, original)


def test_a_whole_network_of_v2_normalises_and_activates_in_the_order_of_the_appendix(unlike_new, rectified):
    net = unlike_new(create_model("resnet50_v2", num_classes=5)).double().eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    given = iter([tensor for key, tensor in net.state_dict().items() if not key.endswith("num_batches_tracked")])

    def convolved(x: Tensor, stride: int = 1) -> Tensor:
        kernels = next(given)
        return F.conv2d(x, kernels, stride=stride, padding=kernels.shape[2] // 2)

    def activated(x: Tensor) -> Tensor:
        gain, shift, mean, variance = (next(given).view(-1, 1, 1) for _ in range(4))
        return rectified((x - mean) / (variance + 1e-5).sqrt() * gain + shift)

    x = F.max_pool2d(activated(convolved(images, stride=2)), 3, stride=2, padding=1)
    for stage, count in enumerate((3, 4, 6, 3)):
        for number in range(count):
            inner = x if stage == number == 0 else activated(x)
            stride = 2 if stage and not number else 1
            before_projection = inner
            inner = convolved(activated(convolved(activated(convolved(inner, stride)))))
            x = inner + (x if number else convolved(before_projection, stride))
    x = activated(x).mean((2, 3))
    torch.testing.assert_close(net(images), x @ next(given).T + next(given), rtol=1e-10, atol=1e-10)
    assert next(given, None) is None
