"""How good generated images are, beside real ones that were held out."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.metrics.parzen import SIGMAS, parzen
from zoo.metrics.ranks import interleaved
from zoo.pretrained.pipelines import pipeline
from zoo.tasks.looking import looked_at

if TYPE_CHECKING:
    from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline

_SIGMA_POINTS = 1000  # held-out images on which the kernels' width is chosen, as the authors' script does


class Judge:
    """Collects the held-out images of one evaluation, and compares samples with them.

    Args:
        classifier: A release through whose eyes both are looked at; None looks at none.
    """

    def __init__(self, classifier: str | None) -> None:
        self.sigma: float | None = None  # the width of the Parzen windows that validation chose
        self._classifier: ImageClassificationPipeline | None = None if classifier is None else pipeline(classifier)
        self._held_out: list[Tensor] = []

    def begin(self) -> None:
        """Forgets what was collected."""
        self._held_out = []

    def collect(self, images: Tensor) -> None:
        """Takes `(B, C, H, W)`, pixels from 0 to 1."""
        self._held_out.append(images)

    def _points(self) -> Tensor:
        """Returns the images of all processes, in the order in which one would have seen them."""
        return interleaved(torch.cat(self._held_out))

    def likelihood(self, samples: Tensor, *, choose: bool) -> dict[str, float]:
        """Returns how likely a Parzen window over samples makes the images (Goodfellow et al. 2014, Section 5).

        Args:
            samples: `(M, C, H, W)`, pixels from 0 to 1.
            choose: Whether to choose the kernels' width, on the first of these images; otherwise it is the chosen one.

        Raises:
            ZooError: None was chosen yet.
        """
        points = self._points()
        if choose:
            found = parzen(points[:_SIGMA_POINTS], samples, SIGMAS)
            self.sigma = found.sigma
        elif self.sigma is None:
            raise ZooError("no validation was run, on which the width of the Parzen windows is chosen: leave "
                           "trainer.limit_val_batches out")  # fmt: skip
        else:
            found = parzen(points, samples, [self.sigma])
        return {"parzen": found.mean, "parzen_error": found.error, "parzen_sigma": found.sigma}

    def looks(self, samples: Tensor) -> dict[str, float]:
        """Returns what the classifier sees in samples `(M, C, H, W)`; nothing without one."""
        return {} if self._classifier is None else looked_at(self._classifier, self._points(), samples)
