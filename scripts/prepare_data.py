"""Downloads and verifies datasets: python scripts/prepare_data.py [NAME …] [--dir DIR] [--list]."""

import argparse
import sys

from zoo.data.preparation import prepare_all, print_datasets, print_prepared
from zoo.errors import ZooError


def main(argv: list[str] | None = None) -> int:
    """Reads the command line and returns the exit code."""
    parser = argparse.ArgumentParser(description="Download and verify datasets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which datasets; all that have files if none is named")
    parser.add_argument("--dir", help="keep the files in this folder instead of the cache")
    parser.add_argument("--list", action="store_true", help="list the datasets and stop")
    options = parser.parse_args(argv)
    if options.list:
        print_datasets()
        return 0
    try:
        print_prepared(prepare_all(options.names, options.dir))
    except ZooError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("prepare_data: interrupted; what was received is kept, the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
