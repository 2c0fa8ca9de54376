"""The LSTM language models against the paper: its equations with dropout in their place, its counts, its ranges."""

import inspect
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.data.spec import TextSpec
from zoo.errors import ZooError
from zoo.models.lstm_lm import LSTMLanguageModel, lstm_char, lstm_large, lstm_medium, lstm_small
from zoo.models.registry import arguments_for, create_model
from zoo.pretrained.release import load_release, save_release

# Section 4.1: units per layer, initial range, dropout; and what nn.LSTM's two biases per gate make of it.
PAPER = {
    lstm_small: (200, 0.1, 0.0, 4_653_200),
    lstm_medium: (650, 0.05, 0.5, 19_780_400),
    lstm_large: (1500, 0.04, 0.65, 66_034_000),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def tiny(vocabulary_size=11, width=5, layers=3, dropout=0.0, tie_weights=False) -> LSTMLanguageModel:
    return LSTMLanguageModel(vocabulary_size, width, layers, dropout, 0.5, tie_weights).double()


def equations(net: LSTMLanguageModel, tokens: Tensor, state: tuple[Tensor, Tensor], keep: float) -> tuple[Tensor, ...]:
    """Section 3.1 and, for the places of the dropout D, equation 6 of Section 3.2; one unit of time after the other.

    Masks are drawn in the order in which the network draws its own: time step by time step, layer by layer.

    Returns:
        Logits `(B, T, V)`, then h and c `(layers, B, D)` after the last token.
    """

    def dropped(x: Tensor) -> Tensor:
        return x if keep == 1 else x * torch.empty_like(x).bernoulli_(keep) / keep

    inputs = dropped(net.embedding.weight[tokens.t().contiguous()])  # (T, B, D)
    last_h, last_c = [], []
    for layer, lstm in enumerate(net.layers):
        names = (f"{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        below, before, bias, other_bias = (getattr(lstm, name) for name in names)
        h, c = state[0][layer], state[1][layer]  # (B, D)
        outputs = []
        for x in inputs:
            i, f, g, o = (x @ below.T + h @ before.T + bias + other_bias).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        last_h.append(h)
        last_c.append(c)
        inputs = dropped(torch.stack(outputs))  # between the layers and after the last one
    logits = inputs @ net.output.weight.T + net.output.bias
    return logits.transpose(0, 1), torch.stack(last_h), torch.stack(last_c)


# In single precision PyTorch may take other code (oneDNN's on the CPU): that is what a run computes with.
PRECISION = {torch.float64: 1e-13, torch.float32: 1e-5}


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5, 0.65])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", PRECISION)
def test_it_computes_the_paper_s_equations_dropout_in_its_place(dtype, layers: int, dropout: float, training: bool):
    net = tiny(layers=layers, dropout=dropout).train(training).to(dtype)
    tokens = torch.randint(11, (3, 7))
    state = (torch.randn(layers, 3, 5, dtype=dtype), torch.randn(layers, 3, 5, dtype=dtype))
    torch.manual_seed(7)
    logits, (h, c) = net(tokens, state)
    torch.manual_seed(7)
    expected = equations(net, tokens, state, 1 - dropout if training else 1.0)
    for ours, theirs in zip((logits, h, c), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=PRECISION[dtype])


@pytest.mark.parametrize("dtype", PRECISION)
def test_gradients_are_those_of_the_equations(dtype):
    net = tiny(dropout=0.5).train().to(dtype)
    tokens, targets = torch.randint(11, (2, 3, 7))
    state = (torch.zeros(3, 3, 5, dtype=dtype), torch.zeros(3, 3, 5, dtype=dtype))
    torch.manual_seed(7)
    net.loss(net(tokens, None)[0], targets).backward()
    ours = {name: parameter.grad.clone() for name, parameter in net.named_parameters()}
    net.zero_grad()
    torch.manual_seed(7)
    logits = equations(net, tokens, state, 0.5)[0]
    (-logits.log_softmax(2).gather(2, targets[..., None]).sum() / 3).backward()
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=0, atol=PRECISION[dtype], msg=name)


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=4))
def test_pieces_with_the_state_carried_are_the_whole(cuts: list[int]):
    net = tiny(dropout=0.5).eval()
    tokens = torch.randint(11, (2, sum(cuts)))
    whole, last = net(tokens)
    state, pieces = None, []
    for piece in tokens.split(cuts, dim=1):
        logits, state = net(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-14)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-14)


