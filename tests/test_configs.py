"""Every shipped config keeps the rules: who may set what, what a file is called, what stands in its header."""

import copy
import functools
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from zoo.data.catalog import DATASETS
from zoo.data.registry import dataset_parameters
from zoo.locations import shipped
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.models.registry import registration
from zoo.tasks.catalog import TASKS, task_class
from zoo.training.check import TOP_LEVEL, check
from zoo.training.compose import compose, config_groups, group_choices, resolve
from zoo.training.information import config_keys
from zoo.training.records import chosen, claims_of, experiments, read_experiment
from zoo.training.signatures import check_signatures

CONFIGS = shipped("configs")
HARDWARE = {"accelerator", "devices", "num_nodes", "strategy", "precision"}
# What a choice cannot be made without: a model of its task, where that is not the default's.
MODEL_OF_TASK = {
    "language_modeling": ["model=lstm_small"],
    "translation": ["model=transformer_tiny"],
    "q_learning": ["model=dqn_mlp"],
    "adversarial": ["model=gan_mlp"],
}
NEEDS = (
    {"early_stopping": ["data.validation=200"]}
    | MODEL_OF_TASK
    | {choice: MODEL_OF_TASK[task] for choice in group_choices("task") for task in MODEL_OF_TASK
       if choice.startswith(f"{task}_")}
    | {name: MODEL_OF_TASK[entry.task] for name, entry in DATASETS.items() if entry.task in MODEL_OF_TASK}
    | {name: ["model=wgan_gp_toy"] for name in ("gaussians_8", "gaussians_25")}  # points, not images
)  # fmt: skip
CHOICES = [(group, choice) for group in config_groups() if group != "hydra" for choice in group_choices(group)]


