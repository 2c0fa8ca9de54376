"""The recipes of the language models are the paper's."""

from typing import Any

import pytest

from zoo.training.compose import compose, resolve

# What Section 4.1 of Zaremba et al. 2014 says; the clipping of the small model is the code's, and so is for how many
# epochs the first step size is kept: one more than the text says.
PAPER: dict[str, dict[str, Any]] = {
    "lstm_small_ptb": {"unroll": 20, "epochs": 13, "clip": 5, "kept": 5, "divisor": 2, "dropout": 0, "range": 0.1},
    "lstm_medium_ptb": {"unroll": 35, "epochs": 39, "clip": 5, "kept": 7, "divisor": 1.2, "dropout": 0.5,
                        "range": 0.05},
    "lstm_large_ptb": {"unroll": 35, "epochs": 55, "clip": 10, "kept": 15, "divisor": 1.15, "dropout": 0.65,
                       "range": 0.04},
}  # fmt: skip


@pytest.mark.parametrize("experiment", PAPER)
def test_the_paper_s_recipes(experiment: str):
    config, paper = resolve(compose([f"experiment={experiment}"]).config), PAPER[experiment]
    assert config["data"] == {"name": "ptb", "dir": None, "batch_size": 20, "unroll": paper["unroll"]}
    trainer = config["trainer"]
    assert (trainer["max_epochs"], trainer["gradient_clip_val"]) == (paper["epochs"], paper["clip"])
    assert trainer["gradient_clip_algorithm"] in (None, "norm")
    assert (config["scheduler"]["epochs"], config["scheduler"]["divisor"]) == (paper["kept"], paper["divisor"])
    assert config["scheduler_interval"] == "epoch"
    assert config["optimizer"] == {
        "_target_": "torch.optim.SGD", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False,
    }  # fmt: skip
    model = {"dropout": paper["dropout"], "initial_range": paper["range"], "vocabulary_size": None}
    assert config["model"] == {"name": experiment.removesuffix("_ptb"), "tie_weights": False, **model}
