"""`zoo info NAME`: everything about a model, a dataset, an experiment or a release."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from zoo.data.catalog import DATASETS, datasets_for
from zoo.errors import ZooError, unknown
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.pretrained.hub import list_pretrained, pretrained_card, shipped_releases
from zoo.training.compose import Composed, compose, resolve
from zoo.training.listing import claim_text
from zoo.training.records import all_records, chosen, claims_of, current_claims, experiments
from zoo.training.reference import key_meanings, top_level_types
from zoo.training.screen import columns, show
from zoo.training.tables import measured, unit_text

_LONGEST_TYPE = 40
_MOST_CLASSES = 20


def argument_meanings(constructor: Any) -> dict[str, str]:
    """Returns keyword -> meaning from the `Args:` section of a docstring."""
    section = re.search(r"Args:\n(.*?)(?:\n\s*\n|\Z)", inspect.getdoc(constructor) or "", re.DOTALL)
    if not section:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.replace("`", "").split()).removesuffix(".") for name, text in entries}


def print_flags(release: str) -> None:
    """Prints what `zoo predict` takes with a release: its input and its flags.

    Raises:
        ZooError: No such release, or one that is damaged.
    """
    from zoo.pretrained.pipelines import answer_of, answer_options  # torch

    answer, flags = answer_of(release), answer_options(release)
    parameters = inspect.signature(answer).parameters
    table = columns("", "")
    for name, meaning in argument_meanings(answer).items():
        default = parameters[name].default if name in flags else None
        told = f"{meaning} (default: {default})" if not (default is None or default is False) else meaning
        table.add_row(f"  --{name.replace('_', '-')}" if name in flags else "  INPUT…", escape(told))
    table.show_header = False
    show(f"zoo predict {escape(release)} INPUT… [FLAG VALUE …]", table)


def typed_value(value: Any) -> str:
    """Writes a value as it is typed on the command line, e.g. `{flip: true}`."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {typed_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(typed_value, value))}]"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or value is True or value is False
        else str(value)
    )


def _experiment_rows(table: Table, keep: Callable[[str, dict[str, Any]], bool]) -> None:
    """Adds the experiments that are kept: the published number, ours, and what differs from the paper."""
    records = all_records()
    for name, experiment in experiments().items():
        if not keep(name, experiment):
            continue
        for claim in claims_of(experiment):
            published = f"{name}: published {claim_text(claim)} ({PAPERS[claim['paper']].short}, {claim['where']})"
            runs = records.get(name, [])
            ours = f"ours {measured(runs, claim)}{unit_text(claim)}, seeds {len(runs)}" if runs else "no record yet"
            why = f"; {claim['miss']}" if runs and "miss" in claim else ""
            table.add_row("experiment", escape(f"{published}; {ours}; protocol {claim['protocol']}{why}"))


Files = tuple[tuple[str, str], ...]  # group and name, e.g. ("optimizer", "sgd")


def _chosen_files(composed: Composed) -> Files:
    """Returns the files whose comments count before those of others."""
    groups = ("task", "model", "data", "optimizer", "scheduler")
    return tuple((group, choice) for group in groups if (choice := composed.choices.get(group)))


def config_keys(config: dict[str, Any], files: Files) -> dict[str, tuple[str, str, str]]:
    """Returns dotted key -> (type, value, meaning) for each key of a resolved config.

    Args:
        config: The config.
        files: The files whose meanings count where several comment on the same key.
    """
    from zoo.models.registry import registration
    from zoo.training.signatures import known_types

    entry = registration(config["model"]["name"])
    model = {f"model.{name}": meaning for name, meaning in argument_meanings(entry.constructor).items()}
    names = {"model.name": "the model", "data.name": "the dataset", "task.name": "the learning problem"}
    meanings = key_meanings(files) | names | model
    types = top_level_types() | known_types(config)
    found: dict[str, tuple[str, str, str]] = {}

    def walk(node: dict[str, Any], prefix: str) -> None:
        for key, value in sorted(node.items(), key=lambda item: item[0] != "name"):
            path = f"{prefix}{key}"
            if isinstance(value, dict) and value and path not in types:
                walk(value, f"{path}.")
                continue
            meaning = "the class that is built" if key == "_target_" else meanings.get(path, "")
            if prefix == "model." and key in entry.from_spec:
                meaning += "; null: what the data says"
            kind = "dict | null" if value is None else type(value).__name__
            found[path] = (types.get(path, kind), typed_value(value), meaning)

    walk(config, "")
    return found


def _print_keys(config: dict[str, Any], files: Files, part: str = "") -> None:
    """Prints each key below `part` as it is typed, with its meaning and type."""
    table = columns("config key=default", "meaning [type]")
    table.columns[0].no_wrap = False  # the names of classes are long
    for key, (kind, value, meaning) in config_keys(config, files).items():
        if not key.startswith(part):
            continue
        shown = "…" if key == "claim" and value != "null" else value
        short = textwrap.shorten(kind, _LONGEST_TYPE, placeholder=" …")
        table.add_row(f"{key}[dim]={escape(shown)}[/dim]", f"{escape(meaning)} [dim]{escape(f'[{short}]')}[/dim]")
    show(table)


