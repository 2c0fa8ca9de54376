"""Q-learning through the real trainer: killed and resumed exactly, memory and environments included."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from zoo.training.evaluate import measure
from zoo.training.run_folder import BEST, LAST, RunFolder
from zoo.training.start import prepare_run

# A memory that overflows, and a checkpoint after each of five ticks an epoch.
SHARED = [
    "data.environments=2", "data.ticks_per_epoch=5", "data.steps_per_tick=64", "data.batch_size=16", "data.episodes=3",
    "data.test_episodes=5", "task.warmup=100", "task.memory=300", "task.target_every=50", "task.epsilon_steps=500",
    "trainer.max_epochs=3", "trainer.log_every_n_steps=2", "trainer.enable_progress_bar=false", "logger=none",
    "checkpoint.every_minutes=0",
]  # fmt: skip
GAMES = {
    "cartpole": ["model=dqn_mlp", "data=cartpole", *SHARED],
    "minatar": ["model=dqn_minatar", "data=minatar_breakout", "channels_last=true", *SHARED],
}


# Too short for a game to end.
SHORTEST = ["data.ticks_per_epoch=1", "data.steps_per_tick=8", "data.episodes=1", "data.test_episodes=1",
            "task.warmup=8", "trainer.max_epochs=1", "select=last"]  # fmt: skip


@pytest.fixture(scope="module", params=GAMES)
def words(request: pytest.FixtureRequest) -> list[str]:
    return GAMES[request.param]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train, words: list[str]) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), *words)


def test_a_run_counts_steps_of_the_environments(finished: RunFolder, rows):
    assert [row["step"] for row in rows(finished, "epoch")] == ["320", "640", "960"]
    assert [row["step"] for row in rows(finished, "step")] == [str(128 * n) for n in range(1, 8)]
    summary = finished.read_summary()
    assert (summary["samples"], summary["sample_unit"]) == (960, "steps")
    assert summary["headline"]["metric"] == "eval/return"
    epsilons = [float(row["train/epsilon"]) for row in rows(finished, "epoch")]
    assert epsilons == sorted(epsilons, reverse=True)
    assert float(rows(finished, "epoch")[-1]["train/loss"]) > 0


def test_a_run_leaves_a_film_and_a_release_that_plays(finished: RunFolder):
    with Image.open(finished.figures / "episode.gif") as film:
        assert film.n_frames > 1
    with Image.open(finished.figures / "curves.png") as picture:
        assert min(picture.size) > 100
    assert zoo.pipeline(finished.path)(2, seed=1) == zoo.pipeline(finished.path)(2, seed=1)
    again, *_ = measure(finished.release, ["trainer=cpu"])
    measured = finished.read_summary()["metrics"]
    assert again == pytest.approx({name: value for name, value in measured.items() if name.startswith("eval/")})


def test_one_environment_and_double_q_learning_train(tmp_path: Path, train, rows):
    run = train(tmp_path, *GAMES["cartpole"], "data.environments=1", "task.double_q=true", "trainer.max_epochs=2")
    assert [row["step"] for row in rows(run, "epoch")] == ["320", "640"]
    assert float(rows(run, "epoch")[-1]["train/loss"]) > 0


def test_any_type_of_observations_is_learned_from(tmp_path: Path, train):
    words = ["model=dqn_mlp", "data=gymnasium", "data.id=CliffWalking-v1", "data.max_episode_steps=20"]
    run = train(tmp_path, *words, *SHARED, *SHORTEST)
    assert run.read_summary()["metrics"]["eval/length"] <= 20


@pytest.mark.parametrize("tick", [4, 8])
def test_stopped_and_resumed_is_as_if_nothing_had_been(tick: int, words, finished, interrupted, assert_same):
    """Before the memory overflows and after it."""
    assert_same(interrupted(tick, *words, there_before=False), finished)


@pytest.mark.slow
@pytest.mark.parametrize("tick", [4, 8])
def test_killed_and_resumed_is_as_if_nothing_had_been(
    tick: int, words, finished, tmp_path: Path, rows, killed, train_here, assert_same
):
    """Before the memory overflows and after it."""
    run = killed(
        lambda run: run.metrics.exists() and len(rows(run, "step")) >= tick // 2, *words, f"runs_dir={tmp_path}"
    )
    assert train_here(prepare_run([f"resume={run.path}"])) == 0
    assert_same(run, finished)


def test_the_best_weights_take_none_of_the_memory_away(tmp_path: Path, words, train):
    often = ["select=best", "trainer.val_check_interval=1", "checkpoint.every_minutes=60", "trainer.max_epochs=1"]
    run = train(tmp_path, *words, *often)
    assert "q_learning" not in torch.load(run.checkpoints / BEST, weights_only=True)
    (state,) = torch.load(run.checkpoints / LAST, weights_only=True)["q_learning"]
    assert [each["number"] for each in state["memory"]["segments"]] == [0]


@pytest.mark.usefixtures("in_this_process")
def test_a_memory_that_is_gone_is_told_in_one_line(finished: RunFolder, tmp_path: Path, one_line_error):
    run = RunFolder(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    run.summary.unlink()
    shutil.rmtree(run.checkpoints / "replay")
    told = one_line_error("train", f"resume={run.path}", "trainer.max_epochs=4", code=1)
    assert "a part of the replay memory, is missing or damaged" in told


def test_a_checkpoint_holds_no_frames(finished: RunFolder):
    """The memory is files beside it."""
    checkpoint = torch.load(finished.checkpoints / "last.ckpt", weights_only=True)
    (state,) = checkpoint["q_learning"]
    assert sum(state["memory"]["written"]) >= 960
    assert len(json.dumps(state["memory"])) < 5000
    assert len(list((finished.checkpoints / "replay").glob("segment_*.npz"))) < 15


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=gymnasium", "data.id=Pendulum-v1"], "Q-learning needs a few discrete ones to choose from"),
        (["data=gymnasium", "data.id=Cartpole"], "data.id=Cartpole cannot be made"),
        (["data=minatar_breakout"], "dqn_mlp takes observations that are vectors"),
        (["data=mnist"], "dqn_mlp is a model for q_learning, which data=mnist is not for"),
        (["trainer.gradient_clip_val=1.0"], "trainer.gradient_clip_val=1.0 is not possible for task=q_learning"),
        (["trainer.max_steps=10"], "trainer.max_steps=10 is not possible for task=q_learning"),
        (["scheduler=cosine"], "Q-learning keeps its step size: give scheduler=none"),
        (["select=best", "task.headline=train/return_last_500k"], "select=best cannot choose by"),
        (["task.headline=train/return_last_500k", *SHORTEST], "return_last_500k was not measured"),
        (["task.memory=10"], "task.memory=10 holds 1 frames of each of 8 environments"),
        (["task.discount=2"], "task.discount=2 is not possible"),
        (["task.warmup=7"], "task.warmup=7 is not possible with data.environments=8"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], told: str, tmp_path: Path, one_line_error, request):
    request.getfixturevalue("in_this_process")
    early = any(
        word.startswith(("trainer.gradient", "trainer.max_steps", "data=mnist", "select=best")) for word in words
    )
    common = [f"runs_dir={tmp_path}", "trainer=cpu", "logger=none", "trainer.enable_progress_bar=false"]
    line = one_line_error("train", *common, "model=dqn_mlp", *words, code=2 if early else 1)
    assert told in line
