"""RNNsearch: a recurrent translator that looks for the words it needs, and RNNencdec, which must remember them.

Bahdanau, Cho, Bengio: Neural Machine Translation by Jointly Learning to Align and Translate. ICLR 2015,
arXiv:1409.0473v7. Equations are those of its Section 3 and Appendix A; RNNencdec is Cho et al. 2014, arXiv:1406.1078,
as Appendix A.2.2 has it with a fixed context.

Claims, each tested by the experiment named after it:
    English-French, newstest2014 (Table 1): RNNsearch-50 26.75 BLEU, RNNencdec-50 17.82; not run here: too large
    RNNsearch's lead grows with the length of the sentence (Figure 2): rnnsearch_small_multi30k_de_en against
    rnnencdec_small_multi30k_de_en

Parameters at 30,000 words a side: `rnnsearch` 80,442,000, `rnnencdec` 68,578,000; the paper prints none.

The gated unit is the paper's own, in encoder and decoder: its reset gate acts on the state before the recurrent
matrix, and its update gate z is the share of what is new. `nn.GRU` resets after the matrix and calls the share of what
is old z: another function, so it is not used. The output reads the state before the step, as Appendix A.2.2 and the
authors' code have it; the general formula of Section 2 has the one after. Gradients of `rnnsearch` and `rnnencdec` are
summed over a batch's tokens before they are clipped, as in that code; the paper does not say. Not in the paper:
`dropout`, and the small models.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.models.registry import register_model

Memory = tuple[Tensor, ...]  # of a translation in progress, each `(B, …)`; see `RNNsearch.begin`


class GatedUnit(nn.Module):
    """The gated hidden unit of Cho et al. 2014: s' = (1 - z) s + z tanh(W x + U (r s)), Appendix A.1.1.

    Args:
        inputs: Size of x.
        width: Size of s, D.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.from_input = nn.Linear(inputs, 3 * width)  # of the candidate, z and r, in this order
        self.candidate = nn.Linear(width, width, bias=False)
        self.gates = nn.Linear(width, 2 * width, bias=False)

    def forward(self, projected: Tensor, state: Tensor) -> Tensor:
        """Makes one step.

        Args:
            projected: What `from_input` made of x, `(B, 3 D)`: for many steps at once it is faster.
            state: s, `(B, D)`.
        """
        candidate, update, reset = projected.chunk(3, dim=1)
        from_state = self.gates(state).chunk(2, dim=1)
        z, r = torch.sigmoid(update + from_state[0]), torch.sigmoid(reset + from_state[1])
        new = torch.tanh(candidate + self.candidate(r * state))
        return torch.lerp(state, new.to(state.dtype), z.to(state.dtype))  # in float32 where the products are bfloat16


def _read(unit: GatedUnit, words: Tensor, present: Tensor, backwards: bool) -> Tensor:
    """Runs a unit over `(B, S, m)`; returns its states `(B, S, D)`. Over padding it keeps its state."""
    steps = list(zip(unit.from_input(words).unbind(1), present[..., None].unbind(1), strict=True))
    state = words.new_zeros(len(words), unit.candidate.in_features)
    states: list[Tensor] = []
    for projected, here in reversed(steps) if backwards else steps:
        state = torch.where(here, unit(projected, state), state)
        states.append(state)
    return torch.stack(states[::-1] if backwards else states, dim=1)


