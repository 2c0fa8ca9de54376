"""Games played by a release: the same ones for the same seed, filmed, typed as a command."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import main
from zoo.models.registry import create_model
from zoo.pretrained.release import save_release


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    arguments = {"actions": 2, "features": 4, "hidden": [8]}
    card = {
        "name": "balancer", "task": {"name": "q_learning", "evaluation_epsilon": 0.1}, "data": {"name": "cartpole"},
        "preprocessing": {}, "class_names": [],
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("q") / "balancer"
    return save_release(folder, create_model("dqn_mlp", **arguments), "dqn_mlp", arguments, card)


def test_a_seed_decides(release: Path):
    pipeline = zoo.pipeline(release)
    played = pipeline(20, seed=3)
    assert pipeline(20, seed=3) == played
    assert pipeline(20, seed=4) != played
    assert all(episode.score == episode.length >= 8 for episode in played)
    assert len({episode.length for episode in played}) > 1


def test_the_command_plays_and_films(release: Path, tmp_path: Path, capsys):
    gif = tmp_path / "out.gif"
    assert main(["predict", str(release), "--episodes", "3", "--seed", "3", "--gif", str(gif)]) == 0
    played = zoo.pipeline(release)(3, seed=3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"episode 1: return {played[0].score:g} in {played[0].length} steps"
    assert lines[3].startswith("mean return ")
    assert lines[4] == str(gif)
    with Image.open(gif) as film:
        assert 1 < film.n_frames <= played[0].length  # pictures that are the same are one, shown longer
        assert film.size == (300, 200)
    assert len(zoo.pipeline(release).film(seed=3)) == zoo.pipeline(release)(1, seed=3)[0].length


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["left"], "'left' is nothing to play with"),
        (["--episodes", "0"], "episodes=0 is not possible"),
        (["--seed", "-1"], "seed=-1 is not possible"),
        (["--epsilon", "2"], "epsilon=2.0 is not possible"),
        (["--episodes", "many"], "invalid int value: 'many'"),
        (["--gif", "nowhere/out.gif"], "--gif=nowhere/out.gif cannot be written: there is no folder nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(options: list[str], told: str, release: Path, one_line_error):
    assert told in one_line_error("predict", str(release), *options)
