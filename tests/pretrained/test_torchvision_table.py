"""The table of torchvision's weights says what torchvision says, and their names are found without a download."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import zoo
from zoo.cli import main
from zoo.errors import ZooError
from zoo.models.catalog import MODELS
from zoo.pretrained import torchvision_weights
from zoo.pretrained.convert import NETWORKS
from zoo.pretrained.hub import find_release, list_pretrained, pretrained_card
from zoo.pretrained.pipelines.image_classification import Preprocessing
from zoo.pretrained.torchvision_weights import WEIGHTS
from zoo.training.records import experiments

SHARED = "resnet18-imagenet"  # what a release of the zoo's own might be called too
PUBLISHED = {
    (NETWORKS[network], weights.name): weights
    for network in NETWORKS
    for weights in torchvision.models.get_model_weights(network)
    if weights.name != "IMAGENET1K_FEATURES"  # the paper's VGG-16 without its last layers
}


def test_nothing_that_torchvision_publishes_is_missing():
    assert {(entry.model, entry.version) for entry in WEIGHTS.values()} == set(PUBLISHED)
    for name, entry in WEIGHTS.items():
        assert name == f"{entry.model}-imagenet{'_v2' if entry.version.endswith('V2') else ''}"
        assert entry.model in MODELS


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_table_says_what_torchvision_says(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    entry = WEIGHTS[name]
    theirs = PUBLISHED[entry.model, entry.version]
    metrics = theirs.meta["_metrics"]["ImageNet-1K"]
    assert entry.url == theirs.url == pretrained_card(name)["url"]
    assert (entry.accuracy, entry.top5_accuracy) == (metrics["acc@1"], metrics["acc@5"])
    assert entry.mebibytes == theirs.meta["_file_size"]
    assert torchvision_weights.class_names() == theirs.meta["categories"]
    transforms, prepared = theirs.transforms(), pretrained_card(name)["preprocessing"]
    assert ([prepared["resize"]], [prepared["height"]]) == (transforms.resize_size, transforms.crop_size)
    assert (prepared["mean"], prepared["std"], transforms.antialias) == (transforms.mean, transforms.std, True)
    assert transforms.interpolation == torchvision.transforms.InterpolationMode.BILINEAR


def test_classes_have_names_of_their_own():
    names = torchvision_weights.class_names()
    assert len(set(names)) == len(names) == torchvision_weights.CLASSES
    assert all(name == name.strip() != "" for name in names)


@pytest.mark.parametrize("name", ["resnet18-imagenet", "resnet50_v1_5-imagenet_v2"])
def test_pictures_are_prepared_as_torchvision_does(name: str):
    transform = PUBLISHED[WEIGHTS[name].model, WEIGHTS[name].version].transforms()
    ours = Preprocessing(pretrained_card(name))
    random = np.random.default_rng(2)
    for height, width in [(300, 401), (225, 224), (640, 259), (31, 45), (232, 500)]:
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        seen = ours.scale(ours.pixels(picture)[0][None])
        assert torch.allclose(seen[0], transform(picture), atol=1e-6)


def test_listing_and_information_download_nothing(shelf: Path, capsys: pytest.CaptureFixture[str]):
    entry = {entry.name: entry for entry in list_pretrained()}["resnet50_v1_5-imagenet"]
    assert (entry.source, entry.folder, entry.task) == ("torchvision", None, "image_classification")
    assert entry.metric == "test/accuracy 76.13 %"
    assert abs(entry.bytes - 97.781 * 2**20) < 1
    assert main(["list", "pretrained", "resnet50_v1_5*"]) == 0
    (header, row, _) = capsys.readouterr().out.splitlines()
    assert "(* theirs)" in header
    assert row.split("  ")[0] == "resnet50_v1_5-imagenet"
    assert "test/accuracy 76.13 % *" in row
    assert row.endswith("torchvision, not downloaded")
    assert main(["info", "resnet50_v1_5-imagenet"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for part in ("not measured here", "test/accuracy: 76.13", "BSD-3-Clause", "resize: 256", "1,000: tench, goldfish"):
        assert part in told
    assert not torchvision_weights.place("resnet50_v1_5-imagenet").parent.exists()


def test_a_release_of_the_zoo_s_own_goes_first(shelf: Path, release: Path):
    release.rename(shelf / SHARED)
    assert find_release(SHARED) == shelf / SHARED
    assert pretrained_card(SHARED)["model"] == "lenet5_modern"
    assert pretrained_card(f"{SHARED}_torchvision")["model"] == "resnet18"
    sources = {entry.name: entry.source for entry in list_pretrained("resnet18-*")}
    assert sources == {SHARED: "zoo", f"{SHARED}_torchvision": "torchvision"}


def test_the_front_door_knows_them():
    assert {entry.name for entry in zoo.list_pretrained("*-imagenet*")} >= {*WEIGHTS}
    with pytest.raises(ZooError, match="did you mean resnet50_v1_5-imagenet"):
        find_release("resnet50_v1_5-imagnet")


def test_names_are_not_those_of_models_or_experiments():
    assert not set(WEIGHTS) & (set(MODELS) | set(experiments()))
    longer = {f"{name}{torchvision_weights.SUFFIX}" for name in WEIGHTS}
    assert not longer & {experiment["release"] for experiment in experiments().values()}
