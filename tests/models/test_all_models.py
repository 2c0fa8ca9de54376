"""What holds for every model in the registry, whoever wrote it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.catalog import DATASETS
from zoo.data.spec import SPEC_OF_TASK, ControlSpec, ImageSpec, PairSpec, Spec, TextSpec
from zoo.models.catalog import MODELS
from zoo.models.gan import AdversarialNetworks
from zoo.models.registry import arguments_for, create_model, registration
from zoo.pretrained.release import load_release, save_release
from zoo.training.environment import native_bf16

BATCH = 8


def _images(spec: ImageSpec, device: str = "cpu") -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    images = torch.rand(BATCH, spec.channels, spec.height, spec.width, generator=draw) - 0.5
    labels = torch.randint(spec.classes, (BATCH,), generator=draw)
    return images.to(device), labels.to(device)


def _text(spec: TextSpec, device: str = "cpu") -> tuple[Tensor, Tensor]:
    tokens = torch.randint(spec.vocabulary_size, (BATCH, 6), generator=torch.Generator().manual_seed(3))
    return tokens[:, :-1].to(device), tokens[:, 1:].to(device)


def _pairs(spec: PairSpec, device: str = "cpu") -> tuple[tuple[Tensor, Tensor], Tensor]:
    draw = torch.Generator().manual_seed(3)
    source = torch.randint(spec.end + 1, spec.source_vocabulary_size, (BATCH, 7), generator=draw)
    target = torch.randint(spec.end + 1, spec.target_vocabulary_size, (BATCH, 6), generator=draw)
    source[::2, 4:], target[:, 0] = spec.pad, spec.begin
    return (source.to(device), target[:, :-1].to(device)), target[:, 1:].to(device)


def _observations(spec: ControlSpec, device: str = "cpu") -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    seen = torch.randint(256, (BATCH, *spec.observation_shape), generator=draw)
    seen = {"uint8": seen.byte(), "bool": seen > 200}.get(spec.dtype, seen / 255)
    return seen.to(device), torch.randint(spec.actions, (BATCH,), generator=draw).to(device)


def _noise(spec: ImageSpec, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Noise for a generator; the toy's has 2 numbers, the others' 100."""
    noise = torch.rand(BATCH, 2 if spec.width == 2 else 100, generator=torch.Generator().manual_seed(3)) - 0.5
    return noise.to(device), torch.zeros(BATCH, device=device)


# What a model takes: one tensor, or several.
Inputs = Tensor | tuple[Tensor, ...]

# How a batch of each task is made up; a new task adds its line.
BATCHES: dict[str, Callable[..., tuple[Inputs, Tensor]]] = {
    "image_classification": _images,
    "language_modeling": _text,
    "translation": _pairs,
    "q_learning": _observations,
    "adversarial": _noise,
}


def scores_of(net: nn.Module, inputs: Inputs) -> Tensor:
    """Returns what a model answers; one with a memory returns that too, and two networks answer through each other."""
    if isinstance(net, AdversarialNetworks):
        return net.discriminator(net.generator(inputs))
    answer = net(*inputs) if isinstance(inputs, tuple) else net(inputs)
    return answer[0] if isinstance(answer, tuple) else answer


def scores_shape(spec: Spec, task: str) -> tuple[int, ...]:
    if isinstance(spec, PairSpec):
        return BATCH, 5, spec.target_vocabulary_size
    if isinstance(spec, TextSpec):
        return BATCH, 5, spec.vocabulary_size
    if isinstance(spec, ControlSpec):
        return BATCH, spec.actions
    return BATCH, 1 if task == "adversarial" else spec.classes


def fitting_spec(name: str) -> Spec:
    """Returns the spec of the first dataset that the model takes."""
    entry = registration(name)
    kind = SPEC_OF_TASK[entry.task]
    specs = [data.spec for data in DATASETS.values() if isinstance(data.spec, kind)]
    return next(spec for spec in specs if not entry.fits or entry.fits(spec) is None)


