"""Translations from a release: one, many, with what their words are aligned with, typed as a command."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import main
from zoo.data.tokenizing import BEGIN, END, PAD, SentenceTokenizer
from zoo.decoding.beam import beam_search, translate
from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.pipelines.translation import TranslationPipeline
from zoo.pretrained.release import save_release

SENTENCES = [
    "Ein Hund läuft über die Wiese.", "Zwei Kinder spielen.", "Ein Mann, der liest, sitzt im Park.", "Eine Frau lacht!",
    "A dog is running over the meadow.", "Two children are playing.", "A man, reading, sits in the park.",
]  # fmt: skip
TOKENIZER = SentenceTokenizer.train(SENTENCES, "bpe", 150)


def released(folder: Path, name: str = "transformer_tiny", tokenizer: SentenceTokenizer = TOKENIZER) -> Path:
    """A release with weights that have opinions, and differ from sentence to sentence."""
    arguments = {"source_vocabulary_size": len(TOKENIZER), "target_vocabulary_size": len(TOKENIZER), "pad": PAD}
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = create_model(name, **arguments)
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    card = {
        "name": folder.name, "task": {"name": "translation", "beam": 3, "length_penalty": 0.6},
        "preprocessing": {}, "class_names": [],
    }  # fmt: skip
    return save_release(folder, net, name, arguments, card, files={tokenizer.file_name: tokenizer.to_json()})


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return released(tmp_path_factory.mktemp("pipeline") / "translator")


def test_a_sentence_is_translated_as_the_test_does(release: Path):
    pipeline = zoo.pipeline(release)
    assert isinstance(pipeline, TranslationPipeline)
    source = torch.tensor([[*TOKENIZER.encode(SENTENCES[:1])[0], END]])
    for settings, beam, alpha in (({}, 3, 0.6), ({"beam": 1}, 1, 0.6), ({"beam": 2, "length_penalty": 0.0}, 2, 0.0)):
        expected = translate(pipeline.model, source, PAD, BEGIN, END, beam, alpha)[0]
        answer = pipeline(SENTENCES[0], **settings)
        assert answer.translation == str(answer) == TOKENIZER.decode(expected)
        assert answer.target_tokens == TOKENIZER.pieces([*expected, END])
        assert answer.source_tokens == TOKENIZER.pieces(source[0].tolist())
        if beam > 1:
            best = beam_search(pipeline.model, source, BEGIN, END, torch.tensor([source.shape[1] + 50]), beam, alpha)[
                0
            ][0]
            assert answer.score == pytest.approx(best.score, rel=1e-4)


def test_many_sentences_are_those_one_by_one(release: Path):
    """In batches of equal length: the order is the caller's, and padding changes nothing."""
    pipeline = zoo.pipeline(release)
    together = pipeline(SENTENCES)
    for sentence, answer in zip(SENTENCES, together, strict=True):
        alone = pipeline(sentence)
        assert (alone.translation, *alone[2:4]) == (answer.translation, *answer[2:4])
        assert alone.score == pytest.approx(answer.score, rel=1e-4)
        torch.testing.assert_close(alone.alignment, answer.alignment)
    assert pipeline([]) == []


@pytest.mark.parametrize("name", ["transformer_tiny", "rnnsearch_small"])
def test_each_word_tells_where_it_looked(name: str, tmp_path: Path):
    for answer in zoo.pipeline(released(tmp_path / name, name))(SENTENCES[:3]):
        assert answer.alignment.shape == (len(answer.target_tokens), len(answer.source_tokens))
        torch.testing.assert_close(answer.alignment.sum(dim=1), torch.ones(len(answer.target_tokens)))
        assert answer.source_tokens[-1] == answer.target_tokens[-1] == "</s>"


def test_what_does_not_attend_has_no_alignment(tmp_path: Path, one_line_error):
    release = released(tmp_path / "encdec", "rnnencdec_small")
    assert zoo.pipeline(release)(SENTENCES[0]).alignment.shape[1] == 0
    told = one_line_error("predict", str(release), SENTENCES[0], "--alignment", str(tmp_path / "out.png"))
    assert "encdec does not attend to its source" in told


def test_a_tokeniser_of_another_model_is_refused(tmp_path: Path):
    other = SentenceTokenizer.train(SENTENCES, "bpe", 100)
    with pytest.raises(ZooError, match=rf"tokenizer\.json has 100 tokens, the model {len(TOKENIZER)}"):
        zoo.pipeline(released(tmp_path / "mixed", tokenizer=other))
    arguments = {"source_vocabulary_size": 9, "target_vocabulary_size": 9}
    plain = create_model("transformer_tiny", **arguments)
    folder = save_release(tmp_path / "plain", plain, "transformer_tiny", arguments, {"task": "translation"})
    with pytest.raises(ZooError, match=r"plain holds no tokenizer\.json"):
        zoo.pipeline(folder)