def _model(name: str) -> None:
    from zoo.models.registry import registration

    catalogued, entry = MODELS[name], registration(name)
    table = columns()
    table.add_row("paper", str(PAPERS[catalogued.paper]))
    summary = (inspect.getdoc(entry.constructor) or "").split("\n\n")[0]
    table.add_row("model", " ".join(summary.split()))
    sizes = [f"{key}={entry.parameters[key].default}" for key in entry.from_spec]
    table.add_row("parameters", f"{catalogued.parameters:,}" + (f", with {', '.join(sizes)}" if sizes else ""))
    table.add_row("task", catalogued.task)
    fitting = [
        dataset
        for dataset in datasets_for(catalogued.task)
        if (spec := DATASETS[dataset].spec) is None or not entry.fits or entry.fits(spec) is None
    ]
    table.add_row("data that fit", ", ".join(fitting))
    _experiment_rows(table, lambda _, experiment: chosen(experiment, "model") == name)
    table.add_row("code", catalogued.module.replace(".", "/") + ".py")
    show(table, "")
    composed = compose([f"model={name}"])
    _print_keys(resolve(composed.config), _chosen_files(composed))


def _data(name: str) -> None:
    entry = DATASETS[name]
    table = columns()
    table.add_row("what", entry.about)
    table.add_row("task", entry.task)
    table.add_row("gives", str(entry.spec) if entry.spec else "known once it is read")
    embedded = "none, it is your own" if entry.your_own else "none, embedded"
    table.add_row("download", f"{entry.download_bytes / 1e6:.1f} MB" if entry.download_bytes else embedded)
    _experiment_rows(table, lambda _, experiment: chosen(experiment, "data") == name)
    table.add_row("code", entry.module.replace(".", "/") + ".py")
    show(table, "")
    # The root of an evaluation holds no model, whose recipe would stand before the dataset's own defaults.
    own = resolve(compose([f"data={name}", "release=any"], root="evaluate").config)
    _print_keys(resolve(compose([f"data={name}"]).config) | {"data": own["data"]}, (("data", name),), "data.")


def _experiment(name: str) -> None:
    composed = compose([f"experiment={name}"])
    config = resolve(composed.config)
    table = columns()
    table.add_row("command", f"zoo train experiment={name}")
    table.add_row("model", config["model"]["name"])
    table.add_row("data", config["data"]["name"])
    own = MODELS[config["model"]["name"]].paper
    table.add_row("paper", str(PAPERS[own]))
    for paper in dict.fromkeys(claim["paper"] for claim in claims_of(config) if claim["paper"] != own):
        table.add_row("beside", str(PAPERS[paper]))
    _experiment_rows(table, lambda candidate, _: candidate == name)
    for record in all_records().get(name, []):
        hardware = record["hardware"]
        where = hardware.get("gpu") or f"{hardware['cores']} cores, {hardware['processor']}"
        result = f"{record['headline']['metric']} {record['headline']['value']:.4g}"
        told = f"seed {record['seed']}: {result}; {record['duration_s'] / 60:.1f} min on {where}, {record['precision']}"
        table.add_row("record", escape(told))
    if release := config["release"]:
        table.add_row("release", release if release in shipped_releases() else f"{release}, not shipped")
    show(table, "")
    _print_keys(config, _chosen_files(composed))


def _card_value(key: str, value: Any) -> str:
    """Writes a value of a card; of what would fill the screen, the beginning."""
    if key == "class_names" and len(value) > _MOST_CLASSES:
        return f"{len(value):,}: {', '.join(map(str, value[:_MOST_CLASSES]))}, …"
    if key == "preprocessing" and value.get("mean_image"):
        value = value | {"mean_image": value["mean_image"]["shape"]}
    return typed_value(value)


def _release(name: str) -> None:
    card = pretrained_card(name)
    table = columns()
    for claim in current_claims(card):
        table.add_row("published in", str(PAPERS[claim["paper"]]) if claim["paper"] in PAPERS else claim["paper"])
        table.add_row("claim", escape(f"{claim_text(claim)} ({claim['where']}); protocol {claim['protocol']}"))
    for key in ("source", "url", "metrics", "reported", "model", "arguments", "parameters", "task", "data",
                "preprocessing", "class_names", "experiment", "seed", "commit", "versions", "licence"):  # fmt: skip
        if card.get(key) not in (None, {}):
            table.add_row(key.replace("_", " "), escape(_card_value(key, card[key])))
    show(table)


def print_information(name: str) -> None:
    """Prints everything about a name.

    Raises:
        ZooError: It names nothing; the nearest names are told.
    """
    releases = [entry.name for entry in list_pretrained()]
    for names, describe in ((MODELS, _model), (DATASETS, _data), (experiments(), _experiment), (releases, _release)):
        if name in names:
            show(f"[bold]{name}[/bold]")
            return describe(name)
    try:
        return _release(name)
    except ZooError:
        if Path(name).expanduser().exists():  # a run or a release that has something wrong with it
            raise
        raise unknown("name", name, [*MODELS, *DATASETS, *experiments(), *releases]) from None
