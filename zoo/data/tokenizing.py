"""Tokenisers for sentences, by Hugging Face's `tokenizers`: trained on one text, exact on the way back.

A space before a word becomes part of its token (`▁`), and punctuation marks are tokens of their own without one. So
tokens, put one behind the other, are the text again, which is what BLEU is measured on. What is lost: words and
characters that no token stands for; which white space it was, since any run of it (and of `▁`) is one space, and none
at the ends; and how accents were composed (Unicode's NFC).
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from zoo.errors import ZooError

Kind = Literal["bpe", "word", "character"]

PAD, BEGIN, END, UNKNOWN = range(4)
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


class SentenceTokenizer:
    """Turns sentences into numbers and back.

    Attributes:
        file_name: What it is called in a release.

    Args:
        tokenizer: Whose first four tokens are `<pad>`, `<s>`, `</s>` and `<unk>`. Where a sentence has these words
            in it, they are text like any other.
    """

    file_name: ClassVar[str] = "tokenizer.json"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # as text; the file does not keep this

    @classmethod
    def train(cls, sentences: Iterable[str], kind: Kind, size: int, lowercase: bool = False) -> "SentenceTokenizer":
        """Learns tokens from sentences.

        Args:
            sentences: The training text, and nothing else.
            kind: `"bpe"`: pieces of words, the most frequent pairs joined first (Sennrich et al. 2016,
                arXiv:1508.07909); `"word"`: words that come at least twice; `"character"`.
            size: The most tokens to learn, the four special ones included.
            lowercase: Whether capitals are made small.

        Raises:
            ZooError: There is nothing to learn, or pieces of words need more tokens than `size`.
        """
        spaces = normalizers.Replace(Regex(r"[\s▁]+"), " ")
        normalise: list[normalizers.Normalizer] = [normalizers.NFC(), spaces, normalizers.Strip()]
        if lowercase:
            normalise.append(normalizers.Lowercase())
        unknown = _SPECIAL[UNKNOWN]
        words = partial(trainers.WordLevelTrainer, vocab_size=size, special_tokens=_SPECIAL, show_progress=False)
        if kind == "character":
            tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
            tokenizer.decoder = decoders.Fuse()
            trainer: trainers.Trainer = words(min_frequency=1)
        else:
            if kind == "bpe":
                tokenizer = Tokenizer(models.BPE(unk_token=unknown))
                trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=_SPECIAL, show_progress=False)
                tokenizer.decoder = decoders.Metaspace()
            else:
                tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
                trainer = words(min_frequency=2)
                # An unknown word had a space before it; a character that no piece of a word has did not.
                tokenizer.decoder = decoders.Sequence([decoders.Replace(unknown, f"▁{unknown}"), decoders.Metaspace()])
            marks = pre_tokenizers.Punctuation("isolated")
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), marks])
        tokenizer.normalizer = normalizers.Sequence(normalise)
        tokenizer.train_from_iterator(sentences, trainer)
        learnt = tokenizer.get_vocab_size()
        if learnt == len(_SPECIAL):
            expected = "a word that comes at least twice" if kind == "word" else "a character"
            raise ZooError(f"the training sentences hold nothing to learn: expected {expected}")
        if learnt > size:
            raise ZooError(f"data.vocabulary={size} is less than the {learnt} tokens that all characters of the "
                           "training sentences need: raise it, or take data.tokenizer=word")  # fmt: skip
        return cls(tokenizer)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the numbers of each sentence's tokens, without begin and end."""
        return [encoded.ids for encoded in self._tokenizer.encode_batch(list(sentences), add_special_tokens=False)]

    @property
    def tokens(self) -> list[str]:
        """All tokens, by number."""
        return [self._tokenizer.id_to_token(number) or "" for number in range(len(self))]

    def pieces(self, numbers: Iterable[int]) -> list[str]:
        """Returns tokens as they are shown beside an alignment: `▁` for the space before a word left out."""
        return [(self._tokenizer.id_to_token(number) or "").removeprefix("▁") for number in numbers]

    def decode_all(self, sentences: Sequence[Sequence[int]]) -> list[str]:
        """Returns many sentences: see `decode`."""
        kept = [[n for n in numbers if n not in (PAD, BEGIN, END)] for numbers in sentences]
        return self._tokenizer.decode_batch(kept, skip_special_tokens=False)

    def decode(self, numbers: Sequence[int]) -> str:
        """Returns the sentence; what begins, ends and fills up is left out, `<unk>` is shown."""
        return self.decode_all([numbers])[0]

    def to_json(self) -> bytes:
        """Returns the content of a release's tokenizer file."""
        return self._tokenizer.to_str(pretty=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "SentenceTokenizer":
        """Reads what `to_json` wrote.

        Raises:
            ZooError: It is something else.
        """
        try:
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
        except Exception as error:  # tokenizers raises plain Exceptions
            raise ZooError(f"the tokenizer is damaged ({error}): get the release anew") from error
        if [tokenizer.id_to_token(number) for number in range(4)] != _SPECIAL:
            raise ZooError("the tokenizer is none of the zoo's: get the release anew")
        return cls(tokenizer)
