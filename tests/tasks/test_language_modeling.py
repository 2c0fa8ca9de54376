"""Language modelling: truncated back-propagation as the reference code does it, perplexity of the whole text."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from zoo.data.text_loader import EvaluationTextLoader, TextBatch, TrainingTextLoader
from zoo.data.vocabulary import Vocabulary
from zoo.models.lstm_lm import LSTMLanguageModel
from zoo.optim.schedules import DecayAfter
from zoo.tasks.language_modeling import SAMPLE_TOKENS, LanguageModeling, _of_all_ranks, perplexity

WORDS = Vocabulary(["<eos>", *"abcdefg", "<unk>"], "word")
CHARACTERS = Vocabulary(list("\nabcdefgh"), "character")
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
QUIET["accelerator"] = "cpu"


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def network(dropout: float = 0.0, seed: int = 0) -> LSTMLanguageModel:
    torch.manual_seed(seed)
    return LSTMLanguageModel(len(WORDS), 6, 2, dropout, 0.5).double()


def task_for(model: nn.Module, vocabulary: Vocabulary = WORDS, rate: float = 1.0, **settings) -> LanguageModeling:
    optimizer = partial(torch.optim.SGD, lr=rate)
    schedule = partial(DecayAfter, epochs=1, divisor=2.0)
    return LanguageModeling(model, vocabulary, optimizer, schedule, "epoch", "val", **settings)


def text(tokens: int, seed: int = 5) -> Tensor:
    """A text in which some words follow others more often than by chance."""
    draw = torch.Generator().manual_seed(seed)
    steps = torch.randint(3, (tokens,), generator=draw)
    return steps.cumsum(0) % len(WORDS)


def nats_token_by_token(net: LSTMLanguageModel, numbers: Tensor) -> float:
    """What the reference code does in a test: one token after the other, the state kept over the whole text."""
    cells = [nn.LSTMCell(6, 6).double() for _ in range(2)]
    for layer, cell in enumerate(cells):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(net.layers[layer], f"{name}_l0").data
    states: list[tuple[Tensor, Tensor] | None] = [None, None]
    total = 0.0
    with torch.no_grad():
        for token, following in zip(numbers[:-1].tolist(), numbers[1:].tolist(), strict=True):
            x = net.embedding.weight[token].view(1, -1)
            for layer, cell in enumerate(cells):
                states[layer] = cell(x, states[layer])
                x = states[layer][0]
            total -= net.output(x).log_softmax(1)[0, following].item()
    return total / (len(numbers) - 1)


@settings(deadline=None, max_examples=8)
@given(tokens=st.integers(2, 150), unroll=st.integers(1, 60))
def test_the_test_reads_one_stream_and_carries_the_state_over_all_of_it(tokens: int, unroll: int):
    net, numbers = network(dropout=0.5), text(tokens)
    task = task_for(net)
    Trainer(**QUIET).test(task, EvaluationTextLoader(numbers, 1, unroll), verbose=False)
    expected = nats_token_by_token(net, numbers)
    assert task.published == pytest.approx({"test/loss": expected, "test/perplexity": math.exp(expected)}, rel=1e-5)


def reference_training(net: LSTMLanguageModel, numbers: Tensor, streams: int, unroll: int, epochs: int, clip: float):
    """Zaremba's training loop with nothing of ours in it, dropout left out.

    Returns:
        Per epoch the mean nats per token, and the step sizes.
    """
    length = len(numbers) // streams
    rows = numbers[: streams * length].view(streams, length)
    rate, told = 1.0, []
    for epoch in range(epochs):
        if epoch >= 1:
            rate /= 2
        total, count = 0.0, 0
        h, c = (torch.zeros(2, streams, 6).double() for _ in range(2))
        for start in range(0, (length - 1) // unroll * unroll, unroll):
            logits, (h, c) = net(rows[:, start : start + unroll], (h.detach(), c.detach()))
            loss = 0.0
            for step in range(unroll):  # the sum over time of the batch's mean
                scores = logits[:, step].log_softmax(1)
                loss = loss - scores[torch.arange(streams), rows[:, start + step + 1]].mean()
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
            shrink = min(1.0, clip / (norm + 1e-6))  # the small number is PyTorch's
            with torch.no_grad():
                for parameter, gradient in zip(net.parameters(), gradients, strict=True):
                    parameter -= rate * shrink * gradient
            total, count = total + loss.item() * streams, count + streams * unroll
        told.append((total / count, rate))
    return told


class Watch(Checkpoint):
    """Notes each epoch's step size and loss; a `Checkpoint` is called when the task itself is done."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LanguageModeling) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LanguageModeling) -> None:
        self.losses.append(pl_module.published["train/loss"])


