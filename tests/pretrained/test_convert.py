"""The zoo's networks compute what torchvision's do, tensor for tensor, with torchvision's weights."""

from collections.abc import Iterator

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.convert import NETWORKS, from_torchvision, torchvision_names

CLASSES = 7


def on_meta(network: str, classes: int = CLASSES) -> dict[str, Tensor]:
    """The state dict of one of torchvision's networks, without memory for it."""
    with torch.device("meta"):
        return torchvision.models.get_model(network, weights=None, num_classes=classes).state_dict()


def filled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Numbers for a state dict, of the size that keeps activations alive; repeated, since drawing takes its time."""
    block = torch.randn(1_000_003, generator=torch.Generator().manual_seed(5))
    numbers = {}
    for name, tensor in state.items():
        size = tensor.numel()
        if not tensor.is_floating_point():
            numbers[name] = torch.tensor(3)
        elif name.endswith("running_var"):
            # Greater where residual branches add up.
            numbers[name] = (3 if "layer" in name else 1) * (1 + block[:size].abs() / 8)
        elif tensor.ndim == 1:  # of a normalisation's numbers, the factors are positive
            numbers[name] = 0.5 + block[:size].abs() / 2 if name.endswith("weight") else block[:size] / 2
        else:
            repeated = block.repeat(-(-size // len(block)))[:size].view(tensor.shape)
            numbers[name] = repeated.mul_((2 / tensor[0].numel()) ** 0.5)
    return numbers


def with_weights(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    """A model made on the meta device, with these numbers; what training would change is its own."""
    own = {name: value.clone() if "running" in name or value.ndim == 0 else value for name, value in state.items()}
    model.load_state_dict(own, assign=True)
    return model


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("network", NETWORKS)
def test_names_order_and_shapes_are_torchvision_s(network: str):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(network, weights=None)
        ours = create_model(NETWORKS[network])
    state = theirs.state_dict()
    assert torchvision_names(network) == list(state)
    converted = from_torchvision(network, state)
    assert list(converted) == list(ours.state_dict())
    assert [value.shape for value in converted.values()] == [value.shape for value in ours.state_dict().values()]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


# The others of a family are made of the same blocks.
DEEP = ("resnet101", "resnet152", "vgg13", "vgg19", "vgg13_bn", "vgg19_bn")


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in NETWORKS]
)
def test_outputs_are_torchvision_s(network: str):
    numbers = filled(on_meta(network))
    with torch.device("meta"):
        theirs = torchvision.models.get_model(network, weights=None, num_classes=CLASSES)
        ours = create_model(NETWORKS[network], num_classes=CLASSES)
    theirs, ours = with_weights(theirs, numbers), with_weights(ours, from_torchvision(network, numbers))
    images = torch.randn(2, 3, 64, 70, generator=torch.Generator().manual_seed(6))
    for training in (False, True):
        answers = []
        for model in (theirs, ours):
            torch.manual_seed(1)  # of dropout
            with torch.no_grad():
                answers.append(model.train(training)(images))
        expected, answer = answers
        assert 1 < expected.std() < 100
        assert (expected[0] - expected[1]).abs().max() > 0.01  # not the biases alone
        assert (answer - expected).abs().max() < 1e-5
    trained = from_torchvision(network, theirs.state_dict())
    for name, statistics in ours.named_buffers():
        assert statistics.allclose(trained[name])


@pytest.mark.parametrize(("theirs", "ours"), [("resnet50", "resnet50_v1_5"), ("alexnet", "alexnet")])
def test_both_names_are_understood(theirs: str, ours: str):
    state = on_meta(theirs, 3)
    assert from_torchvision(ours, state).keys() == from_torchvision(theirs, state).keys()


def test_the_paper_s_bottlenecks_are_another_function():
    """resnet50 means torchvision's; its tensors would fit into the paper's network too, and give other answers."""
    numbers = filled(on_meta("resnet50"))
    with torch.device("meta"):
        theirs = torchvision.models.resnet50(num_classes=CLASSES)
        paper = create_model("resnet50", num_classes=CLASSES)
    theirs.load_state_dict(numbers, assign=True)
    paper.load_state_dict(from_torchvision("resnet50", numbers), assign=True)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        expected, other = theirs.eval()(images), paper.eval()(images)
    assert (other - expected).abs().max() > 0.01  # a thousand times what is called equal above


@settings(max_examples=8, deadline=None)
@given(data=st.data(), network=st.sampled_from(["resnet18", "vgg11_bn", "alexnet"]), classes=st.integers(1, 50))
def test_order_and_missing_counters_do_not_matter(data: st.DataObject, network: str, classes: int):
    state = on_meta(network, classes)
    # Each tensor holds a number of its own, which takes no room.
    marked = {name: torch.tensor(float(mark)).expand(value.shape) for mark, (name, value) in enumerate(state.items())}
    shuffled = data.draw(st.permutations(list(marked.items())))
    expected = from_torchvision(network, marked)
    assert [value.flatten()[0].item() for value in expected.values()] == list(range(len(state)))
    converted = from_torchvision(network, dict(shuffled))
    assert list(converted) == list(expected)
    assert all(torch.equal(converted[name], expected[name]) for name in expected)
    old = {name: value for name, value in shuffled if not name.endswith("num_batches_tracked")}
    for name, value in from_torchvision(network, old).items():
        assert torch.equal(value, torch.tensor(0) if name.endswith("num_batches_tracked") else expected[name])


def test_tensors_are_handed_on_without_copies():
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    converted = from_torchvision("resnet18", state)
    assert {value.data_ptr() for value in converted.values()} == {value.data_ptr() for value in state.values()}
    # Old files hold parameters instead of tensors.
    held = {name: nn.Parameter(value) if value.is_floating_point() else value for name, value in state.items()}
    assert not any(value.requires_grad for value in from_torchvision("resnet18", held).values())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("fc.bias"), "it lacks fc.bias"),
        (lambda state: state.pop("conv1.weight"), "it lacks conv1.weight"),
        (lambda state: state.clear(), "it lacks conv1.weight, bn1.weight and 100 more"),
        (lambda state: state.update(fc=torch.zeros(1)), "it holds fc"),
        (lambda state: state.update({"module.fc.bias": 1, "epoch": 3}), "it holds module.fc.bias, epoch"),
        (lambda state: state.update({"fc.bias": [0.0] * 7}), "it lacks fc.bias"),
        (lambda state: state.update({"fc.bias": torch.zeros(8)}), "fc.weight is (7, 512), expected (8, 512)"),
        (lambda state: state.update({"fc.bias": torch.zeros(())}), "fc.weight is (7, 512), expected (1000, 512)"),
        (lambda state: state.update({"conv1.weight": torch.zeros(64, 1, 7, 7)}), "expected (64, 3, 7, 7)"),
    ],
)
def test_what_is_no_state_dict_of_that_network_is_refused(change, told: str):
    state = on_meta("resnet18")
    change(state)
    with pytest.raises(ZooError) as refused:
        from_torchvision("resnet18", state)
    assert str(refused.value).startswith("this is no state dict of torchvision's resnet18: ")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [("resnet51", "did you mean resnet50"), ("resnet20", "resnet"), ("vgg16_c", "vgg16"), ("swin_t", "there is")],
)
def test_networks_that_torchvision_does_not_have_are_refused(name: str, told: str):
    with pytest.raises(ZooError, match="unknown network of torchvision's") as refused:
        from_torchvision(name, {})
    assert told in str(refused.value)


def test_a_deeper_network_s_weights_are_refused():
    with pytest.raises(ZooError, match=r"torchvision's resnet34: it lacks layer1\.2\.conv1\.weight"):
        from_torchvision("resnet34", on_meta("resnet18"))
    with pytest.raises(ZooError, match=r"torchvision's resnet50: .*holds|lacks"):
        from_torchvision("resnet50_v1_5", on_meta("resnet34"))
