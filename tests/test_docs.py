"""What the documents say is true: their commands compose, their code runs, their tables are the records', links lead
somewhere."""

import ast
import contextlib
import functools
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from zoo.cli import HELP, main
from zoo.data.catalog import DATASETS
from zoo.errors import ZooError
from zoo.models.catalog import MODELS
from zoo.training.check import check
from zoo.training.compose import Composed, compose, parse_overrides, resolve
from zoo.training.listing import KINDS
from zoo.training.records import all_records, claims_of, experiments, missed
from zoo.training.run_folder import config_hash
from zoo.training.start import checked_config
from zoo.training.sweep import BasicSweeper
from zoo.training.tables import BEGIN, END, generated_pages, readme_with_results
from zoo.verbs import VERBS

CHECKOUT = Path(__file__).parents[1]
DOCUMENTS = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
README, CONTRIBUTING = (document.read_text(encoding="utf-8") for document in DOCUMENTS[:2])


def page_of(verb: str) -> str:
    """Returns what `zoo VERB --help` prints."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        main([verb, "--help"])
    return told.getvalue()


TEXTS = {
    **{document.name: document.read_text(encoding="utf-8") for document in DOCUMENTS},
    "zoo --help": HELP,
    **{f"zoo {verb} --help": page_of(verb) for verb in VERBS},
}
PUBLISHED = {experiment["release"] for experiment in experiments().values()}


def fenced(text: str, language: str) -> list[str]:
    """Returns the code blocks of a language; `""` stands for blocks that name none."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [code for named, code in blocks if named == language]


def commands(text: str) -> list[str]:
    """Finds the `zoo …` lines of code blocks and of the help, and those inside a sentence; descriptions cut off."""
    blocks = fenced(text, "") if "```" in text else [text]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    inline = [" ".join(words.split()) for words in re.findall(r"`(zoo [^`]+)`", text)]
    found = [re.split(r"\s{2,}|\s#", line)[0] for line in lines if line.startswith("zoo ")]
    return sorted({command for command in found + inline if not re.search(r"…\]|=…$|^zoo train$", command)})


COMMANDS = [(name, command) for name, text in TEXTS.items() for command in commands(text)]


@functools.cache
def composed(*words: str) -> Composed:
    return compose(list(words))


def check_training(words: list[str]) -> None:
    multirun = "-m" in words
    if "--config-dir" in words:
        return  # test_your_own_model_as_contributing_says runs it
    words = [word for word in words if word not in ("-m", "-q", "--prepare")]
    if any(word.startswith("resume=") for word in words):
        assert len(words) == 1
        return
    words = [word for word in words if not word.startswith("from_run=")]  # a folder of the reader's
    jobs = BasicSweeper.split_arguments(parse_overrides(words), None)[0] if multirun else [words]
    assert len(jobs) > 1 or not multirun
    for job in {tuple(word for word in job if not word.startswith("seed=")) for job in jobs}:
        check(resolve(composed(*job).config))


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_every_command_is_one(document: str, command: str):
    verb, *words = shlex.split(command)[1:]
    if verb in ("--help", "--version"):
        return
    assert verb in VERBS
    if words == ["--help"]:
        return
    if verb == "train":
        check_training(words)
    elif verb == "list":
        assert set(words[0].split("|")) <= set(KINDS)
    elif verb == "info" and words[0] != "NAME":
        assert words[0] in {*MODELS, *DATASETS, *experiments(), *PUBLISHED}
    elif verb in ("predict", "evaluate") and not words[0].isupper():
        assert words[0] in PUBLISHED


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 15
    assert {"train", "list", "info", "predict", "evaluate"} <= {command.split()[1] for _, command in COMMANDS}


@pytest.mark.parametrize("name", TEXTS)
def test_scripts_and_targets_that_are_named_exist(name: str):
    text = TEXTS[name]
    for script in re.findall(r"scripts/\w+\.py", text):
        assert (CHECKOUT / script).is_file(), script
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for path in re.findall(r"`((?:zoo|tests|configs|docs)/[\w/.-]+)`", text):
        assert (CHECKOUT / path).exists() or path == "configs/optimizer/sgd_he2015.yaml", path
    for experiment in re.findall(r"reproduce\.py (\w+) --seeds", text):
        assert experiment in experiments()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_python_in_the_documents_is_python(name: str):
    assert fenced(TEXTS[name], "python")
    for block in fenced(TEXTS[name], "python"):
        ast.parse(block)


@pytest.mark.parametrize("block", fenced(README, "python"))
def test_the_readme_s_python_runs(block: str):
    ended = subprocess.run([sys.executable, "-c", block], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


LINKS = [
    (document, target)
    for document in DOCUMENTS
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
    if not target.startswith(("http://", "https://", "mailto:"))
]


@pytest.mark.parametrize(("document", "target"), LINKS, ids=lambda value: Path(value).name)
def test_links_lead_somewhere(document: Path, target: str):
    assert (document.parent / target).exists()


def test_the_tables_are_those_of_the_records():
    for page, text in generated_pages().items():
        assert page.read_text(encoding="utf-8") == text, f"{page.name}: run `make results`"


def test_a_readme_without_markers_is_told():
    for lost in (BEGIN, END):
        with pytest.raises(ZooError, match="has lost the markers"):
            readme_with_results(README.replace(lost, ""), {})


def test_your_own_model_as_contributing_says(tmp_path: Path):
    """The page's two files, written down as it says, and its command, typed in the folder where they stand."""
    for block in (*fenced(CONTRIBUTING, "python"), *fenced(CONTRIBUTING, "yaml")):
        path = tmp_path / re.findall(r"^# (my_[\w/.]+)", block, re.MULTILINE)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block, encoding="utf-8")
    (command,) = (command for command in commands(CONTRIBUTING) if "--config-dir" in command)
    words = [*shlex.split(command)[1:], "trainer=cpu", "trainer.max_epochs=1", "logger=none", "-q"]
    ended = subprocess.run(
        [sys.executable, "-m", "zoo", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("test/error")


@pytest.mark.parametrize("record", [r for group in all_records().values() for r in group], ids=lambda r: r["command"])
def test_each_record_was_measured_with_the_config_its_command_composes_today(record):
    words = [word for word in record["command"].split() if "=" in word]
    config, typed = checked_config(composed(*words))
    assert config_hash(config) == record["config_hash"]
    assert typed["modified"] == []


@pytest.mark.parametrize("name", all_records())
def test_every_miss_of_the_paper_s_number_is_explained_and_nothing_else(name: str):
    group = all_records()[name]
    explained = {claim["metric"] for claim in claims_of(experiments()[name]) if claim.get("miss")}
    assert explained == {claim["metric"] for claim in claims_of(group[0]) if missed(group, claim)}


def test_the_file_for_wandb_s_agents_composes():
    (block,) = fenced(TEXTS["scaling.md"], "yaml")
    sweep = yaml.safe_load(block)
    program, verb, *words, arguments = sweep["command"]
    assert [program, verb, arguments] == ["zoo", "train", "${args_no_hyphens}"]
    for choose in (min, max):
        chosen = {
            key: choose(each.get("values") or [each["min"], each["max"]]) for key, each in sweep["parameters"].items()
        }
        config, _ = checked_config(compose([*words, *(f"{key}={value}" for key, value in chosen.items())]))
        assert "wandb" in config["logger"]
        assert config["data"]["validation"] > 0
    assert sweep["metric"] == {"name": "val/error", "goal": "minimize"}
