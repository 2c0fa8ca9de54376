"""Adversarial training: each objective's losses and gradients by the papers' formulas, and what is judged."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from zoo.models.gan import AdversarialNetworks, Maxout
from zoo.optim.schedules import DecayAndMomentum
from zoo.tasks.adversarial import Adversarial
from zoo.tasks.objectives import OBJECTIVES, clip_weights, critic, cross_entropy, gradient_penalty, minimax
from zoo.tasks.objectives import non_saturating as not_saturating


def scores(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(3 * torch.randn(9, 1, generator=draw, dtype=torch.float64) for _ in range(2))


def test_the_losses_are_the_papers():
    real, fake = scores()
    right, wrong = torch.sigmoid(real), torch.sigmoid(fake)
    torch.testing.assert_close(cross_entropy(real, fake), -(right.log().mean() + (1 - wrong).log().mean()) / 2)
    torch.testing.assert_close(minimax(fake), (1 - wrong).log().mean())
    torch.testing.assert_close(not_saturating(fake), -wrong.log().mean())
    torch.testing.assert_close(critic(real, fake), -(real.mean() - fake.mean()))
    torch.testing.assert_close(OBJECTIVES["wasserstein"].generator(fake), -fake.mean())


def test_the_penalty_is_that_of_each_image_by_itself():
    """For a critic w·x + u·x² the gradient is w + 2 u x, at a point between each pair."""
    draw = torch.Generator().manual_seed(3)
    w, u = (torch.randn(4, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    real, fake = (torch.randn(5, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    shares = torch.rand(5, generator=draw, dtype=torch.float64)

    class Critic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * w + x**2 * u).sum(dim=1, keepdim=True)

    between = shares[:, None] * real + (1 - shares[:, None]) * fake
    expected = ((w + 2 * u * between).norm(dim=1) - 1).square().mean()
    found = gradient_penalty(Critic(), real, fake, shares)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, [w, u]), torch.autograd.grad(expected, [w, u]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_clipping():
    net = nn.Linear(30, 30)
    before = net.weight.detach().clone()
    clip_weights(net, 0.05)
    torch.testing.assert_close(net.weight.detach(), before.clamp(-0.05, 0.05))
    assert float(net.weight.detach().abs().max()) == pytest.approx(0.05)


def test_maxout_is_the_largest_of_its_pieces():
    layer = Maxout(6, 4, 5)
    x = torch.randn(3, 6)
    pieces = layer.linear(x).view(3, 4, 5)
    torch.testing.assert_close(layer(x), pieces.max(dim=2).values)


def networks(seed: int = 0) -> AdversarialNetworks:
    torch.manual_seed(seed)
    generator = nn.Sequential(nn.Linear(3, 4), nn.Sigmoid(), nn.Unflatten(1, (1, 2, 2)))
    discriminator = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    return AdversarialNetworks(generator, discriminator, 3, "uniform", 1.0, 0.0)


def task_for(model: nn.Module | None = None, rate: float = 0.1, **settings) -> Adversarial:
    task = Adversarial(
        model or networks(), ["0", "1"], partial(torch.optim.SGD, lr=rate), None, "epoch", "val", **settings
    )
    optimizers = task.configure_optimizers()
    # What the trainer lends a task.
    task.optimizers = lambda use_pl_optimizer=False: optimizers
    dataset = SimpleNamespace(preprocessing={"mean": [0.25], "std": [0.5]})
    task._trainer = SimpleNamespace(datamodule=SimpleNamespace(dataset=dataset))
    return task


def batch(seed: int = 1) -> tuple[Tensor, Tensor]:
    pixels = torch.rand(8, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return (pixels - 0.25) / 0.5, torch.zeros(8).long()


def weights(part: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in part.parameters()]


@pytest.mark.parametrize("objective", ["minimax", "non_saturating"])
def test_both_are_updated_after_one_pass(objective: str):
    """The same noise and the same dropout for either loss; neither sees the other's step."""
    task = task_for(objective=objective, simultaneous=True)
    reference = networks()
    reference.load_state_dict(task.networks.state_dict())
    torch.manual_seed(5)
    task.training_step(batch(), 0)
    torch.manual_seed(5)
    noise = reference.draw(8)
    fake = reference.discriminator(reference.generator(noise))
    real = reference.discriminator(batch()[0] * 0.5 + 0.25)
    parts = OBJECTIVES[objective]
    for part, loss in ((reference.discriminator, parts.discriminator(real, fake)),
                       (reference.generator, parts.generator(fake))):  # fmt: skip
        gradients = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True)
        name = "discriminator" if part is reference.discriminator else "generator"
        ours = list(getattr(task.networks, name).parameters())
        for mine, theirs, gradient in zip(ours, part.parameters(), gradients, strict=True):
            torch.testing.assert_close(mine.detach(), theirs.detach() - 0.1 * gradient)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_generator_waits_for_its_turn(objective: str):
    task = task_for(objective=objective, discriminator_steps=3)
    for step in range(1, 7):
        generator, discriminator = weights(task.networks.generator), weights(task.networks.discriminator)
        assert set(task.training_step(batch(step), 0)) == {"loss"}
        moved = [not torch.equal(*pair) for pair in zip(generator, weights(task.networks.generator), strict=True)]
        assert any(moved) == (step % 3 == 0)
        assert any(not torch.equal(*pair) for pair in
                   zip(discriminator, weights(task.networks.discriminator), strict=True))  # fmt: skip
    assert task.batches == 6


