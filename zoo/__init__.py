"""Landmark deep-learning papers in PyTorch, every number measured.

    import zoo

    zoo.list_models("lenet*")                    # names
    model = zoo.create_model("lenet5")           # freshly initialised
    model = zoo.load_pretrained("lenet5-mnist")  # trained; also from a run's folder
    zoo.pipeline("lenet5-mnist")("digit.png")    # a picture's label with probabilities

Everything here is imported on first use: `import zoo` costs next to nothing. It sets one environment variable (below).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.errors import ZooError
    from zoo.locations import shipped
    from zoo.models.registry import create_model, list_models, register_model
    from zoo.pretrained.hub import list_pretrained, load_pretrained, pretrained_card
    from zoo.pretrained.pipelines import pipeline

    __version__: str

# GNU's OpenMP, which torch brings along, reads this when torch is imported. By default a thread that waits for others
# spins for milliseconds; where another process has its core, that makes torch ten times as slow (docs/performance.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__all__ = [
    "ZooError",
    "__version__",
    "create_model",
    "list_models",
    "list_pretrained",
    "load_pretrained",
    "pipeline",
    "pretrained_card",
    "register_model",
    "shipped",
]

_HOMES = {
    "ZooError": "zoo.errors",
    "create_model": "zoo.models.registry",
    "list_models": "zoo.models.registry",
    "list_pretrained": "zoo.pretrained.hub",
    "load_pretrained": "zoo.pretrained.hub",
    "pipeline": "zoo.pretrained.pipelines",
    "pretrained_card": "zoo.pretrained.hub",
    "register_model": "zoo.models.registry",
    "shipped": "zoo.locations",
}


def _version() -> str:
    """Returns the installed version; for code that runs from PYTHONPATH, that of the `pyproject.toml` beside it."""
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("landmark-zoo")
    except PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
        if not project.is_file():
            return "0+unknown"
        import tomllib

        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
