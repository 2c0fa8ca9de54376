"""SGD by rules over names: PyTorch's own groups, the update that cuda-convnet prints, schedules, exact resume."""

import fnmatch
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from zoo.models.alexnet import cuda_convnet_11, cuda_convnet_13
from zoo.optim.grouped_sgd import GroupedSGD
from zoo.optim.schedules import PiecewiseConstant
from zoo.training.compose import compose, resolve

RULES = [{"match": "*.bias", "lr_factor": 2.0, "weight_decay": 0.0}, {"match": "1.*", "weight_decay": 0.01}]


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2)).double()


def steps(net, optimizer, count, scheduler=None):
    draw = torch.Generator().manual_seed(1)
    for _ in range(count):
        optimizer.zero_grad()
        net(torch.randn(5, 3, dtype=torch.float64, generator=draw)).square().mean().backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


def names_of(optimizer):
    return [group["param_names"] for group in optimizer.param_groups]


def test_the_first_rule_that_matches_decides():
    optimizer = GroupedSGD(two_layers().named_parameters(), lr=0.1, weight_decay=0.5, groups=RULES)
    assert names_of(optimizer) == [["0.weight", "2.weight"], ["0.bias", "1.bias", "2.bias"], ["1.weight"]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2, 0.1]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0, 0.01]


def test_equals_pytorch_s_groups():
    ours, theirs = two_layers(), two_layers()
    steps(ours, GroupedSGD(ours.named_parameters(), 0.1, 0.9, 0.5, nesterov=True, groups=RULES), 5)
    groups = [
        {"params": [theirs[0].weight, theirs[2].weight], "weight_decay": 0.5},
        {"params": [theirs[0].bias, theirs[1].bias, theirs[2].bias], "lr": 0.2, "weight_decay": 0.0},
        {"params": [theirs[1].weight], "weight_decay": 0.01},
    ]
    steps(theirs, torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True), 5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_rules_it_is_sgd():
    ours, theirs = two_layers(), two_layers()
    steps(ours, GroupedSGD(ours.named_parameters(), 0.1, momentum=0.9, weight_decay=0.01), 4)
    steps(theirs, torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9, weight_decay=0.01), 4)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


PRINTED = {  # of each layer: weight decay; epsW is 0.001, epsB 0.002, both momentums 0.9
    cuda_convnet_11: {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc10": 0.01},
    cuda_convnet_13: {"conv1": 0.0, "conv2": 0.0, "local3": 0.004, "local4": 0.004, "fc10": 0.004},
}


@pytest.mark.parametrize("make", PRINTED)
def test_the_shipped_recipe_is_cuda_convnet_s_update(make):
    """inc := mom inc - wc eps w + eps gradient; w := w + inc. Biases have no decay."""
    config = resolve(compose([f"model={make.__name__}"]).config)["optimizer"]
    assert config.pop("_target_") == "zoo.optim.grouped_sgd.GroupedSGD"
    torch.manual_seed(0)
    net = make(image_size=8).double()
    optimizer = GroupedSGD(net.named_parameters(), **config)
    expected = {name: p.detach().clone() for name, p in net.named_parameters()}
    increments = {name: torch.zeros_like(p) for name, p in expected.items()}
    images, labels = 60 * torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(net(images), labels).backward()
        for name, parameter in net.named_parameters():
            layer, kind = name.split(".")
            eps, decay = (0.001, PRINTED[make][layer]) if kind == "weight" else (0.002, 0.0)
            downhill = -parameter.grad
            increments[name] = 0.9 * increments[name] - decay * eps * expected[name] + eps * downhill
            expected[name] = expected[name] + increments[name]
        optimizer.step()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-12, atol=1e-14)


def test_a_schedule_multiplies_all_groups_alike():
    for make in (
        lambda o: PiecewiseConstant(o, [2, 4], [0.1, 0.01]),
        lambda o: CosineAnnealingLR(o, T_max=10),
    ):
        net = two_layers()
        optimizer = GroupedSGD(net.named_parameters(), lr=0.1, groups=RULES)
        scheduler = make(optimizer)
        for _ in range(8):
            rest, biases, middle = (group["lr"] for group in optimizer.param_groups)
            assert biases == pytest.approx(2 * rest, rel=1e-12)
            assert middle == pytest.approx(rest, rel=1e-12)
            steps(net, optimizer, 1, scheduler)
        assert rest < 0.1


