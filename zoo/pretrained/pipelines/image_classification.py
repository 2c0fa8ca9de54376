"""Pictures to labels, prepared exactly as the pictures were that the release was measured on."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from zoo.data.augmentation import normalise, unit_pixels
from zoo.data.mean_image import decode
from zoo.data.pictures import cut_centre, in_channels, pixels_of, scale_shorter_side
from zoo.data.views import centre_crop
from zoo.errors import ZooError
from zoo.metrics.probabilities import class_probabilities
from zoo.pretrained.pipelines.pictures import is_batch, open_picture, to_pixels
from zoo.pretrained.release import load_release

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from PIL import Image

    from zoo.pretrained.pipelines.pictures import Picture

_AT_ONCE = 256  # pictures in one forward pass; fewer where they are large
_PIXELS_AT_ONCE = 2**20
_BAR = 24  # characters
LARGEST_SIDE = 4096  # pixels of a picture that a model sees


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        label: The most probable class.
        probability: Of that class, in 0..1.
        probabilities: Every class, the most probable first. They add up to 1, or to less where a model, `lenet5`, may
            find a picture to be in none of them.
        inverted: The picture had a bright border where the training data is dark, so black and white were swapped.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    inverted: bool = False

    def __str__(self) -> str:
        return self.top(5)

    def top(self, count: int) -> str:
        """Returns the `count` most probable classes, one line each below the answer."""
        shown = list(self.probabilities.items())[:count]
        wide = max((len(label) for label, _ in shown), default=0)
        swapped = ", black and white swapped" if self.inverted else ""
        lines = [f"{self.label} ({self.probability:.1%}{swapped})"]
        lines += [f"  {label:<{wide}} {share:>6.1%}  {'█' * round(share * _BAR)}".rstrip() for label, share in shown]
        return "\n".join(lines)


class Preprocessing:
    """From a picture to what the model takes, as the card says.

    Args:
        card: With `preprocessing`: channels, height, width, mean and std of pixels in 0..1, and `ink`. Where `ink` is
            `"bright on dark"`, a picture whose border is bright is inverted: digits are mostly written dark on bright,
            the datasets hold them the other way round. With `resize`, a picture's shorter side is scaled to so many
            pixels and its centre of height x width is cut out, as torchvision's `Resize` and `CenterCrop` do; without,
            it is scaled to height x width whatever its proportions. With `mean_image` (see `zoo.data.mean_image`),
            that image is subtracted from pixels in 0..1 before anything is cut off from it: its sides are `resize`,
            or else height and width.

    Raises:
        ZooError: The card says something else.
    """

    def __init__(self, card: dict[str, Any]) -> None:
        given: Any = card.get("preprocessing")
        try:
            self.channels, self.height, self.width = (int(given[key]) for key in ("channels", "height", "width"))
            self.mean, self.std = ([float(value) for value in given[key]] for key in ("mean", "std"))
            self.ink = given.get("ink")
            self.resize = None if given.get("resize") is None else int(given["resize"])
            stored = given.get("mean_image")
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise ZooError(
                f"the card has no usable preprocessing ({given!r}): expected channels, height, width, mean and std"
            ) from error
        sizes = self.channels in (1, 3) and 1 <= self.height <= LARGEST_SIDE and 1 <= self.width <= LARGEST_SIDE
        cuts = self.resize is None or max(self.height, self.width) <= self.resize <= LARGEST_SIDE
        scales = len(self.mean) == len(self.std) == self.channels and all(value > 0 for value in self.std)
        if not (sizes and cuts and scales and all(math.isfinite(value) for value in (*self.mean, *self.std))):
            raise ZooError(f"the card's preprocessing makes no sense: {given!r}")
        if self.ink not in (None, "bright on dark"):
            raise ZooError(f"the card's preprocessing has ink {self.ink!r}, which this zoo does not know: upgrade it")
        self.mean_image = None if stored is None else self._decoded(stored)

    def _decoded(self, stored: Any) -> Tensor:
        """Returns the mean image `(C, H, W)` of a card; it covers all that is seen of a picture before the last cut."""
        image = decode(stored)
        height, width = (self.resize, self.resize) if self.resize else (self.height, self.width)
        if tuple(image.shape) != (self.channels, height, width):
            raise ZooError(
                f"the card's mean image is {tuple(image.shape)}, expected {(self.channels, height, width)} to match "
                "the rest of its preprocessing"
            )
        return image

    def pixels(self, picture: "Picture") -> tuple[Tensor, bool]:
        """Returns a picture's uint8 pixels before scaling, and whether they were inverted.

        The pixels are `(C, H, W)` of the model's height and width, or of the mean image's.
        """
        opened = open_picture(picture)
        height, width = (self.height, self.width) if self.mean_image is None else self.mean_image.shape[1:]
        if self.resize is None:
            pixels = to_pixels(opened, self.channels, height, width)
        else:
            scaled = scale_shorter_side(in_channels(opened, self.channels), self.resize)
            pixels = pixels_of(cut_centre(scaled, height, width))
        if self.ink is None or not _border_is_bright(pixels):
            return pixels, False
        return 255 - pixels, True

    def scale(self, pixels: Tensor) -> Tensor:
        """Turns uint8 `(B, C, H, W)` into the model's input by the very functions of the test loader."""
        mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (self.mean, self.std))
        images = unit_pixels(pixels)
        if self.mean_image is not None:
            images = centre_crop(images.sub_(self.mean_image), self.height, self.width)
        return normalise(images, mean, std)


