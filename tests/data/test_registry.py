"""The registry: one name, one constructor; misses name the nearest; the torch-free table tells the truth."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import zoo.data
from zoo.data import registry
from zoo.data.catalog import DATASETS
from zoo.data.registry import create_dataset, dataset_parameters, list_datasets, register_dataset
from zoo.errors import ZooError


@pytest.fixture
def _own_registrations():
    """What a test's own file registers is forgotten after it; what is imported meanwhile stays, it comes only once."""
    before = set(registry._REGISTERED)
    yield
    for name in set(registry._REGISTERED) - before:
        if not registry._REGISTERED[name].__module__.startswith("zoo."):
            del registry._REGISTERED[name]


def test_catalog_and_registry_name_the_same_datasets():
    for module in pkgutil.iter_modules(zoo.data.__path__, "zoo.data."):
        importlib.import_module(module.name)
    shipped = {name: made for name, made in registry._REGISTERED.items() if made.__module__.startswith("zoo.")}
    assert shipped.keys() == DATASETS.keys()
    for name, made in shipped.items():
        assert (made.__module__, made.__name__) == (DATASETS[name].module, DATASETS[name].constructor)


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_takes_what_the_trainer_gives_it(name):
    assert {"dir", "batch_size", "seed"} <= set(dataset_parameters(name))


def test_catalog_imports_no_torch():
    program = "import sys, zoo.data.catalog; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_module_level_imports_are_light():
    program = (
        "import sys, zoo.data.images, zoo.data.preparation; "
        "assert not {'torchvision', 'sklearn', 'lightning', 'PIL', 'rich'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_listing_matches_wildcards():
    assert list_datasets("*mnist") == ["fashion_mnist", "mnist"]
    assert list_datasets() == sorted(DATASETS)
    assert list_datasets("nothing*") == []


def test_unknown_name_and_keyword_name_the_nearest():
    with pytest.raises(ZooError, match="unknown dataset 'minst': did you mean mnist"):
        create_dataset("minst")
    with pytest.raises(ZooError, match=r"unknown key digits\.batchsize: did you mean digits\.batch_size"):
        create_dataset("digits", batchsize=3)
    with pytest.raises(ZooError, match="cannot be built with"):
        create_dataset("digits", batch_size="many")


@pytest.mark.usefixtures("_own_registrations")
def test_own_dataset_is_found_and_a_taken_name_is_refused():
    @register_dataset
    def my_pictures(size: int = 3):
        return size

    assert create_dataset("my_pictures", size=5) == 5
    assert "my_pictures" in list_datasets()
    with pytest.raises(ValueError, match="registered twice"):
        register_dataset(my_pictures)


@pytest.mark.usefixtures("_own_registrations")
def test_constructor_that_swallows_keywords_is_refused():
    def greedy(**anything):
        return anything

    with pytest.raises(ValueError, match="misspelt"):
        register_dataset(greedy)