def loss_of(net: nn.Module, batch: tuple[Inputs, Tensor]) -> Tensor:
    scores, labels = scores_of(net, batch[0]), batch[1]
    if isinstance(net, AdversarialNetworks):
        return F.softplus(-scores).mean()
    own: Any = getattr(net, "loss", None)
    return own(scores, labels) if own else F.cross_entropy(scores.flatten(0, -2), labels.flatten())


def _smallest_of_each_paper() -> list[str]:
    families: dict[str, str] = {}
    for name, entry in MODELS.items():
        other = families.setdefault(entry.paper, name)
        if entry.parameters < MODELS[other].parameters:
            families[entry.paper] = name
    return sorted(families.values())


# Large members of a family are built on the meta device only.
BUILT = sorted({*_smallest_of_each_paper(), *(name for name, entry in MODELS.items() if entry.parameters < 3e5)})


def build(name: str) -> tuple[nn.Module, dict[str, Any], tuple[Inputs, Tensor]]:
    spec = fitting_spec(name)
    arguments = arguments_for(name, spec, {})
    torch.manual_seed(5)
    return create_model(name, **arguments), arguments, BATCHES[MODELS[name].task](spec)


@pytest.mark.parametrize("name", MODELS)
def test_shape_and_size(name: str):
    spec = fitting_spec(name)
    inputs, _ = BATCHES[MODELS[name].task](spec, "meta")
    with torch.device("meta"):
        net = create_model(name, **arguments_for(name, spec, {})).eval()
        paper_s_own = create_model(name)
    assert scores_of(net, inputs).shape == scores_shape(spec, MODELS[name].task)
    assert sum(p.numel() for p in paper_s_own.parameters() if p.requires_grad) == MODELS[name].parameters


@pytest.mark.parametrize("name", BUILT)
def test_a_gradient_reaches_every_parameter(name: str):
    net, _, batch = build(name)
    loss_of(net, batch).backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.count_nonzero() > 0, key


@pytest.mark.parametrize("name", BUILT)
def test_a_few_steps_lower_the_loss(name: str):
    net, _, batch = build(name)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        losses.append(loss_of(net, batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", BUILT)
def test_the_seed_decides_the_weights(name: str):
    (net, arguments, _), (again, _, _) = build(name), build(name)
    torch.manual_seed(6)
    different = create_model(name, **arguments)
    one, same, other = net.state_dict(), again.state_dict(), different.state_dict()
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key, _ in net.named_parameters())


@pytest.mark.parametrize("name", BUILT)
def test_reloaded_is_the_original(name: str, tmp_path: Path):
    net, arguments, (inputs, _) = build(name)
    card = {"task": MODELS[name].task, "preprocessing": {}, "class_names": []}
    folder = save_release(tmp_path / "release", net.eval(), name, arguments, card)
    reloaded, _ = load_release(folder)
    with torch.no_grad():
        assert torch.equal(scores_of(reloaded, inputs), scores_of(net, inputs))


@pytest.mark.parametrize("name", BUILT)
def test_in_bfloat16_it_learns_nearly_the_same(name: str):
    net, _, batch = build(name)
    if any(isinstance(module, nn.LSTM) for module in net.modules()) and not native_bf16():
        pytest.skip("oneDNN has no LSTM in bfloat16 for a CPU without instructions for it")
    losses, slopes = [], []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = loss_of(net.eval(), batch)
        losses.append(float(loss.detach()))
        slopes.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(net.parameters()))]))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert F.cosine_similarity(*slopes, dim=0) > 0.97


@pytest.mark.parametrize("name", [name for name in BUILT if MODELS[name].task != "q_learning"])
def test_with_weights_of_bfloat16_it_answers_nearly_the_same(name: str):
    net, _, (inputs, _) = build(name)
    exact = scores_of(net.eval(), inputs).detach()
    given = inputs if isinstance(inputs, tuple) or not inputs.is_floating_point() else inputs.bfloat16()
    scores = scores_of(net.bfloat16(), given)
    assert scores.dtype == torch.bfloat16
    assert F.cosine_similarity(scores.float().flatten(), exact.flatten(), dim=0) > 0.95
    if scores.requires_grad:
        scores.float().sum().backward()
