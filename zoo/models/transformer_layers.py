"""The layers of the Transformer: attention, feed-forward network, what surrounds them, and positions.

Vaswani et al.: Attention Is All You Need. NIPS 2017, arXiv:1706.03762v7. Sections below are of this version; what the
paper leaves open is said in the header of `zoo/models/transformer.py`.
"""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
