"""How fast the zoo trains, beside a bare loop and the usual script: `make bench`."""

import argparse
import sys

from zoo.errors import ZooError
from zoo.training.interrupts import Interrupted


def main() -> int:
    """Runs the command line; returns 0 when every ratio reached what is expected of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="only these models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=234)
    arguments = parser.parse_args()

    from zoo.training.benchmark import benchmark  # --help should not wait for torch

    try:
        return 0 if benchmark(arguments.rounds, arguments.batches, arguments.models) else 1
    except ZooError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        return interrupted.exit_code


if __name__ == "__main__":
    sys.exit(main())
