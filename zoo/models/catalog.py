"""All models by name, as a table that imports nothing: listing and name checks cost no `import torch`.

`parameters` counts the trained parameters of the paper's own configuration. A test holds this table and the
registrations in the model files equal.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelEntry:
    """Where a model's constructor lives and what it belongs to."""

    module: str
    task: str
    paper: str
    parameters: int


MODELS: dict[str, ModelEntry] = {
    "lenet5": ModelEntry("zoo.models.lenet", "image_classification", "lecun1998", 60_000),
    "lenet5_modern": ModelEntry("zoo.models.lenet", "image_classification", "lecun1998", 61_706),
}
