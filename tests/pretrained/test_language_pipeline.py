"""Texts from a released language model: written on with a cached state, judged by perplexity, typed as a command."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import zoo
from zoo.cli import main
from zoo.data.vocabulary import VOCABULARY, Vocabulary
from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.pipelines import language_modeling
from zoo.pretrained.pipelines.language_modeling import LanguageModelingPipeline
from zoo.pretrained.release import save_release

WORDS = Vocabulary(["<eos>", "the", "company", "said", "it", "would", "sell", "shares", "<unk>", "N"], "split")
CHARACTERS = Vocabulary(list("\n abcdefghijkl"), "character")


def released(folder: Path, vocabulary: Vocabulary, dtype: str = "float32") -> Path:
    """A release with weights large enough to have opinions."""
    arguments = {"vocabulary_size": len(vocabulary), "width": 12, "initial_range": 1.5}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = create_model("lstm_char", **arguments)
    card = {"task": {"name": "language_modeling"}, "preprocessing": {}, "class_names": []}
    files = {VOCABULARY: vocabulary.to_json()}
    return save_release(folder, net, "lstm_char", arguments, card, dtype, files)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return released(tmp_path / "words", WORDS)


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    return released(tmp_path / "characters", CHARACTERS)


def test_the_likeliest_text_is_that_of_a_model_that_reads_everything_anew(words: Path):
    """With the state cached nothing else comes out than without, where each token costs more than the one before."""
    pipeline = zoo.pipeline(words)
    assert isinstance(pipeline, LanguageModelingPipeline)
    tokens = WORDS.encode("the company said").tolist()
    for _ in range(25):
        scores = pipeline.model(torch.tensor([tokens]))[0][0, -1].detach()
        scores[WORDS.unknown] = -math.inf
        tokens.append(int(scores.argmax()))
    written = pipeline.generate("the company said", max_tokens=25, temperature=0)
    assert written == WORDS.decode(tokens[3:]).rstrip(" ")


def test_a_seed_decides(words: Path):
    pipeline = zoo.pipeline(words)
    one = pipeline.generate("the company", max_tokens=40, seed=1)
    assert pipeline.generate("the company", max_tokens=40, seed=1) == one
    assert zoo.pipeline(words)("the company", max_tokens=40, seed=1) == one
    assert pipeline.generate("the company", max_tokens=40, seed=2) != one
    assert pipeline.generate("it would", max_tokens=40, seed=1) != one
    assert pipeline.generate("the company", max_tokens=40, seed=1, temperature=1.7) != one
    likeliest = pipeline.generate("the company", max_tokens=40, temperature=0)
    for only_one in ({"top_k": 1}, {"top_p": 1e-9}):
        assert pipeline.generate("the company", max_tokens=40, seed=5, **only_one) == likeliest
    assert len(WORDS.encode(one)) == 40
    assert "<unk>" not in one


def test_pieces_together_are_the_text(words: Path, characters: Path):
    for folder, prompt in ((words, "the company"), (characters, "abc")):
        pipeline = zoo.pipeline(folder)
        pieces = list(pipeline.stream(prompt, max_tokens=30, seed=4))
        assert len(pieces) == 30
        assert "".join(pieces).rstrip(" ") == pipeline.generate(prompt, max_tokens=30, seed=4)
    assert zoo.pipeline(words).generate("it", max_tokens=0) == ""


def test_text_is_written_as_it_is_asked_for(words: Path):
    pipeline, read = zoo.pipeline(words), []
    pipeline.model.register_forward_hook(lambda _, inputs, __: read.append(inputs[0].shape[1]))
    stream = pipeline.stream("the company said", max_tokens=1000)
    assert read == []
    for _ in range(4):
        next(stream)
    assert read == [3, 1, 1, 1]


def test_prompts(words: Path, characters: Path):
    by_words, by_characters = zoo.pipeline(words), zoo.pipeline(characters)
    # An empty prompt begins a line, and what a model does not know is <unk>.
    assert by_words.generate("", max_tokens=20) == by_words.generate("\n", max_tokens=20)
    assert by_words.generate("the moon said", max_tokens=20) == by_words.generate("the <unk> said", max_tokens=20)
    assert by_characters.generate("", max_tokens=20) == by_characters.generate("\n", max_tokens=20)
    with pytest.raises(ZooError, match=r"'z' is not in this vocabulary of 14 characters"):
        by_characters.generate("abz")


@pytest.mark.parametrize("piece", [1, 3, 256])
def test_perplexity_is_that_of_the_whole_text_at_once(piece: int, words: Path, monkeypatch):
    monkeypatch.setattr(language_modeling, "_PIECE", piece)
    pipeline = zoo.pipeline(words)
    text = "the company said it would sell N shares \n it would \n the moon said\n" * 5
    tokens = WORDS.encode(text)
    with torch.no_grad():
        logits = pipeline.model.double()(tokens[None, :-1])[0][0]
    expected = math.exp(F.cross_entropy(logits, tokens[1:]).item())
    assert zoo.pipeline(words).perplexity(text) == pytest.approx(expected, rel=1e-5)


def test_perplexity_needs_something_to_foresee(words: Path, characters: Path):
    for text in ("", "the"):
        with pytest.raises(ZooError, match="fewer than two tokens"):
            zoo.pipeline(words).perplexity(text)
    with pytest.raises(ZooError, match="not in this vocabulary"):
        zoo.pipeline(characters).perplexity("abz")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_tokens": -1}, "max_tokens=-1"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_p": 0.0}, "top_p"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.0}, "whole number"),
        ({"seed": 2**64}, "seed"),
    ],
)
def test_settings_that_make_no_sense_are_told_at_once(settings, told, words: Path):
    with pytest.raises(ZooError, match=told):
        zoo.pipeline(words).stream("the company", **settings)


def test_rounded_weights_write_too(tmp_path: Path):
    pipeline = zoo.pipeline(released(tmp_path / "small", WORDS, "float16"))
    assert {p.dtype for p in pipeline.model.parameters()} == {torch.float32}
    assert len(WORDS.encode(pipeline.generate("it", max_tokens=9))) == 9


def test_a_vocabulary_of_another_model_is_refused(tmp_path: Path, words: Path):
    other = Vocabulary(WORDS.tokens[:-1], "split")
    content = json.loads((words / "card.json").read_text())
    with pytest.raises(ZooError, match="has 9 tokens, the model 10"):
        LanguageModelingPipeline(torch.nn.Linear(1, 1), content, other)
    plain = save_release(tmp_path / "plain", create_model("lstm_char"), "lstm_char", {}, {"task": "language_modeling"})
    with pytest.raises(ZooError, match=f"plain holds no {VOCABULARY}"):
        zoo.pipeline(plain)


def test_the_command_writes_text(words: Path, characters: Path, capsys):
    assert main(["predict", str(words), "the company said", "--max-tokens", "12", "--seed", "3"]) == 0
    written = capsys.readouterr().out
    pipeline = zoo.pipeline(words)
    assert written == f"the company said {''.join(pipeline.stream('the company said', 12, seed=3))}\n"
    options = ["--temperature", "0.7", "--top-k", "4", "--top-p", "0.9", "--max-tokens", "5"]
    assert main(["predict", str(words), *options, "it", "--", "- N"]) == 0
    settings = {"max_tokens": 5, "temperature": 0.7, "top_k": 4, "top_p": 0.9}
    expected = [f"{text} {''.join(pipeline.stream(text, **settings))}\n" for text in ("it", "- N")]
    assert capsys.readouterr().out == "".join(expected)
    assert main(["predict", str(characters), "abc", "--max-tokens", "8"]) == 0
    assert capsys.readouterr().out == f"abc{''.join(zoo.pipeline(characters).stream('abc', 8))}\n"


def test_the_command_tells_a_file_s_perplexity(words: Path, tmp_path: Path, capsys):
    text = "the company said\nit would sell N shares\n"
    (tmp_path / "text.txt").write_text(text)
    assert main(["predict", str(words), "--perplexity", str(tmp_path / "text.txt")]) == 0
    value = zoo.pipeline(words).perplexity(text)
    assert capsys.readouterr().out == f"{tmp_path / 'text.txt'}: perplexity {value:.4g} per word\n"


def test_the_command_tells_what_the_model_does_not_know(words: Path, characters: Path, tmp_path: Path, capsys):
    assert zoo.pipeline(words).unknown("the Zebras said qwxz\nthe Zebras") == ["Zebras", "qwxz", "Zebras"]
    assert zoo.pipeline(characters).unknown("abc") == []
    assert main(["predict", str(words), "the Zebras said qwxz Zebras", "--max-tokens", "2"]) == 0
    assert capsys.readouterr().err == "the model does not know Zebras, qwxz\n"
    (tmp_path / "text.txt").write_text("the Zebras said\n")
    assert main(["predict", str(words), "--perplexity", str(tmp_path / "text.txt")]) == 0
    assert capsys.readouterr().out.endswith(" per word, 1 of them unknown to the model\n")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], 'give a text to write on, such as "the company said", or --perplexity FILE'),
        (["it", "--frob"], "zoo predict has no flag --frob for"),
        (["it", "--max-tokens", "many"], "argument --max-tokens: invalid int value: 'many'"),
        (["it", "--max-tokens"], "expected one argument"),
        (["it", "--max-tokens", "-3"], "max_tokens=-3 is not possible"),
        (["it", "--temperature", "nan"], "temperature=nan"),
        (["it", "--perplexity", "nothing.txt"], "not both"),
        (["--perplexity", "nothing.txt"], "--perplexity=nothing.txt does not exist: name a text file in UTF-8"),
    ],
)
def test_mistakes_are_told_in_one_line(options: list[str], told: str, words: Path, one_line_error):
    assert told in one_line_error("predict", str(words), *options)


def test_a_flag_before_the_release_is_told(words: Path, one_line_error):
    told = one_line_error("predict", "--max-tokens", "3", str(words), "it")
    assert "takes the run or release first, then --max-tokens" in told
    assert "no flag --max-tokens for lenet5-mnist" in one_line_error("predict", "lenet5-mnist", "--max-tokens", "3")


def test_neither_lightning_nor_hydra_is_needed(words: Path):
    program = (
        "import sys, zoo\n"
        f"print(zoo.pipeline({str(words)!r}).generate('the', max_tokens=5))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip()
    modules = set(ended.stderr.split())
    assert "torch" in modules
    assert not modules & {"lightning", "hydra", "omegaconf", "wandb", "torchvision", "matplotlib", "PIL"}
