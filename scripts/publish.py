"""Publishes a run's release under pretrained/: python scripts/publish.py RUN [--name NAME] [--dtype float16].

The release is measured before it is copied: it has to reach what its run reached, and it is stored in float32 where
float16 would change the headline.
"""

import argparse
import sys
from pathlib import Path

from zoo.errors import ZooError
from zoo.pretrained.hub import find_release
from zoo.training.run_folder import RunFolder


def measure_again(release: Path, precision: str) -> dict[str, float]:
    """Returns what a release measures on its own data's test split, in the arithmetic of its run."""
    from zoo.training.evaluate import measure

    return measure(release, [f"trainer.precision={precision}"])[0]


def precision_of(release: Path) -> str:
    """Returns the arithmetic in which a release was measured, as its run's config says."""
    run = RunFolder(release.parent)
    return run.read_config()["trainer"]["precision"] if run.config.is_file() else "32-true"


def refuse_modified(run: RunFolder) -> None:
    """Lets only what an experiment's own protocol made stand under the experiment's name.

    Raises:
        ZooError: The run's config differs from its experiment's.
    """
    if run.config.is_file() and (modified := run.read_overrides()["modified"]):
        raise ZooError(f"{run.path} was modified ({' '.join(modified)}): only an experiment as it stands is published")


def main(argv: list[str] | None = None) -> int:
    """Publishes the release of the run named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Copy a finished run's release to pretrained/, measured once more.")
    parser.add_argument("run", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--name", help="of the release; by default what the experiment says")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="how weights are stored")
    flags = parser.parse_args(argv)

    from zoo.pretrained.publish import publish  # --help should not wait for torch

    try:
        release = find_release(flags.run)
        refuse_modified(RunFolder(release.parent))
        precision = precision_of(release)
        print(publish(flags.run, flags.name, flags.dtype, lambda release: measure_again(release, precision)))
    except ZooError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
