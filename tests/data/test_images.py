"""Datasets in memory: shapes, splits, statistics, damaged files."""

import gzip
import shutil

import pytest
import torch

from zoo.data.catalog import DATASETS
from zoo.data.images import load_idx
from zoo.data.in_memory import InMemoryImages
from zoo.data.registry import create_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

NAMES = tuple("0123456789")
SETTINGS = {"batch_size": 10, "seed": 0, "validation": 0, "mean": None, "std": None, "augment": None}


@pytest.fixture
def tiny(tiny_files):
    """Makes a dataset out of the tiny IDX files."""
    folder, files, _ = tiny_files

    def make(**settings):
        spec = ImageSpec(1, 28, 28, 10)
        load = lambda: load_idx(files, str(folder))  # noqa: E731
        return InMemoryImages(load, files, spec, NAMES, (0.5,), (0.25,), **{**SETTINGS, **settings})

    return make


def test_idx_files_become_batches(tiny, tiny_files, all_of):
    dataset, (_, files, values) = tiny(), tiny_files
    assert dataset.prepare() == ImageSpec(1, 28, 28, 10)
    images, labels = all_of(dataset.test_loader())
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert torch.equal(images, ((values["t10k-images"].float() / 255) - 0.5).unsqueeze(1) / 0.25)
    assert torch.equal(labels, values["t10k-labels"].long())
    assert dataset.checksums == {file.path: file.sha256 for file in files}
    assert dataset.validation_loader() is None


def test_training_batches_hold_every_image_once(tiny, tiny_files, all_of):
    dataset = tiny(batch_size=7)
    dataset.prepare()
    images, labels = all_of(dataset.train_loader())
    expected = (((tiny_files[2]["train-images"].float() / 255) - 0.5) / 0.25).flatten(1)
    found = torch.cdist(images.flatten(1), expected).argmin(1)
    assert sorted(found.tolist()) == list(range(60))
    assert torch.equal(labels, tiny_files[2]["train-labels"].long()[found])


def test_validation_split_is_fixed_disjoint_and_stratified(tiny, all_of):
    def held(**settings):
        dataset = tiny(validation=20, **settings)
        dataset.prepare()
        return all_of(dataset.validation_loader()), all_of(dataset.train_loader())

    (images, labels), (kept, _) = held(seed=1)
    (again, _), _ = held(seed=2, batch_size=3)
    assert torch.equal(images, again)
    assert torch.equal(labels.bincount(), torch.full((10,), 2))
    assert len(kept) == 40
    assert torch.cdist(kept.flatten(1), images.flatten(1)).min() > 0


def test_augmentation_is_for_training_only(tiny, all_of):
    plain, changed = tiny(validation=20), tiny(validation=20, augment={"flip": True, "affine": {"degrees": 30}})
    plain.prepare()
    changed.prepare()
    for loader in ("validation_loader", "test_loader"):
        assert torch.equal(all_of(getattr(plain, loader)())[0], all_of(getattr(changed, loader)())[0])
    assert not torch.equal(all_of(plain.train_loader())[0], all_of(changed.train_loader())[0])


def test_affine_leaves_the_background_at_the_background_value(tiny, tiny_files, all_of):
    settings = {"translate": [0.4, 0.4], "degrees": 40, "scale": [0.3, 0.5]}
    dataset = tiny(mean=[0.0784314], std=[0.784314], augment={"affine": settings})
    dataset.prepare()
    images, _ = all_of(dataset.train_loader())
    assert images.min() >= -0.1 - 1e-6
    # Small rotated images leave much of the field empty.
    assert (images - -0.1).abs().lt(1e-6).float().mean() > 0.5


