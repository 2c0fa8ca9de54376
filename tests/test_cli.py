"""The command itself: what it prints, how wide, how soon; the mistakes are in test_errors.py."""

import os
import re
import subprocess
import sys

import pytest

import zoo
from zoo.cli import HELP, main
from zoo.verbs import VERBS

ALL_MODULES = "import sys; from zoo.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"


def modules_after(*words: str) -> set[str]:
    command = [sys.executable, "-c", ALL_MODULES, *words]
    return set(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr.split())


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["list", "models"], ["list", "data"], ["list", "experiments"]], ids=" ".join
)
def test_help_and_lists_import_nothing_heavy(words: list[str]):
    heavy = {"torch", "numpy", "lightning", "hydra", "omegaconf", "torchvision", "sklearn", "matplotlib", "wandb"}
    modules = modules_after(*words)
    assert not modules & heavy
    assert "zoo.cli" in modules
    if words[0] == "--help":
        assert "rich" not in modules


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]], ids=" ".join)
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.strip() == HELP
    assert max(map(len, told.splitlines())) <= 80


def test_help_tells_of_every_verb_with_examples():
    for verb in VERBS:
        assert f"  zoo {verb} " in HELP
    usage, examples = HELP.split("Examples:")
    assert "zoo --version" in usage
    assert examples.count("  zoo ") >= 5
    assert "ZOO_DEBUG" in examples


FLAGS = {
    "train": ["-h", "-m", "-q", "--prepare", "--config-dir"],
    "evaluate": ["-h", "--config-dir"],
    "predict": ["-h", "--imports"],
    "list": ["-h"],
    "info": ["-h"],
    "tune": ["-h", "--trials", "--storage", "-q", "--config-dir"],
    "compare": ["-h", "--out", "--json", "--csv"],
    "verify": ["-h", "--imports"],
    "doctor": ["-h"],
}


@pytest.mark.parametrize("words", [["{}", "--help"], ["{}", "-h"], ["help", "{}"]], ids=" ".join)
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_of_help(verb: str, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main([word.format(verb) for word in words]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: zoo {verb}")
    assert max(map(len, told.splitlines())) <= 80
    assert f"examples:\n  zoo {verb}" in told
    _, options = told.split("options:\n")
    rows = [line.split() for line in options.split("examples:")[0].splitlines() if line.startswith("  -")]
    assert [row[0].removesuffix(",") for row in rows] == FLAGS[verb]
    assert all(len(row) > 4 for row in rows), "a flag without a meaning"


def test_help_of_a_verb_that_is_none(one_line_error):
    assert "no command 'lsit': did you mean zoo list?" in one_line_error("help", "lsit")


def test_a_mistake_names_the_page_of_its_verb(one_line_error):
    told = "zoo: train has no flag --fast; settings are typed as key=value, and `zoo train --help` shows its flags"
    assert one_line_error("train", "--fast") == told
    assert "`zoo list --help` shows examples" in one_line_error("list")
    assert "required: RUN|RELEASE; `zoo evaluate --help`" in one_line_error("evaluate")


@pytest.mark.parametrize(
    ("release", "flags"),
    [
        ("lenet5-mnist", []),
        ("dqn_mlp-cartpole", ["--episodes", "--seed", "--epsilon", "--gif"]),
        ("rnnsearch_small-multi30k_de_en", ["--beam", "--length-penalty", "--file", "--alignment"]),
    ],
)
def test_help_of_predict_has_the_flags_of_a_release(release: str, flags: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(["predict", release, "--help"]) == 0
    title, words, *rows = capsys.readouterr().out.splitlines()
    assert title == f"zoo predict {release} INPUT… [FLAG VALUE …]"
    assert words.startswith("  INPUT…")
    assert [row.split()[0] for row in rows] == flags
    assert all(len(row.split()) > 2 for row in rows)


def test_help_of_predict_has_the_defaults(capsys: pytest.CaptureFixture[str]):
    assert main(["predict", "dqn_mlp-cartpole", "--help"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split("(default: ")[1:] for row in rows[2:]] == [["1)"], ["0)"], [], []]


def test_help_of_predict_for_what_is_not_there(one_line_error):
    assert "unknown release 'nosuch'" in one_line_error("predict", "nosuch", "--help")


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"landmark-zoo {zoo.__version__}\n"


def test_lists(capsys: pytest.CaptureFixture[str]):
    assert main(["list", "models", "lenet*"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", "lenet5", "lenet5_modern"]
    assert "60,000" in lines[1]
    assert "1998" in lines[1]
    assert main(["list", "models", "net110"]) == 0
    assert "resnet110_v2" in capsys.readouterr().out
    assert main(["list", "data", "*mnist"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["fashion_mnist", "mnist"]
    for kind, name, told in (
        ("optimizers", "sgd", "torch.optim.SGD"),
        ("schedulers", "he2015_cifar", "divided by 10 after 32,000"),
        ("schedulers", "cosine", "CosineAnnealingLR"),
        ("trainers", "cpu", "accelerator=cpu"),
        ("tasks", "translation", "headline=test/bleu"),
        ("callbacks", "early_stopping", "Stop when the headline"),
        ("loggers", "wandb", "Weights & Biases"),
        ("searches", "translation", "zoo tune translation"),
    ):
        assert main(["list", kind, name]) == 0
        assert told in " ".join(capsys.readouterr().out.split())
    assert main(["list", "experiments", "lenet5_mnist"]) == 0
    assert "test/error 0.95 %" in capsys.readouterr().out
    assert main(["list", "pretrained"]) == 0


@pytest.mark.parametrize("words", [["list", "models"], ["list", "data"], ["list", "experiments"], ["info", "lenet5"]])
def test_tables_wrap_in_a_terminal_and_nowhere_else(words, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    monkeypatch.delenv("COLUMNS")
    assert main(words) == 0
    wide = capsys.readouterr().out
    assert all(line == line.rstrip() for line in (narrow + wide).splitlines())
    assert len(wide.splitlines()) <= len(narrow.splitlines())
    assert re.sub(r"\s", "", wide.splitlines()[-1])[:10] in re.sub(r"\s", "", narrow)


def test_a_terminal_gets_bold_letters(open_terminal):
    terminal = open_terminal()
    command = [sys.executable, "-m", "zoo", "list", "models"]
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=terminal.end, env=environment)
    assert "\x1b[1m" in terminal.read()
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("words", [["--help"], ["list", "models"], ["info", "lenet5"]], ids=" ".join)
def test_a_reader_that_has_had_enough_is_no_error(words: list[str]):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "zoo", *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60
    )
    os.close(writer)
    assert ended.stderr == ""
    assert ended.returncode == 0
