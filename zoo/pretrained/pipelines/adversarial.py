"""Images from a released generator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.sheets import write_png
from zoo.errors import ZooError
from zoo.locations import writing
from zoo.models.gan import AdversarialNetworks
from zoo.pretrained.release import load_release

_AT_ONCE = 500  # images
_STEPS = 8  # images of a path between two


class AdversarialPipeline:
    """Makes images.

    Args:
        model: A pair of generator and discriminator, on any device.
        card: Of its release.

    Raises:
        ZooError: The model is something else.
    """

    def __init__(self, model: nn.Module, card: dict[str, Any]) -> None:
        if not isinstance(model, AdversarialNetworks):
            raise ZooError(f"{card['model']} is no pair of generator and discriminator")
        self.model = model
        self.card = card

    @classmethod
    def from_release(cls, folder: Path) -> "AdversarialPipeline":
        """Loads a release.

        Raises:
            ZooError: It is damaged.
        """
        return cls(*load_release(folder))

    @torch.inference_mode()
    def _made(self, noise: Tensor) -> Tensor:
        device = next(self.model.parameters()).device
        return torch.cat([self.model(each.to(device)).float().cpu() for each in noise.split(_AT_ONCE)])

    def __call__(self, count: int = 1, seed: int = 0) -> Tensor:
        """Returns images `(count, C, H, W)`, pixels from 0 to 1; the same ones for the same seed.

        Raises:
            ZooError: A setting makes no sense.
        """
        return self._made(
            self.model.draw(_checked("n", count), torch.Generator().manual_seed(_checked("seed", seed, 0)))
        )

    def interpolate(self, count: int = 8, seed: int = 0) -> Tensor:
        """Returns images on straight lines between pairs of noise, 8 on each, `(8 * count, C, H, W)`.

        Raises:
            ZooError: A setting makes no sense.
        """
        draw = torch.Generator().manual_seed(_checked("seed", seed, 0))
        return self._made(self.model.draw_paths(_checked("n", count), _STEPS, draw))

    def answer(
        self,
        inputs: list[str],
        *,
        n: int = 64,
        seed: int = 0,
        out: str = "samples.png",
        interpolate: bool = False,
    ) -> Iterator[str]:
        """Answers a command line: images side by side in one picture.

        Args:
            inputs: None: images are made from noise.
            n: How many images; between others, a multiple of 8.
            seed: Of their noise.
            out: Where the picture goes.
            interpolate: Makes rows of 8 images, each on the way from one to another, instead of images by themselves.

        Yields:
            The path of the picture.

        Raises:
            ZooError: A setting makes no sense, or the picture cannot be written.
        """
        if inputs:
            raise ZooError(f"{inputs[0]!r} is nothing to draw: give --n 64, --seed 3 or --out grid.png")
        if interpolate and _checked("n", n) % _STEPS:
            raise ZooError(f"n={n} is not possible with --interpolate: expected rows of {_STEPS}, such as 64")
        images = self.interpolate(n // _STEPS, seed) if interpolate else self(n, seed)
        with writing("--out", out) as path:
            write_png(images, path)
        yield f"{out}\n"


def _checked(name: str, value: int, least: int = 1) -> int:
    if type(value) is not int or not least <= value < 2**31:
        raise ZooError(f"{name}={value} is not possible: expected a whole number of at least {least}")
    return value
