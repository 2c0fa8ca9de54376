"""Draws the figures of the documentation that show what the records hold: python scripts/figures.py."""

from zoo.locations import shipped
from zoo.training.paper_figures import draw_figures


def main() -> int:
    """Runs the command line; returns its exit code."""
    for path in draw_figures(shipped("configs").parent / "docs" / "figures"):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
