"""Publishes a run's release under pretrained/: python scripts/publish.py RUN [--name NAME] [--dtype float16]."""

import argparse
import sys

from zoo.errors import ZooError
from zoo.pretrained.publish import publish


def main(argv: list[str] | None = None) -> int:
    """Publishes the release of the run named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Copy a finished run's release to pretrained/.")
    parser.add_argument("run", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--name", help="of the release; by default what the experiment says")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float16", help="how weights are stored")
    flags = parser.parse_args(argv)
    try:
        print(publish(flags.run, flags.name, flags.dtype))
    except ZooError as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
