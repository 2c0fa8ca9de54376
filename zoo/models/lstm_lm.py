"""LSTM language models, regularised by dropout on the connections that are not recurrent.

Zaremba, Sutskever, Vinyals: Recurrent Neural Network Regularization. arXiv:1409.2329, 2014. The LSTM is Section 3.1
(equations of Graves 2013 without peepholes), where dropout goes is Section 3.2, the sizes are Section 4.1.

Claims (Table 1, perplexity on Penn Treebank, validation / test), each tested by the experiment named after it:
    non-regularised LSTM, 2 x 200 units: 120.7 / 114.5: lstm_small_ptb
    medium regularised LSTM, 2 x 650 units: 86.2 / 82.7: lstm_medium_ptb
    large regularised LSTM, 2 x 1500 units: 82.2 / 78.4: lstm_large_ptb

Parameters at 10,000 words: `lstm_small` 4,653,200, `lstm_medium` 19,780,400, `lstm_large` 66,034,000. The paper prints
none; these count two bias vectors per gate, as the authors' code and `torch.nn.LSTM` have them.

The text has the small network's first step size for 4 epochs, the authors' code divides it for the first time after
the fifth (6 and the seventh, 14 and the fifteenth for the others); the recipes follow the code, which made the numbers.
The paper does not say which epoch's weights it tests. The authors' code keeps the last, and so do the experiments on
Penn Treebank; WikiText-2 and the recipes test the epoch that is best on validation (`select: best`). On validation the
authors' code divides the batches' summed loss by their number before it is rounded down (184.35 for 184), which prints
less than the perplexity; here it is the mean.

Not in the paper: `tie_weights` (Press and Wolf 2017, arXiv:1608.05859; Inan et al. 2017, arXiv:1611.01462), and
`lstm_char`, the same network for characters.
"""

from functools import partial

import torch
from torch import Tensor, nn

from zoo.models.registry import register_model

State = tuple[Tensor, Tensor]  # of the recurrent layers: h and c, each (layers, B, D)


class LSTMLanguageModel(nn.Module):
    """Embedding, dropout, LSTM layers with dropout between them, dropout, and a linear layer before the softmax.

    Args:
        vocabulary_size: How many different tokens there are, V.
        width: Of the embedding and of each layer, D.
        layers: How many LSTM layers.
        dropout: Probability on each connection that is not recurrent, in [0, 1).
        initial_range: All parameters, biases too, are drawn uniformly from ± this.
        tie_weights: Whether the last layer multiplies by the embedding's matrix.
    """

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        layers: int,
        dropout: float,
        initial_range: float,
        tie_weights: bool = False,
    ) -> None:
        super().__init__()
        if min(vocabulary_size, width, layers) < 1:
            raise ValueError(f"sizes are at least 1, not {vocabulary_size} tokens, {layers} layers of {width}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        if initial_range <= 0:
            raise ValueError(f"initial_range is above 0, not {initial_range}")
        self.embedding = nn.Embedding(vocabulary_size, width)
        # One module for each layer: between the layers of one nn.LSTM cuDNN draws the dropout, from numbers of its own
        # that no checkpoint can keep.
        self.layers = nn.ModuleList(nn.LSTM(width, width) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, vocabulary_size)
        if tie_weights:
            self.output.weight = self.embedding.weight
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -initial_range, initial_range)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Scores what comes next after each token.

        Args:
            tokens: `(B, T)`, int64.
            state: What the layers remember of the tokens before; None for nothing (zeros).

        Returns:
            Logits `(B, T, V)` and the state after the last token, still attached to the graph.
        """
        x = self.dropout(self.embedding(tokens.t()))  # (T, B, D): the order in which nn.LSTM works is the faster one
        after: list[State] = []
        for number, layer in enumerate(self.layers):
            own = slice(number, number + 1)
            x, memory = layer(x, None if state is None else (state[0][own], state[1][own]))
            x = self.dropout(x)
            after.append(memory)
        h, c = zip(*after, strict=True)
        return self.output(x).transpose(0, 1), (torch.cat(h), torch.cat(c))

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the negative log-likelihood in nats, summed over time and averaged over the batch.

        With the mean over all tokens instead, the paper's step size of 1 and its clipping would mean something else.

        Args:
            logits: `(B, T, V)`.
            targets: `(B, T)`.
        """
        # A sum over hundreds of tokens is too large for the few digits of bfloat16.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # In the order in which `forward` made them nothing is copied.
        flat = logits.transpose(0, 1).flatten(0, 1)
        total = nn.functional.cross_entropy(flat, targets.t().flatten(), reduction="sum")
        return total / len(targets)


ARGUMENTS = """
    Args:
        vocabulary_size: How many different tokens there are.
        dropout: Probability on each connection that is not recurrent.
        initial_range: All parameters are drawn uniformly from ± this.
        tie_weights: Whether the last layer multiplies by the embedding's matrix.

    Raises:
        ValueError: A size below 1, or a probability outside [0, 1).
"""

_register = partial(
    register_model,
    task="language_modeling",
    paper="zaremba2014",
    from_spec={"vocabulary_size": "vocabulary_size"},
)
_variant = _register(sections=ARGUMENTS)


@_variant
def lstm_small(
    vocabulary_size: int = 10_000, dropout: float = 0.0, initial_range: float = 0.1, tie_weights: bool = False
) -> LSTMLanguageModel:
    """The non-regularised LSTM: 2 layers of 200 units."""
    return LSTMLanguageModel(vocabulary_size, 200, 2, dropout, initial_range, tie_weights)


@_variant
def lstm_medium(
    vocabulary_size: int = 10_000, dropout: float = 0.5, initial_range: float = 0.05, tie_weights: bool = False
) -> LSTMLanguageModel:
    """The medium regularised LSTM: 2 layers of 650 units, half of the other connections dropped."""
    return LSTMLanguageModel(vocabulary_size, 650, 2, dropout, initial_range, tie_weights)


@_variant
def lstm_large(
    vocabulary_size: int = 10_000, dropout: float = 0.65, initial_range: float = 0.04, tie_weights: bool = False
) -> LSTMLanguageModel:
    """The large regularised LSTM: 2 layers of 1500 units, 65 % of the other connections dropped."""
    return LSTMLanguageModel(vocabulary_size, 1500, 2, dropout, initial_range, tie_weights)


@_register()
def lstm_char(
    vocabulary_size: int = 65,
    width: int = 256,
    layers: int = 2,
    dropout: float = 0.2,
    initial_range: float = 0.08,
    tie_weights: bool = False,
) -> LSTMLanguageModel:
    """The same network for characters, of any size.

    Args:
        vocabulary_size: How many different characters there are.
        width: Units of the embedding and of each layer.
        layers: How many LSTM layers.
        dropout: Probability on each connection that is not recurrent.
        initial_range: All parameters are drawn uniformly from ± this.
        tie_weights: Whether the last layer multiplies by the embedding's matrix.

    Raises:
        ValueError: A size below 1, or a probability outside [0, 1).
    """
    return LSTMLanguageModel(vocabulary_size, width, layers, dropout, initial_range, tie_weights)
