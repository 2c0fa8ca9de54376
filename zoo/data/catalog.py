"""All datasets by name, as a table that imports no torch: listing and name checks use it.

A test holds this table and the registrations in the dataset files equal.
"""

from dataclasses import dataclass

from zoo.data.spec import ImageSpec, PairSpec, Spec, TextSpec


@dataclass(frozen=True)
class DatasetEntry:
    """Where a dataset's constructor lives and what it holds.

    `spec` is what the default settings give, None where it is only known once the files are read; `download_bytes`
    counts what these settings download, compressed files as they are, 0 for data that travels with an installed
    package or is the user's own.
    """

    module: str
    constructor: str
    task: str
    spec: Spec | None
    about: str
    download_bytes: int
    your_own: bool = False  # nothing is there before the user names a file or a folder


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
    "cifar10": DatasetEntry(
        "zoo.data.cifar",
        "cifar10",
        "image_classification",
        ImageSpec(3, 32, 32, 10),
        "60,000 colour pictures of animals and vehicles (Krizhevsky 2009)",
        170_498_071,
    ),
    "cifar100": DatasetEntry(
        "zoo.data.cifar",
        "cifar100",
        "image_classification",
        ImageSpec(3, 32, 32, 100),
        "60,000 colour pictures of 100 kinds of things (Krizhevsky 2009)",
        169_001_437,
    ),
    "ptb": DatasetEntry(
        "zoo.data.text",
        "ptb",
        "language_modeling",
        TextSpec(10_000, "word"),
        "Penn Treebank: a million words of the Wall Street Journal (Mikolov's preparation)",
        5_951_345,
    ),
    "wikitext2": DatasetEntry(
        "zoo.data.text",
        "wikitext2",
        "language_modeling",
        TextSpec(33_278, "word"),
        "WikiText-2: two million words of Wikipedia (Merity et al. 2016)",
        13_175_278,
    ),
    "tinyshakespeare": DatasetEntry(
        "zoo.data.text",
        "tinyshakespeare",
        "language_modeling",
        TextSpec(65, "character"),
        "a million characters of Shakespeare's plays",
        1_115_394,
    ),
    "python_docs": DatasetEntry(
        "zoo.data.text",
        "python_docs",
        "language_modeling",
        None,
        "the language topics of this Python's own help(); embedded",
        0,
    ),
    "textfile": DatasetEntry(
        "zoo.data.text",
        "textfile",
        "language_modeling",
        None,
        "any text file of your own: data.file=PATH",
        0,
        your_own=True,
    ),
    "multi30k": DatasetEntry(
        "zoo.data.sentence_pairs",
        "multi30k",
        "translation",
        PairSpec(10_000, 10_000, pad=0, begin=1, end=2),
        "31,014 descriptions of pictures in German, English and French (Elliott et al. 2016)",
        1_296_271,
    ),
    "dates": DatasetEntry(
        "zoo.data.sentence_pairs",
        "dates",
        "translation",
        PairSpec(200, 200, pad=0, begin=1, end=2),
        "22,000 dates as people write them, and as ISO 8601 has them; embedded",
        0,
    ),
    "parallel_files": DatasetEntry(
        "zoo.data.sentence_pairs",
        "parallel_files",
        "translation",
        None,
        "any two text files of your own, line by line: data.source=PATH data.target=PATH",
        0,
        your_own=True,
    ),
    "imagefolder": DatasetEntry(
        "zoo.data.image_folder",
        "imagefolder",
        "image_classification",
        None,
        "any folder of class folders with images: data.dir=FOLDER",
        0,
        your_own=True,
    ),
    "imagenet": DatasetEntry(
        "zoo.data.imagenet",
        "imagenet",
        "image_classification",
        ImageSpec(3, 224, 224, 1000),
        "1,281,167 photographs of 1,000 kinds of things (Russakovsky et al. 2015); bring your own copy",
        0,
        your_own=True,
    ),
}
