"""Environments as data: what they tell a model, their loaders, MinAtar's and Atari's games."""

import gymnasium
import numpy as np
import pytest

from zoo.data.atari import NaturePreprocessing, make_game
from zoo.data.environments import EnvironmentData, _from_gymnasium
from zoo.data.minatar import GAMES, MinAtarGame
from zoo.data.registry import create_dataset
from zoo.data.rendering import picture
from zoo.data.spec import ControlSpec
from zoo.errors import ZooError


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("cartpole", ControlSpec((4,), 2, "float32")),
        ("gymnasium", ControlSpec((6,), 3, "float32")),
        ("minatar_breakout", ControlSpec((4, 10, 10), 6, "bool")),
        ("minatar_seaquest", ControlSpec((10, 10, 10), 6, "bool")),
        ("atari_pong", ControlSpec((4, 84, 84), 6, "uint8")),
        ("atari_breakout", ControlSpec((4, 84, 84), 4, "uint8")),
    ],
)
def test_an_environment_tells_its_sizes(name: str, spec: ControlSpec):
    assert create_dataset(name).prepare() == spec


def test_discrete_observations_become_vectors():
    assert create_dataset("gymnasium", id="FrozenLake-v1").prepare() == ControlSpec((16,), 4, "int64")


@pytest.mark.parametrize(("id", "longest", "steps"), [
    ("CliffWalking-v1", None, 1000), ("CliffWalking-v1", 7, 7), ("MountainCar-v0", None, 200), ("MountainCar-v0", 7, 7),
])  # fmt: skip
def test_an_episode_ends_where_going_on_leads_nowhere(id: str, longest: int | None, steps: int):
    environment = _from_gymnasium(id, longest)
    environment.reset(seed=0)
    ends = [environment.step(0)[2:4] for _ in range(steps)]
    assert ends == [(False, False)] * (steps - 1) + [(False, True)]


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("gymnasium", {"id": "Pendulum-v1"}, "Q-learning needs a few discrete ones"),
        ("gymnasium", {"id": "Nothing-v7"}, r"data\.id=Nothing-v7 cannot be made"),
        ("gymnasium", {"id": "this:CartPole-v1"}, r"data\.id=this:CartPole-v1 names a module"),
        ("gymnasium", {"max_episode_steps": 0}, r"data\.max_episode_steps=0"),
        ("atari", {"game": "chess"}, r"data\.game=chess is none of ale-py's games"),
        ("cartpole", {"environments": 0}, r"data\.environments=0"),
        ("cartpole", {"episodes": 0}, r"data\.episodes=0"),
        ("atari_pong", {"minutes": 0}, r"data\.minutes=0"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(name: str, settings: dict, told: str):
    with pytest.raises(ZooError, match=told) as error:
        create_dataset(name, **settings).prepare()
    assert "\n" not in str(error.value)


def data(**settings) -> EnvironmentData:
    made = create_dataset("cartpole", **({"environments": 3, "ticks_per_epoch": 4} | settings))
    made.prepare()
    return made


def test_ticks_go_round_and_keep_their_place():
    loader = data().train_loader()
    assert len(loader) == len(list(loader)) == 4
    assert (loader.state_dict()["epoch"], loader.state_dict()["tick"]) == (1, 0)
    ticks = iter(loader)
    tick = next(ticks)
    assert (tick.rounds, tick.batch_size, len(tick.environments), tick.everywhere) == (86, 64, 3, 3)
    for _ in range(30):
        tick.environments.step(np.array([0, 1, 1]))
    again = data().train_loader()
    again.load_state_dict(loader.state_dict())
    assert (again.environments.observations == tick.environments.observations).all()
    assert len(list(again)) == 4
    with pytest.raises(ZooError, match="among other environments"):
        data(environments=2).train_loader().load_state_dict(loader.state_dict())


def test_episodes_are_others_in_training_validation_and_test():
    made = data(episodes=7, test_episodes=3)
    validation, test = list(made.validation_loader()), list(made.test_loader())
    assert [len(each.environments) for each in validation] == [6, 1]
    assert [len(each.environments) for each in test] == [3]
    begun = [made.train_loader().environments, *(each.environments for each in [*validation, *test])]
    starts = [tuple(row) for each in begun for row in each.observations.tolist()]
    assert len(set(starts)) == 3 + 7 + 3
    again = list(data(episodes=7).validation_loader())
    assert all((one.environments.observations == other.environments.observations).all()
               for one, other in zip(validation, again, strict=True))  # fmt: skip
    shares = [list(made.validation_loader(rank, 2)) for rank in range(2)]
    assert sum(len(each.environments) for share in shares for each in share) == 7
    assert [len(each.environments) for share in [list(made.test_loader(rank, 2)) for rank in range(2)] for each in share
            ] == [3, 0], "a rank without episodes would be waited for in vain"  # fmt: skip


def test_ranks_share_the_environments_that_one_alone_would_have():
    alone = next(iter(data(environments=5).train_loader()))
    ticks = [next(iter(data(environments=5).train_loader(rank, 2))) for rank in range(2)]
    assert [(tick.rounds, tick.batch_size, tick.everywhere) for tick in ticks] == [(alone.rounds, 32, 5)] * 2
    for rank, tick in enumerate(ticks):
        assert (tick.environments.observations == alone.environments.observations[rank::2]).all()


def test_what_cannot_be_shared_is_refused_in_one_line(one_line):
    few = r"data.environments=1 cannot be shared by 2 processes"
    odd = r"data.batch_size=64 cannot be shared by 3 processes: take a multiple of 3"
    for settings, world, told in (({"environments": 1}, 2, few), ({}, 3, odd)):
        with pytest.raises(ZooError, match=told) as error:
            data(**settings).train_loader(0, world)
        assert one_line(error)


@pytest.mark.parametrize("game", GAMES)
def test_a_minatar_game_is_decided_by_seed_and_actions(game: str):
    played = []
    for _ in range(2):
        environment = MinAtarGame(game)
        draw = np.random.default_rng(4)
        frames = [environment.reset(seed=1)[0]]
        for _ in range(150):
            frame, _, ended, *_ = environment.step(int(draw.integers(6)))
            frames.append(frame)
            if ended:
                frames.append(environment.reset(seed=2)[0])
        played.append(np.stack(frames))
    assert (played[0] == played[1]).all()
    assert played[0].dtype == bool
    assert played[0].shape[1:] == environment.observation_space.shape
    assert picture(environment).shape == (160, 160, 3)


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_atari_frames_are_those_of_gymnasium(game: str):
    settings = {"noop_max": 30, "frame_skip": 4, "screen_size": 84, "grayscale_obs": True}
    theirs = gymnasium.wrappers.AtariPreprocessing(make_game(game), **settings)
    ours = NaturePreprocessing(make_game(game))
    draw = np.random.default_rng(3)
    for seed in (5, 6):
        pairs = [(ours.reset(seed=seed)[0][0], theirs.reset(seed=seed)[0])]
        for _ in range(200):
            action = int(draw.integers(ours.action_space.n))
            one, other = ours.step(action), theirs.step(action)
            pairs.append((one[0][0], other[0]))
            assert one[1:4] == other[1:4]
            if one[2]:
                break
        assert len(pairs) > 100
        assert all((mine == its).all() for mine, its in pairs)


def test_losing_a_life_ends_an_episode_in_training_only():
    from zoo.data.vector import GAME_GOES_ON

    training = NaturePreprocessing(make_game("breakout"), lives_end_episodes=True)
    judged = NaturePreprocessing(make_game("breakout"))
    for environment, expected in ((training, True), (judged, False)):
        environment.reset(seed=1)
        draw, ended = np.random.default_rng(0), False
        while environment.unwrapped.ale.lives() == 5:
            _, _, ended, _, info = environment.step(int(draw.integers(4)))
        assert ended is expected
        assert bool(info.get(GAME_GOES_ON)) is expected
    environment = training
    environment.reset()
    assert environment.unwrapped.ale.lives() == 4


def test_time_is_up_after_so_many_minutes():
    environment = NaturePreprocessing(make_game("pong"), minutes=0.05, no_ops=0)  # 180 frames
    environment.reset(seed=1)
    ends = [environment.step(0)[2:4] for _ in range(45)]
    assert ends[-1] == (False, True)
    assert not any(any(each) for each in ends[:-1])
