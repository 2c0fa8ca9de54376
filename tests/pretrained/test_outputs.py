"""Loading for other classes, onto a device, in another dtype."""

import logging

import pytest
import torch

from zoo.errors import ZooError
from zoo.pretrained.hub import load_pretrained


def test_a_new_head_is_put_on_and_told(release, lenet, caplog):
    with caplog.at_level(logging.WARNING, logger="zoo"):
        model = load_pretrained(release, num_classes=37)
    assert "lenet5_modern-test for 37 classes: new are output.weight, output.bias" in caplog.text
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 37)
    assert not model.training
    own = lenet.state_dict()
    for name, tensor in model.state_dict().items():
        assert name.startswith("output.") or torch.equal(tensor, own[name]), name


def test_as_many_classes_are_other_classes(release, lenet):
    model = load_pretrained(release, num_classes=10)
    assert torch.equal(model.c5.weight, lenet.c5.weight)
    assert not torch.equal(model.output.weight, lenet.output.weight)


def test_dtype_and_device(release):
    model = load_pretrained(release, device=torch.device("cpu"), dtype=torch.float64)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    half = load_pretrained(release, dtype="float16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"num_classes": 0}, "num_classes=0 is not possible: expected a whole number, 1 or more"),
        ({"num_classes": "2"}, "num_classes='2' is not possible"),
        ({"num_classes": 2.5}, "num_classes=2.5 is not possible"),
        ({"dtype": torch.int8}, "expected one of floating-point numbers"),
        ({"dtype": "float17"}, "dtype=float17 is not possible: expected one of floating-point numbers"),
        ({"device": "gpu"}, 'device=gpu is not possible: expected "cpu", "cuda" or one such as "cuda:1"'),
        ({"device": 1.5}, "device=1.5 is not possible: expected"),
        pytest.param(
            {"device": "cuda"},
            "device=cuda is not possible",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(settings, told, release):
    with pytest.raises(ZooError, match=told) as error:
        load_pretrained(release, **settings)
    assert "\n" not in str(error.value)


def test_a_model_without_a_number_of_classes_is_told():
    with pytest.raises(ZooError, match="lenet5 is built for its own outputs and takes no number of classes"):
        load_pretrained("lenet5-mnist", num_classes=3)
