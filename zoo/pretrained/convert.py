"""torchvision's weights under the zoo's names.

The networks of both are the same layer for layer, only the names of the tensors differ. torchvision's names decide
what a tensor is, never its place: published files list them in the order of older versions of torch, and some lack
`num_batches_tracked`, which no evaluation needs. torchvision itself is not needed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError, unknown
from zoo.models.registry import create_model

# torchvision's name -> ours. Its bottlenecks have the stride in the 3x3 convolution ("v1.5"), which He et al. 2015 have
# in the first 1x1: the tensors are the same, the function is not.
NETWORKS = {
    "alexnet": "alexnet",
    **{f"vgg{depth}{variant}": f"vgg{depth}{variant}" for depth in (11, 13, 16, 19) for variant in ("", "_bn")},
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    **{f"resnet{depth}": f"resnet{depth}_v1_5" for depth in (50, 101, 152)},
}
_THEIRS = {ours: theirs for theirs, ours in NETWORKS.items()}

_VGG_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions each
_RESNET_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

_LAYER = ("weight", "bias")
_COUNTER = "num_batches_tracked"
_NORMALISATION = (*_LAYER, "running_mean", "running_var", _COUNTER)


def _named(prefix: str, tensors: tuple[str, ...]) -> list[str]:
    return [f"{prefix}.{tensor}" for tensor in tensors]


def _alexnet_names() -> Iterator[str]:
    for index in (0, 3, 6, 8, 10):
        yield from _named(f"features.{index}", _LAYER)
    for index in (1, 4, 6):
        yield from _named(f"classifier.{index}", _LAYER)


def _vgg_names(depth: int, normalised: bool) -> Iterator[str]:
    index = 0  # in torchvision's one sequence of convolutions, normalisations, ReLUs and poolings
    for convolutions in _VGG_BLOCKS[depth]:
        for _ in range(convolutions):
            yield from _named(f"features.{index}", _LAYER)
            if normalised:
                yield from _named(f"features.{index + 1}", _NORMALISATION)
            index += 3 if normalised else 2
        index += 1
    for index in (0, 3, 6):
        yield from _named(f"classifier.{index}", _LAYER)


def _resnet_names(depth: int) -> Iterator[str]:
    yield "conv1.weight"
    yield from _named("bn1", _NORMALISATION)
    bottleneck = depth >= 50
    for stage, blocks in enumerate(_RESNET_STAGES[depth], 1):
        for block in range(blocks):
            prefix = f"layer{stage}.{block}"
            for number in range(1, 4 if bottleneck else 3):
                yield f"{prefix}.conv{number}.weight"
                yield from _named(f"{prefix}.bn{number}", _NORMALISATION)
            # Where the width changes, a 1x1 convolution leads around the first block of a stage.
            if block == 0 and (bottleneck or stage > 1):
                yield f"{prefix}.downsample.0.weight"
                yield from _named(f"{prefix}.downsample.1", _NORMALISATION)
    yield from _named("fc", _LAYER)


def torchvision_names(network: str) -> list[str]:
    """Returns the names in the state dict of one of torchvision's networks, a key of `NETWORKS`, in its order."""
    if network == "alexnet":
        return list(_alexnet_names())
    if network.startswith("vgg"):
        return list(_vgg_names(int(network[3:5]), network.endswith("_bn")))
    return list(_resnet_names(int(network.removeprefix("resnet"))))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return ", ".join(str(name)[:80] for name in names[:2]) + more


def _checked(network: str, state_dict: Mapping[str, Any], names: list[str]) -> dict[str, Tensor]:
    """Returns the tensors of a state dict by name, completed by the counters that old files lack.

    Raises:
        ZooError: Others are missing, or there is something that the network does not have.
    """
    given = {name: value for name, value in state_dict.items() if isinstance(value, Tensor)}
    missing = [name for name in names if name not in given and not name.endswith(_COUNTER)]
    extra = [name for name in state_dict if name not in names]
    for wrong, what in ((missing, "lacks"), (extra, "holds")):
        if wrong:
            raise ZooError(f"this is no state dict of torchvision's {network}: it {what} {_listed(wrong)}")
    return {name: given.get(name, torch.tensor(0)).detach() for name in names}


def from_torchvision(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of one of torchvision's networks to what the zoo's twin calls them.

    Args:
        name: The zoo's model (`vgg16_bn`, `resnet50_v1_5`) or torchvision's own name for it. `resnet50`, `resnet101`
            and `resnet152` mean torchvision's networks, which are our `resnet50_v1_5` and so on; the zoo's `resnet50`
            is the paper's network, whose stride is in another place, and these weights would compute something else
            in it.
        state_dict: Of a network as torchvision publishes it or fine-tuned to any number of classes; on any device.

    Returns:
        The tensors themselves, not copies, for `load_state_dict` of the zoo's model with as many classes.

    Raises:
        ZooError: No such network; or a tensor is missing, too many, or of another shape.

    Example:
        >>> weights = from_torchvision("resnet18", torchvision.models.resnet18().state_dict())  # doctest: +SKIP
        >>> zoo.create_model("resnet18").load_state_dict(weights)  # doctest: +SKIP
    """
    network = name if name in NETWORKS else _THEIRS.get(name)
    if network is None:
        raise unknown("network of torchvision's", name, {*NETWORKS, *_THEIRS})
    names = torchvision_names(network)
    tensors = _checked(network, state_dict, names)
    last = tensors[names[-1]]  # the bias of the last layer has a number for each class
    classes = len(last) if last.ndim == 1 and len(last) else 1000
    with torch.device("meta"):
        own = create_model(NETWORKS[network], num_classes=classes).state_dict()
    converted = {}
    for (key, expected), theirs in zip(own.items(), names, strict=True):
        if tensors[theirs].shape != expected.shape:
            raise ZooError(
                f"this is no state dict of torchvision's {network}: {theirs} is {tuple(tensors[theirs].shape)}, "
                f"expected {tuple(expected.shape)}"
            )
        converted[key] = tensors[theirs]
    return converted
