"""Buffers that a module's arguments alone decide: no release stores them, whoever loads one has them derived again."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class DerivedBuffers(nn.Module, ABC):
    """A module with such buffers; its constructor calls `derive` once it knows what they follow from."""

    @abstractmethod
    def derived_buffers(self) -> dict[str, Tensor]:
        """Returns them by name."""

    def derive(self) -> None:
        """Sets them."""
        for name, tensor in self.derived_buffers().items():
            self.register_buffer(name, tensor, persistent=False)