def read(group: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8"))


def text(group: str, name: str) -> str:
    return (CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8")


@functools.cache
def _composed(group: str, choice: str) -> dict[str, Any]:
    return resolve(compose([f"{group}={choice}", *NEEDS.get(choice, [])]).config)


def composed(group: str, choice: str) -> dict[str, Any]:
    """Returns the config of a choice, with what it cannot be made without; it may be changed."""
    return copy.deepcopy(_composed(group, choice))


def bases(group: str) -> list[str]:
    """Names all files of a group, those that only others build on too."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_fits_every_signature(group: str, choice: str):
    config = composed(group, choice)
    check(config)
    check_signatures(config)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_key_of_every_choice_has_a_type_and_a_meaning(group: str, choice: str):
    keys = config_keys(composed(group, choice), ())
    assert len(keys) > 50
    for key, (kind, value, meaning) in keys.items():
        assert kind, f"{key} has no type"
        assert kind != "NoneType", f"{key} has no type"
        assert value, f"{key} has no default"
        assert meaning.strip(" ;").split(";")[0], f"{key} has no meaning"


def test_the_order_of_the_defaults():
    """A model beats the trainer's defaults, an experiment beats its model; otherwise a recipe is silently lost."""
    groups = [entry if isinstance(entry, str) else next(iter(entry)) for entry in yaml.safe_load(
        (CONFIGS / "train.yaml").read_text(encoding="utf-8"))["defaults"]]  # fmt: skip
    assert [group for group in groups if not group.startswith("override")] == [
        "_self_", "trainer", "logger", "callbacks", "task", "optimizer", "scheduler", "data", "model", "experiment",
    ]  # fmt: skip


def test_every_name_in_a_catalog_has_its_file():
    assert set(group_choices("model")) == set(MODELS)
    assert set(group_choices("data")) == set(DATASETS)
    # A paper's recipe for a task is a file beside the task's own, such as translation_vaswani2017.
    assert set(group_choices("task")) >= set(TASKS)
    for choice in group_choices("task"):
        assert choice in TASKS or read("task", choice)["defaults"][0] in TASKS


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_no_logic_in_yaml(path: Path):
    for resolver in re.findall(r"\$\{([\w.]+):", path.read_text(encoding="utf-8")):
        assert resolver == "oc.env", f"{path}: {resolver} is more than an interpolation"


@pytest.mark.parametrize("name", bases("model"))
def test_a_model_file(name: str):
    own = read("model", name)
    assert text("model", name).startswith("# @package _global_\n")
    assert set(own) <= {"defaults", "model", "trainer", "data", "select"}
    # Keys under optimizer: would leak into `optimizer=adam` on the command line.
    assert not {"optimizer", "scheduler", "task"} & set(own)
    assert not HARDWARE & set(own.get("trainer", {}))
    assert not {"name", "dir"} & set(own.get("data", {}))
    for entry in own.get("defaults", []):
        if isinstance(entry, dict):
            (group, choice), = entry.items()  # fmt: skip
            # The data too: else `zoo train model=…` would meet the digits, whatever the model is for.
            assert group.removeprefix("override /") in ("task", "optimizer", "scheduler", "data")
            assert choice in group_choices(group.removeprefix("override /"))


@pytest.mark.parametrize("name", bases("scheduler"))
def test_a_schedule_s_file_sets_nothing_else(name: str):
    if text("scheduler", name).startswith("# @package _global_\n"):
        assert set(read("scheduler", name)) <= {"defaults", "scheduler", "scheduler_interval"}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_s_config_lists_every_argument(name: str):
    config = composed("model", name)
    entry = registration(name)
    assert config["model"].pop("name") == name
    assert set(config["model"]) == set(entry.parameters)
    for keyword in entry.from_spec:
        assert config["model"][keyword] is None, f"model.{keyword} comes from the data"
    assert config["task"]["name"] == MODELS[name].task
    for keyword, value in config["model"].items():
        default = entry.parameters[keyword].default
        default = list(default) if isinstance(default, tuple) else default  # YAML has lists only
        assert keyword in entry.from_spec or value == default, f"{keyword}: YAML and constructor differ"


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_s_config_lists_every_keyword(name: str):
    config = resolve(compose([f"data={name}", "release=any"], root="evaluate").config)["data"]
    parameters = dataset_parameters(name)
    assert config.pop("name") == name
    assert set(config) == set(parameters) - {"seed"}
    for keyword, value in config.items():
        assert value == parameters[keyword].default, f"{keyword}: YAML and constructor differ"


# Keywords that came after a record: one more key in the base file would be another configuration than its own.
LATER = {"adversarial": {"marginals", "discriminator_optimizer"}}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_s_config_lists_every_keyword(name: str):
    own, settings = read("task", name), task_class(name).settings()
    assert own.pop("name") == name
    assert set(own) == set(settings) - LATER.get(name, set())
    for keyword, value in own.items():
        assert settings[keyword].default in (value, inspect.Parameter.empty)


@pytest.mark.parametrize("name", bases("optimizer"))
def test_an_optimizer_calls_its_step_size_lr(name: str):
    assert "lr" in read("optimizer", name) or "defaults" in read("optimizer", name)


@pytest.mark.parametrize("name", bases("trainer"))
def test_a_trainer_file_speaks_of_hardware_only(name: str):
    assert set(read("trainer", name)) <= HARDWARE | {"defaults"}


@pytest.mark.parametrize("name", group_choices("experiment"))
def test_an_experiment(name: str):
    own = read_experiment(name)
    model, data = chosen(own, "model"), chosen(own, "data")
    assert model in MODELS
    assert data in DATASETS
    assert set(own) - {"defaults"} <= set(TOP_LEVEL)
    assert not {"optimizer", "scheduler"} & set(own), "a recipe is a file of its own"
    # Names: <model>_<data>[_<variant>]; releases have a hyphen before the data. A word that ends the one and begins the
    # other comes once: dqn_minatar_breakout is dqn_minatar on minatar_breakout.
    data = data.removeprefix(f"{model.rpartition('_')[2]}_")
    variant = name.removeprefix(f"{model}_{data}")
    assert name == f"{model}_{data}{variant}"
    assert not variant or re.fullmatch(r"_[a-z0-9_]+", variant)
    assert own["name"] == name
    assert own["release"] in (f"{model}{variant}-{data}", f"{model}-{data}{variant}")
    config = composed("experiment", name)
    headlines = task_class(config["task"]["name"]).headlines
    assert claims_of(own) or "no number" in text("experiment", name), "a paper without a number is told of"
    for claim in claims_of(own):
        assert claim["paper"] in PAPERS
        # Papers print the validation split's number too, measured on the same weights.
        assert claim["direction"] == headlines[re.sub("^val/", "test/", claim["metric"])]
        assert claim["protocol"] == "exact" or claim["protocol"].startswith("reduced: ")
        assert re.search(r"Section|Table|Figure|Fig\.|Appendix|Tutorial|README", claim["where"])


@pytest.mark.parametrize("name", group_choices("experiment"))
def test_an_experiment_opens_with_its_command_and_the_paper_s_number(name: str):
    header = [line for line in text("experiment", name).split("defaults:")[0].splitlines() if line]
    assert header[0] == "# @package _global_"
    assert header[1] == f"# zoo train experiment={name}"
    comment = " ".join(header[2:])
    for claim in claims_of(read_experiment(name)):
        assert str(claim["reported"]) in comment
        assert str(PAPERS[claim["paper"]].year) in comment


def test_experiments_and_releases_have_names_of_their_own():
    releases = [experiment["release"] for experiment in experiments().values()]
    assert len(set(releases)) == len(releases)
    assert not set(releases) & (set(MODELS) | set(experiments()))
    assert not set(MODELS) & set(experiments())
