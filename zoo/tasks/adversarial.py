"""Adversarial training: a generator against a discriminator, judged by how likely samples make what was held out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from zoo.data.windows import per_channel, to_device
from zoo.errors import ZooError
from zoo.metrics.ranks import rank, total, world
from zoo.models.gan import AdversarialNetworks
from zoo.tasks.health import Health
from zoo.tasks.judging import Judge, near_centres
from zoo.tasks.objectives import OBJECTIVES, clip_weights, gradient_penalty, set_gradients
from zoo.tasks.task import OptimizerFactory, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 64  # samples in a grid
_NEVER = 1e-7  # the probability of what no training image shows, as in the code of 2014
_AT_ONCE = 500  # samples made together in an evaluation


class Adversarial(Task):
    """Trains generator and discriminator with an optimizer each.

    Metrics: `train/discriminator_loss` and `train/generator_loss`; `train/real` and `train/fake`, the mean score of
    real and of generated images, which for the first two objectives is the probability of being real; the norms of both
    gradients; `train/penalty`, which the loss of `wasserstein_gp` contains with its weight. On validation and test what
    `zoo.tasks.judging` says: of images `parzen` in nats, and through the eyes of a `classifier` `fid_lenet` and whether
    all classes occur; of points in the plane `modes` and `near`, in percent.

    Args:
        objective: `minimax`, `non_saturating`, `wasserstein` or `wasserstein_gp`.
        simultaneous: Whether both are updated after one pass through the discriminator, as in the code of 2014;
            otherwise in turn, each on a batch and noise of its own.
        marginals: Whether the generator's output biases start where its pixels have the means of the training images'
            (the code of 2014); for a generator that ends in sigmoids.
        discriminator_steps: Updates of the discriminator for each of the generator.
        discriminator_optimizer: Builds its optimizer where that is not the generator's: in a config a node such as
            `optimizer`, on the command line `+optimizer@task.discriminator_optimizer=adam`.
        discriminator_lr: Its step size, by default as its optimizer says.
        clip: To what the critic's weights are clipped, for `wasserstein`.
        penalty: Weight of the gradient penalty, for `wasserstein_gp`.
        ema: Decay, for each update of the generator, of a running mean of its weights, which is then what is tested
            and released; 0 is none.
        samples: How many samples are judged.
        classifier: A release that tells classes apart, whose features and labels of samples are looked at.
        headline: `test/parzen` or `test/fid_lenet`; for points `test/near`.
    """

    headlines: ClassVar[dict[str, str]] = {"test/parzen": "max", "test/fid_lenet": "min", "test/near": "max"}
    sample_unit: ClassVar[str] = "images"

    def __init__(
        self,
        *shared: Any,
        headline: str = "test/parzen",
        objective: str = "non_saturating",
        simultaneous: bool = False,
        marginals: bool = False,
        discriminator_steps: int = 1,
        discriminator_optimizer: OptimizerFactory | None = None,
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
            raise ValueError("task.simultaneous=true is for one step of each, with minimax or non_saturating: "
                             "give task.simultaneous=false")  # fmt: skip
        if marginals and self.model.output_bias is None:
            raise ValueError("task.marginals=true is for a generator that ends in sigmoids: take model=gan_mlp")
        least = {"discriminator_steps": 1, "samples": 2, "clip": 0, "penalty": 0}
        for name, value in zip(least, (discriminator_steps, samples, clip, penalty), strict=True):
            if not least[name] <= value < float("inf"):
                raise ValueError(f"task.{name}={value} is not possible: expected {least[name]} or more")
        if not 0 <= ema < 1:
            raise ValueError(f"task.ema={ema} is not possible: expected a decay in [0, 1)")
        if headline == "test/fid_lenet" and classifier is None:
            raise ValueError(
                "task.headline=test/fid_lenet needs a classifier: give task.classifier=lenet5_modern-mnist"
            )
        if self.watched == "test":
            raise ValueError("the width of the Parzen windows is chosen on held-out images: give data.validation=200")
        self.automatic_optimization = False
        self.objective, self.simultaneous, self.marginals = objective, simultaneous, marginals
        self.discriminator_steps, self.discriminator_lr = discriminator_steps, discriminator_lr
        self._discriminator_optimizer = discriminator_optimizer or self._optimizer
        self.clip, self.penalty, self.samples = clip, penalty, samples
        self.mean_generator: AveragedModel | None = None
        if ema:
            mean = AveragedModel(self.model.generator, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
            self.mean_generator = mean.requires_grad_(False)
        self.batches = 0
        self.health = Health(objective)
        # Of several processes each draws the noise of all and takes its share, which comes to what one would have
        # drawn; what else is random, dropout, each draws for itself.
        self._shared_draw = torch.Generator()
        self._shared_draw.set_state(torch.get_rng_state())
        self.judge = Judge(classifier)

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
    def points(self) -> tuple[Tensor, float] | None:
        """The centres and the spread of points in the plane, None for images."""
        data = self.dataset
        return (data.centres, data.spread) if hasattr(data, "centres") else None

    @property
    def curve_steps(self) -> int:
        """Batches."""
        return self.batches

    def configure_optimizers(self) -> Any:
        """Hands Lightning an optimizer for each network, and their schedules.

        Raises:
            ZooError: As in every task.
        """
        optimizers = [
            self._optimizer(self.networks.generator.named_parameters()),
            self._discriminator_optimizer(self.networks.discriminator.named_parameters()),
        ]
        if self.discriminator_lr is not None:
            for group in optimizers[1].param_groups:
                group["lr"] = self.discriminator_lr
        if self._scheduler is None:
            return optimizers
        schedules = [self._schedule(self._scheduler, each) for each in optimizers]
        return optimizers, [{"scheduler": schedule, "interval": "epoch"} for schedule in schedules]

    def pixels(self, images: Tensor) -> Tensor:
        """Returns what the loader gives as pixels from 0 to 1."""
        prepared = self.dataset.preprocessing
        if "mean_image" in prepared:
            raise ZooError("adversarial training needs images without a mean image: give data.mean=null")
        mean, std = (per_channel(prepared[key], images) for key in ("mean", "std"))
        return (images * std + mean).clamp(0, 1)

    def _scores(self, images: Tensor) -> Tensor:
        # bfloat16 could not tell a probability of 0.998 from 1, nor sum the differences of a batch.
        scores = self.networks.discriminator(images)
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def _noise(self, everywhere: int) -> Tensor:
        """Returns this process's share of the noise for a batch of so many images in all processes."""
        draw = self._shared_draw if world() > 1 else None  # alone, the global generator
        drawn = self.networks.draw(everywhere, draw)[rank() :: world()]
        weights = next(self.networks.parameters())
        return to_device(drawn, weights.device).to(weights.dtype)

    def training_images(self) -> Tensor:
        """Returns all of them, `(N, C, H, W)`, pixels from 0 to 1."""
        return torch.cat([self.pixels(images) for images, _ in self.dataset.train_loader()])

    def on_fit_start(self) -> None:
        """Starts the generator at the marginals where asked.

        Raises:
            ZooError: The headline is not measured on such data, or the classifier is one of other images.
        """
        if (self.headline == "test/near") != (self.points is not None):
            raise ZooError(f"task.headline={self.headline} is not possible for this data: test/near is for points in "
                           "the plane, test/parzen and test/fid_lenet are for images")  # fmt: skip
        self.judge.check(self.dataset.preprocessing)
        if self.marginals:
            self.start_at_marginals(self.training_images())

    def start_at_marginals(self, images: Tensor) -> None:
        """Sets the generator's output biases so that its pixels start at their means over images `(N, C, H, W)`.

        Biases that are not zero any more are kept: the run goes on, or has its weights from another one.
        """
        bias = self.networks.output_bias
        if bias is not None and not bias.any():
            with torch.no_grad():
                bias.copy_(torch.logit(images.double().mean(dim=0).flatten(), eps=_NEVER))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Makes a step of the discriminator, if it is time one of the generator; returns the sum of their losses."""
        real = self.networks.images(self.pixels(batch[0]))
        everywhere = int(total(len(real))[0])
        optimizers = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizers, list)
        generator, discriminator = optimizers
        step = self._both if self.simultaneous else self._in_turn
        loss = step(real, everywhere, generator, discriminator)
        self.batches += 1
        if self.mean_generator is not None and self.batches % self.discriminator_steps == 0:
            self.mean_generator.update_parameters(self.networks.generator)
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
        norm = set_gradients(networks.discriminator, losses[0], weight, last=False)
        own_norm = set_gradients(networks.generator, losses[1], weight, last=True)
        discriminator.step()
        generator.step()
        self.health.count_discriminator(losses[0], norm, of_real, of_fake)
        self.health.count_generator(losses[1], own_norm, len(real))
        return losses[0] + losses[1]

    def _in_turn(self, real: Tensor, everywhere: int, generator: Optimizer, discriminator: Optimizer) -> Tensor:
        """Updates the discriminator, and if it is time the generator (Goodfellow et al. 2014, Algorithm 1)."""
        networks, objective = self.networks, OBJECTIVES[self.objective]
        with torch.no_grad():
            fake = networks.generator(self._noise(everywhere))
        # Real and generated images apart: together batch normalisation would tell them apart (Radford et al. 2015).
        of_real, of_fake = self._scores(real), self._scores(fake)
        loss, penalty = objective.discriminator(of_real, of_fake), None
        if self.objective == "wasserstein_gp":
            draw = self._shared_draw if world() > 1 else None
            shares = to_device(torch.rand(everywhere, generator=draw)[rank() :: world()], real.device).to(real.dtype)
            penalty = gradient_penalty(networks.discriminator, real, fake, shares)
            loss = loss + self.penalty * penalty
        weight = _weight(real, everywhere)
        norm = set_gradients(networks.discriminator, loss, weight, last=True)
        discriminator.step()
        if self.objective == "wasserstein":
            clip_weights(networks.discriminator, self.clip)
        self.health.count_discriminator(loss, norm, of_real, of_fake, penalty)
        if (self.batches + 1) % self.discriminator_steps:
            return loss
        own = objective.generator(self._scores(networks.generator(self._noise(everywhere))))
        self.health.count_generator(own, set_gradients(networks.generator, own, weight, last=True), len(real))
        generator.step()
        return loss + own

    def _step_schedules(self) -> None:
        schedules = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules]:
            if isinstance(schedule, LRScheduler):
                schedule.step()

    def on_train_epoch_end(self) -> None:
        """Reports the means over the epoch."""
        if self._scheduler_interval == "epoch":
            self._step_schedules()
        self.publish("train", self.health.take())
        if self.points is None:
            self.pictures["samples"] = self.made(SHOWN).cpu()

    def made(self, count: int, seed: int = 0) -> Tensor:
        """Returns samples `(count, C, H, W)`, pixels from 0 to 1, always of the same noise."""
        return self.from_noise(self.networks.draw(count, torch.Generator().manual_seed(seed)))

    @torch.inference_mode()
    def from_noise(self, noise: Tensor) -> Tensor:
        """Returns what the generator that is tested makes of noise `(N, …)`: `(N, C, H, W)`, pixels from 0 to 1."""
        generator = self.networks.generator if self.mean_generator is None else self.mean_generator.module
        training = generator.training
        generator.eval()
        weights = next(generator.parameters())  # where and of which kind they are
        made = [self.networks.pixels(generator(each.to(weights))) for each in noise.split(_AT_ONCE)]
        generator.train(training)
        return torch.cat(made)

    def _judged(self, *, choose: bool) -> dict[str, float]:
        samples = self.made(self.samples)
        if self.points is not None:
            return near_centres(samples, *self.points)
        return self.judge.judge(samples, choose=choose)

    def on_validation_epoch_start(self) -> None:
        """Starts collecting."""
        self.judge.begin()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collects images."""
        self.judge.collect(self.pixels(batch[0]))

    def on_validation_epoch_end(self) -> None:
        """Chooses the kernels' width, and tells how likely the held-out images are."""
        self.publish(self.watched, self._judged(choose=True))

    def on_test_epoch_start(self) -> None:
        """Starts collecting."""
        self.judge.begin()
        if self.mean_generator is not None:  # it is what is released
            self.networks.generator.load_state_dict(self.mean_generator.module.state_dict())

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Collects images."""
        self.judge.collect(self.pixels(batch[0]))

    def on_test_epoch_end(self) -> None:
        """Tells how likely the test images are, under the width that validation chose."""
        self.publish("test", self._judged(choose=False))
        self.details |= self.judge.details

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what is counted."""
        drawn = {"draw": self._shared_draw.get_state()} if world() > 1 else {}
        checkpoint["adversarial"] = {"batches": self.batches, "sigma": self.judge.sigma} | drawn

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back."""
        own = checkpoint["adversarial"]
        self.batches, self.judge.sigma = own["batches"], own["sigma"]
        if "draw" in own:
            self._shared_draw.set_state(own["draw"].cpu())

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws curves, samples, paths between them, and the training images that are nearest to them."""
        from zoo.tasks.adversarial_figures import figures

        return figures(self, metrics_file)


def _weight(real: Tensor, everywhere: int) -> float:
    """Returns by what to multiply a mean over this process's images: the mean over processes is then that of all."""
    return len(real) * world() / everywhere
