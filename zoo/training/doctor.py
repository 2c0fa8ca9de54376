"""`zoo doctor`: what this installation has, what it lacks, and what to type about it."""

import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import requires
from typing import NamedTuple

from zoo.data.catalog import DATASETS
from zoo.data.preparation import missing_files
from zoo.errors import ZooError
from zoo.locations import cache_dir
from zoo.pretrained.remote import read_index
from zoo.training.environment import installed
from zoo.training.screen import columns, show

_EXTRAS = {
    "atari": ("ale-py", "opencv-python-headless"), "minatar": ("MinAtar",), "sweep": ("optuna", "submitit"),
}  # fmt: skip


class Finding(NamedTuple):
    """What was looked at and found; `remedy` is what to do about it, empty where nothing is wrong."""

    what: str
    found: str
    remedy: str = ""


def bad_pair(torch: str, torchvision: str, wanted: str) -> str:
    """Says what is wrong with two builds that are installed side by side; an empty string if nothing is.

    Args:
        torch: Its version, such as `2.11.0+cpu`.
        torchvision: Likewise.
        wanted: What torchvision's metadata ask for, such as `torch==2.11.0`; empty where they do not say.
    """
    pinned = re.search(r"==\s*([\w.]+)", wanted)
    if pinned and pinned[1] != torch.partition("+")[0]:
        return f"torchvision {torchvision} is built for torch {pinned[1]}, here is {torch}"
    builds = [each.partition("+")[2] for each in (torch, torchvision)]
    if all(builds) and builds[0] != builds[1]:
        return f"torch is built for {builds[0]}, torchvision for {builds[1]}"
    return ""


def _packages() -> Iterator[Finding]:
    import torch

    here = {name: installed(name) for name in ("torch", "torchvision", "lightning", "hydra-core", "landmark-zoo")}
    if here["torchvision"] is None:
        wrong = "torchvision is not installed"
    else:
        wanted = next((each for each in requires("torchvision") or [] if re.match(r"torch\b(?!vision)", each)), "")
        wrong = bad_pair(torch.__version__, here["torchvision"], wanted)
    anew = "pip install --force-reinstall torch torchvision (both from one index)"
    yield Finding("packages", ", ".join(f"{name} {found}" for name, found in here.items()))
    yield Finding("torch and torchvision", wrong or "fit one another", anew if wrong else "")
    if found := installed("torchtext"):
        yield Finding("torchtext", f"{found}: does not load with torch {torch.__version__}", "pip uninstall torchtext")
    for extra, packages in _EXTRAS.items():
        lacking = [package for package in packages if installed(package) is None]
        told = f'without {", ".join(lacking)}: pip install "landmark-zoo[{extra}]"' if lacking else "installed"
        yield Finding(f"extra {extra}", told)


def _devices() -> Iterator[Finding]:
    import torch

    from zoo.training.environment import native_bf16

    bf16 = "bfloat16 in hardware: trainer=cpu_bf16" if native_bf16() else "no bfloat16 in hardware"
    yield Finding("CPU", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()}; {bf16}")
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield Finding(f"GPU {number}", torch.cuda.get_device_name(number))
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        remedy = "nvidia-smi shows the driver's CUDA: install a torch built for it, or a newer driver"
        yield Finding("GPU", f"torch is built for CUDA {torch.version.cuda} and finds none", remedy)
    else:
        yield Finding("GPU", "none: trainer=auto takes the CPU")


def _places() -> Iterator[Finding]:
    cache = cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free = f"{shutil.disk_usage(cache).free / 1e9:,.0f} GB free"
        writable = os.access(cache, os.W_OK)
    except OSError as error:
        free, writable = str(error), False
    name_another = "name another folder with the environment variable ZOO_CACHE"
    yield Finding("cache", f"{cache}, {free}", "" if writable else name_another)
    named = os.environ.get("ZOO_DATA")
    lost = bool(named) and not os.path.isdir(str(named))
    yield Finding("ZOO_DATA", named or "not set: data is downloaded into the cache",
                  "it is no folder: correct it, or unset ZOO_DATA" if lost else "")  # fmt: skip
    if not lost:
        here = [name for name, entry in DATASETS.items() if entry.download_bytes and not missing_files(name)]
        absent = [name for name, entry in DATASETS.items() if entry.download_bytes and name not in here]
        yield Finding("data here", ", ".join(here) or "none")
        yield Finding("downloaded when used", ", ".join(absent) or "none")
    try:
        offered = read_index()
        yield Finding("ZOO_HUB", f"{len(offered)} releases" if "ZOO_HUB" in os.environ else "not set")
    except ZooError as error:
        yield Finding("ZOO_HUB", str(error), "correct it, or unset ZOO_HUB")


def doctor() -> bool:
    """Prints what was found, line by line, with a remedy where something is wrong; returns whether nothing is."""
    findings = [*_packages(), *_devices(), *_places()]
    table = columns("", "", "")
    for each in findings:
        table.add_row(
            "✗" if each.remedy else "✓", each.what, f"{each.found}; {each.remedy}" if each.remedy else each.found
        )
    show(table)
    return not any(each.remedy for each in findings)
