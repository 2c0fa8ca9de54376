"""How good generated images are, beside real ones that were held out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.metrics.parzen import SIGMAS, parzen
from zoo.metrics.ranks import interleaved
from zoo.pretrained.pipelines import pipeline
from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline
from zoo.tasks.looking import looked_at

_NEAR = 3.0  # standard deviations
_SIGMA_POINTS = 1000  # held-out images on which the kernels' width is chosen, as the authors' script does


class Judge:
    """Collects the held-out images of one evaluation, and compares samples with them.

    Args:
        classifier: A release through whose eyes both are looked at; None: they are not.

    Raises:
        ZooError: It tells no images apart.
    """

    def __init__(self, classifier: str | None) -> None:
        self.sigma: float | None = None  # the width of the Parzen windows that validation chose
        self._classifier = None if classifier is None else pipeline(classifier)
        if not isinstance(self._classifier, ImageClassificationPipeline | None):
            raise ZooError(f"task.classifier={classifier} tells no images apart: give a release that does, such as "
                           "lenet5_modern-mnist")  # fmt: skip
        self._held_out: list[Tensor] = []
        self.details: dict[str, dict[str, float]] = {}  # of the last evaluation: which share of samples each class has

    def check(self, prepared: Mapping[str, Any]) -> None:
        """Refuses a classifier of images of another size, before hours of training.

        Args:
            prepared: The data's preprocessing, with its `channels`, `height` and `width`.

        Raises:
            ZooError: It is one.
        """
        if self._classifier is None:
            return
        own = self._classifier.preprocessing
        sizes = (own.channels, own.height, own.width), tuple(prepared[key] for key in ("channels", "height", "width"))
        if sizes[0] != sizes[1]:
            theirs, ours = ("x".join(map(str, each)) for each in sizes)
            raise ZooError(f"task.classifier looks at {theirs} images, the data has {ours}: give one of such images, "
                           "or none")  # fmt: skip

    def begin(self) -> None:
        """Forgets what was collected."""
        self._held_out = []

    def collect(self, images: Tensor) -> None:
        """Takes `(B, C, H, W)`, pixels from 0 to 1."""
        self._held_out.append(images)

    def judge(self, samples: Tensor, *, choose: bool) -> dict[str, float]:
        """Says how likely the held-out images are under a Parzen window over samples, and what the classifier sees.

        Args:
            samples: `(M, C, H, W)`, pixels from 0 to 1.
            choose: Whether to choose the kernels' width, on the first 1,000 of the images, for which alone the
                likelihood is then told; otherwise it is told for all, with the width that was chosen before.

        Returns:
            `parzen`, `parzen_error` and `parzen_sigma` (Goodfellow et al. 2014, Section 5), and with a classifier what
            `looked_at` says. The images are forgotten.

        Raises:
            ZooError: No width has been chosen yet.
        """
        points = interleaved(torch.cat(self._held_out))
        if choose:
            found = parzen(points[:_SIGMA_POINTS], samples, SIGMAS)
            self.sigma = found.sigma
        elif self.sigma is None:
            raise ZooError("no validation was run, on which the width of the Parzen windows is chosen: leave "
                           "trainer.limit_val_batches out")  # fmt: skip
        else:
            found = parzen(points, samples, [self.sigma])
        metrics = {"parzen": found.mean, "parzen_error": found.error, "parzen_sigma": found.sigma}
        if self._classifier is not None:
            seen, self.details["class_shares"] = looked_at(self._classifier, points, samples)
            metrics |= seen
        self.begin()
        return metrics


def near_centres(samples: Tensor, centres: Tensor, spread: float) -> dict[str, float]:
    """Says how generated points lie among the Gaussians that they are to come from.

    Args:
        samples: `(M, 1, 1, 2)`.
        centres: Of the Gaussians, `(K, 2)`.
        spread: Their standard deviation.

    Returns:
        `near`, the percentage of samples within three standard deviations of a centre, and `modes`, of centres with
        such a sample (Srivastava et al. 2017, arXiv:1705.07761, Section 4.1). Of the Gaussians' own points 98.9 % are
        near.
    """
    distances = torch.cdist(samples.flatten(1), centres.to(samples))
    near = distances <= _NEAR * spread
    return {"near": 100 * float(near.any(dim=1).double().mean()), "modes": 100 * float(near.any(dim=0).double().mean())}
