"""Sentence pairs to translate: Multi30k, dates that are made up here, and any two files of the user's."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zoo.data.dates import date_pairs
from zoo.data.pair_loader import EvaluationPairLoader, Pair, TrainingPairLoader, check_batch_size
from zoo.data.registry import register_dataset
from zoo.data.sources import SourceFile, read
from zoo.data.spec import PairSpec
from zoo.data.text_file import read_text_file
from zoo.data.tokenizing import BEGIN, END, PAD, Kind, SentenceTokenizer
from zoo.errors import ZooError, unknown

log = logging.getLogger("zoo")

SPLITS = ("train", "validation", "test")
LANGUAGES = ("de", "en", "fr")
_KINDS: tuple[Kind, ...] = ("bpe", "word", "character")

Splits = dict[str, list[tuple[str, str]]]  # sentences and their translations by the name of the split


class PairData:
    """Sentence pairs in three splits.

    One tokeniser is trained on both sides of the training split, so that a model can share its embeddings.

    Args:
        load: Reads and verifies the files.
        files: What `load` reads; none for embedded data.
        batch_size: Tokens of the longer side of a training batch, padding included, over all ranks.
        seed: Decides the order of the batches.
        tokenizer: `"bpe"`, `"word"` or `"character"`.
        vocabulary: The most tokens to learn.
        lowercase: Whether capitals are made small.
        max_tokens: Training pairs with a longer side than this are left out; long ones of other splits never are.
            Pairs with an empty side are left out of every split: there is nothing to translate, or to compare with.

    Raises:
        ZooError: A setting makes no sense.
    """

    def __init__(
        self,
        load: Callable[[], Splits],
        files: tuple[SourceFile, ...],
        *,
        batch_size: int,
        seed: int,
        tokenizer: str,
        vocabulary: int,
        lowercase: bool,
        max_tokens: int,
    ) -> None:
        for key, value, least in (
            ("batch_size", batch_size, 8), ("vocabulary", vocabulary, 5), ("max_tokens", max_tokens, 1),
        ):  # fmt: skip
            if value < least:
                raise ZooError(f"data.{key}={value} is not possible: expected {least} or more")
        if tokenizer not in _KINDS:
            raise unknown("data.tokenizer", tokenizer, _KINDS)
        self._load, self.files = load, files
        self._batch_size, self._seed = batch_size, seed
        self._kind: Kind = tokenizer
        self._vocabulary, self._lowercase, self._max_tokens = vocabulary, lowercase, max_tokens
        self._tokenizer: SentenceTokenizer | None = None
        self._pairs: dict[str, list[Pair]] = {}
        self._checksums = {file.path: file.sha256 for file in files}

    def read_with(self, tokenizer: SentenceTokenizer) -> None:
        """Has sentences cut and numbered as others were, for weights that belong to those; before `prepare`."""
        self._tokenizer = tokenizer

    def prepare(self) -> PairSpec:
        """Finds, downloads, verifies and reads the files, and trains the tokeniser; a second call does nothing.

        Raises:
            ZooError: A file is missing, damaged or no text, the sides have different numbers of lines, no pair is left
                in a split, or one does not fit into a batch.
        """
        if not self._pairs:
            splits = self._load()
            if not self.files:
                text = repr([splits[split] for split in SPLITS])
                self._checksums = {"sentences": hashlib.sha256(text.encode()).hexdigest()}
            if self._tokenizer is None:
                sentences = [side for pair in splits["train"] for side in pair]
                self._tokenizer = SentenceTokenizer.train(sentences, self._kind, self._vocabulary, self._lowercase)
            pairs = {split: self._kept(split, splits[split]) for split in SPLITS}
            check_batch_size(pairs["train"], self._batch_size)
            self._pairs = pairs
        size = len(self.vocabulary)
        return PairSpec(size, size, PAD, BEGIN, END)

    def _kept(self, split: str, texts: list[tuple[str, str]]) -> list[Pair]:
        """Numbers the pairs of a split that are neither empty nor too long to train on, and says how many others."""
        sides = (self.vocabulary.encode(side) for side in zip(*texts, strict=True))
        pairs = [Pair(*each) for each in zip(*sides, texts, strict=True)]
        full = [pair for pair in pairs if pair.source and pair.target]
        kept = [pair for pair in full if split != "train" or max(map(len, pair[:2])) <= self._max_tokens]
        counts = {
            "an empty side": len(pairs) - len(full),
            f"more than data.max_tokens={self._max_tokens} tokens": len(full) - len(kept),
        }
        left_out = " and ".join(f"{count:,} with {reason}" for reason, count in counts.items() if count)
        if not kept:
            raise ZooError(f"no pair is left in the {split} split, {left_out}: take other sentences")
        if left_out:
            told = f"{split} split: {left_out} left out, {len(kept):,} pairs remain"
            log.info(told)
            print(told, flush=True)
        return kept

    @property
    def vocabulary(self) -> SentenceTokenizer:
        """The tokeniser; known once the data is prepared."""
        if self._tokenizer is None:
            raise RuntimeError("prepare() comes first")
        return self._tokenizer

    def train_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> TrainingPairLoader:
        """Returns rank `rank`'s share of the training batches.

        Raises:
            ZooError: A pair does not fit into a batch.
        """
        return TrainingPairLoader(self._pairs["train"], self._batch_size, self._seed, rank, world, device)

    def validation_loader(
        self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> EvaluationPairLoader:
        """Returns rank `rank`'s share of the validation split.

        Raises:
            ZooError: There are fewer pairs than ranks.
        """
        return EvaluationPairLoader(self._pairs["validation"], self._batch_size, rank, world, device)

    def test_loader(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> EvaluationPairLoader:
        """Returns rank `rank`'s share of the test split.

        Raises:
            ZooError: There are fewer pairs than ranks.
        """
        return EvaluationPairLoader(self._pairs["test"], self._batch_size, rank, world, device)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How raw sentences become tokens; the tokeniser itself is a file of the release."""
        return {"tokenizer": self._kind, "lowercase": self._lowercase}

    @property
    def class_names(self) -> list[str]:
        """None: what the outputs stand for is the tokeniser's."""
        return []

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each file's content, which `prepare` has verified; else that of the sentences."""
        return self._checksums