def test_the_output_starts_at_the_marginals_of_the_pixels():
    """As the code of 2014: what is never seen counts as seen once in ten million times."""
    images = torch.tensor([[0.0, 0.5, 1.0, 0.25], [0.0, 0.5, 1.0, 0.75]]).view(2, 1, 2, 2)
    loader = [((image[None] - 0.25) / 0.5, torch.zeros(1)) for image in images]

    def start(**settings) -> Adversarial:
        model = networks()
        nn.init.zeros_(model.output_bias)
        task = task_for(model, marginals=True, ema=0.9, **settings)
        task.trainer.datamodule.dataset.train_loader = lambda: loader
        return task

    task = start()
    task.on_fit_start()
    expected = torch.tensor([1e-7, 0.5, 1 - 1e-7, 0.5], dtype=torch.float64)
    found = task.networks.output_bias.double()
    torch.testing.assert_close(found, (expected / (1 - expected)).log(), rtol=1e-6, atol=1e-6)
    # A run that goes on, or begins with the weights of another one, keeps its biases.
    resumed = start()
    with torch.no_grad():
        resumed.networks.output_bias.fill_(3.0)
    resumed.on_fit_start()
    assert (resumed.networks.output_bias == 3).all()


def test_marginals_are_for_generators_that_end_in_sigmoids():
    model = networks()
    model.generator[1] = nn.Tanh()
    with pytest.raises(ValueError, match=r"for a generator that ends in sigmoids: take model=gan_mlp"):
        task_for(model, marginals=True)


def test_the_generator_s_loss_is_the_mean_over_its_own_steps():
    task = task_for(objective="wasserstein", discriminator_steps=3)
    own = [float(task.training_step(batch(step), 0)["loss"]) for step in range(6)]
    assert float(task.health.generator.sums[0]) == 2 * 8
    assert float(task.health.discriminator.sums[0]) == 6 * 8
    means = task.health.take()
    assert means["discriminator_loss"] * 6 + means["generator_loss"] * 2 == pytest.approx(sum(own), rel=1e-5)
    assert float(task.health.generator.sums[0]) == 0


def test_the_penalty_is_told_by_itself():
    task = task_for(objective="wasserstein_gp", penalty=7.0)
    task.training_step(batch(), 0)
    means = task.health.take()
    difference = means["fake"] - means["real"]
    assert means["discriminator_loss"] == pytest.approx(difference + 7 * means["penalty"], rel=1e-5)
    assert means["penalty"] > 0


def test_without_held_out_images_it_is_refused():
    """The width of the windows would be chosen on the test split."""
    with pytest.raises(ValueError, match=r"is chosen on held-out images: give data\.validation=200"):
        Adversarial(networks(), ["0"], partial(torch.optim.SGD, lr=0.1), None, "epoch", "test")