@pytest.mark.parametrize("clip", [0.5, 5.0, 1e9])
def test_training_is_the_reference_loop(clip: float):
    ours, theirs, numbers = network(), network(), text(400)
    expected = reference_training(theirs, numbers, streams=4, unroll=7, epochs=3, clip=clip)
    watch = Watch()
    settings = QUIET | {"enable_checkpointing": True}  # for `watch`; it writes none
    trainer = Trainer(max_epochs=3, gradient_clip_val=clip, callbacks=[watch], **settings)
    trainer.fit(task_for(ours), TrainingTextLoader(numbers, 4, 7))
    assert watch.losses == pytest.approx([loss for loss, _ in expected], rel=1e-9)
    assert watch.rates == [rate for _, rate in expected] == [1.0, 0.5, 0.25]
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter, theirs.get_parameter(name), rtol=0, atol=1e-9, msg=name)


class Plain(nn.Module):
    """A language model of somebody who has no loss of their own."""

    def __init__(self, net: LSTMLanguageModel) -> None:
        super().__init__()
        self.net = net

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, ...]:
        return self.net(tokens, state)


def batches(numbers: Tensor, streams: int, unroll: int) -> list[TextBatch]:
    return list(TrainingTextLoader(numbers, streams, unroll))


def test_gradients_end_where_a_piece_begins_and_the_state_goes_on():
    task = task_for(network())
    first, second, *_ = batches(text(100), 2, 5)
    task.training_step(first, 0)
    assert task.state is not None
    assert not any(part.requires_grad for part in task.state)
    carried = [part.clone() for part in task.state]
    loss = task.training_step(second, 1)["loss"]
    expected = task.model.loss(task.model(second.tokens, tuple(carried))[0], second.targets)
    assert torch.equal(loss, expected)
    # Where the text begins anew nothing is remembered.
    anew = task.model.loss(task.model(first.tokens)[0], first.targets)
    assert torch.equal(task.training_step(first, 2)["loss"], anew)


def test_what_is_shown_is_per_token():
    task = task_for(network())
    (batch, *_) = batches(text(100), 4, 10)
    told = task.training_step(batch, 0)
    assert told["loss"].item() == pytest.approx(10 * told["shown"].item())
    assert not told["shown"].requires_grad
    assert task.count_samples(batch) == 40
    # A network that has learnt nothing yet: about as surprised as by chance.
    assert told["shown"].item() == pytest.approx(math.log(len(WORDS)), abs=0.3)


def test_a_model_without_a_loss_of_its_own_is_trained_on_the_mean():
    net = network()
    task = task_for(Plain(net))
    (batch, *_) = batches(text(100), 4, 10)
    told = task.training_step(batch, 0)
    assert told["loss"].item() == pytest.approx(net.loss(net(batch.tokens)[0], batch.targets).item() / 10)
    assert told["shown"].item() == told["loss"].item()
    assert task.train_totals.means()["loss"] == pytest.approx(told["loss"].item())


def test_a_validation_begins_empty_and_leaves_the_training_s_memory_alone():
    task = task_for(network())
    task.training_step(batches(text(100), 2, 5)[0], 0)
    before = [part.clone() for part in task.state]
    validation = EvaluationTextLoader(text(90, seed=8), 3, 4)
    trainer = Trainer(**QUIET)
    trainer.validate(task, validation, verbose=False)
    first = task.published["val/loss"]
    trainer.validate(task, validation, verbose=False)
    assert task.published["val/loss"] == first
    assert all(torch.equal(now, then) for now, then in zip(task.state, before, strict=True))
    # As in the paper: the streams side by side, their mean.
    with torch.no_grad():
        rows = text(90, seed=8).view(3, 30)[:, :29]  # the remainder is dropped
        logits = task.model(rows[:, :28])[0].log_softmax(2)
    assert first == pytest.approx(-logits.gather(2, rows[:, 1:, None]).mean().item(), rel=1e-6)


