"""The benchmark of translators: that it compares like with like."""

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.data.tokenizing import BEGIN, END, PAD
from zoo.decoding.beam import beam_search
from zoo.models.transformer import Transformer
from zoo.training.benchmark import usual_translation
from zoo.training.benchmark.bare import bare_steps
from zoo.training.benchmark.cases import DECODING, Case
from zoo.training.benchmark.decoding import measure_decoding, search_anew
from zoo.training.benchmark.ways import WARM_UP, built_for, usual_steps

pytestmark = pytest.mark.usefixtures("own_signals")

STEPS = 5


@pytest.fixture
def counting(tmp_path: Path) -> tuple[str, ...]:
    """What trains a translator on 160 made-up sentences, of which 8 are its test split."""
    lines = [" ".join("abcdef"[number * place % 6] for place in range(1, 3 + number % 7)) for number in range(160)]
    (tmp_path / "there").write_text("\n".join(lines))
    (tmp_path / "back").write_text("\n".join(line[::-1].upper() for line in lines))
    return ("model=transformer_tiny", "data=parallel_files", f"data.source={tmp_path / 'there'}",
            f"data.target={tmp_path / 'back'}", "data.tokenizer=character", "data.batch_size=64",
            "model.dropout=0.0", "logger=none")  # fmt: skip


def test_the_bare_loop_translates_as_our_trainer_does(counting: tuple[str, ...], tmp_path: Path):
    words = (*counting, "trainer=cpu", "optimizer.lr=1.0")  # a thousandth of it after so few steps
    ours, _ = built_for(words, tmp_path, STEPS)
    ours.trainer.fit(ours.task, datamodule=ours.data)
    bare, config = built_for(words, tmp_path, STEPS)
    batches = list(islice(bare.data.dataset.train_loader(), WARM_UP + STEPS))
    tokens = [int((batch.target != PAD).sum()) - len(batch.target) for batch in batches]
    assert list(islice(bare_steps(bare, config), WARM_UP + STEPS)) == tokens
    for name, tensor in ours.task.model.state_dict().items():
        assert torch.equal(tensor, bare.task.model.state_dict()[name]), name


def _with_weights_of(ours: Transformer) -> usual_translation.TranslationModel:
    """Norms are left as they begin: behind one of them, the usual model's further one changes nothing."""
    theirs = usual_translation.TranslationModel(30, PAD, 3, 16, 24, 4, 0.0)
    theirs.embedding.load_state_dict(ours.target_embedding.state_dict())
    layers = zip(
        [*ours.encoder, *ours.decoder], [*theirs.transformer.encoder.layers, *theirs.transformer.decoder.layers],
        strict=True,
    )  # fmt: skip
    for mine, yours in layers:
        attentions = [(mine.attention, yours.self_attn)]
        if hasattr(mine, "source_attention"):
            attentions.append((mine.source_attention, yours.multihead_attn))
        for one, other in attentions:
            other.in_proj_weight.data = torch.cat([one.query.weight, one.key.weight, one.value.weight]).detach()
            other.out_proj.load_state_dict({"weight": one.output.weight, "bias": torch.zeros(16)})
        yours.linear1.load_state_dict(mine.feed_forward[0].state_dict())
        yours.linear2.load_state_dict(mine.feed_forward[2].state_dict())
    return theirs


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_usual_translator_computes_what_ours_does():
    torch.manual_seed(0)
    ours = Transformer(30, 30, PAD, 3, 16, 24, 4, 0.0)
    source, target = torch.randint(3, 30, (4, 9)), torch.randint(3, 30, (4, 7))
    source[1, 5:] = source[2, 2:] = target[1, 6:] = target[3, 3:] = PAD
    theirs = _with_weights_of(ours)
    for mode in (True, False):
        expected, found = ours.train(mode)(source, target), theirs.train(mode)(source, target)
        assert torch.allclose(found[target != PAD], expected[target != PAD], atol=1e-3)


