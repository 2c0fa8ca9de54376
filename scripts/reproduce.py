"""Reproduces experiments: trains each seed (or goes on with it), records what it measured, renews the tables.

python scripts/reproduce.py lenet5_mnist --seeds 1 2 3
python scripts/reproduce.py --tables                     only renew the tables from the records
"""

import argparse
import itertools
import sys

from zoo.errors import ZooError
from zoo.training.reproduce import reproduce
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
        failed = []
        for name, seed in itertools.product(arguments.experiments, arguments.seeds):
            if reproduce(name, seed, arguments.set):
                rebuild_tables()  # after each record: tables and records never stand apart for hours
            else:
                failed.append(f"{name} seed {seed}")
        if arguments.tables:
            print("renewed", *(path.name for path in rebuild_tables()))
    except ZooError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"reproduce: not finished: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