def test_the_state_is_a_result_and_nothing_is_kept_on_the_module():
    net = tiny(dropout=0.5)
    tokens = torch.randint(11, (2, 4))
    _, state = net(tokens)
    assert [part.shape for part in state] == [(3, 2, 5), (3, 2, 5)]
    assert all(part.requires_grad for part in state), "who goes on detaches it"
    net.eval()
    assert torch.equal(net(tokens)[0], net(tokens)[0])


def test_the_loss_is_summed_over_time_and_averaged_over_the_batch():
    logits, targets = torch.randn(4, 9, 11).double(), torch.randint(11, (4, 9))
    by_hand = 0.0
    for row in range(4):
        for step in range(9):
            scores = logits[row, step].tolist()
            by_hand += math.log(sum(map(math.exp, scores))) - scores[int(targets[row, step])]
    assert tiny().loss(logits, targets).item() == pytest.approx(by_hand / 4, rel=1e-12)


@pytest.mark.parametrize("constructor", PAPER, ids=lambda constructor: constructor.__name__)
def test_sizes_ranges_and_counts_of_section_4_1(constructor):
    units, initial_range, dropout, parameters = PAPER[constructor]
    defaults = {name: p.default for name, p in inspect.signature(constructor).parameters.items()}
    assert defaults == {
        "vocabulary_size": 10_000, "dropout": dropout, "initial_range": initial_range, "tie_weights": False,
    }  # fmt: skip
    with torch.device("meta"):
        net, tied = constructor(), constructor(tie_weights=True)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert sum(p.numel() for p in tied.parameters()) == parameters - 10_000 * units
    assert [(layer.input_size, layer.hidden_size, layer.num_layers) for layer in net.layers] == [(units, units, 1)] * 2
    # cuDNN's own dropout, between the layers of one nn.LSTM, would be in no checkpoint.
    assert ([layer.dropout for layer in net.layers], net.dropout.p) == ([0, 0], dropout)


@pytest.mark.parametrize("constructor", [lstm_small, lstm_medium, lstm_char])
def test_every_parameter_is_drawn_uniformly_from_its_range(constructor):
    net = constructor(vocabulary_size=300)
    limit = inspect.signature(constructor).parameters["initial_range"].default
    for name, parameter in net.named_parameters():
        assert parameter.abs().max() <= limit, name
        values = parameter.detach().double().flatten()
        assert values.abs().max() > 0.97 * limit, name
        # Four standard errors of the mean and of the standard deviation of so many draws.
        error = 4 * limit / math.sqrt(3 * len(values))
        assert abs(values.mean()) < error, name
        assert abs(values.std() - limit / math.sqrt(3)) < error, name


def test_characters_take_any_size():
    net = lstm_char(vocabulary_size=30, width=7, layers=1, dropout=0.4)
    assert net(torch.zeros(2, 3, dtype=torch.int64))[0].shape == (2, 3, 30)
    assert ([layer.hidden_size for layer in net.layers], net.dropout.p) == ([7], 0.4)


def test_tied_weights_are_one_matrix_before_and_after_a_release(tmp_path: Path):
    arguments = {"vocabulary_size": 40, "width": 8, "tie_weights": True}
    net = create_model("lstm_char", **arguments).eval()
    folder = save_release(tmp_path / "release", net, "lstm_char", arguments, {"task": "language_modeling"})
    loaded, _ = load_release(folder)
    for model in (net, loaded):
        assert model.output.weight is model.embedding.weight
    tokens = torch.randint(40, (2, 5))
    assert torch.equal(net(tokens)[0], loaded(tokens)[0])
    # Tokens that were not read are scored all the same: their rows learn too.
    net.loss(net(tokens)[0], tokens).backward()
    unread = [number for number in range(40) if number not in tokens]
    assert (net.embedding.weight.grad[unread].abs().sum(1) > 0).all()


def test_the_data_give_the_vocabulary():
    assert arguments_for("lstm_small", TextSpec(7, "word"), {"tie_weights": True}) == {
        "vocabulary_size": 7, "tie_weights": True,
    }  # fmt: skip
    with pytest.raises(ZooError, match="contradicts the data"):
        arguments_for("lstm_small", TextSpec(7, "word"), {"vocabulary_size": 8})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"dropout": 1.0}, r"probability in \[0, 1\), not 1"),
        ({"dropout": -0.1}, "probability"),
        ({"initial_range": 0.0}, "above 0"),
        ({"vocabulary_size": 0}, "at least 1"),
        ({"layers": 0}, "at least 1"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_numbers_that_make_no_sense(wrong, told):
    with pytest.raises(ZooError, match=told):
        create_model("lstm_char", **wrong)
