"""The translator that PyTorch's users usually start from, to be compared with.

As in PyTorch's tutorial on translation: `nn.Transformer` with its own norms behind the last layers, masks for what is
padding and what comes later, pairs as chance brings them together, padded to the longest of a batch, and Adam with a
fixed step size. One matrix embeds both languages and scores the output, and labels are smoothed, as in the paper.
Written anew; nothing in it is slow on purpose, nothing in it is ours.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

LABEL_SMOOTHING = 0.1
STEP_SIZE = 0.0001
_LONGEST = 5000  # tokens of a sentence for which positions are known


class TranslationModel(nn.Module):
    """`nn.Transformer` between embeddings with positions and the scores of the next token.

    Args:
        vocabulary_size: How many different tokens both languages have together, V.
        pad: The number of the token that fills up short sentences.
        layers: Of the encoder and of the decoder.
        width: Of the embedding and of each layer, D.
        hidden: Of the feed-forward networks.
        heads: Of each attention.
        dropout: Probability.
    """

    def __init__(
        self, vocabulary_size: int, pad: int, layers: int, width: int, hidden: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.pad, self.scale = pad, math.sqrt(width)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.dropout = nn.Dropout(dropout)
        self.transformer = nn.Transformer(width, heads, layers, layers, hidden, dropout, batch_first=True)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        place = torch.arange(_LONGEST)[:, None]
        frequency = torch.exp(-math.log(10_000) / width * torch.arange(0, width, 2))
        positions = torch.zeros(_LONGEST, width)
        positions[:, 0::2], positions[:, 1::2] = torch.sin(place * frequency), torch.cos(place * frequency)
        self.positions: Tensor
        self.register_buffer("positions", positions, persistent=False)

    def embedded(self, tokens: Tensor) -> Tensor:
        """Returns `(B, T, D)` for tokens `(B, T)`."""
        return self.dropout(self.embedding(tokens) * self.scale + self.positions[: tokens.shape[1]])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns the scores of what comes next, `(B, T, V)`, for a source `(B, S)` and a target `(B, T)`."""
        length = target.shape[1]
        padding = source == self.pad
        later = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        x = self.transformer(
            self.embedded(source),
            self.embedded(target),
            tgt_mask=later,
            src_key_padding_mask=padding,
            tgt_key_padding_mask=target == self.pad,
            memory_key_padding_mask=padding,
        )
        return F.linear(x, self.embedding.weight)


def training_steps(
    model: TranslationModel, pairs: Sequence[tuple[Tensor, Tensor]], batch_size: int, device: torch.device
) -> Iterator[int]:
    """Trains for ever, one step whenever the next one is asked for; yields how many tokens of the target each took.

    Args:
        model: On any device.
        pairs: A source and a target each, int64, with begin and end where the model is to see them; not padded.
        batch_size: Pairs of each step.
        device: Where to train.
    """

    def padded(chosen: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        return [pad_sequence(list(side), True, model.pad) for side in zip(*chosen, strict=True)]

    loader: DataLoader = DataLoader(cast(Any, pairs), batch_size, shuffle=True, collate_fn=padded)
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=STEP_SIZE, betas=(0.9, 0.98), eps=1e-9)
    while True:
        for source, target in loader:
            source, target = source.to(device), target.to(device)
            scores, following = model(source, target[:, :-1]), target[:, 1:]
            optimizer.zero_grad()
            loss = F.cross_entropy(
                scores.flatten(0, 1), following.flatten(), ignore_index=model.pad, label_smoothing=LABEL_SMOOTHING
            )
            loss.backward()
            optimizer.step()
            yield int((following != model.pad).sum())
