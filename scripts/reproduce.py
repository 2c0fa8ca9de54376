"""Reproduces experiments: trains each seed (or goes on with it), records what it measured, renews the tables.

python scripts/reproduce.py lenet5_mnist --seeds 1 2 3
python scripts/reproduce.py --tables                     only renew the tables from the records
"""

import argparse
import itertools
import sys

from zoo.errors import ZooError
from zoo.training.launchers import INTERRUPTED
from zoo.training.reproduce import planned, reproduce
from zoo.training.tables import rebuild_tables


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tables", action="store_true", help="only renew the tables")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="hardware keys, such as trainer=gpu")
    arguments = parser.parse_args()
    if not arguments.experiments and not arguments.tables:
        parser.error("name at least one experiment, or give --tables")
    try:
        for name in arguments.experiments:  # a mistake in the last one is told before the first one trains for hours
            planned(name, arguments.seeds[0], arguments.set)
        code = _reproduce_all(list(itertools.product(arguments.experiments, arguments.seeds)), arguments.set)
        if arguments.tables and not code:
            print("renewed", *(path.name for path in rebuild_tables()))
    except ZooError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("reproduce: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return code


def _reproduce_all(runs: list[tuple[str, int]], hardware: list[str]) -> int:
    """Goes on with the others where one fails; returns the exit code."""
    failed = []
    for name, seed in runs:
        try:
            code = reproduce(name, seed, hardware)
        except ZooError as error:
            print(f"reproduce: {error}", file=sys.stderr)
            code = 2
        if code in INTERRUPTED:
            print("reproduce: interrupted; the same command goes on", file=sys.stderr)
            return code
        if code:
            failed.append(f"{name} seed {seed}")
        else:
            rebuild_tables()  # after each record: tables and records never stand apart for hours
    if failed:
        print(f"reproduce: not finished: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
