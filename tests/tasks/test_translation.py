"""Translation: the smoothed loss, BLEU of what a model really says, and figures."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from sacrebleu.metrics.bleu import BLEU
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.pair_loader import EvaluationPairLoader, Pair, TrainingPairLoader
from zoo.data.tokenizing import BEGIN, END, PAD, UNKNOWN, SentenceTokenizer
from zoo.models.rnnsearch import rnnsearch_small
from zoo.models.transformer import Transformer
from zoo.tasks.translation import Translation
from zoo.tasks.translation_figures import names_of_groups

SOURCES = [
    "Ein Hund läuft.", "Eine Katze schläft auf dem Sofa.", "Ein Mann isst.",
    "Zwei Kinder spielen im Park mit einem Ball.",
    "Ein Hund und eine Katze.", "Die Frau liest ein Buch, und der Mann schläft.",
    "Ein Kind läuft im Park.", "Zwei Hunde.",
]  # fmt: skip
TARGETS = [
    "A dog is running.", "A cat is sleeping on the sofa.", "A man is eating.",
    "Two children are playing in the park with a ball.",
    "A dog and a cat.", "The woman reads a book, and the man sleeps.", "A child is running in the park.", "Two dogs.",
]  # fmt: skip
QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class KnowsByHeart(nn.Module):
    """Says what it is told to say about each source, and is sure of it.

    Args:
        said: The tokens of each translation, by the tokens of its source.
        size: V.
    """

    def __init__(self, said: dict[tuple[int, ...], list[int]], size: int) -> None:
        super().__init__()
        self.said, self.size = said, size
        self.weight = nn.Parameter(torch.zeros(1))

    def begin(self, source: Tensor) -> tuple[Tensor, ...]:
        rows = [self.said[tuple(n for n in row if n not in (PAD, END))] for row in source.tolist()]
        longest = max(map(len, rows)) + 1
        return torch.tensor([[*row, *[END] * (longest - len(row))] for row in rows]), torch.zeros(len(rows), 1).long()

    def step(self, tokens: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        said, place = memory
        following = said.gather(1, place.clamp(max=said.shape[1] - 1))[:, 0]
        return 20.0 * F.one_hot(following, self.size).float() + self.weight, (said, place + 1)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, logits = self.begin(source), []
        for position in range(target.shape[1]):
            scores, memory = self.step(target[:, position], memory)
            logits.append(scores)
        return torch.stack(logits, dim=1)

    def alignment(self, source: Tensor, target: Tensor) -> Tensor:
        seen = (source != PAD).float()[:, None]
        return (seen / seen.sum(dim=2, keepdim=True)).expand(-1, target.shape[1], -1)


@pytest.fixture
def tokenizer() -> SentenceTokenizer:
    return SentenceTokenizer.train([*SOURCES, *TARGETS], "bpe", 120)


def pairs(tokenizer: SentenceTokenizer, targets: list[str]) -> list[Pair]:
    encoded = zip(tokenizer.encode(SOURCES), tokenizer.encode(targets), zip(SOURCES, targets, strict=True), strict=True)
    return [Pair(*each) for each in encoded]


def by_heart(tokenizer: SentenceTokenizer, translations: list[str]) -> KnowsByHeart:
    said = zip(tokenizer.encode(SOURCES), tokenizer.encode(translations), strict=True)
    return KnowsByHeart({tuple(source): target for source, target in said}, len(tokenizer))


def task_for(model: nn.Module, tokenizer: SentenceTokenizer, **settings) -> Translation:
    return Translation(model, tokenizer, partial(torch.optim.Adam, lr=3e-3), None, "epoch", "val", **settings)


def scores_of(task: Translation, targets: list[str], tokenizer: SentenceTokenizer) -> dict[str, float]:
    loader = EvaluationPairLoader(pairs(tokenizer, targets), 60)
    Trainer(accelerator="cpu", **QUIET).test(task, loader, verbose=False)
    return task.published


@pytest.mark.parametrize("beam", [1, 4])
def test_a_model_that_says_the_references_is_right(beam: int, tokenizer: SentenceTokenizer):
    task = task_for(by_heart(tokenizer, TARGETS), tokenizer, beam=beam)
    metrics = scores_of(task, TARGETS, tokenizer)
    assert metrics["test/bleu"] == pytest.approx(100)
    assert metrics["test/exact_match"] == 100
    assert metrics["test/loss"] == pytest.approx(0, abs=1e-5)
    assert [each.translation for each in task.translated.values()] == TARGETS
    assert [each.source for each in task.translated.values()] == SOURCES


def test_the_score_is_sacrebleus_of_the_sentences_as_they_were_written(tokenizer: SentenceTokenizer):
    said = [*TARGETS[:4], "a dog and the cat.", "The woman reads and the man sleeps.", *TARGETS[6:]]
    task = task_for(by_heart(tokenizer, said), tokenizer)
    metrics = scores_of(task, TARGETS, tokenizer)
    expected = BLEU(lowercase=True).corpus_score(said, [TARGETS]).score
    assert metrics["test/bleu"] == pytest.approx(expected)
    assert metrics["test/bleu_cased"] == pytest.approx(BLEU().corpus_score(said, [TARGETS]).score)
    assert metrics["test/bleu_cased"] < metrics["test/bleu"] < 100
    assert metrics["test/exact_match"] == 75
    signatures = task.details["signatures"]
    assert "case:lc" in signatures["test/bleu"]
    assert "tok:13a" in signatures["test/bleu"]
    assert "case:mixed" in signatures["test/bleu_cased"]
    assert sum(group["sentences"] for group in task.details["bleu_by_source_length"]) == len(SOURCES)


def test_a_word_without_a_token_is_never_right(tokenizer: SentenceTokenizer):
    """The reference is the text itself: what the tokeniser cannot write, a model cannot either."""
    foreign = [*TARGETS[:-1], "Two ☃."]
    assert UNKNOWN in tokenizer.encode(foreign)[-1]
    metrics = scores_of(task_for(by_heart(tokenizer, foreign), tokenizer), foreign, tokenizer)
    assert metrics["test/exact_match"] == pytest.approx(100 * 7 / 8)


@pytest.mark.slow
def test_a_translator_learns_eight_sentences(tokenizer: SentenceTokenizer, tmp_path: Path):
    torch.manual_seed(1)
    model = Transformer(len(tokenizer), len(tokenizer), PAD, 1, 32, 64, 2, 0.0)
    task = task_for(model, tokenizer, label_smoothing=0.0, beam=2)
    train = TrainingPairLoader(pairs(tokenizer, TARGETS), 200, seed=1)
    watched = EvaluationPairLoader(pairs(tokenizer, TARGETS), 200)
    trainer = Trainer(accelerator="cpu", max_epochs=150, check_val_every_n_epoch=75, num_sanity_val_steps=0, **QUIET)
    trainer.fit(task, train, watched)
    assert task.published["train/loss"] < 0.1
    assert [each.translation for each in task.translated.values()] == TARGETS
    assert "translation A dog is running.\nreference   A dog is running.\n" in task.texts["translations"]
    assert scores_of(task, TARGETS, tokenizer)["test/exact_match"] == 100
    metrics_file = tmp_path / "metrics.csv"
    metrics_file.write_text("row,epoch,step,lr,train/loss,val/loss,val/bleu\nstep,0,1,0.1,,,\nepoch,0,1,,3.1,2.9,12\n")
    figures = task.figures(metrics_file)
    assert set(figures) == {"curves", "step_size", "bleu_by_length", "alignments"}
    # What is drawn are weights of attention, with a token at each of their edges.
    for source, target, weights in task._alignments():
        assert weights.shape == (len(target), len(source))
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(target)))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"label_smoothing": 1.0}, "task.label_smoothing=1.0"),
        ({"beam": 0}, "task.beam=0"),
        ({"length_penalty": -1.0}, "task.length_penalty=-1.0"),
        ({"bleu_tokenize": "moses"}, "task.bleu_tokenize=moses is not possible: choose 13a, intl, char, zh, none"),
        ({"headline": "test/perplexity"}, "task.headline=test/perplexity is not measured here"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, told: str, tokenizer: SentenceTokenizer):
    with pytest.raises(ValueError, match=told):
        task_for(by_heart(tokenizer, TARGETS), tokenizer, **settings)


def test_a_model_that_cannot_translate_is_refused(tokenizer: SentenceTokenizer):
    with pytest.raises(ValueError, match="Linear cannot translate"):
        task_for(nn.Linear(2, 2), tokenizer)


def test_begin_is_no_part_of_what_is_counted(tokenizer: SentenceTokenizer):
    (batch,) = EvaluationPairLoader(pairs(tokenizer, TARGETS)[:2], 200)
    counted = task_for(by_heart(tokenizer, TARGETS), tokenizer).count_samples(batch)
    assert counted == sum(len(tokens) + 1 for tokens in tokenizer.encode(TARGETS[:2]))
    assert bool((batch.target[:, 0] == BEGIN).all())


def test_gradients_are_summed_over_tokens_where_asked(tokenizer: SentenceTokenizer):
    (batch,) = EvaluationPairLoader(pairs(tokenizer, TARGETS)[:2], 200)
    size = len(tokenizer)
    torch.manual_seed(0)
    model = rnnsearch_small(source_vocabulary_size=size, target_vocabulary_size=size, dropout=0.0).eval()
    found = []
    for summed in (False, True):
        model.sum_gradients = summed
        steps = task_for(model, tokenizer).training_step(batch, 0)
        found.append((torch.autograd.grad(steps["loss"], list(model.parameters())), steps["shown"]))
    (averaged, shown), (summed, shown_too) = found
    torch.testing.assert_close(summed, tuple(batch.tokens * each for each in averaged))
    assert shown == shown_too


def test_groups_of_one_length_have_one_number():
    groups = [{"shortest": 4, "longest": 7, "sentences": 9}, {"shortest": 8, "longest": 8, "sentences": 2}]
    assert names_of_groups(groups) == ["4–7\n(9)", "8\n(2)"]
