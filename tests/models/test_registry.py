"""The registry: one name, one constructor; misses name the nearest; the torch-free table tells the truth."""

import importlib
import pkgutil

import pytest
from torch import nn

import zoo.models
from zoo.data.spec import ImageSpec, TextSpec
from zoo.errors import ZooError
from zoo.models import registry
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.models.registry import arguments_for, create_model, list_models, register_model, registration


@pytest.fixture
def _own_registrations():
    """What a test's own file registers is forgotten after it; what is imported meanwhile stays, it comes only once."""
    before = set(registry._REGISTERED)
    yield
    for name in set(registry._REGISTERED) - before:
        if not registry._REGISTERED[name].constructor.__module__.startswith("zoo."):
            del registry._REGISTERED[name]


def every_registration():
    """Imports every model file, so that nothing that is registered can hide from the table."""
    for module in pkgutil.walk_packages(zoo.models.__path__, "zoo.models."):
        importlib.import_module(module.name)
    return {
        name: entry for name, entry in registry._REGISTERED.items() if entry.constructor.__module__.startswith("zoo.")
    }


def test_catalog_and_registry_name_the_same_models():
    assert every_registration().keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_catalog_tells_what_is_registered(name):
    entry, registered = MODELS[name], registration(name)
    assert registered.constructor.__module__ == entry.module
    assert (registered.name, registered.task, registered.paper) == (name, entry.task, entry.paper)
    assert entry.paper in PAPERS


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("lenet*", ["lenet5", "lenet5_modern"]), ("*_modern", ["lenet5_modern"]), ("lenet5", ["lenet5"]), ("none*", [])],
)
def test_wildcards(pattern, names):
    found = list_models(pattern)
    assert [name for name in found if name.startswith("lenet5")] == names
    assert found == sorted(found)


def test_no_pattern_lists_all():
    assert set(list_models()) >= set(MODELS)


def test_unknown_model_names_the_nearest():
    with pytest.raises(ZooError, match=r"unknown model 'lenet_5': did you mean .*lenet5"):
        create_model("lenet_5")


def test_unknown_model_far_from_all_names_all():
    with pytest.raises(ZooError, match=r"unknown model 'zzz': there is .*lenet5, lenet5_modern"):
        create_model("zzz")


def test_unknown_argument_names_the_nearest():
    with pytest.raises(
        ZooError, match=r"unknown key lenet5_modern\.num_clases: did you mean lenet5_modern\.num_classes\?"
    ):
        create_model("lenet5_modern", num_clases=3)


def test_unknown_argument_far_from_all_names_all():
    with pytest.raises(ZooError, match=r"lenet5_modern\.zzz: it takes num_classes, in_channels"):
        create_model("lenet5_modern", zzz=3)


@pytest.mark.usefixtures("_own_registrations")
class TestRegistering:
    """Refusals of `register_model`."""

    def test_duplicates_raise(self):
        def tiny() -> nn.Module:
            return nn.Linear(1, 1)

        register_model(task="image_classification", paper="lecun1998")(tiny)
        with pytest.raises(ValueError, match="'tiny' is registered twice"):
            register_model(task="image_classification", paper="lecun1998")(tiny)

    def test_own_model_is_listed_and_built(self):
        def own_net(width: int = 2) -> nn.Module:
            return nn.Linear(width, 1)

        register_model(task="image_classification", paper="mine")(own_net)
        assert list_models("own_*") == ["own_net"]
        assert create_model("own_net", width=5).in_features == 5

    def test_sections_stand_behind_the_docstring(self):
        def described(width: int = 2) -> nn.Module:
            """A layer."""
            return nn.Linear(width, 1)

        sections = """
            Args:
                width: Of the layer.
        """
        register_model(task="image_classification", paper="mine", sections=sections)(described)
        assert described.__doc__ == "A layer.\n\nArgs:\n    width: Of the layer."

    def test_keyword_catch_alls_are_refused(self):
        def greedy(**anything: int) -> nn.Module:
            return nn.Linear(1, 1)

        with pytest.raises(ValueError, match=r"takes \*\*kwargs"):
            register_model(task="image_classification", paper="lecun1998")(greedy)
        assert "greedy" not in list_models()

    def test_unknown_task_is_refused(self):
        def tiny() -> nn.Module:
            return nn.Linear(1, 1)

        with pytest.raises(ValueError, match="unknown task 'image_clasification'"):
            register_model(task="image_clasification", paper="lecun1998")(tiny)

    def test_from_spec_must_name_real_keywords(self):
        def tiny(classes: int = 1) -> nn.Module:
            return nn.Linear(1, classes)

        with pytest.raises(ValueError, match="num_classes"):
            register_model(task="image_classification", paper="p", from_spec={"num_classes": "classes"})(tiny)

    def test_errors_of_a_constructor_are_told_in_one_line(self):
        def picky(width: int = 1) -> nn.Module:
            raise ValueError("width is\n  at least 2")

        register_model(task="image_classification", paper="lecun1998")(picky)
        with pytest.raises(ZooError, match=r"picky cannot be built with \{'width': 1\}: width is at least 2"):
            create_model("picky", width=1)


MNIST = ImageSpec(1, 28, 28, 10)


def test_data_fills_what_is_absent_or_none():
    filled = {"num_classes": 10, "in_channels": 1}
    assert arguments_for("lenet5_modern", MNIST, {}) == filled
    assert arguments_for("lenet5_modern", MNIST, {"num_classes": None, "in_channels": None}) == filled
    assert arguments_for("lenet5_modern", MNIST, {"num_classes": 10}) == filled


def test_contradictions_are_refused():
    with pytest.raises(ZooError, match=r"model\.num_classes=7 contradicts the data \(1x28x28 images of 10 classes\)"):
        arguments_for("lenet5_modern", MNIST, {"num_classes": 7})


def test_data_of_another_task_is_refused():
    with pytest.raises(ZooError, match=r"image_classification \(ImageSpec\), the data is text of 9 different words"):
        arguments_for("lenet5", TextSpec(9, "word"), {})