def test_resumes_exactly_with_weights_only():
    whole = two_layers()
    optimizer = GroupedSGD(whole.named_parameters(), 0.1, 0.9, 0.01, groups=RULES)
    scheduler = PiecewiseConstant(optimizer, [2], [0.5])
    steps(whole, optimizer, 3, scheduler)
    file = io.BytesIO()
    torch.save([whole.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
    steps(whole, optimizer, 3, scheduler)

    file.seek(0)
    weights, of_optimizer, of_scheduler = torch.load(file, weights_only=True)
    resumed = two_layers()
    resumed.load_state_dict(weights)
    optimizer = GroupedSGD(resumed.named_parameters(), 0.1, 0.9, 0.01, groups=RULES)
    scheduler = PiecewiseConstant(optimizer, [2], [0.5])
    optimizer.load_state_dict(of_optimizer)
    scheduler.load_state_dict(of_scheduler)
    steps(resumed, optimizer, 3, scheduler)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["*", "*.bias", "*.weight", "0.*", "1.bias", "[12].*", "?.weight"]), max_size=4))
def test_every_parameter_is_in_one_group(patterns):
    names = [name for name, _ in two_layers().named_parameters()]
    groups = [{"match": pattern, "lr_factor": index + 2.0} for index, pattern in enumerate(patterns)]
    owner = {name: next((p for p in patterns if fnmatch.fnmatch(name, p)), None) for name in names}
    if set(patterns) - set(owner.values()) or len(set(patterns)) < len(patterns):
        with pytest.raises(ValueError, match="matches no parameter"):
            GroupedSGD(two_layers().named_parameters(), groups=groups)
        return
    optimizer = GroupedSGD(two_layers().named_parameters(), lr=1.0, groups=groups)
    found = {name: group["lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert found == {name: patterns.index(p) + 2.0 if p else 1.0 for name, p in owner.items()}


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([{"match": "convolution*"}], r"'convolution\*' matches no parameter .* are 0\.weight, 0\.bias, 1\.weight"),
        ([{"match": "*"}, {"match": "0.bias"}], r"'0\.bias' matches no parameter that an earlier rule has not taken"),
        ([{"lr_factor": 2.0}], "keys match, lr_factor and weight_decay, got {'lr_factor': 2.0}"),
        ([{"match": "*", "lr": 2.0}], "keys match, lr_factor and weight_decay, got .*'lr'"),
        ([{"match": 3}], "keys match"),
        ([{"match": "*", "lr_factor": -1}], r"lr_factor is a number of at least 0, got -1 for '\*'"),
        ([{"match": "*", "weight_decay": float("nan")}], "weight_decay is a number of at least 0, got nan"),
        ([{"match": "*", "weight_decay": "much"}], "weight_decay is a number"),
        ([{"match": "*", "lr_factor": True}], "lr_factor is a number"),
    ],
)
def test_wrong_rules_are_told(rules, message):
    with pytest.raises(ValueError, match=message):
        GroupedSGD(two_layers().named_parameters(), groups=rules)


def test_many_names_are_cut_short():
    net = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
    with pytest.raises(ValueError, match=r"9\.weight, 9\.bias and 20 more$"):
        GroupedSGD(net.named_parameters(), groups=[{"match": "none"}])


def test_parameters_need_names():
    with pytest.raises(ValueError, match=r"give it model\.named_parameters\(\)"):
        GroupedSGD(two_layers().parameters(), groups=RULES)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW], ids=lambda make: make.__name__)
def test_pytorch_s_own_take_names_too_and_load_states_without(make):
    """Each model's parameters come with names; a checkpoint from before names were stored still goes on exactly."""
    named, plain = two_layers(), two_layers()
    of_named, of_plain = make(named.named_parameters(), lr=0.01), make(plain.parameters(), lr=0.01)
    steps(named, of_named, 2)
    steps(plain, of_plain, 2)
    file = io.BytesIO()
    torch.save([of_named.state_dict(), of_plain.state_dict()], file)
    file.seek(0)
    with_names, without = torch.load(file, weights_only=True)
    assert with_names["param_groups"][0].pop("param_names") == [name for name, _ in named.named_parameters()]
    assert with_names["param_groups"] == without["param_groups"]
    of_named.load_state_dict(without)
    steps(named, of_named, 2)
    steps(plain, of_plain, 2)
    for one, other in zip(named.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
