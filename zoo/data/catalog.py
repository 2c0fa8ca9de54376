"""All datasets by name, as a table that imports no torch: listing and name checks use it.

A test holds this table and the registrations in the dataset files equal.
"""

from dataclasses import dataclass

from zoo.data.spec import ControlSpec, ImageSpec, PairSpec, Spec, TextSpec


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
    "cartpole": DatasetEntry(
        "zoo.data.environments",
        "cartpole",
        "q_learning",
        ControlSpec((4,), 2, "float32"),
        "a pole to be balanced for 500 steps (Gymnasium's CartPole-v1); embedded",
        0,
    ),
    "gymnasium": DatasetEntry(
        "zoo.data.environments",
        "gymnasium",
        "q_learning",
        None,
        "any environment of Gymnasium's with discrete actions: data.id=Acrobot-v1",
        0,
        your_own=True,
    ),
    "minatar_asterix": DatasetEntry(
        "zoo.data.environments",
        "minatar_asterix",
        "q_learning",
        ControlSpec((4, 10, 10), 6, "bool"),
        "MinAtar's Asterix on a board of 10x10 (Young and Tian 2019)",
        0,
    ),
    "minatar_breakout": DatasetEntry(
        "zoo.data.environments",
        "minatar_breakout",
        "q_learning",
        ControlSpec((4, 10, 10), 6, "bool"),
        "MinAtar's Breakout on a board of 10x10 (Young and Tian 2019)",
        0,
    ),
    "minatar_freeway": DatasetEntry(
        "zoo.data.environments",
        "minatar_freeway",
        "q_learning",
        ControlSpec((7, 10, 10), 6, "bool"),
        "MinAtar's Freeway on a board of 10x10 (Young and Tian 2019)",
        0,
    ),
    "minatar_seaquest": DatasetEntry(
        "zoo.data.environments",
        "minatar_seaquest",
        "q_learning",
        ControlSpec((10, 10, 10), 6, "bool"),
        "MinAtar's Seaquest on a board of 10x10 (Young and Tian 2019)",
        0,
    ),
    "minatar_space_invaders": DatasetEntry(
        "zoo.data.environments",
        "minatar_space_invaders",
        "q_learning",
        ControlSpec((6, 10, 10), 6, "bool"),
        "MinAtar's Space Invaders on a board of 10x10 (Young and Tian 2019)",
        0,
    ),
    "atari_breakout": DatasetEntry(
        "zoo.data.environments",
        "atari_breakout",
        "q_learning",
        ControlSpec((4, 84, 84), 4, "uint8"),
        "Atari's Breakout, as the DQN of 2015 sees it",
        0,
    ),
    "atari_pong": DatasetEntry(
        "zoo.data.environments",
        "atari_pong",
        "q_learning",
        ControlSpec((4, 84, 84), 6, "uint8"),
        "Atari's Pong, as the DQN of 2015 sees it",
        0,
    ),
    "atari": DatasetEntry(
        "zoo.data.environments",
        "atari",
        "q_learning",
        None,
        "any Atari game of ale-py's: data.game=space_invaders",
        0,
        your_own=True,
    ),
    "gaussians_8": DatasetEntry(
        "zoo.data.toy",
        "gaussians_8",
        "adversarial",
        ImageSpec(1, 1, 2, 1),
        "eight Gaussians on a circle, points in the plane; embedded",
        0,
    ),
    "gaussians_25": DatasetEntry(
        "zoo.data.toy",
        "gaussians_25",
        "adversarial",
        ImageSpec(1, 1, 2, 1),
        "twenty-five Gaussians on a grid, points in the plane; embedded",
        0,
    ),
}


def datasets_for(task: str) -> list[str]:
    """Returns the datasets that a task can learn from: images to be told apart are images to be imitated, too."""
    tasks = {task, "image_classification"} if task == "adversarial" else {task}
    return [name for name, entry in DATASETS.items() if entry.task in tasks]
