"""Adversarial training: a generator against a discriminator, judged by how likely samples make what was held out."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from zoo.errors import ZooError
from zoo.metrics.parzen import SIGMAS, parzen
from zoo.metrics.ranks import average_gradients, interleaved, rank, total, world
from zoo.metrics.totals import Totals
from zoo.models.gan import AdversarialNetworks
from zoo.pretrained.pipelines import pipeline
from zoo.tasks.looking import looked_at
from zoo.tasks.objectives import OBJECTIVES, clip_weights, gradient_penalty
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline

SHOWN = 64  # samples in a grid
_AT_ONCE = 500  # samples made together in an evaluation
_SIGMA_POINTS = 1000  # held-out images on which the kernels' width is chosen, as the authors' script does


class Adversarial(Task):
    """Trains generator and discriminator with an optimizer each.

    Metrics: `train/discriminator_loss` and `train/generator_loss`; `train/real` and `train/fake`, the mean score of
    real and of generated images, which for the first two objectives is the probability of being real; the norms of both
    gradients. On validation and test: `parzen` (nats, with `parzen_error` over the images and the kernels' width
    `parzen_sigma`, chosen on validation); with a `classifier` also `fid_lenet`, the Fréchet distance of its last hidden
    layer, which is no FID, and of the samples' labels the share of the classes that occur and the Kullback-Leibler
    divergence from all being as frequent: collapse shows in both.

    Args:
        objective: `minimax`, `non_saturating`, `wasserstein` or `wasserstein_gp`.
        simultaneous: Whether both are updated after one pass through the discriminator, as in the code of 2014;
            otherwise in turn, each on a batch and noise of its own.
        discriminator_steps: Updates of the discriminator for each of the generator.
        discriminator_lr: Its step size, by default the generator's.
        clip: To what the critic's weights are clipped, for `wasserstein`.
        penalty: Weight of the gradient penalty, for `wasserstein_gp`.
        ema: Decay of a running mean of the generator's weights, which is then what is tested and released; 0 is none.
        samples: How many samples are judged.
        classifier: A release that tells classes apart, whose features and labels of samples are looked at.
        headline: `test/parzen` or `test/fid_lenet`.
    """

    headlines: ClassVar[dict[str, str]] = {"test/parzen": "max", "test/fid_lenet": "min"}
    sample_unit: ClassVar[str] = "images"

    def __init__(
        self,
        *shared: Any,
        headline: str = "test/parzen",
        objective: str = "non_saturating",
        simultaneous: bool = False,
        discriminator_steps: int = 1,
        discriminator_lr: float | None = None,
        clip: float = 0.01,
        penalty: float = 10.0,
        ema: float = 0.0,
        samples: int = 10_000,
        classifier: str | None = None,
    ) -> None:
        super().__init__(*shared, headline=headline)
        if not isinstance(self.model, AdversarialNetworks):
            raise ValueError(f"{type(self.model).__name__} is no pair of generator and discriminator")
        if objective not in OBJECTIVES:
            raise ValueError(f"task.objective={objective} is not possible: choose {', '.join(OBJECTIVES)}")
        if simultaneous and (discriminator_steps != 1 or objective.startswith("wasserstein")):
            raise ValueError("task.simultaneous=true is for one step of each, with minimax or non_saturating")
        for name, value, least in (("discriminator_steps", discriminator_steps, 1), ("samples", samples, 1)):
            if value < least:
                raise ValueError(f"task.{name}={value} is not possible: expected {least} or more")
        if not 0 <= ema < 1:
            raise ValueError(f"task.ema={ema} is not possible: expected a decay in [0, 1)")
        if headline == "test/fid_lenet" and classifier is None:
            raise ValueError(
                "task.headline=test/fid_lenet needs a classifier: give task.classifier=lenet5_modern-mnist"
            )
        if self.watched == "test":
            raise ValueError("the width of the Parzen windows is chosen on held-out images: give data.validation=200")
        self.automatic_optimization = False
        self.objective, self.simultaneous = objective, simultaneous
        self.discriminator_steps, self.discriminator_lr = discriminator_steps, discriminator_lr
        self.clip, self.penalty, self.samples = clip, penalty, samples
        self.mean_generator = copy.deepcopy(self.model.generator).requires_grad_(False) if ema else None
        self.ema = ema
        self.batches = 0
        self.totals = Totals("discriminator_loss", "discriminator_norm", "real", "fake")
        self.generator_totals = Totals("generator_loss", "generator_norm")  # over its own steps only
        self.sigma: float | None = None
        # Of several processes each draws the noise of all and takes its share, which comes to what one would have
        # drawn; what else is random, dropout, each draws for itself.
        self._shared_draw = torch.Generator()
        self._shared_draw.set_state(torch.get_rng_state())
        self._classifier: ImageClassificationPipeline | None = None if classifier is None else pipeline(classifier)
        self._held_out: list[Tensor] = []

    @property
    def networks(self) -> AdversarialNetworks:
        """The model."""
        assert isinstance(self.model, AdversarialNetworks)
        return self.model

    @property
    def dataset(self) -> Any:
        """The images that are trained on."""
        return vars(self.trainer)["datamodule"].dataset  # which Lightning does not declare

    @property
    def curve_steps(self) -> int:
        """Batches."""
        return self.batches

    def configure_optimizers(self) -> Any:
        """Hands Lightning an optimizer for each network, and their schedules."""
        optimizers = [self._optimizer(part.named_parameters()) for part in (self.networks.generator,
                                                                            self.networks.discriminator)]  # fmt: skip
        if self.discriminator_lr is not None:
            for group in optimizers[1].param_groups:
                group["lr"] = self.discriminator_lr
        if self._scheduler is None:
            return optimizers
        return optimizers, [{"scheduler": self._scheduler(each), "interval": "epoch"} for each in optimizers]

    def _pixels(self, images: Tensor) -> Tensor:
        """Returns what the loader gives as pixels from 0 to 1."""
        prepared = self.dataset.preprocessing
        if "mean_image" in prepared:
            raise ZooError("adversarial training needs images without a mean image: give data.mean=null")
        mean, std = (images.new_tensor(prepared[key]).view(-1, 1, 1) for key in ("mean", "std"))
        return (images * std + mean).clamp(0, 1)

    def _scores(self, images: Tensor) -> Tensor:
        # bfloat16 could not tell a probability of 0.998 from 1, nor sum the differences of a batch.
        scores = self.networks.discriminator(images)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _noise(self, everywhere: int) -> Tensor:
        """Returns this process's share of the noise for a batch of so many images in all processes."""
        draw = self._shared_draw if world() > 1 else None  # alone, the global generator
        return self.networks.draw(everywhere, draw)[rank() :: world()].to(next(self.networks.parameters()))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Makes a step of the discriminator, if it is time one of the generator; returns the sum of their losses."""
        real = self.networks.images(self._pixels(batch[0]))
        everywhere = int(total(len(real))[0])
        optimizers = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizers, list)
        generator, discriminator = optimizers
        step = self._both if self.simultaneous else self._in_turn
        loss = step(real, everywhere, generator, discriminator)
        self.batches += 1
        if self.mean_generator is not None:
            self._follow(self.mean_generator)
        if self._scheduler_interval == "step":
            self._step_schedules()
        return {"loss": loss.detach() * _weight(real, everywhere)}

    def _both(self, real: Tensor, everywhere: int, generator: Optimizer, discriminator: Optimizer) -> Tensor:
        """Updates both after one pass, with the same dropout for either (the code of Goodfellow et al. 2014)."""
        networks, objective = self.networks, OBJECTIVES[self.objective]
        of_fake = self._scores(networks.generator(self._noise(everywhere)))
        of_real = self._scores(real)
        losses = objective.discriminator(of_real, of_fake), objective.generator(of_fake)
        weight = _weight(real, everywhere)
        norm = _set_gradients(networks.discriminator, losses[0], weight, last=False)
        own_norm = _set_gradients(networks.generator, losses[1], weight, last=True)
        discriminator.step()
        generator.step()
        self._count(losses[0], norm, of_real, of_fake)
        self._count_own(losses[1], own_norm, len(real))
        return losses[0] + losses[1]

    def _in_turn(self, real: Tensor, everywhere: int, generator: Optimizer, discriminator: Optimizer) -> Tensor:
        """Updates the discriminator, and if it is time the generator (Goodfellow et al. 2014, Algorithm 1)."""
        networks, objective = self.networks, OBJECTIVES[self.objective]
        with torch.no_grad():
            fake = networks.generator(self._noise(everywhere))
        # Real and generated images apart: together batch normalisation would tell them apart (Radford et al. 2015).
        of_real, of_fake = self._scores(real), self._scores(fake)
        loss = objective.discriminator(of_real, of_fake)
        if self.objective == "wasserstein_gp":
            draw = self._shared_draw if world() > 1 else None
            shares = torch.rand(everywhere, generator=draw)[rank() :: world()].to(self.device)
            loss = loss + self.penalty * gradient_penalty(networks.discriminator, real, fake, shares)
        weight = _weight(real, everywhere)
        norm = _set_gradients(networks.discriminator, loss, weight, last=True)
        discriminator.step()
        if self.objective == "wasserstein":
            clip_weights(networks.discriminator, self.clip)
        self._count(loss, norm, of_real, of_fake)
        if (self.batches + 1) % self.discriminator_steps:
            return loss
        own = objective.generator(self._scores(networks.generator(self._noise(everywhere))))
        self._count_own(own, _set_gradients(networks.generator, own, weight, last=True), len(real))
        generator.step()
        return loss + own

    def _count(self, loss: Tensor, norm: Tensor, of_real: Tensor, of_fake: Tensor) -> None:
        if not self.objective.startswith("wasserstein"):
            of_real, of_fake = torch.sigmoid(of_real), torch.sigmoid(of_fake)
        count = len(of_real)
        self.totals.add(
            count, discriminator_loss=loss * count, discriminator_norm=norm * count, real=of_real.sum(),
            fake=of_fake.sum(),
        )  # fmt: skip

    def _count_own(self, loss: Tensor, norm: Tensor, count: int) -> None:
        self.generator_totals.add(count, generator_loss=loss * count, generator_norm=norm * count)

    def _follow(self, mean: nn.Module) -> None:
        with torch.no_grad():
            for one, other in zip(mean.parameters(), self.networks.generator.parameters(), strict=True):
                one.lerp_(other, 1 - self.ema)
            for kept, now in zip(mean.buffers(), self.networks.generator.buffers(), strict=True):
                kept.copy_(now)

    def _step_schedules(self) -> None:
        schedules = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            if isinstance(schedule, LRScheduler):
                schedule.step()

    def on_train_epoch_end(self) -> None:
        """Reports the means over the epoch."""
        if self._scheduler_interval == "epoch":
            self._step_schedules()
        for totals in (self.totals, self.generator_totals):
            self.publish("train", totals.means())
            totals.reset()

    def made(self, count: int, seed: int = 0) -> Tensor:
        """Returns samples `(count, C, H, W)`, pixels from 0 to 1, always of the same noise."""
        return self._from_noise(self.networks.draw(count, torch.Generator().manual_seed(seed)))

    @torch.inference_mode()
    def _from_noise(self, noise: Tensor) -> Tensor:
        generator = self.networks.generator if self.mean_generator is None else self.mean_generator
        training = generator.training
        generator.eval()
        weights = next(generator.parameters())  # where and of which kind they are
        made = [self.networks.pixels(generator(each.to(weights))) for each in noise.split(_AT_ONCE)]
        generator.train(training)
        return torch.cat(made)

    def on_validation_epoch_start(self) -> None:
        """Starts collecting."""
        self._held_out = []

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collects images."""
        self._held_out.append(self._pixels(batch[0]))

    def on_validation_epoch_end(self) -> None:
        """Chooses the kernels' width, and tells how likely the held-out images are."""
        self._report(self.watched)
        self.pictures["samples"] = self.made(SHOWN).cpu()

    def on_test_epoch_start(self) -> None:
        """Starts collecting."""
        self._held_out = []
        if self.mean_generator is not None:  # it is what is released
            self.networks.generator.load_state_dict(self.mean_generator.state_dict())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collects images."""
        self._held_out.append(self._pixels(batch[0]))

    def on_test_epoch_end(self) -> None:
        """Tells how likely the test images are, under the width that validation chose."""
        self._report("test")

    def _report(self, split: str) -> None:
        points, samples = interleaved(torch.cat(self._held_out)), self.made(self.samples)
        if split == "test":
            if self.sigma is None:
                raise ZooError("no validation was run, on which the width of the Parzen windows is chosen: leave "
                               "trainer.limit_val_batches out")  # fmt: skip
            found = parzen(points, samples, [self.sigma])
        else:
            found = parzen(points[:_SIGMA_POINTS], samples, SIGMAS)
            self.sigma = found.sigma
        metrics = {"parzen": found.mean, "parzen_error": found.error, "parzen_sigma": found.sigma}
        if self._classifier is not None:
            metrics |= looked_at(self._classifier, points, samples)
        self.publish(split, metrics)
        self._held_out = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what is counted."""
        drawn = {"draw": self._shared_draw.get_state()} if world() > 1 else {}
        checkpoint["adversarial"] = {"batches": self.batches, "sigma": self.sigma} | drawn

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        own = checkpoint["adversarial"]
        self.batches, self.sigma = own["batches"], own["sigma"]
        if "draw" in own:
            self._shared_draw.set_state(own["draw"].cpu())

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws curves, samples, paths between them, and the training images that are nearest to them."""
        from zoo.tasks import adversarial_figures as draw
        from zoo.tasks.curves import curves

        labels = {"parzen": "log-likelihood, nats", "real": "mean score", "discriminator_loss": "loss"}
        figures = {"curves": curves(metrics_file, list(labels), labels)}
        if self.made(1).shape[-1] == 2:  # points in the plane, no pictures
            (real, _), made = next(iter(self.dataset.train_loader())), self.made(1000)
            figures["critic"] = draw.surface(self.networks.discriminator, self._pixels(real).to(made), made)
        else:
            training = torch.cat([self._pixels(batch[0]) for batch in self.dataset.train_loader()])
            paths = self.networks.draw_paths(8, 8, torch.Generator().manual_seed(1))
            figures["samples"] = draw.grid(self.made(SHOWN).cpu())
            figures["interpolation"] = draw.grid(self._from_noise(paths).cpu())
            figures["neighbours"] = draw.neighbours(self.made(12).cpu(), training.cpu())
        return {name: figure for name, figure in figures.items() if figure is not None}


def _weight(real: Tensor, everywhere: int) -> float:
    """Returns by what to multiply a mean over this process's images: the mean over processes is then that of all."""
    return len(real) * world() / everywhere


def _set_gradients(part: nn.Module, loss: Tensor, weight: float, *, last: bool) -> Tensor:
    """Puts the gradients of a loss, the mean of all processes', into the parameters of one network only.

    Args:
        part: The network.
        loss: A mean over this process's images.
        weight: By which it counts among the processes'.
        last: Whether nothing else is differentiated after it.

    Returns:
        The norm of the gradients.
    """
    parameters = list(part.parameters())
    gradients = torch.autograd.grad(loss, parameters, retain_graph=not last)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    average_gradients(parameters, weight)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