_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
_MULTI30K_NAMES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
MULTI30K_FILES = {
    name: SourceFile(f"multi30k/{name}", _MULTI30K, size, sha256)
    for name, size, sha256 in (
        ("train.de", 2_110_398, "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
        ("train.en", 1_801_238, "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
        ("train.fr", 2_111_303, "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d"),
        ("val.de", 75_981, "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
        ("val.en", 63_297, "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
        ("val.fr", 73_924, "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc"),
        ("test_2016_flickr.de", 70_649, "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
        ("test_2016_flickr.en", 62_076, "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
        ("test_2016_flickr.fr", 72_261, "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6"),
    )
}


def _lines(text: str) -> list[str]:
    """Cuts at line feeds only: sentences may hold the other characters that Python's splitlines cuts at."""
    return text.removesuffix("\n").split("\n")


def _cut(pairs: list[tuple[str, str]], validation: int, test: int) -> Splits:
    """Holds out the last pairs for the test, and those before them for validation."""
    first, second = len(pairs) - validation - test, len(pairs) - test
    return {"train": pairs[:first], "validation": pairs[first:second], "test": pairs[second:]}


@register_dataset
def multi30k(
    dir: str | None = None,
    batch_size: int = 4096,
    seed: int = 0,
    source: str = "de",
    target: str = "en",
    tokenizer: str = "bpe",
    vocabulary: int = 10_000,
    lowercase: bool = False,
    max_tokens: int = 100,
) -> PairData:
    """Multi30k: descriptions of pictures and their translations (Elliott et al. 2016), 29,000 / 1,014 / 1,000 pairs.

    `source` and `target` are any two of `de`, `en` and `fr`; the test split is test_2016_flickr.

    Raises:
        ZooError: A setting makes no sense.
    """
    for key, language in (("source", source), ("target", target)):
        if language not in LANGUAGES:
            raise ZooError(f"data.{key}={language} is not possible: choose {', '.join(LANGUAGES)}")
    if source == target:
        raise ZooError(f"data.source and data.target are both {source}: choose two languages")
    named = {
        split: tuple(MULTI30K_FILES[f"{name}.{language}"] for language in (source, target))
        for split, name in _MULTI30K_NAMES.items()
    }

    def load() -> Splits:
        sides = {split: [_lines(read(file, dir).decode("utf-8")) for file in files] for split, files in named.items()}
        return {split: list(zip(*lines, strict=True)) for split, lines in sides.items()}

    return PairData(
        load, tuple(file for files in named.values() for file in files), batch_size=batch_size, seed=seed,
        tokenizer=tokenizer, vocabulary=vocabulary, lowercase=lowercase, max_tokens=max_tokens,
    )  # fmt: skip


@register_dataset
def dates(
    dir: str | None = None, batch_size: int = 1024, seed: int = 0, tokenizer: str = "bpe", vocabulary: int = 200
) -> PairData:
    """Dates as people write them and as ISO 8601 has them; embedded: 20,000 / 1,000 / 1,000 made-up pairs.

    Raises:
        ZooError: A setting makes no sense.
    """
    return PairData(
        lambda: _cut(date_pairs(22_000), 1_000, 1_000), (), batch_size=batch_size, seed=seed, tokenizer=tokenizer,
        vocabulary=vocabulary, lowercase=True, max_tokens=100,
    )  # fmt: skip


@register_dataset
def parallel_files(
    dir: str | None = None,
    batch_size: int = 4096,
    seed: int = 0,
    source: str | None = None,
    target: str | None = None,
    tokenizer: str = "bpe",
    vocabulary: int = 10_000,
    lowercase: bool = False,
    max_tokens: int = 100,
    validation_share: float = 0.05,
    test_share: float = 0.05,
) -> PairData:
    """Any two text files of your own, line by line translations of each other; the last lines are held out.

    Raises:
        ZooError: A setting makes no sense, or no files are named.
    """
    for key, share in (("validation_share", validation_share), ("test_share", test_share)):
        if not 0 < share < 1:
            raise ZooError(f"data.{key}={share} is not possible: expected a share between 0 and 1, such as 0.1")

    def load() -> Splits:
        if not source or not target:
            raise ZooError("data=parallel_files needs two texts: name them with data.source=PATH and data.target=PATH")
        if source == target:
            raise ZooError(f"data.source and data.target are both {source}: name two files")
        folder = Path(dir).expanduser() if dir else Path()
        sources, targets = (
            _lines(read_text_file(folder / name, f"data.{key}"))
            for key, name in (("source", source), ("target", target))
        )
        count = len(sources)
        if count != len(targets):
            raise ZooError(f"data.source={source} has {count:,} lines, data.target={target} {len(targets):,}: "
                           "expected as many, each the translation of the other")  # fmt: skip
        validation, test = (max(1, round(count * share)) for share in (validation_share, test_share))
        if validation + test >= count:
            raise ZooError(f"{count:,} pairs leave none to train on: data.validation_share={validation_share} and "
                           f"data.test_share={test_share} take {validation:,} and {test:,}")  # fmt: skip
        return _cut(list(zip(sources, targets, strict=True)), validation, test)

    return PairData(
        load, (), batch_size=batch_size, seed=seed, tokenizer=tokenizer, vocabulary=vocabulary,
        lowercase=lowercase, max_tokens=max_tokens,
    )  # fmt: skip
