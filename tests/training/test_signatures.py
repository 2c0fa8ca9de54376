"""Keys and types against signatures, before any data is touched."""

import collections.abc
from typing import Any, Literal, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.errors import ZooError
from zoo.training.compose import compose, resolve
from zoo.training.signatures import check_signatures, conforms, known_types, readable_type


@pytest.mark.parametrize(
    ("annotation", "fits", "does_not"),
    [
        (int, [0, -3], [True, 1.0, "1", None, [1]]),
        (float, [0, 1.5, -1e9], [True, "1.5", None]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "a"], [1, None, ["a"]]),
        (int | None, [1, None], [1.0, "1"]),
        (float | None, [1, 2.5, None], ["x", True]),
        (int | str, [1, "a"], [None, 1.5, [1]]),
        (float | Tensor, [0.1], ["abc", None, [0.1]]),
        (list[float], [[], [1, 2.5]], [1.0, ["a"], [None], {"a": 1}]),
        (list[int] | None, [None, [1]], [[1.5], 1]),
        (tuple[float, float], [[0.9, 0.999], (1, 2)], [[0.9], [1, 2, 3], ["a", "b"], 0.9]),
        (tuple[int, ...], [[], [1, 2, 3]], [["a"], 1]),
        (tuple[float | Tensor, float | Tensor], [[0.9, 0.999]], [[0.9], 0.9]),
        (collections.abc.Sequence[int], [[1, 2]], [["a"], "12", 1]),
        (dict[str, Any], [{}, {"a": 1}], [[], 1, "a"]),
        (dict, [{"a": 1}], [1]),
        (list, [[1, "a"]], [1, "a"]),
        (Literal["norm", "value"], ["norm"], ["abc", 1]),
        (Literal[1, "auto"], [1, "auto"], [True, "1", 2]),
        (Tensor, [], [1, "a", [1.0]]),
        (None, [None], [0, ""]),
        (Any, [None, 1, [2], {"a": 3}], []),
        ("Tensor", [1], []),
    ],
)
def test_a_value_conforms_to_an_annotation(annotation, fits, does_not):
    assert [value for value in fits if not conforms(value, annotation)] == []
    assert [value for value in does_not if conforms(value, annotation)] == []


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from([int, float, bool, str, None, list[int], dict, Literal["a"], tuple[int, str], Any])


@given(PLAIN, KINDS, KINDS)
def test_a_union_takes_what_one_of_its_parts_takes(value, first, second):
    union = Union[first, second]  # noqa: UP007 — None on both sides has no |
    assert conforms(value, union) == (conforms(value, first) or conforms(value, second))


@given(st.lists(PLAIN, max_size=4), KINDS)
def test_a_list_takes_what_all_its_items_allow(values, kind):
    if kind is not None:
        assert conforms(values, list[kind]) == all(conforms(value, kind) for value in values)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"), (int | None, "int | null"), (float | Tensor, "float"), (list[float], "list[float]"),
        (tuple[float, float], "tuple[float, float]"), (Literal["a", "b"], "a | b"), (tuple[int, ...], "tuple[int, …]"),
    ],
)  # fmt: skip
def test_a_type_reads_as_what_yaml_can_write(annotation, text: str):
    assert readable_type(annotation) == text


def test_every_key_of_the_default_config_has_a_type():
    types = known_types(resolve(compose([]).config))
    assert types["trainer.max_epochs"] == "int | null"
    assert types["optimizer.lr"] == "float"
    assert types["data.batch_size"] == "int"
    assert types["task.label_smoothing"] == "float"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.lr=abc"], "optimizer.lr='abc' is not possible: expected float"),
        (["optimizer=adam", "optimizer.betas=[0.9]"], "optimizer.betas=[0.9] is not possible: expected tuple"),
        (["+optimizer.momentun=0.9"], "unknown key optimizer.momentun: did you mean optimizer.momentum?"),
        (["optimizer=adam", "+optimizer.momentum=0.9"], "unknown key optimizer.momentum"),
        (["scheduler=cosine", "scheduler.T_max=ten"], "scheduler.T_max='ten' is not possible: expected int"),
        (["scheduler=lecun1998", "scheduler.milestones=[a]"], "scheduler.milestones=['a'] is not possible"),
        (["data.batch_size=12.5"], "data.batch_size=12.5 is not possible: expected int"),
        (["data.batch_size=null"], "data.batch_size=None is not possible"),
        (["+data.sise=1"], "unknown key data.sise"),
        (["model.loss=3"], "model.loss=3 is not possible: expected mse | discriminative"),
        (["+model.los=mse"], "unknown key model.los: did you mean model.loss?"),
        (["task.label_smoothing=lots"], "task.label_smoothing='lots' is not possible: expected float"),
        (["trainer.max_epochs=1.5"], "trainer.max_epochs=1.5 is not possible: expected int"),
        (["+trainer.logger=true"], "use logger=…"),
        (["+trainer.callbacks=[]"], "use callbacks=…"),
        (["logger=wandb", "logger.wandb.project=1"], "logger.wandb.project=1 is not possible: expected str"),
        (["logger=wandb", "+logger.wandb.folder=x"], "unknown key logger.wandb.folder"),
        (["callbacks=early_stopping", "callbacks.early_stopping.monitor=test/error"], "would choose on the test split"),
        (["callbacks=early_stopping"], "callbacks.early_stopping needs a validation split"),
        (["callbacks=early_stopping", "+callbacks.early_stopping.patienc=1"], "early_stopping.patience?"),
        (["+callbacks.x._target_=lightning.pytorch.callbacks.Nothing"], "does not exist"),
        (["+callbacks.x._target_=lightning.pytorch.callbacks.EMAWeightAveraging"], "give callbacks=average_last"),
        (
            ["+callbacks.x._target_=lightning.pytorch.callbacks.StochasticWeightAveraging", "+callbacks.x.swa_lrs=0.1"],
            "give callbacks=average_last",
        ),
        (
            [
                "+callbacks.x._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler",
                "+callbacks.x.scheduling={0: 4}",
            ],
            "give trainer.accumulate_grad_batches",
        ),
        (["+callbacks.x._target_=torch.optim.SGD"], "expected a class derived from Callback"),
        (["optimizer._target_=lightning.pytorch.callbacks.EarlyStopping"], "expected a class derived from Optimizer"),
    ],
)
def test_the_first_key_or_value_that_does_not_fit_is_named(words: list[str], told: str):
    with pytest.raises(ZooError) as error:
        check_signatures(resolve(compose(words).config))
    assert told in str(error.value)
