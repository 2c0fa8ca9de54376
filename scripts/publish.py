"""Publishes a run's release: python scripts/publish.py RUN [--name NAME] [--to FOLDER] [--imports MODULE].

It goes under pretrained/, or with --to into the folder of a hub (see `zoo.pretrained.remote`), whose index is renewed.
The release is measured before it is copied: it has to reach what its run and its record say, and it is stored in
float32 where float16 would change the headline.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.pretrained.card import read_card
from zoo.pretrained.hub import find_release
from zoo.training.imports import import_modules
from zoo.training.records import experiments, record_of
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


def refuse_unrecorded(card: dict[str, Any]) -> None:
    """Lets an experiment's release be published beside its record only.

    Raises:
        ZooError: There is no record of the run, or it tells another number.
    """
    if not (experiment := card.get("experiment")):
        return
    if (record := record_of(card)) is None:
        raise ZooError(f"there is no record of {experiment} seed {card['seed']}: first scripts/reproduce.py "
                       f"{experiment} --seeds {card['seed']}")  # fmt: skip
    if record["headline"] != card["headline"]:
        raise ZooError(f"the record of {experiment} seed {card['seed']} says {record['headline']}, this release "
                       f"{card['headline']}: it is another run's")  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Publishes the release of the run named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Copy a finished run's release to pretrained/, measured once more.")
    parser.add_argument("run", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--name", help="of the release; by default what the experiment says")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="how weights are stored")
    parser.add_argument("--imports", action="append", default=[], metavar="MODULE", help="your own, of the model")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a hub's folder; by default pretrained/")
    flags = parser.parse_args(argv)

    from zoo.pretrained.publish import publish  # --help should not wait for torch

    try:
        import_modules(flags.imports)
        release = find_release(flags.run)
        refuse_modified(RunFolder(release.parent))
        card = read_card(release)
        if flags.to is None or card.get("experiment") in experiments():  # an experiment of one's own has no record
            refuse_unrecorded(card)
        precision = precision_of(release)
        again = partial(measure_again, precision=precision)
        print(publish(flags.run, flags.name, flags.dtype, again, flags.to))
    except ZooError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("publish: interrupted; nothing is published", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
