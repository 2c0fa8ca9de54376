"""From a classifier's scores to the probabilities of its classes."""

from typing import Any

from torch import Tensor


def class_probabilities(model: Any, scores: Tensor) -> Tensor:
    """Returns how probable each class is, `(B, classes)` float32.

    It is the softmax of the scores, unless the model has a `posterior` of its own. That may add up to less than 1: the
    rest is the probability that it is none of the classes.

    Args:
        model: Where the scores come from.
        scores: `(B, classes)`.
    """
    posterior = getattr(model, "posterior", None)
    scores = scores.float()
    return scores.softmax(1) if posterior is None else posterior(scores)
