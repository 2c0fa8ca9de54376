"""Which classes a config may name: checked on the name before the import, and on what it leads to after it."""

import sys

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from lightning.pytorch import Callback
from torch.optim import Optimizer

from zoo.errors import ZooError
from zoo.training.check import allowed_prefixes, check, check_target
from zoo.training.compose import compose, resolve
from zoo.training.targets import build, resolve_target


@pytest.mark.parametrize(
    ("target", "base"),
    [
        ("torch.optim.SGD", Optimizer),
        ("torch.optim.adam.Adam", Optimizer),
        ("lightning.pytorch.callbacks.EarlyStopping", Callback),
        ("zoo.optim.schedules.PiecewiseConstant", torch.optim.lr_scheduler.LRScheduler),
    ],
)
def test_allowed_classes_are_found(target: str, base: type):
    assert issubclass(resolve_target(target, base), base)


REFUSED = [
    "os.system", "subprocess.Popen", "builtins.eval", "torch.hub.load", "torch.load", "pickle.loads", "SGD",
    "torch.optim", "torch.optimizer.SGD", "torch.optim..SGD", ".torch.optim.SGD", "torch.optim.SGD ",
    "torch.optim.SGD\n", "torch.optim.SGD()", "zoo.optimx.SGD", "zoo.cli.main", "zoo.training.run.main",
    "lightning.pytorch.Trainer", "torch/optim/SGD", "", None, 7, ["torch.optim.SGD"],
]  # fmt: skip


@pytest.mark.parametrize("target", REFUSED)
def test_other_names_are_refused_before_anything_is_imported(target):
    before = set(sys.modules)
    with pytest.raises(ZooError, match="is not allowed: it must begin with"):
        check_target(target)
    assert set(sys.modules) == before


@given(st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,8}){0,4}", fullmatch=True) | st.text(max_size=30))
@example("torch_optim.SGD")
@example("torch.optimSGD")
def test_nothing_outside_the_allowed_packages_passes(target: str):
    if not target.startswith(allowed_prefixes()):
        with pytest.raises(ZooError):
            check_target(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.optimizer.torch.hub.load",  # passes a check of the prefix, runs a stranger's hubconf
        "torch.optim.optimizer.torch.load",
        "torch.optim.lr_scheduler.partial",
        "torch.optim.optimizer.warnings.warn",
        "torch.optim.optimizer.Any",
        "zoo.training.loggers.os.system",
        "zoo.training.loggers.write_atomically",
        "zoo.training.callbacks.finite.torch.hub.load",
    ],
)
@pytest.mark.parametrize("base", [Optimizer, Callback, object])
def test_strangers_inside_an_allowed_module_are_refused(target: str, base: type):
    with pytest.raises(ZooError, match=r"not allowed|does not exist"):
        resolve_target(target, base)


def test_a_class_imported_into_an_allowed_module_is_judged_by_where_it_comes_from():
    # It is a class, it is found under an allowed name, and it comes from elsewhere.
    with pytest.raises(ZooError, match=r"it leads to pathlib\..*Path"):
        resolve_target("zoo.training.loggers.Path", object)


def test_packages_of_one_s_own_are_allowed_by_the_environment(monkeypatch, tmp_path):
    (tmp_path / "own_steps.py").write_text(
        "import torch\nfrom collections import OrderedDict\nclass Slow(torch.optim.SGD):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZooError, match="ZOO_ALLOW_TARGETS"):
        resolve_target("own_steps.Slow", Optimizer)
    for value in ("own_steps.", "own_steps", "another., own_steps."):
        monkeypatch.setenv("ZOO_ALLOW_TARGETS", value)
        assert resolve_target("own_steps.Slow", Optimizer).__name__ == "Slow"
    # A name that merely begins alike is another package; a stranger inside an allowed one stays a stranger.
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "own")
    with pytest.raises(ZooError, match="is not allowed"):
        resolve_target("own_steps.Slow", Optimizer)
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "own_steps")
    with pytest.raises(ZooError, match="it leads to collections"):
        resolve_target("own_steps.OrderedDict", object)


@pytest.mark.parametrize("text", ["import no_such_package", "from torch import no_such_name", "1 / 0", "def"])
def test_a_package_of_one_s_own_that_fails_says_why(text: str, monkeypatch, tmp_path):
    (tmp_path / "failing_steps.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", "failing_steps.")
    with pytest.raises(ZooError, match=r"'failing_steps\.Slow' cannot be imported: (Module|Import|ZeroDiv|Syntax)"):
        resolve_target("failing_steps.Slow", Optimizer)


@pytest.mark.parametrize("value", ["", " ", ",", ",,", " , "])
def test_an_empty_list_of_one_s_own_allows_nothing(monkeypatch, value: str):
    monkeypatch.setenv("ZOO_ALLOW_TARGETS", value)
    for target in ("os.system", "builtins.eval"):
        with pytest.raises(ZooError):
            check_target(target)


@pytest.mark.parametrize(
    "word",
    [
        "+model._target_=torch.optim.SGD",
        "+data._target_=torch.optim.SGD",
        "+task._target_=torch.optim.SGD",
        "+trainer._target_=torch.optim.SGD",
        "+trainer.strategy2._target_=torch.optim.SGD",
        "+optimizer.params._target_=torch.optim.SGD",
        "+data.augment={_target_: torch.optim.SGD}",
        "+claim={_target_: torch.optim.SGD}",
        "imports=[{_target_: torch.optim.SGD}]",
    ],
)
def test_even_an_allowed_class_only_stands_where_one_is_built(word: str):
    with pytest.raises(ZooError, match="cannot hold a _target_"):
        check(resolve(compose([word]).config))


def test_building_tells_what_a_class_refuses():
    with pytest.raises(ZooError, match=r"torch.optim.SGD cannot be built with .*Invalid learning rate"):
        build({"_target_": "torch.optim.SGD", "lr": -1}, Optimizer, [torch.nn.Parameter(torch.zeros(1))])
    with pytest.raises(ZooError, match="cannot be built"):
        build({"_target_": "torch.optim.SGD", "lrr": 1}, Optimizer, [torch.nn.Parameter(torch.zeros(1))])
