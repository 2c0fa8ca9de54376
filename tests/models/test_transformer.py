"""The Transformer against torch.nn.Transformer, its own cache, and the paper's formulas."""

import math

import pytest
import torch
from torch import Tensor, nn

from zoo.models.transformer import Transformer, transformer_base, transformer_big, transformer_tiny
from zoo.models.transformer_layers import sinusoids

PAD = 0


def small(pre_norm: bool = False, dropout: float = 0.0, shared: bool = True, **other) -> Transformer:
    torch.manual_seed(0)
    sizes = {"layers": 3, "width": 16, "hidden": 24, "heads": 4} | other
    net = Transformer(
        30, 30 if shared else 20, PAD, dropout=dropout, shared_embeddings=shared, pre_norm=pre_norm, **sizes
    )
    for parameter in net.parameters():  # norms and biases too, so that none could be left out
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    source, target = torch.randint(1, 20, (4, 9), generator=draw), torch.randint(1, 20, (4, 7), generator=draw)
    source[1, 5:] = source[2, 2:] = PAD
    return source, target


def theirs(net: Transformer, pre_norm: bool) -> nn.Transformer:
    """torch.nn.Transformer with the same weights; without the norms that it adds behind the last layers."""
    other = nn.Transformer(16, 4, 3, 3, 24, 0.0, batch_first=True, norm_first=pre_norm)
    if not pre_norm:
        other.encoder.norm = other.decoder.norm = None

    def attention(mine, yours) -> None:
        yours.in_proj_weight.data = torch.cat([mine.query.weight, mine.key.weight, mine.value.weight]).detach()
        yours.in_proj_bias.data.zero_()
        yours.out_proj.weight.data = mine.output.weight.detach()
        yours.out_proj.bias.data.zero_()

    def rest(mine, yours, norms) -> None:
        for number, norm in enumerate(norms, 1):
            getattr(yours, f"norm{number}").load_state_dict(norm.norm.state_dict())
        yours.linear1.load_state_dict(mine.feed_forward[0].state_dict())
        yours.linear2.load_state_dict(mine.feed_forward[2].state_dict())

    for mine, yours in zip(net.encoder, other.encoder.layers, strict=True):
        attention(mine.attention, yours.self_attn)
        rest(mine, yours, (mine.attention_residual, mine.feed_forward_residual))
    for mine, yours in zip(net.decoder, other.decoder.layers, strict=True):
        attention(mine.attention, yours.self_attn)
        attention(mine.source_attention, yours.multihead_attn)
        rest(mine, yours, (mine.attention_residual, mine.source_residual, mine.feed_forward_residual))
    if pre_norm:
        other.encoder.norm.load_state_dict(net.encoder_norm.state_dict())
        other.decoder.norm.load_state_dict(net.decoder_norm.state_dict())
    return other.eval()


@pytest.mark.parametrize("pre_norm", [False, True])
def test_it_computes_what_torch_s_transformer_does(pre_norm: bool):
    net = small(pre_norm)
    other = theirs(net, pre_norm)
    source, target = batch()

    def embedded(tokens: Tensor) -> Tensor:
        return net.target_embedding(tokens) * 4.0 + sinusoids(tokens.shape[1], 16)

    padding = source == PAD
    mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
    with torch.no_grad():
        out = other(
            embedded(source), embedded(target), tgt_mask=mask, src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )  # fmt: skip
        expected = out @ net.target_embedding.weight.T
        assert torch.allclose(net(source, target), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_the_cache_changes_nothing(pre_norm: bool, shared: bool):
    net = small(pre_norm, shared=shared)
    source, target = batch()
    cache, steps = net.begin(source), []
    for token in target.t():
        logits, cache = net.step(token, cache)
        steps.append(logits)
    assert torch.allclose(torch.stack(steps, dim=1), net(source, target), atol=1e-4)


def test_a_position_sees_nothing_after_it():
    net = small()
    source, target = batch()
    before = net(source, target)
    changed = target.clone()
    changed[:, 4:] = 1 + (changed[:, 4:] + 3) % 19
    after = net(source, changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_padding_changes_nothing():
    net = small()
    source, target = batch()
    longer = torch.cat([source, torch.full((4, 5), PAD)], dim=1)
    assert torch.allclose(net(longer, target), net(source, target), atol=1e-5)
    weights = net.alignment(longer, target)
    assert weights.shape == (4, 7, 14)
    assert torch.allclose(weights.sum(2), torch.ones(4, 7))
    assert weights[:, :, 9:].count_nonzero() == 0
    assert weights[2, :, 2:].count_nonzero() == 0


def test_positions_are_the_paper_s():
    encoded = sinusoids(600, 6)
    for position in (0, 1, 77, 599):
        for channel in range(6):
            angle = position / 10_000 ** (2 * (channel // 2) / 6)
            expected = math.sin(angle) if channel % 2 == 0 else math.cos(angle)
            assert encoded[position, channel] == pytest.approx(expected, abs=1e-6)


def test_sentences_longer_than_any_before():
    net = small()
    tokens = torch.ones(1, 700, dtype=torch.int64)
    assert net(tokens, tokens).shape == (1, 700, 30)
    assert not any("positions" in name for name in net.state_dict())


def test_sizes():
    with torch.device("meta"):
        base, big, tiny = transformer_base(), transformer_big(), transformer_tiny(9_700, 9_700)
    assert sum(p.numel() for p in base.parameters()) == 63_045_632
    assert sum(p.numel() for p in big.parameters()) == 214_171_648
    assert sum(p.numel() for p in tiny.parameters()) == 2_560_512
    assert (len(base.encoder), len(base.decoder), base.width) == (6, 6, 512)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="share no embedding"):
        transformer_tiny(30, 31)
    with pytest.raises(ValueError, match="an even multiple of heads=4"):
        small(width=18)
    with pytest.raises(ValueError, match="a probability"):
        transformer_tiny(dropout=1.0)
