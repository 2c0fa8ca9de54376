"""BLEU, by sacrebleu (Post 2018, arXiv:1804.08771), with the signature that says how it was computed."""

from collections.abc import Sequence
from dataclasses import dataclass

# sacrebleu's tokenisers that need no further download.
TOKENIZERS = ("13a", "intl", "char", "zh", "none")


@dataclass(frozen=True)
class Bleu:
    """A corpus score, 0 to 100, and sacrebleu's signature."""

    score: float
    signature: str


def bleu(
    translations: Sequence[str], references: Sequence[str], lowercase: bool = False, tokenize: str = "13a"
) -> Bleu:
    """Returns the BLEU of translations against one reference each.

    Args:
        translations: Plain text, detokenised.
        references: As many.
        lowercase: Whether capitals count as small letters.
        tokenize: One of `TOKENIZERS`; `13a` is that of the WMT's own script.

    Raises:
        ValueError: There is no such tokeniser, or there are fewer references than translations, or more.
    """
    from sacrebleu.metrics.bleu import BLEU  # on first use: half a second

    if tokenize not in TOKENIZERS:
        raise ValueError(f"there is no tokeniser {tokenize!r} for BLEU: choose {', '.join(TOKENIZERS)}")
    if len(translations) != len(references):
        raise ValueError(f"{len(translations)} translations and {len(references)} references: expected one each")
    metric = BLEU(lowercase=lowercase, tokenize=tokenize)
    score = metric.corpus_score(list(translations), [list(references)]).score
    return Bleu(score, str(metric.get_signature()))


@dataclass(frozen=True)
class LengthGroup:
    """The sentences whose sources have `shortest` to `longest` words: how many there are, and their BLEU."""

    shortest: int
    longest: int
    sentences: int
    score: float


def bleu_by_length(
    sources: Sequence[str],
    translations: Sequence[str],
    references: Sequence[str],
    lowercase: bool = False,
    tokenize: str = "13a",
    groups: int = 6,
) -> list[LengthGroup]:
    """Returns the BLEU of sentences grouped by the length of their source (Bahdanau et al. 2014, Figure 2).

    The groups hold about as many sentences each, so that none is so small that its score means nothing; sentences of
    one length are not parted.

    Args:
        sources: Plain text, whose words are counted at spaces.
        translations: As many.
        references: As many.
        lowercase: As in `bleu`.
        tokenize: As in `bleu`.
        groups: How many groups at the most.
    """
    lengths = [len(source.split()) for source in sources]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    found: list[LengthGroup] = []
    start = 0
    for group in range(groups):
        end = round((group + 1) * len(order) / groups)
        while 0 < end < len(order) and lengths[order[end]] == lengths[order[end - 1]]:
            end += 1
        members = order[start:end]
        if members:
            score = bleu([translations[i] for i in members], [references[i] for i in members], lowercase, tokenize)
            found.append(LengthGroup(lengths[members[0]], lengths[members[-1]], len(members), score.score))
        start = max(start, end)
    return found