def _border_is_bright(pixels: Tensor) -> bool:
    """Says whether at least half of the outermost pixels of `(C, H, W)` are brighter than mid-grey."""
    height, width = pixels.shape[1:]
    border = torch.ones(height, width, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return bool((pixels[:, border] > 127).float().mean() >= 0.5)


class ImageClassificationPipeline:
    """Pictures to labels with probabilities.

    Args:
        model: Maps `(B, C, H, W)` to scores `(B, classes)`, on any device. Their softmax is the probability; `lenet5`
            has the posterior of equation 9 of LeCun et al. 1998, to whose rubbish class goes what is like no digit.
        card: Of its release.

    Raises:
        ZooError: The card lacks what a picture needs.

    Example:
        >>> classify = zoo.pipeline("lenet5_modern-mnist")
        >>> one = torch.zeros(28, 28)
        >>> one[4:24, 13:16] = 1.0
        >>> classify(one).label
        '1'
    """

    def __init__(self, model: nn.Module, card: dict[str, Any]) -> None:
        self.model = model
        self.card = card
        self.preprocessing = Preprocessing(card)
        names = card.get("class_names") or []
        if not isinstance(names, list):
            raise ZooError(f"the card's class_names are {names!r}: expected a list; get the release anew")
        self.class_names = [str(name) for name in names]
        if len(set(self.class_names)) < len(self.class_names):
            raise ZooError("two classes of this release have the same name")

    @classmethod
    def from_release(cls, folder: "Path") -> "ImageClassificationPipeline":
        """Loads a release.

        Raises:
            ZooError: It is damaged, or its card lacks what a picture needs.
        """
        return cls(*load_release(folder))

    @overload
    def __call__(self, pictures: "str | Path | Image.Image") -> Prediction: ...

    @overload
    def __call__(self, pictures: "list[Any] | tuple[Any, ...]") -> list[Prediction]: ...

    @overload
    def __call__(self, pictures: "np.ndarray[Any, Any] | Tensor") -> Prediction | list[Prediction]: ...

    def __call__(self, pictures: "Picture | list[Any] | tuple[Any, ...]") -> Prediction | list[Prediction]:
        """Classifies a picture or a batch.

        Args:
            pictures: A path, a Pillow image, an array `(H, W)` or `(H, W, 3)`, a tensor `(H, W)` or `(C, H, W)`; uint8
                or floats in 0..1. Or several: a list or tuple of these, an array `(B, H, W)` or `(B, H, W, 3)`, a
                tensor `(B, C, H, W)`.

        Returns:
            A prediction, for a batch a list of them.

        Raises:
            ZooError: A file that cannot be read, or something that is no picture.
        """
        if is_batch(pictures):
            return self._classify(list(pictures), named=True)
        return self._classify([pictures], named=False)[0]

    def answer(self, pictures: list[str]) -> Iterator[str]:
        """Answers a command line: each picture's label and the most probable classes.

        Args:
            pictures: Paths of image files.

        Yields:
            What is to be printed.

        Raises:
            ZooError: No picture is named, or one cannot be read.
        """
        if not pictures:
            raise ZooError("name at least one picture")
        for name in pictures:
            yield f"{name}: {self(name)}\n"

    def prepare(self, pictures: "Sequence[Picture] | np.ndarray[Any, Any] | Tensor") -> Tensor:
        """Returns what the model sees of a batch of pictures: float32 `(B, C, H, W)`."""
        return self._prepare(list(pictures), named=True)[0]

    def _prepare(self, pictures: list[Any], named: bool) -> tuple[Tensor, list[bool]]:
        pixels, inverted = [], []
        for number, picture in enumerate(pictures):
            try:
                values, swapped = self.preprocessing.pixels(picture)
            except ZooError as error:
                if named and not isinstance(picture, str) and not hasattr(picture, "__fspath__"):
                    raise ZooError(f"picture {number} of the batch: {error}") from error
                raise
            pixels.append(values)
            inverted.append(swapped)
        return self.preprocessing.scale(torch.stack(pixels)), inverted

    def _classify(self, pictures: list[Any], named: bool) -> list[Prediction]:
        tensor = next(self.model.parameters(), torch.empty(0))
        predictions: list[Prediction] = []
        large = self.preprocessing.height * self.preprocessing.width
        at_once = max(1, min(_AT_ONCE, _PIXELS_AT_ONCE // large))
        for start in range(0, len(pictures), at_once):
            images, inverted = self._prepare(pictures[start : start + at_once], named)
            with torch.inference_mode():
                scores = self.model(images.to(tensor.device)).float().cpu()  # (B, classes)
            shares = class_probabilities(self.model, scores)
            predictions += [self._answer(*each) for each in zip(shares, inverted, strict=True)]
        return predictions

    def _answer(self, shares: Tensor, inverted: bool) -> Prediction:
        names = self.class_names or [str(number) for number in range(len(shares))]
        if len(names) != len(shares):
            raise ZooError(f"this release names {len(names)} classes, its model tells {len(shares)} apart")
        if not bool(shares.isfinite().all()):
            raise ZooError("the model's scores are not finite: this release's weights are of no use")
        order = shares.argsort(descending=True, stable=True).tolist()
        ranked = {names[index]: float(shares[index]) for index in order}
        return Prediction(names[order[0]], ranked[names[order[0]]], ranked, inverted)
