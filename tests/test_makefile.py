"""What a newcomer and the CI machine type: `make` and .ci/run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TARGETS = ["setup", "demo", "test", "test-all", "lint", "format", "bench", "data", "results", "clean"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def make(*words: str) -> str:
    own = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(
        ["make", *words], cwd=CHECKOUT, env=own, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_make_alone_lists_every_target_with_a_line():
    lines = make().splitlines()
    assert all(line.startswith("  make ") for line in lines)
    told = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines}
    assert set(told) >= set(TARGETS)
    assert all(len(line) <= 90 for line in lines)


def test_what_the_targets_would_do():
    assert ".venv/bin/zoo train" in make("-n", "demo")
    assert '-m "not slow and not gpu"' in make("-n", "test")
    assert "not slow" not in make("-n", "test-all")
    for tool in ("ruff check .", "ruff format --check .", "mypy"):
        assert tool in make("-n", "lint")
    for target, script in (("bench", "benchmark"), ("data", "prepare_data"), ("results", "reproduce")):
        assert f"scripts/{script}.py" in make("-n", target)
    assert not re.search(r"\b(runs|\.venv/?)\s*$|rm -rf [^\n]*\b(runs|data|results|pretrained)\b", make("-n", "clean"))


def test_setup_makes_the_environment_and_is_done_again_when_its_sources_change(tmp_path: Path):
    fresh = make("-n", "setup", f"VENV={tmp_path / 'venv'}")
    assert f"-m venv {tmp_path / 'venv'}" in fresh
    assert "--editable '.[all,dev]' --constraint constraints.txt" in fresh
    for changed in ("pyproject.toml", "constraints.txt"):
        assert "pip install" in make("-n", "setup", "-W", changed)


def test_ci_runs_lint_and_the_readme_s_own_test_command():
    script = CHECKOUT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    commands = re.findall(r"^make .*$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands == ["make lint", "make test"]
    assert "\nmake test " in (CHECKOUT / "README.md").read_text(encoding="utf-8")
