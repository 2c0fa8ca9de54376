"""Q-learning with a network, replay and a target network: acting and learning take turns within a tick."""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.episodes import Episodes, Tick
from zoo.data.rendering import picture, write_gif
from zoo.data.replay import ReplayMemory, Transitions
from zoo.data.seeds import derived_seed
from zoo.data.vector import EnvironmentVector
from zoo.decoding.playing import act, play
from zoo.errors import ZooError
from zoo.metrics.ranks import average_gradients, gathered, total, world
from zoo.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_AT_ONCE = 8  # updates for which transitions are drawn
_LONGEST_FILM = 1000  # pictures
_RECENT = 500_000  # steps at the end of training, a tenth of MinAtar's five million, whose games are averaged


class QLearning(Task):
    """Deep Q-learning (Mnih et al. 2015, Algorithm 1), Double DQN as an option.

    A tick is at least so many environment steps, between which updates are made at a fixed ratio. What is counted, in
    curves and in the settings, are environment steps of all environments together: a step is an action, which in Atari
    lasts four frames. Several processes share environments, memory and minibatches, each with exploration of its own;
    all make the same updates.

    Metrics: `train/return` and `train/length`, means over the games that ended in the epoch, with rewards as the game
    gives them; `train/loss`; `train/q`, the mean value of the best actions in the minibatches; `train/epsilon`;
    `eval/return`, `eval/return_std` and `eval/length` over episodes at `evaluation_epsilon`, also in the final test,
    whose episodes are others; there `train/return_last_500k` too, over the games that ended in the last 500,000 steps.

    Args:
        discount: Of a reward one step later, gamma.
        memory: Transitions that are kept.
        warmup: Steps with random actions before the first update.
        steps_per_update: Environment steps for each update; below 1 several updates a step.
        target_every: Steps after which the target network becomes the network.
        epsilon_first: Probability of a random action when updates begin.
        epsilon_last: In the end.
        epsilon_steps: Steps in between, counted from the warm-up on.
        evaluation_epsilon: In evaluation.
        double_q: Whether the network chooses the action whose value the target network tells (van Hasselt et al. 2016).
        clip_rewards: Whether rewards are clipped to -1 and 1, in training only.
        sum_gradients: Whether a minibatch's gradients are summed, as in DeepMind's code, or averaged.
    """

    headlines: ClassVar[dict[str, str]] = {"eval/return": "max", "train/return_last_500k": "max"}
    sample_unit: ClassVar[str] = "steps"

    def __init__(
        self,
        model: nn.Module,
        outputs: list[str],
        optimizer: Any,
        scheduler: Any,
        scheduler_interval: str,
        watched: str,
        *,
        headline: str = "eval/return",
        discount: float = 0.99,
        memory: int = 1_000_000,
        warmup: int = 50_000,
        steps_per_update: float = 4,
        target_every: int = 10_000,
        epsilon_first: float = 1.0,
        epsilon_last: float = 0.1,
        epsilon_steps: int = 1_000_000,
        evaluation_epsilon: float = 0.05,
        double_q: bool = False,
        clip_rewards: bool = True,
        sum_gradients: bool = True,
    ) -> None:
        super().__init__(model, outputs, optimizer, scheduler, scheduler_interval, "eval", headline=headline)
        for name, value in (("epsilon_first", epsilon_first), ("epsilon_last", epsilon_last),
                            ("evaluation_epsilon", evaluation_epsilon), ("discount", discount)):  # fmt: skip
            if not 0 <= value <= 1:
                raise ValueError(f"task.{name}={value} is not possible: expected 0 to 1")
        for name, value, least in (("memory", memory, 1), ("target_every", target_every, 1), ("warmup", warmup, 1),
                                   ("epsilon_steps", epsilon_steps, 1)):  # fmt: skip
            if value < least:
                raise ValueError(f"task.{name}={value} is not possible: expected {least} or more")
        if steps_per_update <= 0:
            raise ValueError(f"task.steps_per_update={steps_per_update} is not possible: expected more than 0")
        self.automatic_optimization = False
        self.target = copy.deepcopy(model).requires_grad_(False)
        self.discount, self.capacity, self.warmup = discount, memory, warmup
        self.steps_per_update, self.target_every = steps_per_update, target_every
        self.epsilon_first, self.epsilon_last, self.epsilon_steps = epsilon_first, epsilon_last, epsilon_steps
        self.evaluation_epsilon, self.double_q = evaluation_epsilon, double_q
        self.clip_rewards, self.sum_gradients = clip_rewards, sum_gradients
        self.memory: ReplayMemory | None = None
        self.steps = 0
        self.updates = 0
        self._draw: np.random.Generator | None = None
        self._sums = dict.fromkeys(("loss", "q", "updates"), 0.0)
        self._games: list[tuple[int, float, int]] = []  # of the epoch: step, score, length
        self._recent: list[tuple[int, float]] = []  # of the last steps: step, score
        self._scores: list[tuple[float, int]] = []
        self._stored: dict[str, Any] | None = None
        self.film: list[np.ndarray] = []

    def epsilon(self) -> float:
        """Returns the probability of a random action at this step of training."""
        share = min(1.0, max(0, self.steps - self.warmup) / self.epsilon_steps)
        return self.epsilon_first + share * (self.epsilon_last - self.epsilon_first)

    def count_samples(self, batch: Tick) -> int:
        """Returns how many steps a tick has."""
        return batch.rounds * len(batch.environments)

    @property
    def curve_steps(self) -> int:
        """Environment steps."""
        return self.steps

    def _prepare(self, environments: EnvironmentVector, everywhere: int) -> tuple[ReplayMemory, np.random.Generator]:
        """Makes the memory when the first tick tells what it is to hold, or finds the one of the checkpoint."""
        if self.memory is None or self._draw is None:
            if self.warmup < everywhere:  # the first update would find no transition
                raise ZooError(f"task.warmup={self.warmup} is not possible with data.environments={everywhere}: "
                               "expected a step in each, or more")  # fmt: skip
            shape = environments.frame_shape
            capacity = self.capacity * len(environments) // everywhere
            self.memory = ReplayMemory(capacity, len(environments), shape, environments.dtype, environments.stack)
            # The global generator, which the run's seed has set, decides.
            self._draw = np.random.default_rng(derived_seed(torch.initial_seed(), self.global_rank))
            if self._stored is not None:
                self.memory.load(self._folder(), self._stored["memory"])
                self._draw.bit_generator.state = self._stored["draw"]
                self._stored = None
        return self.memory, self._draw

    def _folder(self) -> Path:
        name = "replay" if self.trainer.world_size == 1 else f"replay_{self.global_rank}"
        return Path(self.trainer.default_root_dir) / "checkpoints" / name

    def training_step(self, batch: Tick, batch_idx: int) -> dict[str, Tensor] | None:
        """Plays a tick, and learns in it; returns the mean loss of its updates, None during the warm-up."""
        # The running averages of weights that have stopped learning sink to numbers too small for float32's full
        # precision, with which CPUs compute a hundred times as slowly: this thread takes them for zero.
        torch.set_flush_denormal(True)
        try:
            return self._tick(batch)
        finally:
            torch.set_flush_denormal(False)

    def _tick(self, batch: Tick) -> dict[str, Tensor] | None:
        environments = batch.environments
        memory, draw = self._prepare(environments, batch.everywhere)
        count = len(environments)
        losses: list[Tensor] = []  # of each update
        for _ in range(batch.rounds):
            frames = environments.frames.copy()
            epsilon = 1.0 if self.steps < self.warmup else self.epsilon()
            actions = act(self.model, environments.observations, epsilon, draw, self.device)
            taken = environments.step(actions)
            rewards = taken.rewards.clip(-1, 1) if self.clip_rewards else taken.rewards
            for number in range(count):
                memory.add(number, frames[number], actions[number], rewards[number], taken.terminal[number])
                if taken.ended[number]:
                    memory.add(number, taken.frames[number], 0, 0.0, False, last=True)
            before, self.steps = self.steps, self.steps + batch.everywhere
            due = int(max(0, self.steps - self.warmup) / self.steps_per_update)
            while (updates := min(due - self.updates, _AT_ONCE)) > 0:
                losses.append(self._learn(memory.sample(updates * batch.batch_size, draw, self.device), updates))
            if self.steps // self.target_every > before // self.target_every:
                self.target.load_state_dict(self.model.state_dict())
        self._games += [(self.steps, game.score, game.length) for game in environments.games]
        environments.games = []
        if not losses:
            return None
        loss = torch.cat(losses)
        self._sums["loss"] += float(loss.sum())
        self._sums["updates"] += len(loss)
        return {"loss": loss.mean()}

    def _learn(self, batch: Transitions, updates: int = 1) -> Tensor:
        """Makes updates, each with its share of the transitions; returns the mean loss of each, `(updates,)`.

        Huber's loss with its knee at 1 is the squared error whose gradient is clipped to ±1. With that written down,
        and all that the updates do not change computed for all of them, a small network learns faster by a seventh.
        """
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        parameters = list(self.model.parameters())
        actions = batch.actions[:, None]
        with torch.no_grad():
            after = self.target(batch.following).float()  # (N, A)
        best = after.amax(dim=1, keepdim=True)
        rewards, discounts = batch.rewards[:, None], self.discount * ~batch.terminal[:, None]
        weights = torch.zeros_like(after).scatter_(1, actions, 1.0 if self.sum_gradients else updates / len(actions))
        parts = (batch.observations, batch.following, after, best, rewards, discounts, weights)
        found, goals = list[Tensor](), list[Tensor]()
        for share in zip(*(part.chunk(updates) for part in parts), strict=True):
            seen, following, valued, highest, reward, discount, weight = share
            if self.double_q:
                with torch.no_grad():
                    highest = valued.gather(1, self.model(following).argmax(dim=1, keepdim=True))
            goal = torch.addcmul(reward, discount, highest)  # (B, 1)
            for parameter in parameters:  # `zero_grad` looks for them anew
                parameter.grad = None
            values = self.model(seen).float()  # bfloat16 could not tell an error of 0.1 in a value of 20
            gradient = (values.detach() - goal).clamp_(-1, 1).mul_(weight)  # (B, A), 0 but for the actions taken
            values.backward(gradient)  # `manual_backward` takes as long as the backward pass of a small network
            average_gradients(parameters, world() if self.sum_gradients else 1)
            optimizer.step()
            found.append(values.detach())
            goals.append(goal)
        self.updates += updates
        values, goal = torch.cat(found), torch.cat(goals)
        self._sums["q"] += float(values.amax(dim=1).mean()) * updates
        return F.huber_loss(values.gather(1, actions), goal, reduction="none").view(updates, -1).mean(dim=1)

    def on_train_epoch_end(self) -> None:
        """Reports the games that ended in the epoch, and its updates."""
        metrics = {"epsilon": self.epsilon()}
        if games := gathered(self._games):
            metrics["return"] = float(np.mean([score for _, score, _ in games]))
            metrics["length"] = float(np.mean([length for *_, length in games]))
        loss, q, updates = total(*(self._sums[name] for name in ("loss", "q", "updates")))
        if updates:
            metrics |= {"loss": loss / updates, "q": q / updates}
        self._recent += [(step, score) for step, score, _ in self._games]
        self._recent = [each for each in self._recent if each[0] > self.steps - _RECENT]
        self._games, self._sums = [], dict.fromkeys(self._sums, 0.0)
        self.publish("train", metrics)

    def _play(self, batch: Episodes) -> None:
        """Plays one game in each environment, and keeps pictures of the first one of the test."""
        filming = self.global_rank == 0 and self.trainer.testing and not self.film and len(batch.environments)
        filmed = batch.environments.environments[0] if filming else None

        def watch() -> None:
            if filmed is not None and len(self.film) < _LONGEST_FILM and (seen := picture(filmed)) is not None:
                self.film.append(seen)

        games = play(self.model, batch.environments, self.evaluation_epsilon, batch.seed, self.device, watch)
        self._scores += [(game.score, game.length) for game in games]

    def _report(self) -> dict[str, float]:
        scores = gathered(self._scores)
        returns = np.array([score for score, _ in scores])
        lengths = [length for _, length in scores]
        return {"return": float(returns.mean()), "return_std": float(returns.std()), "length": float(np.mean(lengths))}

    def on_validation_epoch_start(self) -> None:
        """Starts counting."""
        self._scores = []

    def validation_step(self, batch: Episodes, batch_idx: int) -> None:
        """Plays."""
        self._play(batch)

    def on_validation_epoch_end(self) -> None:
        """Reports the episodes."""
        self.publish("eval", self._report())

    def on_test_epoch_start(self) -> None:
        """Starts counting."""
        self._scores = []

    def test_step(self, batch: Episodes, batch_idx: int) -> None:
        """Plays."""
        self._play(batch)

    def on_test_epoch_end(self) -> None:
        """Reports the episodes, and the last games of training."""
        self.publish("eval", self._report())
        if recent := gathered(self._recent):
            self.publish("train", {"return_last_500k": float(np.mean([score for _, score in recent]))})

    def configure_optimizers(self) -> Any:
        """Hands Lightning the optimizer.

        Raises:
            ZooError: There is a schedule, which nothing here would follow.
        """
        if self._scheduler is not None:
            raise ZooError("Q-learning keeps its step size: give scheduler=none")
        return super().configure_optimizers()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what acting and learning go on from; the memory is files beside the checkpoint."""
        if "optimizer_states" not in checkpoint:
            return  # of weights alone, nobody goes on from it
        own = {"steps": self.steps, "updates": self.updates, "sums": self._sums, "games": self._games,
               "recent": self._recent}  # fmt: skip
        if self.memory is not None and self._draw is not None:
            own |= {"memory": self.memory.save(self._folder()), "draw": self._draw.bit_generator.state}
        checkpoint["q_learning"] = gathered([own])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it back; the memory is read at the first tick."""
        own = checkpoint["q_learning"][self.trainer.global_rank]
        self.steps, self.updates, self._sums = own["steps"], own["updates"], own["sums"]
        self._games = [tuple(game) for game in own["games"]]
        self._recent = [tuple(each) for each in own["recent"]]
        self._stored = own if "memory" in own else None

    def figures(self, metrics_file: Path) -> "dict[str, Figure]":
        """Draws returns and values over the steps."""
        from zoo.tasks.curves import curves

        labels = {"return": "return of a game", "q": "mean value of the best action", "loss": "loss"}
        drawn = curves(metrics_file, list(labels), labels, over="step")
        return {"curves": drawn} if drawn is not None else {}

    def animations(self) -> dict[str, Callable[[Path], None]]:
        """Films the first game of the test."""
        return {"episode": partial(write_gif, self.film)} if self.film else {}
