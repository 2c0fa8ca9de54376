"""What a run ran on: versions, commit, hardware."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_PACKAGES = (
    "landmark-zoo", "torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "numpy", "scikit-learn",
    "tokenizers", "sacrebleu", "gymnasium", "ale-py", "MinAtar",
)  # fmt: skip
_MATTERS = ("commit", "dirty", "versions", "hardware")  # to a result, of what changes from start to start


def installed(package: str) -> str | None:
    """Returns the version of an installed package, None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages a result depends on."""
    found = {package: number for package in _PACKAGES if (number := installed(package))}
    return {"python": platform.python_version(), **found}


def _git(*arguments: str) -> str | None:
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        result = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def commit() -> dict[str, Any]:
    """Returns the commit of the checkout (`ZOO_COMMIT` where there is none) and whether code or configs differ."""
    head = _git("rev-parse", "HEAD") or os.environ.get("ZOO_COMMIT")
    # Records and tables are renewed between the seeds of one command.
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", "zoo", "configs", "scripts", "pyproject.toml")
    return {"commit": head, "dirty": bool(changes) if changes is not None else None}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def native_bf16() -> bool:
    """Says whether this CPU has instructions for bfloat16; where it has none, torch emulates them, slowly."""
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))


def hardware(device: torch.device) -> dict[str, Any]:
    """Returns the machine's processor, cores and memory, and the device that trained."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    found = {
        "device": device.type,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9, 1) if memory else None,
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def earlier(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns on what else a run has trained, in the order of its starts.

    Args:
        before: The environment of its last start, None where it begins.
        now: The one it goes on with.
    """
    if before is None:
        return []
    *starts, last = ({key: each[key] for key in _MATTERS} for each in (*before.get("earlier", []), before, now))
    return [start for place, start in enumerate(starts) if start != last and start not in starts[:place]]


def environment(
    device: torch.device,
    seed: int,
    command: list[str],
    checksums: dict[str, str],
    processes: int = 1,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the content of a run's environment.json.

    Args:
        device: What trains.
        seed: Of the run.
        command: What was typed.
        checksums: SHA-256 of the dataset's files.
        processes: How many train together.
        before: The content so far, of a run that goes on: where that differs, `earlier` keeps it.
    """
    now = {
        "versions": versions(),
        **commit(),
        "hardware": hardware(device) | ({"processes": processes} if processes > 1 else {}),
        "platform": platform.platform(),
        "seed": seed,
        "command": command,
        "dataset_sha256": checksums,
    }
    return now | {"earlier": earlier(before, now)}
