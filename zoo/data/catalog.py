"""All datasets by name, as a table that imports no torch: listing and name checks use it.

A test holds this table and the registrations in the dataset files equal.
"""

from dataclasses import dataclass

from zoo.data.spec import ImageSpec, Spec


@dataclass(frozen=True)
class DatasetEntry:
    """Where a dataset's constructor lives and what it holds.

    `spec` is None where it is only known once the files are read; `download_bytes` counts compressed files, 0 for
    data that travels with an installed package.
    """

    module: str
    constructor: str
    task: str
    spec: Spec | None
    about: str
    download_bytes: int


DATASETS: dict[str, DatasetEntry] = {
    "digits": DatasetEntry(
        "zoo.data.images",
        "digits",
        "image_classification",
        ImageSpec(1, 28, 28, 10),
        "scikit-learn's 1,797 handwritten digits, enlarged to 28x28; embedded",
        0,
    ),
    "mnist": DatasetEntry(
        "zoo.data.images",
        "mnist",
        "image_classification",
        ImageSpec(1, 28, 28, 10),
        "70,000 handwritten digits (LeCun et al. 1998)",
        11_594_722,
    ),
    "fashion_mnist": DatasetEntry(
        "zoo.data.images",
        "fashion_mnist",
        "image_classification",
        ImageSpec(1, 28, 28, 10),
        "70,000 pictures of clothes (Xiao et al. 2017)",
        30_878_645,
    ),
}
