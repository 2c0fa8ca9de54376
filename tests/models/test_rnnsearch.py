"""RNNsearch against the paper's equations, written out word by word in float64."""

import pytest
import torch
from torch import Tensor, nn

from zoo.models.rnnsearch import RNNsearch, rnnencdec, rnnencdec_small, rnnsearch, rnnsearch_small

PAD = 0


def small(search: bool = True) -> RNNsearch:
    torch.manual_seed(0)
    net = RNNsearch(13, 11, PAD, width=6, embedding=5, maxout=4, search=search).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.eval()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    source, target = torch.randint(1, 13, (3, 6), generator=draw), torch.randint(1, 11, (3, 5), generator=draw)
    source[1, 4:] = source[2, 1:] = PAD
    return source, target


def gates(unit, inputs: int) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """W, U and the bias of the candidate, of z and of r."""
    below, bias = unit.from_input.weight.chunk(3), unit.from_input.bias.chunk(3)
    own = (unit.candidate.weight, *unit.gates.weight.chunk(2))
    return dict(zip(("candidate", "z", "r"), zip(below, own, bias, strict=True), strict=True))


def unit_step(unit, x: Tensor, s: Tensor) -> Tensor:
    """Appendix A.1.1, one sentence."""
    parts = gates(unit, len(x))

    def linear(name: str, state: Tensor) -> Tensor:
        below, own, bias = parts[name]
        return below @ x + own @ state + bias

    z, r = torch.sigmoid(linear("z", s)), torch.sigmoid(linear("r", s))
    return (1 - z) * s + z * torch.tanh(linear("candidate", r * s))


def by_the_paper(net: RNNsearch, source: list[int], target: list[int]) -> tuple[Tensor, Tensor]:
    """Logits `(T, V)` and weights `(T, S)` of one sentence without padding (Appendix A)."""
    size = net.first_state.in_features
    words = net.source_embedding.weight[source]
    state, there = torch.zeros(size, dtype=torch.float64), []
    for x in words:
        state = unit_step(net.forwards, x, state)
        there.append(state)
    if net.attention is None:
        context, s = there[-1], torch.tanh(net.first_state(there[-1]))
    else:
        state, back = torch.zeros(size, dtype=torch.float64), []
        for x in words.flip(0):
            state = unit_step(net.backwards, x, state)
            back.insert(0, state)
        annotations = [torch.cat(pair) for pair in zip(there, back, strict=True)]
        s = torch.tanh(net.first_state(back[0]))
    logits, weights = [], []
    for token in target:
        y = net.target_embedding.weight[token]
        if net.attention is not None:
            of_state, of_annotation, v = (
                layer.weight for layer in (net.attention.of_state, net.attention.of_annotation, net.attention.score)
            )
            energies = torch.stack([v[0] @ torch.tanh(of_state @ s + of_annotation @ h) for h in annotations])
            weights.append(energies.exp() / energies.exp().sum())
            context = sum(weight * h for weight, h in zip(weights[-1], annotations, strict=True))
        hidden = net.readout.weight @ torch.cat([s, y, context]) + net.readout.bias
        maxout = torch.stack([torch.maximum(hidden[2 * j], hidden[2 * j + 1]) for j in range(len(hidden) // 2)])
        logits.append(net.output(maxout))
        s = unit_step(net.decoder, torch.cat([y, context]), s)
    return torch.stack(logits), torch.stack(weights) if weights else torch.empty(len(target), 0)


@pytest.mark.parametrize("search", [True, False])
def test_it_computes_the_paper_s_equations_whatever_the_padding(search: bool):
    net = small(search)
    source, target = batch()
    logits, weights = net(source, target), net.alignment(source, target)
    for row in range(3):
        words = [token for token in source[row].tolist() if token != PAD]
        expected, aligned = by_the_paper(net, words, target[row].tolist())
        assert torch.allclose(logits[row], expected, atol=1e-12)
        if search:
            assert torch.allclose(weights[row, :, : len(words)], aligned, atol=1e-12)
            assert weights[row, :, len(words) :].count_nonzero() == 0
    assert weights.shape == (3, 5, 6 if search else 0)


@pytest.mark.parametrize("search", [True, False])
def test_step_by_step_it_is_the_same(search: bool):
    net = small(search)
    source, target = batch()
    memory, steps = net.begin(source), []
    for token in target.t():
        logits, memory = net.step(token, memory)
        steps.append(logits)
    assert torch.allclose(torch.stack(steps, dim=1), net(source, target), atol=1e-12)


@pytest.mark.parametrize("search", [True, False])
def test_gradients_reach_every_parameter(search: bool):
    net = small(search).train()
    source, target = batch()
    net(source, target).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.count_nonzero() > 0, name


def test_parameters_are_drawn_as_appendix_b_says():
    torch.manual_seed(0)
    net = rnnsearch_small()
    eye = torch.eye(256)
    for unit in (net.forwards, net.backwards, net.decoder):
        for matrix in (unit.candidate.weight, *unit.gates.weight.chunk(2)):
            assert torch.allclose(matrix @ matrix.T, eye, atol=1e-4)
        assert unit.from_input.bias.count_nonzero() == 0
    assert net.attention.score.weight.count_nonzero() == 0
    assert net.attention.of_state.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert net.attention.of_annotation.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert net.source_embedding.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert net.readout.weight.std().item() == pytest.approx(0.01, rel=0.02)


def test_sizes():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in make().parameters()) for make in (rnnsearch, rnnencdec)]
    assert counts == [80_442_000, 68_578_000]
    for make in (rnnsearch_small, rnnencdec_small):
        assert sum(p.numel() for p in make(10_000, 10_000).parameters()) < 6_000_000


def test_a_probability_is_one():
    with pytest.raises(ValueError, match="a probability"):
        rnnsearch_small(dropout=1.0)
