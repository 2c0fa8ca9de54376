import pytest
from omegaconf import OmegaConf

from zoo.errors import ZooError
from zoo.locations import shipped
from zoo.training.check import check
from zoo.training.compose import compose, flat_keys, group_choices, resolve


def test_the_paper_s_recipe_beats_the_defaults_and_the_command_line_beats_all():
    config = resolve(compose(["model=lenet5"]).config)
    assert config["optimizer"] == {
        "_target_": "torch.optim.SGD", "lr": 0.001, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False,
    }  # fmt: skip
    assert config["trainer"]["max_epochs"] == 20
    assert config["data"]["batch_size"] == 16
    typed = resolve(compose(["model=lenet5", "trainer.max_epochs=3", "data.batch_size=64"]).config)
    assert (typed["trainer"]["max_epochs"], typed["data"]["batch_size"]) == (3, 64)


def test_another_optimizer_leaves_nothing_of_the_recipe_s_behind():
    config = resolve(compose(["model=lenet5", "optimizer=adam"]).config)
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"
    assert "momentum" not in config["optimizer"]


def test_a_schedule_brings_along_what_it_counts():
    for words, interval in (
        (["model=resnet20"], "step"),
        (["model=resnet20", "scheduler=lecun1998"], "epoch"),
        (["model=lenet5"], "epoch"),
        (["model=lenet5", "scheduler=vaswani2017"], "step"),
        (["model=lenet5", "scheduler=vaswani2017", "scheduler_interval=epoch"], "epoch"),
    ):
        assert compose(words).config.scheduler_interval == interval, words


def test_no_limit_of_epochs_is_no_mistake():
    check(resolve(compose(["model=transformer_tiny", "trainer.max_epochs=null", "trainer.max_steps=10"]).config))


def test_an_experiment_beats_its_model():
    config = resolve(compose(["experiment=lenet5_mnist"]).config)
    assert (config["model"]["name"], config["data"]["name"], config["name"]) == ("lenet5", "mnist", "lenet5_mnist")
    assert config["claim"]["reported"] == 0.95


def test_several_loggers_at_once():
    assert list(resolve(compose(["logger=[tensorboard,wandb]"]).config)["logger"]) == ["tensorboard", "wandb"]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("model=lenet", "unknown model 'lenet': did you mean lenet5"),
        ("data=mnits", "did you mean mnist"),
        ("experiment=lenet5_mnits", "did you mean lenet5_mnist"),
        ("optimizer.lrr=1", "did you mean optimizer.lr?"),
        ("data.bach_size=1", "did you mean data.batch_size?"),
        ("trainer.max_epoch=1", "did you mean trainer.max_epochs?"),
        ("max_epochs=1", "did you mean trainer.max_epochs?"),
        ("+sead=1", "did you mean seed?"),
        ("optimizer", "expected key=value"),
        ("seed=1,2", "put -m before it"),
        ("data.augment={crop", "expected key=value"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_the_nearest_name(word: str, told: str):
    with pytest.raises(ZooError) as error:
        compose([word])
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_config_folder_of_one_s_own_adds_choices(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text("_target_: torch.optim.SGD\nlr: 0.00001\n")
    config = resolve(compose(["optimizer=slow"], [tmp_path]).config)
    assert config["optimizer"] == {"_target_": "torch.optim.SGD", "lr": 0.00001}
    with pytest.raises(ZooError, match="did you mean slow"):
        compose(["optimizer=slwo"], [tmp_path])
    with pytest.raises(ZooError, match="is no folder"):
        compose([], [tmp_path / "none"])


def test_flat_keys_names_branches_and_leaves():
    assert flat_keys(OmegaConf.create({"a": {"b": None, "c": {"d": 1}}, "e": None})) == [
        "a",
        "a.b",
        "a.c",
        "a.c.d",
        "e",
    ]


def test_the_three_sets_of_names_are_disjoint():
    from zoo.models.catalog import MODELS

    experiments = set(group_choices("experiment"))
    releases = {path.name for path in shipped("pretrained").iterdir() if path.is_dir()}
    assert not experiments & set(MODELS)
    assert not experiments & releases
    assert not releases & set(MODELS)


def test_configs_hold_no_hydra_interpolation():
    for path in shipped("configs").rglob("*.yaml"):
        assert "${hydra:" not in path.read_text(encoding="utf-8"), path


def test_a_file_of_one_s_own_is_not_passed_over_for_a_shipped_one_of_its_name(tmp_path):
    (tmp_path / "model").mkdir()
    own, shipped_file = tmp_path / "model" / "lenet5.yaml", shipped("configs") / "model" / "lenet5.yaml"
    own.write_bytes(shipped_file.read_bytes())
    assert compose(["model=lenet5"], [tmp_path])
    own.write_text(own.read_text() + "\nseed: 5\n")
    with pytest.raises(ZooError, match=r"lenet5\.yaml has the name of a shipped file"):
        compose(["model=lenet5"], [tmp_path])
