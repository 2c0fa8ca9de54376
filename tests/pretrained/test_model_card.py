"""A release's README: Hugging Face's front matter is YAML, and all numbers are the card's."""

import re

import pytest
import yaml

from zoo.locations import shipped
from zoo.pretrained.card import read_card
from zoo.pretrained.model_card import how_to_try, model_card, pretrained_page
from zoo.pretrained.pipelines import PIPELINES

RELEASES = sorted(path.parent for path in shipped("pretrained").glob("*/card.json"))


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_the_front_matter_is_what_the_hub_reads(folder):
    card = read_card(folder)
    front = yaml.safe_load(re.match(r"---\n(.*?)\n---\n", model_card(card), re.DOTALL)[1])
    assert front["license"] == "mit"
    (entry,) = front["model-index"]
    assert entry["name"] == folder.name
    (result,) = entry["results"]
    assert result["metrics"] == [{"type": card["headline"]["metric"], "value": card["headline"]["value"]}]
    assert result["dataset"]["name"] == card["data"]["name"]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_the_paper_s_number_stands_beside_ours(folder):
    card = read_card(folder)
    claim = card["claim"][0] if isinstance(card["claim"], list) else card["claim"]
    text = model_card(card)
    if claim["metric"] in card["metrics"]:
        ours = f"{card['metrics'][claim['metric']]:.4g} with these weights"
    else:  # of the whole training
        headline = card["headline"]
        ours = (
            f"of the training, see docs/results.md ({headline['metric']} with these weights is {headline['value']:.4g})"
        )
    assert f"{claim['metric']}: {ours}, {claim['reported']} published" in text


def test_every_task_can_be_tried():
    for task in PIPELINES:
        python, command = how_to_try({"name": "name", "task": task, "data": {"name": "dates"}})
        assert python.startswith('zoo.pipeline("name")')
        assert command.startswith("zoo predict name")


@pytest.mark.parametrize(("source", "sentence"), [("de", "Ein Hund läuft."), ("en", "A dog is running.")])
def test_a_translator_is_tried_with_its_own_language(source: str, sentence: str):
    tries = how_to_try({"name": "name", "task": "translation", "data": {"name": "multi30k", "source": source}})
    assert all(f'"{sentence}"' in each for each in tries)


def test_the_page_has_every_release():
    page = pretrained_page({folder.name: read_card(folder) for folder in RELEASES})
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == [folder.name for folder in RELEASES]