def test_the_command_translates(release: Path, capsys, tmp_path: Path, monkeypatch):
    pipeline = zoo.pipeline(release)
    assert main(["predict", str(release), *SENTENCES[:2]]) == 0
    assert capsys.readouterr().out == "".join(f"{pipeline(each)}\n" for each in SENTENCES[:2])
    (tmp_path / "lines.txt").write_text(f"{SENTENCES[0]}\n\n{SENTENCES[1]}\n")
    assert main(["predict", str(release), "--file", str(tmp_path / "lines.txt"), "--beam", "1"]) == 0
    first, second = pipeline(SENTENCES[:2], beam=1)
    assert capsys.readouterr().out == f"{first}\n\n{second}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SENTENCES[1]}\n\n"))
    assert main(["predict", str(release), "-", "--beam", "1"]) == 0
    assert capsys.readouterr().out == f"{second}\n\n"


def test_the_command_draws_the_alignment(release: Path, capsys, tmp_path: Path):
    picture = tmp_path / "alignment.png"
    assert main(["predict", str(release), SENTENCES[0], "--alignment", str(picture)]) == 0
    assert capsys.readouterr().out.endswith(f"{picture}\n")
    with Image.open(picture) as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], 'give a sentence to translate, such as "ein Hund läuft", - for standard input, or --file FILE'),
        (["  "], "there is nothing to translate: it is empty"),
        (["Ein Hund", ""], "sentence 2 is empty"),
        (["Ein Hund", "--file", "nothing.txt"], "not both"),
        (["--file", "nothing.txt"], "--file=nothing.txt does not exist"),
        (["Ein Hund", "--beam", "0"], "beam=0 is not possible"),
        (["Ein Hund", "--beam", "wide"], "invalid int value: 'wide'"),
        (["Ein Hund", "--length-penalty", "-1"], "length_penalty=-1.0 is not possible"),
        (["Ein Hund", "--length-penalty", "nan"], "length_penalty=nan is not possible"),
        (["Ein Hund", "--alignment", "nowhere/out.png"], "cannot be written: there is no folder nowhere"),
        (["Ein Hund", "--alignment", "out.docx"], "--alignment=out.docx cannot be written"),
        (["Ein Hund", "--top-k", "3"], "zoo predict has no flag --top-k"),
    ],
)
def test_mistakes_are_told_in_one_line(options: list[str], told: str, release: Path, one_line_error):
    assert told in one_line_error("predict", str(release), *options)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None,), "expected a sentence or a list of sentences, not NoneType"),
        ((b"Ein Hund",), "expected a sentence or a list of sentences, not bytes"),
        ((["Ein Hund", 3],), "number 2 is 3, of the type int"),
        (("Ein H\udce4nd",), r"sentence 1 is no UTF-8 text \(character 6\): convert it"),
        (("Ein Hund", "4"), "beam='4' is not possible: expected a whole number, 1 or more"),
        (("Ein Hund", 2, "1"), "length_penalty='1' is not possible: expected a number, 0 or more"),
    ],
)
def test_what_is_no_text_is_told_in_one_line(arguments: tuple, told: str, release: Path):
    with pytest.raises(ZooError, match=told) as error:
        zoo.pipeline(release)(*arguments)
    assert "\n" not in str(error.value)


def test_nothing_on_standard_input_is_told(release: Path, one_line_error, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n \n"))
    assert "standard input has no text in it" in one_line_error("predict", str(release), "-")


def test_it_computes_where_it_is_told_to(release: Path):
    assert next(zoo.pipeline(release, device="cpu").model.parameters()).device.type == "cpu"
    assert next(zoo.pipeline(release, device="meta").model.parameters()).device.type == "meta"
    with pytest.raises(ZooError, match="device=no_such_device is not possible"):
        zoo.pipeline(release, device="no_such_device")


def test_neither_lightning_nor_matplotlib_is_needed(release: Path):
    program = (
        "import sys, zoo\n"
        f"print(len(zoo.pipeline({str(release)!r})('Ein Hund').target_tokens))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert int(ended.stdout) > 0
    modules = set(ended.stderr.split())
    assert {"torch", "tokenizers"} <= modules
    assert not modules & {"lightning", "hydra", "omegaconf", "wandb", "torchvision", "matplotlib", "sacrebleu"}
