"""`zoo info`: every key with type, default and meaning; and the words that lead there."""

import pytest

from zoo.cli import main
from zoo.data.catalog import DATASETS
from zoo.data.registry import dataset_parameters
from zoo.models.catalog import MODELS
from zoo.models.papers import PAPERS
from zoo.models.registry import registration
from zoo.training.compose import compose, resolve
from zoo.training.information import argument_meanings, config_keys, typed_value
from zoo.training.reference import key_meanings


def test_meanings_come_from_the_comments_behind_the_keys():
    meanings = key_meanings()
    assert meanings["seed"].startswith("seeds weights")
    assert meanings["data.batch_size"] == "samples in a step, over all processes"
    assert meanings["trainer.precision"].startswith("arithmetic")
    assert not any(key.startswith(("experiment.", "model.")) for key in meanings)


def test_the_chosen_file_s_own_comment_counts():
    assert "there is no default" in key_meanings((("data", "imagefolder"),))["data.dir"]
    assert "there is no default" not in key_meanings((("data", "cifar10"),))["data.dir"]
    files = (("data", "textfile"),)
    own_text = config_keys(resolve(compose(["model=lstm_char", "data=textfile"]).config), files)["data.file"][2]
    assert own_text == key_meanings(files)["data.file"]


def test_the_chosen_optimizer_schedule_and_data_explain_themselves(capsys: pytest.CaptureFixture[str]):
    for name, told in (
        ("resnet20", "the updates at which the step size changes"),
        ("lenet5", "optimizer.lr=0.001 step size [float"),
        ("rnnsearch", "step size; 1 is Adadelta as published"),
        ("cifar10", "subtracted from pixels in 0..1"),
    ):
        assert main(["info", name]) == 0
        assert told in " ".join(capsys.readouterr().out.split())


def test_meanings_of_arguments_come_from_the_docstring():
    def build(width: int, depth: int = 1) -> None:
        """Builds.

        Args:
            width: How wide,
                in `cells`.
            depth: How deep.

        Raises:
            ValueError: Never.
        """

    assert argument_meanings(build) == {"width": "How wide, in cells", "depth": "How deep"}
    assert argument_meanings(lambda: None) == {}


def test_values_are_shown_as_they_are_typed():
    value = {"crop_padding": 4, "flip": True, "scale": [0.9, 1.1], "fill": None}
    shown = "{crop_padding: 4, flip: true, scale: [0.9, 1.1], fill: null}"
    assert typed_value(value) == shown
    assert resolve(compose([f"data.augment={shown}"]).config)["data"]["augment"] == value


@pytest.mark.parametrize("name", {entry.module: name for name, entry in MODELS.items()}.values())
def test_a_model(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["info", name]) == 0
    told = capsys.readouterr().out
    entry = MODELS[name]
    assert str(PAPERS[entry.paper]) in told
    assert f"{entry.parameters:,}" in told
    assert (f"{entry.parameters:,}, with " in told) == bool(registration(name).from_spec)
    assert "data that fit" in told
    for part in ("optimizer.lr=", "trainer.max_epochs=", f"model.name={name}", "[int]"):
        assert part in told


@pytest.mark.parametrize(
    ("name", "fitting"),
    [("gan_mlp", {"digits", "mnist", "cifar10"}), ("dcgan", {"mnist", "cifar10"}), ("wgan_gp_toy", {"gaussians_8"})],
)
def test_what_a_generator_imitates(name: str, fitting: set[str], capsys: pytest.CaptureFixture[str]):
    assert main(["info", name]) == 0
    told = " ".join(capsys.readouterr().out.split("data that fit")[1].split("experiment ")[0].split())
    assert fitting <= set(told.split(", "))
    assert ("gaussians_8" in told) == ("gaussians_8" in fitting)


def test_a_release_that_does_not_ship(capsys: pytest.CaptureFixture[str]):
    assert main(["info", "dcgan_mnist_minimax"]) == 0
    assert "dcgan_minimax-mnist, not shipped" in capsys.readouterr().out


def test_an_experiment(capsys: pytest.CaptureFixture[str]):
    assert main(["info", "lenet5_mnist"]) == 0
    told = capsys.readouterr().out
    for part in ("zoo train experiment=lenet5_mnist", "0.95 %", "Figure 9", "protocol reduced", "lenet5-mnist",
                 str(PAPERS["lecun1998"])):  # fmt: skip
        assert part in told


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["info", name]) == 0
    told = capsys.readouterr().out
    assert DATASETS[name].about in told
    own = dataset_parameters(name)["batch_size"].default
    assert f"data.batch_size={own}" in told  # not that of some model's recipe
    assert "optimizer.lr" not in told


def test_a_release(trained, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(trained.run.path)]) == 0
    told = capsys.readouterr().out
    for part in ("test/error", "lenet5_modern", "preprocessing", "MIT", "0.95 %"):
        assert part in told
