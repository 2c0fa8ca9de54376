"""What the trainer asks of any dataset and its loaders, whatever kind of data they hold."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from zoo.data.sources import Source
from zoo.data.spec import Spec

if TYPE_CHECKING:
    # Names of datasets are looked up before torch is needed.
    import torch


class Loader(Protocol):
    """A sized source of batches."""

    def __len__(self) -> int:
        """Returns how many batches a pass has for this rank."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yields batches."""
        ...


class TrainingLoader(Loader, Protocol):
    """A loader that knows where it stands, so that a killed run continues with the very next batch.

    `batch_size` counts samples over all ranks.
    """

    batch_size: int

    def state_dict(self) -> dict[str, int]:
        """Returns the position as plain integers."""
        ...

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Moves to a position that `state_dict` returned."""
        ...


class Dataset(Protocol):
    """Data that trains and evaluates a model; but for `files`, `prepare` is called before anything else."""

    @property
    def files(self) -> tuple[Source, ...]:
        """What the data is read from; empty for embedded data."""
        ...

    def prepare(self) -> Spec:
        """Finds, downloads, verifies and reads the files, and says what they hold.

        Raises:
            ZooError: A file is missing and cannot be downloaded, is damaged, or a setting does not fit the data.
        """
        ...

    def train_loader(self, rank: int = 0, world: int = 1, device: "torch.device | str" = "cpu") -> TrainingLoader:
        """Returns rank `rank`'s share of shuffled, augmented training batches."""
        ...

    def validation_loader(self, rank: int = 0, world: int = 1, device: "torch.device | str" = "cpu") -> Loader | None:
        """Returns rank `rank`'s share of the held-out samples, None where none are held out."""
        ...

    def test_loader(self, rank: int = 0, world: int = 1, device: "torch.device | str" = "cpu") -> Loader:
        """Returns rank `rank`'s share of the test samples."""
        ...

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a pipeline must do to raw input so that a model sees what the test loader feeds; plain JSON."""
        ...

    @property
    def class_names(self) -> list[str]:
        """The names of the classes by their number; empty where there are no classes."""
        ...

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file's content, after decompression; empty for embedded data.

        Where only another checksum is known, its name stands before it, such as `md5:…`.
        """
        ...
