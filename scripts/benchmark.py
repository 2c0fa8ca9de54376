"""How fast the zoo trains, beside a bare loop and the usual script: `make bench`; see docs/performance.md."""

import argparse
import sys

from zoo.errors import ZooError
from zoo.training.interrupts import Interrupted, Interrupts


def main() -> int:
    """Runs the command line; returns 0 when every ratio reached what is expected of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="by default a GPU, if any")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is timed")
    parser.add_argument("--steps", type=int, help="steps timed at a time, by default each case's own number")
    parser.add_argument("--only", nargs="+", default=(), metavar="CASE", help="names of cases, as the table has them")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    Interrupts().install()

    try:
        from zoo.training.benchmark.run import benchmark  # --help should not wait for torch

        return 0 if benchmark(**vars(arguments)) else 1
    except ZooError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        return interrupted.exit_code


if __name__ == "__main__":
    sys.exit(main())
