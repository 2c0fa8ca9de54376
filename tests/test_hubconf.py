"""The checkout as a repository of torch.hub."""

from pathlib import Path

import pytest
import torch

from zoo.pretrained.hub import list_pretrained, load_pretrained

CHECKOUT = str(Path(__file__).parents[1])


@pytest.mark.parametrize("name", [entry.name for entry in list_pretrained() if entry.source == "zoo"])
def test_every_shipped_release_is_an_entry_of_torch_hub(name: str):
    model = torch.hub.load(CHECKOUT, name.replace("-", "_"), source="local")
    assert type(model) is type(load_pretrained(name))
    assert not model.training


def test_an_entry_takes_what_load_pretrained_takes():
    model = torch.hub.load(CHECKOUT, "lenet5_modern_mnist", source="local", num_classes=3)
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 3)