def test_a_clipped_critic_stays_within_its_limit():
    task = task_for(objective="wasserstein", clip=0.02)
    task.training_step(batch(), 0)
    assert max(float(each.abs().max()) for each in weights(task.networks.discriminator)) <= 0.02


def test_the_mean_generator_follows_each_step_of_the_generator():
    """Of its weights and of its running statistics alike, which belong together."""
    model = networks()
    model.generator.insert(1, nn.BatchNorm1d(4))
    task = task_for(model, ema=0.75, discriminator_steps=2)
    states = []
    for step in range(4):
        task.training_step(batch(step), 0)
        states.append({key: tensor.clone() for key, tensor in task.networks.generator.state_dict().items()})
    mean = task.mean_generator.module.state_dict()
    for key, tensor in mean.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.75 * states[1][key] + 0.25 * states[3][key])
    assert not torch.equal(states[1]["1.running_mean"], states[3]["1.running_mean"])
    task.on_test_epoch_start()  # it is what is tested and released
    for key, tensor in task.networks.generator.state_dict().items():
        assert torch.equal(mean[key], tensor)


def test_each_network_may_have_its_own_step_size():
    generator, discriminator = task_for(discriminator_lr=0.4).configure_optimizers()
    assert (generator.param_groups[0]["lr"], discriminator.param_groups[0]["lr"]) == (0.1, 0.4)


def test_each_network_may_have_its_own_optimizer():
    task = task_for(discriminator_optimizer=partial(torch.optim.Adam, lr=0.4))
    generator, discriminator = task.configure_optimizers()
    assert (type(generator), generator.param_groups[0]["lr"]) == (torch.optim.SGD, 0.1)
    assert (type(discriminator), discriminator.param_groups[0]["lr"]) == (torch.optim.Adam, 0.4)
    assert len(discriminator.param_groups[0]["params"]) == len(list(task.networks.discriminator.parameters()))


def test_samples_are_always_of_the_same_noise():
    task = task_for()
    made = task.made(600, seed=2)
    assert made.shape == (600, 1, 2, 2)
    assert torch.equal(made, task.made(600, seed=2))
    assert torch.equal(made[:7], task.made(600, seed=2)[:7])
    assert not torch.equal(made, task.made(600, seed=3))
    assert task.networks.generator.training


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objective": "hinge"}, "task.objective=hinge is not possible: choose minimax, non_saturating"),
        ({"simultaneous": True, "discriminator_steps": 2}, "give task.simultaneous=false"),
        ({"simultaneous": True, "objective": "wasserstein_gp"}, "task.simultaneous=true is for one step of each"),
        ({"discriminator_steps": 0}, "task.discriminator_steps=0"),
        ({"samples": 0}, "task.samples=0"),
        ({"ema": 1.0}, "task.ema=1.0"),
        ({"clip": -0.01}, "task.clip=-0.01 is not possible: expected 0 or more"),
        ({"penalty": float("nan")}, "task.penalty=nan is not possible"),
        ({"headline": "test/fid_lenet"}, "task.headline=test/fid_lenet needs a classifier"),
        ({"headline": "test/error"}, "task.headline=test/error is not measured here"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict, told: str):
    with pytest.raises(ValueError, match=told):
        task_for(**settings)


def test_a_model_of_one_network_is_refused():
    with pytest.raises(ValueError, match="Linear is no pair of generator and discriminator"):
        task_for(nn.Linear(2, 2))


def test_the_schedule_of_2014():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.5)
    schedule = DecayAndMomentum(optimizer, 1.01, 0.05, 0.7, 100)
    for step in range(1, 121):
        optimizer.step()
        schedule.step()
        group = optimizer.param_groups[0]
        assert group["lr"] == pytest.approx(max(0.05, 0.1 / 1.01**step))
        assert group["momentum"] == pytest.approx(0.5 + 0.2 * min(1, step / 100))
    with pytest.raises(ValueError, match="Adam has no momentum to raise"):
        DecayAndMomentum(torch.optim.Adam([parameter]), 1.01, 0.05, 0.7, 100)
    with pytest.raises(ValueError, match="expected divisor"):
        DecayAndMomentum(optimizer, 0.9, 0.05, 0.7, 100)