def test_own_statistics_can_be_replaced(tiny, all_of):
    dataset = tiny(mean=[0.0784314], std=[0.784314])
    dataset.prepare()
    images, _ = all_of(dataset.test_loader())
    assert images.min().item() == pytest.approx(-0.1, abs=1e-6)
    assert images.max().item() == pytest.approx(1.175, abs=1e-6)
    assert dataset.preprocessing == {
        "channels": 1,
        "height": 28,
        "width": 28,
        "mean": [0.0784314],
        "std": [0.784314],
        "ink": None,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.1, 0.2]}, r"data\.mean has 2 numbers, the images have 1 channel"),
        ({"std": []}, r"data\.std has 0 numbers"),
        ({"std": [0.0]}, r"data\.std=\[0\.0\] is not possible"),
        ({"batch_size": 0}, r"data\.batch_size=0 is not possible: expected 1 or more"),
        ({"batch_size": 61}, r"data\.batch_size=61 is not possible: expected 1\.\.60 training images"),
        ({"batch_size": 41, "validation": 20}, r"expected 1\.\.40 training images"),
        ({"validation": -1}, r"data\.validation=-1 is not possible"),
        ({"validation": 60}, r"data\.validation=60 leaves nothing of 60"),
        ({"augment": {"rotate": 3}}, r"unknown key data\.augment\.rotate"),
        ({"augment": {"fill": [0.1, 0.2], "flip": True}}, "needs one number"),
        ({"augment": {"pca_colour": 0.1}}, r"data\.augment\.pca_colour is for colour images, these are grey"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(tiny, settings, message):
    with pytest.raises(ZooError, match=message):
        tiny(**settings).prepare()


def test_batch_size_must_be_a_multiple_of_the_processes(tiny):
    dataset = tiny(batch_size=10)
    dataset.prepare()
    with pytest.raises(ZooError, match="cannot be shared by 3 processes"):
        dataset.train_loader(rank=0, world=3)


def test_digits_are_embedded_and_split_for_good(all_of):
    dataset = create_dataset("digits", dir="/nowhere/at/all", batch_size=100)
    assert dataset.prepare() == DATASETS["digits"].spec
    assert dataset.checksums == {}
    assert dataset.class_names == list(NAMES)
    assert dataset.preprocessing["ink"] == "bright on dark"
    images, labels = all_of(dataset.train_loader())
    test_images, test_labels = all_of(dataset.test_loader())
    assert (len(images), len(test_images)) == (1437, 360)
    assert (labels.bincount() / 1437 - test_labels.bincount() / 360).abs().max() < 0.002
    # The dataset's own statistics do what they are for.
    assert images.mean().abs() < 1e-3
    assert (images.std() - 1).abs() < 1e-3
    # A black frame of four pixels, as around MNIST's digits.
    pixels = test_images * 0.2774 + 0.1559
    assert pixels[:, :, :4].abs().max() < 1e-6
    assert pixels[:, :, :, 24:].abs().max() < 1e-6
    assert pixels.max() == pytest.approx(1)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.realdata
def test_real_files(name, real_data):
    dataset = create_dataset(name, dir=str(real_data), validation=5000)
    assert dataset.prepare() == DATASETS[name].spec
    assert len(dataset.class_names) == 10
    assert len(dataset.checksums) == 4
    labels, total, squares = {}, 0.0, 0.0
    for split in ("train", "validation", "test"):
        batches = []
        for images, numbers in getattr(dataset, f"{split}_loader")():
            batches.append(numbers)
            if split != "test":
                total += images.double().mean().item() * len(images) / 60_000
                squares += images.double().square().mean().item() * len(images) / 60_000
        labels[split] = torch.cat(batches)
    assert [len(numbers) for numbers in labels.values()] == [55_000, 5_000, 10_000]
    assert labels["test"][:5].tolist() == {"mnist": [7, 2, 1, 0, 4], "fashion_mnist": [9, 2, 1, 1, 6]}[name]
    shares = [labels[split].bincount() / len(labels[split]) for split in ("train", "validation")]
    assert (shares[0] - shares[1]).abs().max() < 2e-4
    # The statistics in use are those of the training images.
    assert abs(total) < 1e-3
    assert abs(squares - 1) < 2e-3


@pytest.mark.realdata
def test_real_files_agree_with_torchvision(real_data, tmp_path):
    from torchvision.datasets import MNIST
    from torchvision.transforms.v2.functional import normalize

    (tmp_path / "MNIST/raw").mkdir(parents=True)
    for path in (real_data / "MNIST/raw").iterdir():
        if path.name.endswith("ubyte.gz"):
            (tmp_path / "MNIST/raw" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    theirs = MNIST(str(tmp_path), train=False)
    ours = create_dataset("mnist", dir=str(tmp_path))
    ours.prepare()
    images, labels = next(iter(ours.test_loader()))
    expected = normalize(theirs.data[:256].unsqueeze(1) / 255, [0.1307], [0.3081])
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    assert torch.equal(labels, theirs.targets[:256])


@pytest.mark.realdata
def test_damaged_real_file_is_named(real_data, tmp_path):
    shutil.copytree(real_data / "MNIST/raw", tmp_path / "MNIST/raw")
    damaged = tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz"
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ZooError, match=r"t10k-labels-idx1-ubyte\.gz is damaged: it cannot be decompressed"):
        create_dataset("mnist", dir=str(tmp_path)).prepare()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_damaged_file_is_named(name, tmp_path):
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    path = tmp_path / folder / "raw/train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x03"))
    with pytest.raises(ZooError, match="ends after 4 of 47,040,016 bytes; delete it") as error:
        create_dataset(name, dir=str(tmp_path)).prepare()
    assert str(path) in str(error.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_live_on_the_device(tiny, all_of):
    dataset = tiny(augment={"affine": {"degrees": 20}, "crop_padding": 4, "flip": True})
    dataset.prepare()
    on_cpu = all_of(dataset.train_loader())
    on_gpu = all_of(dataset.train_loader(device="cuda"))
    assert on_gpu[0].is_cuda
    assert torch.equal(on_cpu[1], on_gpu[1].cpu())
    torch.testing.assert_close(on_cpu[0], on_gpu[0].cpu(), rtol=0, atol=1e-3)
