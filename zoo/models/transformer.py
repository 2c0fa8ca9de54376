"""The Transformer: sequences to sequences by attention alone.

Vaswani et al.: Attention Is All You Need. NIPS 2017, arXiv:1706.03762v7. Sections and tables below are of this version.
Attention and layers are in `zoo/models/transformer_layers.py`, the whole network here.

Claims, each tested by the experiment named after it:
    English-German, newstest2014 (Table 2): base 27.3 BLEU, big 28.4; not run here, the data is too large
    Multi30k English-German (Wu et al. 2021, not by the authors): 41.02: transformer_tiny_multi30k_en_de

Parameters at a joint vocabulary of 37,000: `transformer_base` 63,045,632, `transformer_big` 214,171,648. Table 3 prints
65 and 213 million, which no single vocabulary gives.

What the paper leaves open is as in the authors' library (tensor2tensor): projections of the attention without biases
(as the paper's formulas), weights Glorot-uniform, embeddings N(0, 1/d). `pre_norm` is not in the paper; it is what that
library later did (Xiong et al. 2020, arXiv:2002.04745). Sines and cosines interleave, as printed in Section 3.5; the
library has them one behind the other. Section 6.1 tests the mean of the last 5 checkpoints, 20 for the big network, ten
minutes apart; the recipes of `transformer_base` and `transformer_big` test the best epoch on validation, and with
`select=last callbacks=average_last` the mean of the last epochs.
"""

import math
from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.models.derived import DerivedBuffers
from zoo.models.registry import register_model
from zoo.models.transformer_layers import DecoderLayer, EncoderLayer, sinusoids

Cache = tuple[Tensor, ...]  # keys and values, (B, H, T, D / H) each, of every decoder layer; see `Transformer.begin`


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
