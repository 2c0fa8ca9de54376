"""The wheel works from any folder, and an editable install follows the checkout: both built and installed for real."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PARTS = ["zoo", "configs", "pretrained", "results", "pyproject.toml", "README.md", "LICENSE"]


class Environment:
    """A fresh virtual environment that sees the installed packages, but no checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        # From outside, and before the packages of this environment are in sight: pip changes nothing but the new one.
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        # A path in a .pth file is searched; the .pth files in it, such as an editable install's, are not read.
        (site / "current_packages.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *words: str) -> str:
        own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        ended = subprocess.run(
            [self.folder / "bin" / words[0], *words[1:]], cwd="/", env=own, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout


def build_wheel(source: Path, hook: str, folder: Path) -> Path:
    """Builds by the hook that pip would call, in a process of its own, without a network."""
    folder.mkdir()
    program = f"import sys; from hatchling.build import {hook}; {hook}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, folder], cwd=source, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(CHECKOUT, "build_wheel", tmp_path_factory.mktemp("build") / "wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("wheel") / "venv", wheel)


def test_the_wheel_carries_configs_releases_and_records(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("configs", "pretrained", "results"):
        files = [path for path in (CHECKOUT / folder).rglob("*") if path.is_file() and path.name != ".gitkeep"]
        assert {f"zoo/_shipped/{path.relative_to(CHECKOUT)}" for path in files} <= names
    assert "zoo/_shipped/configs/train.yaml" in names
    assert {f"zoo/{path.relative_to(CHECKOUT / 'zoo')}" for path in (CHECKOUT / "zoo").rglob("*.py")} <= names
    assert not any(name.startswith(("tests/", "scripts/", "runs/")) for name in names)


def test_the_wheel_lists_and_composes_from_the_root_folder(installed: Environment):
    assert "lenet5_modern" in installed.run("zoo", "list", "models")
    program = (
        "import zoo; from zoo.training.compose import compose, resolve;"
        "print(zoo.__file__, zoo.shipped('configs'), resolve(compose(['model=lenet5']).config)['model']['name'],"
        "sum(entry.source == 'zoo' for entry in zoo.list_pretrained()), sep='\\n')"
    )
    package, configs, model, releases = installed.run("python", "-c", program).splitlines()
    assert Path(package).is_relative_to(installed.folder)
    assert Path(configs) == Path(package).parent / "_shipped" / "configs"
    assert model == "lenet5"
    assert int(releases) == len(list((CHECKOUT / "pretrained").glob("*/card.json")))


NO_NETWORK = """
import sys
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise OSError(f"no network: {event}")
sys.addaudithook(refuse)
import zoo
for entry in zoo.list_pretrained():
    if entry.source == "zoo":
        model = zoo.load_pretrained(entry.name)
        print(entry.name, type(model).__name__, type(zoo.pipeline(entry.name)).__name__)
"""


def test_the_wheel_s_releases_load_without_a_network(installed: Environment):
    lines = installed.run("python", "-c", NO_NETWORK).splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        path.parent.name for path in CHECKOUT.glob("pretrained/*/card.json")
    )
    assert all(line.endswith("Pipeline") for line in lines)


@pytest.mark.slow
def test_the_wheel_trains(installed: Environment, tmp_path: Path):
    words = ["trainer=cpu", "trainer.fast_dev_run=true", f"runs_dir={tmp_path / 'runs'}"]
    assert "test/error" in installed.run("zoo", "train", *words)
    assert list((tmp_path / "runs").glob("lenet5_digits/*/summary.json"))


def test_an_editable_install_follows_the_checkout(tmp_path: Path):
    copy = tmp_path / "checkout"
    copy.mkdir()
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    editable = Environment(tmp_path / "venv", build_wheel(copy, "build_editable", tmp_path / "editable"))
    # hatchling puts copies of the configs into the environment; they must not be what is read.
    train = copy / "configs" / "train.yaml"
    train.write_text(train.read_text(encoding="utf-8").replace("seed: 1 ", "seed: 4711 "), encoding="utf-8")
    program = (
        "import zoo; from zoo.training.compose import compose;"
        "print(compose([]).config.seed, *map(zoo.shipped, ['configs', 'pretrained', 'results']), sep='\\n')"
    )
    seed, *folders = editable.run("python", "-c", program).splitlines()
    assert seed == "4711"
    assert [Path(folder) for folder in folders] == [copy / name for name in ("configs", "pretrained", "results")]
