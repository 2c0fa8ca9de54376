"""Adversarial training through the real trainer: from images to a release that draws; killed and resumed exactly."""

from pathlib import Path

import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import main
from zoo.training.evaluate import measure
from zoo.training.run_folder import RunFolder
from zoo.training.start import prepare_run

SHARED = [
    "data=digits", "data.validation=200", "data.batch_size=100", "task.samples=200", "trainer.max_epochs=3",
    "trainer.limit_train_batches=6", "trainer.check_val_every_n_epoch=1", "trainer.log_every_n_steps=3",
    "trainer.enable_progress_bar=false", "logger=none", "checkpoint.every_minutes=0",
]  # fmt: skip
# The recipe of 2014 with momentum, dropout, marginals, a schedule of steps and a mean generator; Adam, batch
# normalisation, a penalty and steps of the generator that are fewer.
RECIPE = ["optimizer=sgd_goodfellow2014", "scheduler=goodfellow2014", "scheduler.steps=20"]
KINDS = {
    "gan_mlp": ["model=gan_mlp", *RECIPE, "task.ema=0.9", *SHARED],
    "wgan_gp": ["model=wgan_gp", "model.filters=4", "task.discriminator_steps=2", "task.ema=0.9", *SHARED],
}


@pytest.fixture(scope="module", params=KINDS)
def words(request: pytest.FixtureRequest) -> list[str]:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, train, words: list[str]) -> RunFolder:
    return train(tmp_path_factory.mktemp("finished"), *words)


def test_a_run_leaves_pictures(finished: RunFolder):
    drawn = sorted((finished.path / "samples").iterdir())
    assert [path.name for path in drawn] == ["epoch-001.png", "epoch-002.png", "epoch-003.png"]
    for path in drawn:
        with Image.open(path) as image:
            assert image.size == (3 * (8 * 29 - 1),) * 2
    assert len({path.read_bytes() for path in drawn}) == 3
    names = {path.stem for path in finished.figures.iterdir()}
    assert names == {"curves", "samples", "interpolation", "neighbours"}


def test_what_a_run_measured_is_measured_again(finished: RunFolder, rows):
    summary = finished.read_summary()
    again, *_ = measure(finished.release, ["trainer=cpu"])
    assert again == pytest.approx(summary["metrics"])
    assert summary["headline"]["metric"] == "test/parzen"
    assert (summary["samples"], summary["sample_unit"]) == (3 * 579, "images")  # 779 digits, 200 of them held out
    assert [row["step"] for row in rows(finished, "epoch")] == ["6", "12", "18"]


def test_a_release_draws(finished: RunFolder, tmp_path: Path, capsys):
    pipeline = zoo.pipeline(finished.path)
    images = pipeline(5, seed=3)
    assert images.shape == (5, 1, 28, 28)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    torch.testing.assert_close(images, pipeline(5, seed=3))
    between = pipeline.interpolate(2, seed=1)
    assert between.shape == (16, 1, 28, 28)
    out = tmp_path / "grid.png"
    rows = ["--interpolate", "--n", "24"]
    for options, size in ((["--n", "16"], (3 * 231, 3 * 57)), (rows, (3 * 231, 3 * 86))):
        assert main(["predict", str(finished.path), *options, "--out", str(out)]) == 0
        assert capsys.readouterr().out == f"{out}\n"
        with Image.open(out) as image:
            assert image.size == size


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["cat"], "'cat' is nothing to draw"),
        (["--n", "0"], "n=0 is not possible"),
        (["--seed", "-1"], "seed=-1 is not possible"),
        (["--out", "nowhere/grid.png"], "--out=nowhere/grid.png cannot be written: there is no folder nowhere"),
        (["--out", "grid.docx"], "--out=grid.docx cannot be written"),
        (["--interpolate", "--n", "12"], "n=12 is not possible with --interpolate: expected rows of 8, such as 64"),
        (["--n", "many"], "invalid int value: 'many'"),
    ],
)
def test_mistakes_of_drawing_are_told_in_one_line(options: list[str], told: str, finished: RunFolder, one_line_error):
    assert told in one_line_error("predict", str(finished.path), *options)


