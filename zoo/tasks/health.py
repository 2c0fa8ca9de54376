"""How adversarial training is going: losses, scores and gradients, summed over an epoch."""

import torch
from torch import Tensor, nn

from zoo.metrics.totals import Totals


class Health(nn.Module):
    """Means over the steps of the discriminator, and over those of the generator, which may be fewer.

    Args:
        objective: A name out of `zoo.tasks.objectives.OBJECTIVES`.
    """

    def __init__(self, objective: str) -> None:
        super().__init__()
        self._probabilities = not objective.startswith("wasserstein")
        penalised = ["penalty"] if objective == "wasserstein_gp" else []
        self.discriminator = Totals("discriminator_loss", "discriminator_norm", "real", "fake", *penalised)
        self.generator = Totals("generator_loss", "generator_norm")

    def count_discriminator(
        self, loss: Tensor, norm: Tensor, of_real: Tensor, of_fake: Tensor, penalty: Tensor | None = None
    ) -> None:
        """Counts a step of the discriminator.

        Args:
            loss: A mean over its images.
            norm: Of its gradients.
            of_real: Its scores of real images, `(B, 1)`.
            of_fake: Of generated ones.
            penalty: On its gradients, without its weight.
        """
        if self._probabilities:
            of_real, of_fake = torch.sigmoid(of_real), torch.sigmoid(of_fake)
        count = len(of_real)
        sums = {"discriminator_loss": loss * count, "discriminator_norm": norm * count}
        sums |= {"real": of_real.sum(), "fake": of_fake.sum()}
        self.discriminator.add(count, **sums, **({} if penalty is None else {"penalty": penalty * count}))

    def count_generator(self, loss: Tensor, norm: Tensor, count: int) -> None:
        """Counts a step of the generator, for so many images."""
        self.generator.add(count, generator_loss=loss * count, generator_norm=norm * count)

    def take(self) -> dict[str, float]:
        """Returns the means of all steps since the last call."""
        means = self.discriminator.means() | self.generator.means()
        self.discriminator.reset()
        self.generator.reset()
        return means