def test_the_usual_translator_learns_from_shuffled_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(usual_translation, "STEP_SIZE", 0.01)
    torch.manual_seed(0)
    pairs = [
        (torch.tensor([*[token] * length, END]), torch.tensor([BEGIN, *[token] * length, END]))
        for token in range(4, 8)
        for length in (1, 2, 3)
    ]
    model = usual_translation.TranslationModel(8, PAD, 1, 16, 32, 2, 0.0)
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    steps = usual_translation.training_steps(model, pairs, 5, torch.device("cpu"))
    tokens = [next(steps) for _ in range(6)]
    assert sum(tokens[:3]) == sum(tokens[3:]) == 4 * (2 + 3 + 4)
    epochs = [[tuple(row[row != PAD].tolist()) for source in part for row in source] for part in (seen[:3], seen[3:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(tuple(source.tolist()) for source, _ in pairs)
    assert epochs[0] != epochs[1]
    assert {len(source) for source in seen} == {5, 2}
    hook.remove()
    list(islice(steps, 240))
    model.eval()
    right = [model(source[None], target[None, :-1])[0].argmax(1) == target[1:] for source, target in pairs]
    assert torch.cat(right).float().mean() > 0.9


def test_the_usual_translator_has_our_sizes_and_our_pairs(
    counting: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(usual_translation, "training_steps", lambda *given: given)
    given: Any = usual_steps(Case("small", counting, ("trainer=cpu",), STEPS), tmp_path)
    model, pairs, batch_size, _ = given
    built, _ = built_for((*counting, "trainer=cpu"), tmp_path)
    batches = list(built.data.dataset.train_loader())
    assert batch_size == round(sum(len(batch.source) for batch in batches) / len(batches))
    assert len(pairs) == 160 - 2 * 8
    for side, name in enumerate(("source", "target")):
        ours = [row[row != PAD].tolist() for batch in batches for row in getattr(batch, name)]
        assert [pair[side].tolist() for pair in pairs] == ours
    parameters = sum(parameter.numel() for parameter in built.task.model.parameters())
    # A norm behind the last layer, twice; biases of the projections of three attentions in each pair of layers.
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters + 2 * 2 * 128 + 4 * 3 * 4 * 128


class _Table:
    """A translator whose next token depends on the sentence, the last token and how many there are."""

    def __init__(self, sentences: int, longest: int, words: int) -> None:
        self.logits = 2 * torch.randn(sentences, longest + 1, words, words)

    def __call__(self, source: Tensor, target: Tensor) -> Tensor:
        return self.logits[source[:, :1], torch.arange(target.shape[1]), target]

    def begin(self, source: Tensor) -> tuple[Tensor, ...]:
        return source[:, 0], torch.zeros(len(source), dtype=torch.int64)

    def step(self, tokens: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        sentence, written = memory
        return self.logits[sentence, written, tokens], (sentence, written + 1)


@pytest.mark.parametrize(("beam", "alpha"), [(1, 0.6), (3, 0.0), (5, 0.6), (5, 1.0)])
def test_the_search_without_a_cache_finds_what_ours_finds(beam: int, alpha: float):
    torch.manual_seed(0)
    model: Any = _Table(40, 10, 8)
    source, limits = torch.arange(40)[:, None], torch.arange(40) % 10 + 1
    found = [each[0].tokens for each in beam_search(model, source, BEGIN, END, limits, beam, alpha)]
    expected = [search_anew(model, row, limit, beam, alpha) for row, limit in zip(source, limits.tolist(), strict=True)]
    assert found == expected
    lengths = torch.tensor([len(tokens) for tokens in found])
    assert len(lengths.unique()) > 4
    assert (lengths == limits).any()
    assert (lengths < limits).any()


def test_decoding_is_timed_on_the_whole_split_and_on_a_sample(counting: tuple[str, ...], tmp_path: Path):
    case = Case("search", counting, ("trainer=cpu",), 3, of_usual=1.0, kind=DECODING)
    measured = measure_decoding(case, 2, tmp_path)
    assert measured.differing == (0, 3)
    assert {way: len(speeds) for way, speeds in measured.speeds.items()} == {"zoo": 2, "usual": 2}
    assert measured.titles() == ["case", "zoo", "usual", "zoo / usual", "other translations"]
    assert measured.cells()[-1] == "0 of 3"
