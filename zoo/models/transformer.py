"""The Transformer: sequences to sequences by attention alone.

Vaswani et al.: Attention Is All You Need. NIPS 2017, arXiv:1706.03762v7. Sections and tables below are of this version.

Claims, each tested by the experiment named after it:
    English-German, newstest2014 (Table 2): base 27.3 BLEU, big 28.4; not run here, the data is too large
    Multi30k English-German (Wu et al. 2021, not by the authors): 41.02: transformer_tiny_multi30k_en_de

Parameters at a joint vocabulary of 37,000: `transformer_base` 63,045,632, `transformer_big` 214,171,648. Table 3 prints
65 and 213 million, which no single vocabulary gives.

What the paper leaves open is as in the authors' library (tensor2tensor): projections of the attention without biases
(as the paper's formulas), weights Glorot-uniform, embeddings N(0, 1/d). `pre_norm` is not in the paper; it is what that
library later did (Xiong et al. 2020, arXiv:2002.04745). Sines and cosines interleave, as printed in Section 3.5; the
library has them one behind the other.
"""

import math
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.models.derived import DerivedBuffers
from zoo.models.registry import register_model

Cache = tuple[Tensor, ...]  # keys and values, (B, H, T, D / H) each, of every decoder layer; see `Transformer.begin`


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention over several heads (Section 3.2).

    Args:
        width: d_model, a multiple of `heads`.
        heads: h.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def split(self, x: Tensor) -> Tensor:
        """Returns `(B, T, D)` as `(B, H, T, D / H)`."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def keys_and_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the keys and values of `(B, S, D)`, each `(B, H, S, D / H)`."""
        return self.split(self.key(memory)), self.split(self.value(memory))

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """Attends from each position of x.

        Args:
            x: `(B, T, D)`.
            keys: `(B, H, S, D / H)`.
            values: `(B, H, S, D / H)`.
            seen: Which keys may be seen, bool, broadcast to `(B, H, T, S)`; None for all.
            causal: Whether position t sees the keys 0 to t only.
        """
        queries = self.split(self.query(x))
        # On a CPU the backward pass of bfloat16 attention takes ten times as long as that of float32.
        slow = queries.dtype == torch.bfloat16 and queries.device.type == "cpu" and torch.is_grad_enabled()
        with torch.autocast("cpu", enabled=False) if slow else nullcontext():
            given = (queries.float(), keys.float(), values.float()) if slow else (queries, keys, values)
            read = F.scaled_dot_product_attention(*given, seen, is_causal=causal).to(queries.dtype)
        return self.output(read.transpose(1, 2).flatten(2))

    def weights(self, x: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """Returns what each position of x attends to, the mean over heads, `(B, T, S)`; rows sum to 1."""
        scores = self.split(self.query(x)) @ keys.transpose(2, 3) / math.sqrt(keys.shape[3])
        return scores.masked_fill(~seen, -math.inf).softmax(dim=3).mean(dim=1)


class FeedForward(nn.Sequential):
    """Two linear layers with a ReLU between them, the same at each position (Section 3.3)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))


class Residual(nn.Module):
    """LayerNorm(x + Dropout(sublayer(x))) (Section 3.1), or x + Dropout(sublayer(LayerNorm(x)))."""

    def __init__(self, width: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def before(self, x: Tensor) -> Tensor:
        """Returns what the sub-layer reads."""
        return self.norm(x) if self.pre_norm else x

    def after(self, x: Tensor, change: Tensor) -> Tensor:
        """Adds what the sub-layer gave."""
        x = x + self.dropout(change)
        return x if self.pre_norm else self.norm(x)


class EncoderLayer(nn.Module):
    """Self-attention and the feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.attention_residual = Residual(width, dropout, pre_norm)
        self.feed_forward = FeedForward(width, hidden)
        self.feed_forward_residual = Residual(width, dropout, pre_norm)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Takes and returns `(B, S, D)`; `seen` is `(B, 1, 1, S)`."""
        read = self.attention_residual.before(x)
        x = self.attention_residual.after(x, self.attention(read, *self.attention.keys_and_values(read), seen))
        return self.feed_forward_residual.after(x, self.feed_forward(self.feed_forward_residual.before(x)))


class DecoderLayer(nn.Module):
    """Self-attention to what has been written, attention to the source, and the feed-forward network."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.attention_residual = Residual(width, dropout, pre_norm)
        self.source_attention = MultiHeadAttention(width, heads)
        self.source_residual = Residual(width, dropout, pre_norm)
        self.feed_forward = FeedForward(width, hidden)
        self.feed_forward_residual = Residual(width, dropout, pre_norm)

    def forward(
        self, x: Tensor, source: tuple[Tensor, Tensor], seen: Tensor, before: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor]:
        """Decodes a whole target, or one more position of it.

        Args:
            x: `(B, T, D)`; with `before`, T is 1.
            source: Keys and values of the source.
            seen: Which of them are no padding, `(B, 1, 1, S)`.
            before: Keys and values of the positions before; None decodes a target from its first position on.

        Returns:
            `(B, T, D)`; the keys and values of all positions; and what asked the source, `(B, T, D)`.
        """
        read = self.attention_residual.before(x)
        keys, values = self.attention.keys_and_values(read)
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
        x = self.attention_residual.after(x, self.attention(read, keys, values, causal=before is None))
        asking = self.source_residual.before(x)
        x = self.source_residual.after(x, self.source_attention(asking, *source, seen))
        x = self.feed_forward_residual.after(x, self.feed_forward(self.feed_forward_residual.before(x)))
        return x, (keys, values), asking


def sinusoids(length: int, width: int) -> Tensor:
    """Returns the positional encodings of Section 3.5, `(length, width)`: sin at even channels, cos at odd ones."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position * 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width].float()


class Transformer(DerivedBuffers):
    """Encoder and decoder of attention layers; one matrix embeds source and target and scores the output.

    Args:
        source_vocabulary_size: How many different tokens the source has.
        target_vocabulary_size: How many the target has, V.
        pad: The number of the token that fills up the end of short sentences.
        layers: N, of the encoder and of the decoder.
        width: d_model, D; even, and a multiple of `heads`.
        hidden: d_ff.
        heads: h.
        dropout: Probability, on each sub-layer's output and on the sums of embeddings and positions.
        shared_embeddings: Whether source and target have one vocabulary and one embedding, as in the paper.
        pre_norm: Whether sub-layers read normalised input, with one more norm behind the last layer.
    """

    def __init__(
        self,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        pad: int,
        layers: int,
        width: int,
        hidden: int,
        heads: int,
        dropout: float,
        shared_embeddings: bool = True,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ValueError(f"width={width} is not possible: expected an even multiple of heads={heads}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        if shared_embeddings and source_vocabulary_size != target_vocabulary_size:
            raise ValueError(f"vocabularies of {source_vocabulary_size} and {target_vocabulary_size} tokens share no "
                             "embedding: give shared_embeddings=false, or one vocabulary for both")  # fmt: skip
        self.pad, self.width = pad, width
        self.target_embedding = nn.Embedding(target_vocabulary_size, width)
        self.source_embedding = (
            self.target_embedding if shared_embeddings else nn.Embedding(source_vocabulary_size, width)
        )
        self.dropout = nn.Dropout(dropout)
        sizes = (width, heads, hidden, dropout, pre_norm)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.decoder_norm = nn.LayerNorm(width) if pre_norm else nn.Identity()
        self.positions: Tensor
        self.derive()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=width**-0.5)

    def derived_buffers(self) -> dict[str, Tensor]:
        """Returns the sinusoids of the first positions; more are made as they are needed."""
        return {"positions": sinusoids(512, self.width)}

    def _embedded(self, embedding: nn.Embedding, tokens: Tensor, first: int = 0) -> Tensor:
        last = first + tokens.shape[1]
        if last > len(self.positions):
            self.positions = sinusoids(2 * last, self.width).to(self.positions)
        return self.dropout(embedding(tokens) * math.sqrt(self.width) + self.positions[first:last])

    def _decoder_layers(self) -> Iterator[DecoderLayer]:
        for layer in self.decoder:
            assert isinstance(layer, DecoderLayer)
            yield layer

    def _scores(self, x: Tensor) -> Tensor:
        return F.linear(self.decoder_norm(x), self.target_embedding.weight)

    def _sources(self, source: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Encodes `(B, S)`; returns what is no padding, and the keys and values for each decoder layer."""
        seen = (source != self.pad)[:, None, None, :]
        x = self._embedded(self.source_embedding, source)
        for layer in self.encoder:
            x = layer(x, seen)
        x = self.encoder_norm(x)
        return seen, [layer.source_attention.keys_and_values(x) for layer in self._decoder_layers()]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores what comes next after each token of the target.

        Args:
            source: `(B, S)`, int64, padded at the end.
            target: `(B, T)`, int64, from the token that begins a sentence on.

        Returns:
            Logits `(B, T, V)`.
        """
        seen, sources = self._sources(source)
        x = self._embedded(self.target_embedding, target)
        for layer, keys_and_values in zip(self._decoder_layers(), sources, strict=True):
            x, *_ = layer(x, keys_and_values, seen)
        return self._scores(x)

    def begin(self, source: Tensor) -> Cache:
        """Encodes a source, to be translated token by token.

        Args:
            source: `(B, S)`, int64, padded at the end.

        Returns:
            What `step` takes: tensors whose first dimension is B, to be reordered as hypotheses are.
        """
        seen, sources = self._sources(source)
        empty = tuple(pair[0][:, :, :0] for pair in sources for _ in range(2))
        return (seen, *(part for pair in sources for part in pair), *empty)

    def step(self, tokens: Tensor, cache: Cache) -> tuple[Tensor, Cache]:
        """Writes one token: those before it are in the cache, so that each step costs the same.

        Args:
            tokens: The last token of each hypothesis, `(B,)`.
            cache: What `begin` or the last step returned.

        Returns:
            Logits of the next token `(B, V)`, and the cache with this one in it.
        """
        depth = 2 * len(self.decoder)
        seen, sources, written = cache[0], cache[1 : 1 + depth], cache[1 + depth :]
        x = self._embedded(self.target_embedding, tokens[:, None], first=written[0].shape[2])
        after: list[Tensor] = []
        for number, layer in enumerate(self._decoder_layers()):
            own = slice(2 * number, 2 * number + 2)
            x, keys_and_values, _ = layer(x, sources[own], seen, written[own])
            after += keys_and_values
        return self._scores(x)[:, 0], (seen, *sources, *after)

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns what each target position attends to in the source, the mean over the heads of the last layer.

        Args:
            source: `(B, S)`.
            target: `(B, T)`, from the token that begins a sentence on.

        Returns:
            `(B, T, S)`: rows sum to 1, padding has 0.
        """
        seen, sources = self._sources(source)
        x = self._embedded(self.target_embedding, target)
        for layer, keys_and_values in zip(self._decoder_layers(), sources, strict=True):
            x, _, asking = layer(x, keys_and_values, seen)
        return layer.source_attention.weights(asking, keys_and_values[0], seen)


_FROM_SPEC = {
    "source_vocabulary_size": "source_vocabulary_size",
    "target_vocabulary_size": "target_vocabulary_size",
    "pad": "pad",
}
_ARGUMENTS = """
    Args:
        source_vocabulary_size: How many different tokens the source has.
        target_vocabulary_size: How many the target has.
        pad: The number of the token that fills up short sentences.
        dropout: Probability, on each sub-layer's output and on the sums of embeddings and positions.
        shared_embeddings: Whether source and target have one vocabulary and one embedding.
        pre_norm: Whether sub-layers read normalised input.

    Raises:
        ValueError: A probability outside [0, 1), or two vocabularies that share an embedding.
"""


@register_model(task="translation", paper="vaswani2017", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def transformer_base(
    source_vocabulary_size: int = 37_000,
    target_vocabulary_size: int = 37_000,
    pad: int = 0,
    dropout: float = 0.1,
    shared_embeddings: bool = True,
    pre_norm: bool = False,
) -> Transformer:
    """The base model: 6 + 6 layers of width 512 (Table 3, first row)."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad)
    return Transformer(*sizes, 6, 512, 2048, 8, dropout, shared_embeddings, pre_norm)


@register_model(task="translation", paper="vaswani2017", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def transformer_big(
    source_vocabulary_size: int = 37_000,
    target_vocabulary_size: int = 37_000,
    pad: int = 0,
    dropout: float = 0.3,
    shared_embeddings: bool = True,
    pre_norm: bool = False,
) -> Transformer:
    """The big model: 6 + 6 layers of width 1024 (Table 3, last row)."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad)
    return Transformer(*sizes, 6, 1024, 4096, 16, dropout, shared_embeddings, pre_norm)


@register_model(task="translation", paper="vaswani2017", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def transformer_small(
    source_vocabulary_size: int = 10_000,
    target_vocabulary_size: int = 10_000,
    pad: int = 0,
    dropout: float = 0.1,
    shared_embeddings: bool = True,
    pre_norm: bool = False,
) -> Transformer:
    """2 + 2 layers of width 256, as the authors' library has it under this name; not in the paper."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad)
    return Transformer(*sizes, 2, 256, 1024, 4, dropout, shared_embeddings, pre_norm)


@register_model(task="translation", paper="vaswani2017", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def transformer_tiny(
    source_vocabulary_size: int = 10_000,
    target_vocabulary_size: int = 10_000,
    pad: int = 0,
    dropout: float = 0.1,
    shared_embeddings: bool = True,
    pre_norm: bool = False,
) -> Transformer:
    """4 + 4 layers of width 128, for Multi30k (Wu et al. 2021, arXiv:2105.14462); not in the paper."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad)
    return Transformer(*sizes, 4, 128, 256, 4, dropout, shared_embeddings, pre_norm)
