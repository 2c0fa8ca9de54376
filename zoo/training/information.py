"""`zoo info NAME`: everything about a model, a dataset, an experiment or a release."""

import inspect
import re
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.data.catalog import DATASETS
from zoo.errors import ZooError, unknown
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.pretrained.hub import list_pretrained, pretrained_card
from zoo.training.compose import compose, resolve
from zoo.training.listing import claim_text
from zoo.training.records import all_records, chosen, claims_of, experiments
from zoo.training.reference import key_meanings
from zoo.training.tables import mean_and_spread

console = Console(soft_wrap=True)


def measured(records: list[dict[str, Any]]) -> str:
    """Says what the records of an experiment measured: mean ± std over seeds, and how many."""
    values = [record["headline"]["value"] for record in records]
    return f"{mean_and_spread(values, 2)} ({len(values)} seed{'s' if len(values) > 1 else ''})"


def argument_meanings(constructor: Any) -> dict[str, str]:
    """Returns keyword -> meaning from the `Args:` section of a docstring."""
    section = re.search(r"Args:\n(.*?)(?:\n\s*\n|\Z)", inspect.getdoc(constructor) or "", re.DOTALL)
    if not section:
        return {}
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _experiment_rows(table: Table, keep: Any) -> None:
    records = all_records()
    for name, experiment in experiments().items():
        if not keep(name, experiment):
            continue
        ours = f"; measured {measured(records[name])}" if name in records else "; no record yet"
        for claim in claims_of(experiment):
            paper = f"paper {claim_text(claim)} ({claim['where']}); protocol {claim['protocol']}"
            table.add_row(f"experiment={name}", paper + ours)


def _print_keys(config: dict[str, Any]) -> None:
    """Prints each key with its type, default and meaning."""
    from zoo.data.registry import create_dataset  # noqa: F401  (registers the datasets' signatures)
    from zoo.models.registry import registration
    from zoo.training.signatures import known_types

    entry = registration(config["model"]["name"])
    meanings = {**key_meanings(), **{f"model.{k}": v for k, v in argument_meanings(entry.constructor).items()}}
    meanings |= {"model.name": "the model", "data.name": "the dataset", "task.name": "the learning problem"}
    types = known_types(config)
    table = Table(box=None, pad_edge=False, header_style="bold", title="config keys", title_justify="left")
    for title in ("key", "type", "default", "meaning"):
        table.add_column(title, no_wrap=title == "key", overflow="fold")

    def rows(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            path = f"{prefix}{key}"
            if isinstance(value, dict) and value and path not in types and path != "claim":
                rows(value, f"{path}.")
                continue
            from_data = prefix == "model." and value is None and key in entry.from_spec
            shown = "from the data" if from_data else "null" if value is None else str(value)
            meaning = "the class that is built" if key == "_target_" else meanings.get(path, "")
            table.add_row(path, types.get(path, type(value).__name__ if value is not None else ""), shown, meaning)

    rows({key: value for key, value in config.items() if key != "claim"}, "")
    Console().print(table)


def _model(name: str) -> None:
    from zoo.models.registry import registration

    catalogued, entry = MODELS[name], registration(name)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("paper", str(PAPERS[catalogued.paper]))
    table.add_row("parameters", f"{catalogued.parameters:,}")
    table.add_row("task", catalogued.task)
    summary = (inspect.getdoc(entry.constructor) or "").split("\n\n")[0]
    table.add_row("what", " ".join(summary.split()))
    fitting = [
        dataset
        for dataset, data in DATASETS.items()
        if data.task == catalogued.task and (data.spec is None or not entry.fits or entry.fits(data.spec) is None)
    ]
    table.add_row("data that fit", ", ".join(fitting))
    _experiment_rows(table, lambda _, experiment: chosen(experiment, "model") == name)
    table.add_row("code", catalogued.module.replace(".", "/") + ".py")
    console.print(table, "")
    _print_keys(resolve(compose([f"model={name}"]).config))


def _data(name: str) -> None:
    entry = DATASETS[name]
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("what", entry.about)
    table.add_row("task", entry.task)
    table.add_row("gives", str(entry.spec) if entry.spec else "known once it is read")
    table.add_row("download", f"{entry.download_bytes / 1e6:.1f} MB" if entry.download_bytes else "none, embedded")
    _experiment_rows(table, lambda _, experiment: chosen(experiment, "data") == name)
    console.print(table)


def _experiment(name: str) -> None:
    config = resolve(compose([f"experiment={name}"]).config)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("command", f"zoo train experiment={name}")
    table.add_row("model, data", f"{config['model']['name']}, {config['data']['name']}")
    _experiment_rows(table, lambda candidate, _: candidate == name)
    for record in all_records().get(name, []):
        hardware = record["hardware"]
        where = f"{hardware['cores']} cores, {hardware['processor']}, {record['precision']}"
        result = f"{record['headline']['metric']} {record['headline']['value']:.4g}"
        table.add_row(f"record, seed {record['seed']}", f"{result}; {record['duration_s'] / 60:.1f} min on {where}")
    if config["release"]:
        table.add_row("release", config["release"])
    console.print(table, "")
    _print_keys(config)


def _release(name: str) -> None:
    card = pretrained_card(name)
    table = Table(show_header=False, box=None, pad_edge=False)
    for key in ("model", "arguments", "parameters", "task", "data", "metrics", "claim", "experiment", "seed",
                "commit", "preprocessing", "licence"):  # fmt: skip
        table.add_row(key, str(card.get(key)))
    console.print(table)


def print_information(name: str) -> None:
    """Prints everything about a name.

    Raises:
        ZooError: It names nothing; the nearest names are told.
    """
    releases = [entry.name for entry in list_pretrained()]
    for names, show in ((MODELS, _model), (DATASETS, _data), (experiments(), _experiment), (releases, _release)):
        if name in names:
            console.print(f"[bold]{name}[/bold]")
            return show(name)
    try:
        return _release(name)
    except ZooError:
        raise unknown("name", name, [*MODELS, *DATASETS, *experiments(), *releases]) from None
