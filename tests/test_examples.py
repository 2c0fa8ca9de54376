"""The examples of the docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import zoo
from zoo.models.catalog import MODELS
from zoo.models.registry import registration

PACKAGE = Path(zoo.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if "    >>> " in path.read_text(encoding="utf-8") and path.name != "__init__.py"
)


def wrong(examples: doctest.DocTest) -> str:
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_a_module_s_examples(name: str):
    module = importlib.import_module(name)
    found = doctest.DocTestFinder().find(module, extraglobs={"zoo": zoo, "torch": torch})
    found = [each for each in found if each.examples]
    assert found
    assert not "".join(wrong(each) for each in found)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_s_example(name: str):
    text = registration(name).constructor.__doc__
    assert text is not None
    example = doctest.DocTestParser().get_doctest(text, {"zoo": zoo}, name, None, None)
    assert len(example.examples) == 2
    with torch.device("meta"):  # the shapes without the memory
        assert not wrong(example)