class AdditiveAttention(nn.Module):
    """Alignment model: a_j is the softmax over j of v tanh(W s + U h_j) (Appendix A.1.2).

    Args:
        width: Size of the state s, D; also of the hidden layer.
        annotation: Size of an annotation h_j.
    """

    def __init__(self, width: int, annotation: int) -> None:
        super().__init__()
        self.of_state = nn.Linear(width, width, bias=False)
        self.of_annotation = nn.Linear(annotation, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, state: Tensor, keys: Tensor, annotations: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Reads the annotations that fit the state.

        Args:
            state: `(B, D)`.
            keys: What `of_annotation` made of the annotations, `(B, S, D)`.
            annotations: `(B, S, A)`.
            present: Which positions are no padding, bool `(B, S)`.

        Returns:
            The context `(B, A)`, and the weights `(B, S)`: they sum to 1, padding has exactly 0.
        """
        energy = self.score(torch.tanh(self.of_state(state)[:, None] + keys))[..., 0]  # (B, S)
        weights = energy.masked_fill(~present, -torch.inf).softmax(dim=1)
        return torch.bmm(weights[:, None], annotations)[:, 0], weights


class RNNsearch(nn.Module):
    """Bidirectional encoder, additive attention, gated decoder, deep output with maxout.

    Args:
        source_vocabulary_size: How many different tokens the source has.
        target_vocabulary_size: How many the target has, V.
        pad: The number of the token that fills up the end of short sentences.
        width: n, of all gated units and of the alignment model, D.
        embedding: m.
        maxout: l, half as many units as the layer before the output has.
        dropout: Probability, on embedded words and on the maxout layer.
        search: Whether the decoder attends; without, it is RNNencdec: the context is the encoder's last state.
        sum_gradients: Whether it is to be trained on the sum over a batch's tokens, not on their mean: Adadelta's steps
            depend on it, and whether gradients are clipped.
    """

    def __init__(
        self,
        source_vocabulary_size: int,
        target_vocabulary_size: int,
        pad: int,
        width: int,
        embedding: int,
        maxout: int,
        dropout: float = 0.0,
        search: bool = True,
        sum_gradients: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is a probability in [0, 1), not {dropout}")
        self.pad, self.sum_gradients = pad, sum_gradients
        self.source_embedding = nn.Embedding(source_vocabulary_size, embedding)
        self.target_embedding = nn.Embedding(target_vocabulary_size, embedding)
        self.dropout = nn.Dropout(dropout)
        self.forwards = GatedUnit(embedding, width)
        self.backwards = GatedUnit(embedding, width) if search else None
        annotation = 2 * width if search else width
        self.attention = AdditiveAttention(width, annotation) if search else None
        self.first_state = nn.Linear(width, width)  # W_s
        self.decoder = GatedUnit(embedding + annotation, width)
        self.readout = nn.Linear(width + embedding + annotation, 2 * maxout)  # U_o, V_o and C_o side by side
        self.output = nn.Linear(maxout, target_vocabulary_size)
        self._initialise()

    def _initialise(self) -> None:
        """Draws the parameters as Appendix B.1 says."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias") or name == "attention.score.weight":
                nn.init.zeros_(parameter)
            elif name.startswith("attention."):
                nn.init.normal_(parameter, std=0.001)
            elif name.endswith(".candidate.weight"):
                nn.init.orthogonal_(parameter)
            elif name.endswith(".gates.weight"):
                for gate in parameter.data.chunk(2):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.normal_(parameter, std=0.01)

    def begin(self, source: Tensor) -> Memory:
        """Encodes a source, to be translated token by token.

        Args:
            source: `(B, S)`, int64, padded at the end.

        Returns:
            What `step` takes: the decoder's state and what it reads, tensors whose first dimension is B, to be
            reordered as hypotheses are.
        """
        present = source != self.pad
        words = self.dropout(self.source_embedding(source))
        there = _read(self.forwards, words, present, backwards=False)
        if self.attention is None or self.backwards is None:
            return torch.tanh(self.first_state(there[:, -1])).to(words.dtype), there[:, -1]
        back = _read(self.backwards, words, present, backwards=True)
        annotations = torch.cat([there, back], dim=2)  # (B, S, 2 D)
        state = torch.tanh(self.first_state(back[:, 0])).to(words.dtype)
        return state, annotations, self.attention.of_annotation(annotations), present

    def _context(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Returns what the decoder reads in its next step, and where from (nowhere for RNNencdec: `(B, 0)`)."""
        if self.attention is None:
            return memory[1], memory[1][:, :0]
        state, annotations, keys, present = memory
        return self.attention(state, keys, annotations, present)

    def _scores(self, states: Tensor, words: Tensor, contexts: Tensor) -> Tensor:
        hidden = self.readout(torch.cat([states, words, contexts], dim=-1))
        hidden = hidden.unflatten(-1, (-1, 2)).amax(dim=-1)  # maxout over pairs
        return self.output(self.dropout(hidden))

    def step(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Writes one token.

        Args:
            tokens: The last token of each hypothesis, `(B,)`.
            memory: What `begin` or the last step returned.

        Returns:
            Logits of the next token `(B, V)`, and the memory after it.
        """
        word = self.dropout(self.target_embedding(tokens))
        context, _ = self._context(memory)
        scores = self._scores(memory[0], word, context)
        state = self.decoder(self.decoder.from_input(torch.cat([word, context], dim=1)), memory[0])
        return scores, (state, *memory[1:])

    def _decode(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.begin(source)
        words = self.dropout(self.target_embedding(target))
        weight = self.decoder.from_input.weight
        for_word, for_context = weight.split([words.shape[2], weight.shape[1] - words.shape[2]], dim=1)
        of_words = F.linear(words, for_word, self.decoder.from_input.bias)  # for all steps at once
        states, contexts, alignments = [], [], []
        for of_word in of_words.unbind(1):
            context, alignment = self._context(memory)
            states.append(memory[0])
            contexts.append(context)
            alignments.append(alignment)
            memory = (self.decoder(of_word + F.linear(context, for_context), memory[0]), *memory[1:])
        scores = self._scores(torch.stack(states, dim=1), words, torch.stack(contexts, dim=1))
        return scores, torch.stack(alignments, dim=1)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Scores what comes next after each token of the target.

        Args:
            source: `(B, S)`, int64, padded at the end.
            target: `(B, T)`, int64, from the token that begins a sentence on.

        Returns:
            Logits `(B, T, V)`.
        """
        return self._decode(source, target)[0]

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        """Returns the weights a_tj of each source position at each target position.

        Args:
            source: `(B, S)`.
            target: `(B, T)`, from the token that begins a sentence on.

        Returns:
            `(B, T, S)`: rows sum to 1, padding has 0; `(B, T, 0)` for RNNencdec, which does not align.
        """
        return self._decode(source, target)[1]


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
        dropout: Probability, on embedded words and on the maxout layer; not in the paper.

    Raises:
        ValueError: A probability outside [0, 1).
"""


@register_model(task="translation", paper="bahdanau2014", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def rnnsearch(
    source_vocabulary_size: int = 30_000, target_vocabulary_size: int = 30_000, pad: int = 0, dropout: float = 0.0
) -> RNNsearch:
    """RNNsearch: 1,000 units, words of 620, a maxout layer of 500 (Appendix A.2.3)."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad, 1000, 620, 500)
    return RNNsearch(*sizes, dropout, sum_gradients=True)


@register_model(task="translation", paper="bahdanau2014", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def rnnencdec(
    source_vocabulary_size: int = 30_000, target_vocabulary_size: int = 30_000, pad: int = 0, dropout: float = 0.0
) -> RNNsearch:
    """RNNencdec: the same without attention and with one direction."""
    sizes = (source_vocabulary_size, target_vocabulary_size, pad, 1000, 620, 500)
    return RNNsearch(*sizes, dropout, search=False, sum_gradients=True)


@register_model(task="translation", paper="bahdanau2014", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def rnnsearch_small(
    source_vocabulary_size: int = 8_000, target_vocabulary_size: int = 8_000, pad: int = 0, dropout: float = 0.2
) -> RNNsearch:
    """RNNsearch for Multi30k: 256 units, words and maxout layer of 128; not in the paper."""
    return RNNsearch(source_vocabulary_size, target_vocabulary_size, pad, 256, 128, 128, dropout)


@register_model(task="translation", paper="bahdanau2014", from_spec=_FROM_SPEC, sections=_ARGUMENTS)
def rnnencdec_small(
    source_vocabulary_size: int = 8_000, target_vocabulary_size: int = 8_000, pad: int = 0, dropout: float = 0.2
) -> RNNsearch:
    """RNNencdec for Multi30k: 256 units, words and maxout layer of 128; not in the paper."""
    return RNNsearch(source_vocabulary_size, target_vocabulary_size, pad, 256, 128, 128, dropout, search=False)
