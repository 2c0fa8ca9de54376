"""The word language model that PyTorch's users usually start from, to be compared with.

As in PyTorch's example of that name: `nn.LSTM` over time-major batches, `nn.Dropout` around it, log-softmax and
negative log-likelihood, float32, a step of plain gradient descent written out. Written anew; nothing in it is slow on
purpose, nothing in it is ours.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEP_SIZE = 20.0  # for a loss that is the mean over all tokens
LARGEST_NORM = 0.25


class WordLanguageModel(nn.Module):
    """Embedding, LSTM and a linear layer, with dropout before, between and behind the layers of the LSTM.

    Args:
        vocabulary_size: How many different words there are, V.
        width: Of the embedding and of each layer.
        layers: How many LSTM layers.
        dropout: Probability.
    """

    def __init__(self, vocabulary_size: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.lstm = nn.LSTM(width, width, layers, dropout=dropout)
        self.output = nn.Linear(width, vocabulary_size)
        for table in (self.embedding.weight, self.output.weight):
            nn.init.uniform_(table, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Returns log-probabilities `(T * B, V)` for tokens `(T, B)`, and the state after them."""
        x, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return F.log_softmax(self.output(self.dropout(x)).flatten(0, 1), dim=1), state


def training_steps(model: WordLanguageModel, streams: Tensor, unroll: int, device: torch.device) -> Iterator[int]:
    """Trains for ever, one step whenever the next one is asked for; yields how many tokens each took.

    Args:
        model: On any device.
        streams: The text as parallel streams, `(B, N)`.
        unroll: Tokens of each stream in a step.
        device: Where to train.
    """
    text = streams.t().contiguous().to(device)  # (N, B)
    model.to(device).train()
    layers, width = model.lstm.num_layers, model.lstm.hidden_size
    while True:
        state = (torch.zeros(layers, text.shape[1], width, device=device),) * 2
        for start in range(0, len(text) - unroll, unroll):  # whole pieces only
            tokens, targets = text[start : start + unroll], text[start + 1 : start + 1 + unroll].flatten()
            state = (state[0].detach(), state[1].detach())
            model.zero_grad()
            scores, state = model(tokens, state)
            loss = F.nll_loss(scores, targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.add_(parameter.grad, alpha=-STEP_SIZE)
            yield tokens.numel()
