"""`import zoo` offers the whole interface, lazily: nothing heavy is imported before it is needed."""

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image

import zoo
from zoo.models import registry
from zoo.pretrained.release import save_release

CARD = {
    "task": "image_classification",
    "preprocessing": {"channels": 1, "height": 28, "width": 28, "mean": [0.13], "std": [0.31], "ink": "bright on dark"},
    "class_names": list("0123456789"),
}  # fmt: skip


def modules_after(code: str, *arguments: str) -> set[str]:
    """Returns the names of the modules that a fresh process has imported after running the code."""
    report = "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code + report, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_everything_promised_is_there():
    assert set(zoo.__all__) <= set(dir(zoo))
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    for name, home in zoo._HOMES.items():
        assert getattr(zoo, name) is getattr(import_module(home), name)
    assert set(zoo.__all__) == {*zoo._HOMES, "__version__"}
    assert zoo.create_model("lenet5_modern") is not None
    assert not hasattr(zoo, "no_such_name")


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(zoo.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == zoo._HOMES


def test_the_version_is_the_project_s():
    import tomllib

    project = Path(__file__).parents[1] / "pyproject.toml"
    assert zoo.__version__ == tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


def test_waiting_threads_give_way_unless_the_user_decides():
    def spins(**given: str) -> str:
        code = "import os, zoo; print(os.environ.get('GOMP_SPINCOUNT'))"
        unset = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        return subprocess.check_output([sys.executable, "-c", code], env=unset | given, text=True, timeout=60).strip()

    assert spins() == "1000"
    assert spins(GOMP_SPINCOUNT="7") == "7"
    assert spins(OMP_WAIT_POLICY="active") == "None"


def test_listing_needs_no_torch():
    assert zoo.list_models("lenet*") == ["lenet5", "lenet5_modern"]
    empty = modules_after("")
    bare = modules_after("import zoo")
    assert {name.split(".")[0] for name in bare - empty} - sys.stdlib_module_names == {"zoo"}
    listing = modules_after("import zoo; zoo.list_models(); zoo.list_pretrained(); zoo.__version__; zoo.ZooError")
    assert not {"torch", "numpy", "safetensors", "lightning", "hydra", "yaml"} & listing
    torch_s = [name for name in sys.modules if name.split(".")[0] == "torch"]
    assert len(listing - empty) < len(torch_s) / 4


def test_models_of_one_s_own_are_listed():
    @zoo.register_model(task="image_classification", paper="mine")
    def my_own_net() -> None: ...

    assert "my_own_net" in zoo.list_models("my_*")
    del registry._REGISTERED["my_own_net"]


def test_pretrained_models_need_neither_trainer_nor_configs(tmp_path: Path):
    release = save_release(tmp_path / "r", zoo.create_model("lenet5_modern"), "lenet5_modern", {}, CARD)
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "digit.png")
    code = """
import sys, zoo
model = zoo.load_pretrained(sys.argv[1])
assert not model.training
loaded = "PIL" in sys.modules
answer = zoo.pipeline(sys.argv[1])(sys.argv[2])
assert answer.label in "0123456789" and not loaded
"""
    imported = modules_after(code, str(release), str(tmp_path / "digit.png"))
    heavy = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision", "torchmetrics", "sklearn",
             "matplotlib", "tensorboard", "rich", "zoo.training", "zoo.tasks"}  # fmt: skip
    assert not heavy & imported
