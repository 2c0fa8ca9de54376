"""Draws the documentation's figures of what papers printed, from records and releases.

python scripts/figures.py [--critics] [--digits]
"""

import argparse
import os

from zoo.data.registry import create_dataset
from zoo.locations import shipped
from zoo.training.critic_surfaces import critic_surfaces
from zoo.training.paper_figures import draw_figures
from zoo.training.release_figures import draw_release_figures, mistakes


def main() -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--critics", action="store_true", help="train the critics of critic_surfaces.png too: minutes")
    parser.add_argument("--digits", action="store_true", help="the digits that LeNet-5 gets wrong, too: reads MNIST")
    arguments = parser.parse_args()
    folder = shipped("configs").parent / "docs" / "figures"
    written = draw_figures(folder) + draw_release_figures(folder)
    if arguments.critics:
        critic_surfaces().savefig(folder / "critic_surfaces.png", dpi=120)
        written.append(folder / "critic_surfaces.png")
    if arguments.digits:
        mnist = create_dataset("mnist", dir=os.environ.get("ZOO_DATA"))
        mnist.prepare()
        mistakes(shipped("pretrained") / "lenet5-mnist", mnist).savefig(folder / "lenet5_mnist_mistakes.png", dpi=150)
        written.append(folder / "lenet5_mnist_mistakes.png")
    print(*written, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