def test_stopped_and_resumed_is_as_if_nothing_had_been(words: list[str], finished: RunFolder, interrupted, assert_same):
    assert_same(interrupted(8, *words, there_before=False), finished)


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_nothing_had_been(
    words: list[str], finished: RunFolder, tmp_path: Path, rows, killed, train_here, assert_same
):
    run = killed(lambda run: run.metrics.exists() and len(rows(run, "step")) >= 3, *words, f"runs_dir={tmp_path}")
    assert train_here(prepare_run([f"resume={run.path}"])) == 0
    assert_same(run, finished)


def test_points_are_trained_on_and_pictured(train, tmp_path: Path):
    words = [word for word in SHARED if not word.startswith("data")]
    run = train(tmp_path, "model=wgan_gp_toy", "model.hidden=16", "data.batches=6", "data.batch_size=50", *words)
    assert {path.stem for path in run.figures.iterdir()} == {"curves", "critic"}
    assert not (run.path / "samples").exists()
    summary = run.read_summary()
    assert summary["headline"]["metric"] == "test/near"
    assert {"test/near", "test/modes"} < set(summary["metrics"])
    assert "test/parzen" not in summary["metrics"]


def test_a_classifier_looks_at_the_samples_of_a_clipped_critic(train, tmp_path: Path):
    words = ["model=wgan", "model.filters=4", "task.classifier=lenet5_modern-mnist", "task.headline=test/fid_lenet"]
    adam = ["+optimizer@task.discriminator_optimizer=adam", "task.discriminator_optimizer.lr=0.001"]
    late = ["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2"]
    run = train(tmp_path, *words, *adam, *SHARED, *late)
    summary = run.read_summary()
    assert summary["headline"]["value"] == summary["metrics"]["test/fid_lenet"] > 0
    shares = summary["details"]["class_shares"]
    assert list(shares) == list("0123456789")
    assert sum(shares.values()) == pytest.approx(100)
    assert summary["metrics"]["test/classes"] == pytest.approx(10 * sum(share >= 1 for share in shares.values()))
    # A grid for each epoch, also for those without a validation.
    assert len(list((run.path / "samples").iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "told", "code"),
    [
        (["trainer.gradient_clip_val=1.0"], "trainer.gradient_clip_val=1.0 is not possible for task=adversarial", 2),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2 is not possible", 2),
        (["task.objective=hinge"], "task.objective=hinge is not possible", 1),
        (["optimizer=adam"], "Adam has no momentum to raise: give optimizer=sgd_goodfellow2014", 1),
        (["task.headline=test/near"], "test/near is for points in the plane", 1),
        (["+task.discriminator_optimizer=adam"], "choose a file, such as +optimizer@task.discriminator_optimizer", 2),
        (
            ["+optimizer@task.discriminator_optimizer=adam", "+task.discriminator_optimizer.speed=3"],
            "unknown key task.discriminator_optimizer.speed",
            1,
        ),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed is not possible for task=adversarial", 2),
        (["callbacks=average_last"], "callbacks=average_last is not for task=adversarial", 2),
        (["compile=true", "task.simultaneous=false", "task.objective=wasserstein_gp"], "cannot be differentiated", 2),
        (["data.mean=per_pixel"], "adversarial training needs images without a mean image", 1),
        (["task.classifier=lenet6"], "lenet6", 1),
        (["task.classifier=lstm_small-ptb"], "task.classifier=lstm_small-ptb tells no images apart", 1),
        (["task.classifier=resnet20-cifar10"], "looks at 3x32x32 images, the data has 1x28x28", 1),
        (["select=best", "trainer.check_val_every_n_epoch=99"], "select=best has nothing to choose from", 2),
        (["model.latent=0"], "latent is at least 1", 1),
        (["task.samples=1"], "task.samples=1 is not possible: expected 2 or more", 1),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], told: str, code: int, tmp_path: Path, one_line_error, request):
    request.getfixturevalue("in_this_process")
    common = [f"runs_dir={tmp_path}", "trainer=cpu", *KINDS["gan_mlp"]]
    assert told in one_line_error("train", *common, *words, code=code)


@pytest.mark.usefixtures("in_this_process")
def test_a_cycle_that_is_over_before_the_run(tmp_path: Path, one_line_error):
    words = ["model=gan_mlp", *SHARED, "scheduler=one_cycle_vgg_cifar_short", "scheduler.total_steps=17"]
    told = one_line_error("train", f"runs_dir={tmp_path}", "trainer=cpu", *words, code=1)
    assert "scheduler.total_steps=17 is over before the run, which takes 18" in told
