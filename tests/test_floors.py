"""Imports only point down the floors of the house; what is heavy or belongs higher up stays out of the lower ones."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoo

PACKAGE = Path(zoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "cli": 4,
    "__main__": 4,
    "verbs": 4,
    "training": 3,
    "tasks": 2,
    "pretrained": 2,
    "models": 1,
    "data": 1,
    "decoding": 1,
    "optim": 1,
    "metrics": 1,
    "errors": 0,
    "locations": 0,
}
HEAVY = {"torchvision", "torchmetrics", "lightning", "pytorch_lightning", "sklearn", "PIL", "matplotlib"}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yields the dotted name of every import, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            assert node.module
            # `from zoo import training` names a room too.
            yield from (f"zoo.{alias.name}" for alias in node.names) if node.module == "zoo" else [node.module]


def at_import_time(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yields the statements that run when a module is imported: no functions, nothing for type checkers only."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            yield from at_import_time(ast.Module(body=list(node.body), type_ignores=[]))
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def named(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_arrows_point_down(file: Path):
    room = room_of(file)
    for name in imports(parse(file)):
        if not name.startswith("zoo."):
            assert name != "zoo", f"{file} imports the whole house"
            continue
        other = name.split(".")[1]
        if room == "__init__":  # the front door: everything below the trainer, nothing of it
            assert FLOORS[other] <= 2, name
        elif other in zoo.__all__:
            assert FLOORS[room] == 4, f"{file}: import {other} from where it is written"
        else:
            assert FLOORS[other] <= FLOORS[room], f"{file}: {name} lies above"
            assert (room, other) != ("pretrained", "tasks"), f"{file}: releases know no tasks"


@pytest.mark.parametrize("file", FILES, ids=named)
def test_lightning_and_hydra_stay_upstairs(file: Path):
    packages = {name.split(".")[0] for name in imports(parse(file))}
    room = room_of(file)
    if room not in ("tasks", "training"):
        assert not packages & {"lightning", "pytorch_lightning"}
    if room != "training":
        assert not packages & {"hydra", "omegaconf"}
    if room == "pretrained":
        assert not packages & {"wandb", "torchvision", "torchmetrics", "yaml", "rich"}


@pytest.mark.parametrize("file", FILES, ids=named)
def test_heavy_packages_are_imported_on_first_use(file: Path):
    room = room_of(file)
    if room == "pretrained" or FLOORS.get(room, 0) <= 1:
        packages = {name.split(".")[0] for node in at_import_time(parse(file)) for name in imports(node)}
        assert not packages & HEAVY


def test_every_room_has_a_floor():
    assert {room_of(file) for file in FILES} <= {*FLOORS, "__init__"}
