"""BLEU, by sacrebleu (Post 2018, arXiv:1804.08771), with the signature that says how it was computed."""

from collections.abc import Sequence
from dataclasses import dataclass


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
        tokenize: sacrebleu's tokeniser: `13a`, `intl`, `char`, `zh` …

    Raises:
        ValueError: sacrebleu has no such tokeniser.
    """
    from sacrebleu.metrics.bleu import BLEU  # on first use: half a second

    if tokenize not in BLEU.TOKENIZERS:
        raise ValueError(f"task.bleu.tokenize={tokenize} is not possible: choose {', '.join(BLEU.TOKENIZERS)}")
    metric = BLEU(lowercase=lowercase, tokenize=tokenize)
    score = metric.corpus_score(list(translations), [list(references)]).score
    return Bleu(score, str(metric.get_signature()))
