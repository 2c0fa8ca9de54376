"""What a prepared dataset tells a model: small frozen records, one per kind of data.

A model constructor is registered with the fields that it takes from such a record, so that
`model=lenet5 data=mnist` needs no sizes typed twice.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ImageSpec:
    """Images of shape `(channels, height, width)`, each of one of `classes` classes."""

    channels: int
    height: int
    width: int
    classes: int

    @property
    def side(self) -> int:
        """The height, of images that are square."""
        return self.height

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width} images of {self.classes} classes"


@dataclass(frozen=True)
class TextSpec:
    """A stream of tokens out of a vocabulary."""

    vocabulary_size: int
    level: Literal["word", "character"]

    def __str__(self) -> str:
        return f"text of {self.vocabulary_size} different {self.level}s"


@dataclass(frozen=True)
class PairSpec:
    """Pairs of token sequences; `pad`, `begin` and `end` are token numbers shared by both sides."""

    source_vocabulary_size: int
    target_vocabulary_size: int
    pad: int
    begin: int
    end: int

    def __str__(self) -> str:
        return f"sentence pairs with vocabularies of {self.source_vocabulary_size} and {self.target_vocabulary_size}"


@dataclass(frozen=True)
class ControlSpec:
    """An environment: observations of a shape and dtype, and a number of discrete actions."""

    observation_shape: tuple[int, ...]
    actions: int
    dtype: str

    @property
    def channels(self) -> int:
        """The first dimension of an observation: channels of a picture, numbers of a vector."""
        return self.observation_shape[0]

    def __str__(self) -> str:
        return f"an environment with {self.dtype} observations {self.observation_shape} and {self.actions} actions"


Spec = ImageSpec | TextSpec | PairSpec | ControlSpec

# Which record each task's models are built from.
SPEC_OF_TASK: dict[str, type] = {
    "image_classification": ImageSpec,
    "language_modeling": TextSpec,
    "translation": PairSpec,
    "q_learning": ControlSpec,
    "adversarial": ImageSpec,
}