def test_characters_are_told_in_bits():
    task = task_for(network(), CHARACTERS)
    assert (task.headline, task.headline_direction) == ("test/bits_per_character", "min")
    Trainer(**QUIET).test(task, EvaluationTextLoader(text(60), 1, 256), verbose=False)
    found = task.published
    assert found["test/bits_per_character"] == pytest.approx(found["test/loss"] / math.log(2))
    assert found["test/perplexity"] == pytest.approx(2 ** found["test/bits_per_character"])
    words = task_for(network())
    assert words.headline == "test/perplexity"
    assert words.watched_headline == "val/perplexity"
    assert task_for(network(), CHARACTERS, headline="test/perplexity").headline == "test/perplexity"


def test_perplexity_of_a_hopeless_model_is_a_number():
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e6) == math.inf
    assert math.isnan(perplexity(math.nan)) or perplexity(math.nan) == math.inf


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"headline": "test/bits_per_character"}, "is for characters; this text is read by words"),
        ({"headline": "test/error"}, "choose test/perplexity"),
    ],
)
def test_headlines_that_make_no_sense(wrong, told):
    with pytest.raises(ValueError, match=told):
        task_for(network(), **wrong)


@pytest.mark.parametrize("vocabulary", [WORDS, CHARACTERS])
def test_a_sample_is_written_after_a_validation_and_draws_no_global_numbers(vocabulary: Vocabulary):
    task = task_for(network(dropout=0.5), vocabulary)
    trainer, validation = Trainer(**QUIET), EvaluationTextLoader(text(90), 3, 4)
    before = torch.get_rng_state()
    trainer.validate(task, validation, verbose=False)
    assert torch.equal(torch.get_rng_state(), before)
    sample = task.texts["sample"]
    assert len(vocabulary.encode(sample)) == SAMPLE_TOKENS[vocabulary.level]
    assert "<unk>" not in sample
    trainer.validate(task, validation, verbose=False)
    assert task.texts["sample"] == sample
    changed = task_for(network(seed=1), vocabulary)
    trainer.validate(changed, validation, verbose=False)
    assert changed.texts["sample"] != sample


def test_the_state_travels_in_checkpoints(tmp_path: Path):
    task = task_for(network())
    task.training_step(batches(text(100), 2, 5)[0], 0)
    checkpoint: dict = {}
    task.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "state.ckpt")
    again = task_for(network())
    again.trainer = Trainer(**QUIET)
    again.on_load_checkpoint(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert all(torch.equal(now, then) for now, then in zip(again.state, task.state, strict=True))
    # Before the first batch there is none.
    task_for(network()).on_save_checkpoint(checkpoint)
    again.on_load_checkpoint(checkpoint)
    assert again.state is None


def _gather(rank: int, world: int, store: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    streams = torch.arange(2 * 6 * 3.0).view(2, 6, 3)
    mine = streams[:, rank::world]
    whole = _of_all_ranks(mine)
    torch.save((torch.equal(whole, streams), torch.equal(whole[:, rank::world], mine)), f"{folder}/{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_the_states_of_all_processes_are_put_side_by_side(tmp_path: Path):
    assert torch.equal(_of_all_ranks(torch.ones(2, 3, 4)), torch.ones(2, 3, 4)), "one process alone"
    arguments = (2, str(tmp_path / "store"), str(tmp_path))
    torch.multiprocessing.spawn(_gather, arguments, nprocs=2)
    assert [torch.load(tmp_path / str(rank)) for rank in range(2)] == [(True, True)] * 2


def test_curves_are_drawn_over_the_epochs(tmp_path: Path):
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("row,epoch,step,train/perplexity,val/perplexity\nepoch,0,5,900.5,300\nepoch,1,10,120,110\n")
    figure = task_for(network()).figures(metrics)["curves"]
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert [line.get_ydata().tolist() for line in axes.lines] == [[900.5, 120], [300, 110]]
    low, high = axes.get_ylim()
    assert low < 110
    assert high > 900.5
    figure.savefig(tmp_path / "curves.png")
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert {"150", "200", "300", "500", "700"} <= set(labels)
    metrics.write_text("row,epoch,step,val/bits_per_character\nepoch,0,5,2.5\n")
    (axes,) = task_for(network(), CHARACTERS).figures(metrics)["curves"].axes
    assert (axes.get_yscale(), axes.get_ylabel()) == ("linear", "bits per character")
    metrics.write_text("row,epoch,step\n")
    assert task_for(network()).figures(metrics) == {}
