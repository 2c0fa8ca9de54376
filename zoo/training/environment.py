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
    """Returns the commit of the checkout (`ZOO_COMMIT` where there is none) and whether files differ from it."""
    head = _git("rev-parse", "HEAD") or os.environ.get("ZOO_COMMIT")
    changes = _git("status", "--porcelain", "--untracked-files=no")
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


def environment(
    device: torch.device, seed: int, command: list[str], checksums: dict[str, str], processes: int = 1
) -> dict[str, Any]:
    """Returns the content of a run's environment.json."""
    return {
        "versions": versions(),
        **commit(),
        "hardware": hardware(device) | ({"processes": processes} if processes > 1 else {}),
        "platform": platform.platform(),
        "seed": seed,
        "command": command,
        "dataset_sha256": checksums,
    }
