"""CIFAR: the official format, nothing run from a pickle, the very images and labels that torchvision reads."""

import hashlib
import io
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from zoo.data.catalog import DATASETS
from zoo.data.cifar import CIFAR10_ARCHIVE, CIFAR100_ARCHIVE, parse_batch, unpickle
from zoo.data.mean_image import decode
from zoo.data.registry import create_dataset
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError

CIFAR10_NAMES = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100_NAMES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"""
COARSE_NAMES = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices
    household_furniture insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes
    large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles small_mammals trees
    vehicles_1 vehicles_2"""


def test_the_writer_of_these_tests_writes_what_the_authors_wrote(python2_pickle):
    """Byte for byte, as the official checksums of both files of names show."""
    names = {"fine_label_names": CIFAR100_NAMES.split(), "coarse_label_names": COARSE_NAMES.split()}
    meta = python2_pickle(names)
    assert hashlib.md5(meta).hexdigest() == CIFAR100.meta["md5"]
    assert len(meta) == CIFAR100_ARCHIVE.members[-1].size
    assert unpickle(meta, "meta")["fine_label_names"] == [name.encode() for name in CIFAR100_NAMES.split()]
    # Here 10000 stands as Python 2 wrote numbers of two bytes.
    meta = python2_pickle({"num_cases_per_batch": 7, "label_names": CIFAR10_NAMES.split(), "num_vis": 8})
    meta = meta.replace(b"K\x07", b"M" + struct.pack("<H", 10_000)).replace(b"K\x08", b"M" + struct.pack("<H", 3072))
    assert hashlib.sha256(meta).hexdigest() == CIFAR10_ARCHIVE.members[-1].checksum


def test_the_checksums_are_torchvision_s():
    theirs = [*CIFAR100.train_list, *CIFAR100.test_list, (CIFAR100.meta["filename"], CIFAR100.meta["md5"])]
    assert CIFAR100_ARCHIVE.checksums == {f"cifar-100-python/{name}": f"md5:{md5}" for name, md5 in theirs}
    for archive, theirs in ((CIFAR10_ARCHIVE, CIFAR10), (CIFAR100_ARCHIVE, CIFAR100)):
        assert archive.md5 == theirs.tgz_md5
        assert archive.url == theirs.url
        assert {member.path.split("/")[0] for member in archive.members} == {theirs.base_folder}
    sizes = [DATASETS[name].download_bytes for name in ("cifar10", "cifar100")]
    assert sizes == [CIFAR10_ARCHIVE.size, CIFAR100_ARCHIVE.size]


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_batch_is_what_numpy_reads(python2_pickle, by_columns):
    rows = torch.randint(0, 256, (7, 3072), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    data = rows.T.contiguous().T if by_columns else rows
    content = python2_pickle({"fine_labels": list(range(7)), "data": data})
    # As torchvision does, with everything that a pickle may do.
    theirs = pickle.load(io.BytesIO(content), encoding="latin1")
    assert theirs["data"].flags.f_contiguous == by_columns
    ours = parse_batch(content, "batch", "fine_labels", 7)
    assert np.array_equal(ours.images.numpy(), theirs["data"].reshape(-1, 3, 32, 32))
    assert torch.equal(ours.images.flatten(1), rows)
    assert ours.labels.tolist() == theirs["fine_labels"]
    assert ours.labels.dtype == torch.int64


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Attack(os.mkdir, "pwned"), protocol=2),
        pickle.dumps({b"data": Attack(eval, "__import__('os').mkdir('pwned')")}, protocol=4),
        pickle.dumps(np.zeros(3), protocol=4),  # by other names than those of 2009
        pickle.dumps(np.float64(1), protocol=2),
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x08dtype.os\x93.",
        b"cos\nmkdir\n(U\x05pwnedtR.",
        b"(U\x05pwnedios\nmkdir\n.",
        b"\x80\x02}q\x01(U\x04data",
        b"]q\x01.",
        b"\x80\x02}q\x01(K\x01K\x02u.",
        b"",
        b"no pickle",
    ],
)
def test_a_pickle_runs_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZooError, match=r"^data_batch_1 is no batch of images: .*; delete it"):
        unpickle(content, "data_batch_1")
    assert list(tmp_path.iterdir()) == []


def test_arrays_of_a_pickle_run_nothing():
    """The three names that are allowed make nothing but empty stand-ins, whatever they are given."""
    made = unpickle(b"\x80\x02}(U\x01xcnumpy\nndarray\n(K\x01U\x03abctRU\x01ycnumpy\ndtype\n)R(K\x01tbu.", "batch")
    assert {type(value).__module__ for value in made.values()} == {"zoo.data.cifar"}
    assert made["y"].state == (1,)


DATA = torch.zeros(2, 3072, dtype=torch.uint8)


@pytest.mark.parametrize(
    "batch",
    [
        {"labels": [0, 1]},
        {"data": DATA},
        {"data": DATA, "labels": [0]},
        {"data": DATA, "labels": [0, 10]},
        {"data": DATA, "labels": [0, -1]},
        {"data": DATA, "labels": ["a", "b"]},
        {"data": DATA[:, :3000], "labels": [0, 1]},
        {"data": "0123", "labels": [0, 1]},
        {"data": [1, 2], "labels": [0, 1]},
    ],
)
def test_what_is_no_batch_is_refused(python2_pickle, batch):
    with pytest.raises(ZooError, match=r"^data_batch_1 (is no batch of images|has labels that do not fit)"):
        parse_batch(python2_pickle(batch), "data_batch_1", "labels", 10)


def test_an_archive_becomes_batches(tiny_dataset, tiny_cifar, all_of):
    dataset = tiny_dataset()
    assert dataset.prepare() == ImageSpec(3, 32, 32, 10)
    assert dataset.class_names == [f"thing_{number}" for number in range(10)]
    assert dataset.checksums == tiny_cifar.archive.checksums
    assert dataset.files == (tiny_cifar.archive,)
    images, labels = all_of(dataset.test_loader())
    assert torch.equal(images, (tiny_cifar.test_images.float() / 255 - 0.5) / 0.25)
    assert torch.equal(labels, tiny_cifar.test_labels)
    images, labels = all_of(dataset.train_loader())
    order = images.flatten(1).sum(1).argsort()
    expected = (tiny_cifar.train_images.float() / 255 - 0.5) / 0.25
    theirs = expected.flatten(1).sum(1).argsort()
    assert torch.equal(images[order], expected[theirs])
    assert torch.equal(labels[order], tiny_cifar.train_labels[theirs])


# The model that is trained by default has a mean of its own, for digits.
FAST = ("trainer=cpu", "logger=none", "data.mean=null", "data.std=null")


@pytest.mark.usefixtures("in_this_process")
def test_a_wrong_word_is_one_line(one_line_error):
    line = one_line_error("train", "data=cifar10", *FAST, "data.mean=per_channel", code=1)
    assert "data.mean='per_channel' is not possible: expected list[float] | per_pixel" in line


@pytest.mark.usefixtures("in_this_process")
def test_a_folder_without_the_data_and_without_a_network_is_one_line(one_line_error, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9")
    line = one_line_error("train", "data=cifar10", *FAST, f"data.dir={tmp_path}", code=1)
    for part in ("cifar-10-python.tar(.gz, .xz)", str(tmp_path), "http://127.0.0.1:9/cifar-10-python.tar.gz"):
        assert part in line
    assert CIFAR10_ARCHIVE.md5 in line


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_archive_is_one_line(one_line_error, tiny_cifar):
    (tiny_cifar.folder / "tiny-python.tar.gz").rename(tiny_cifar.folder / "cifar-10-python.tar.gz")
    line = one_line_error("train", "data=cifar10", *FAST, f"data.dir={tiny_cifar.folder}", code=1)
    assert f"{tiny_cifar.folder}/cifar-10-python.tar.gz is damaged: it does not hold cifar-10-batches-py/data_b" in line


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_batch_is_one_line(one_line_error, tmp_path):
    evil = b"cos\nmkdir\n(U\x05pwnedtR."
    for member in CIFAR100_ARCHIVE.members:
        (tmp_path / member.path).parent.mkdir(exist_ok=True)
        (tmp_path / member.path).write_bytes(evil)
    line = one_line_error("train", "data=cifar100", *FAST, f"data.dir={tmp_path}", code=1)
    assert f"{tmp_path}/cifar-100-python/train is damaged: it ends after {len(evil)} of 155,249,918 bytes" in line


@pytest.mark.realdata
def test_the_real_files_are_what_torchvision_reads(real_cifar10, all_of):
    ours = create_dataset("cifar10", dir=str(real_cifar10), mean=[0, 0, 0], std=[1 / 255] * 3)
    assert ours.prepare() == DATASETS["cifar10"].spec
    for split in ("train", "test"):
        theirs = CIFAR10(str(real_cifar10), train=split == "train")
        assert ours.class_names == theirs.classes == CIFAR10_NAMES.split()
        pixels = torch.from_numpy(theirs.data).permute(0, 3, 1, 2)
        held = getattr(ours._contents, split)
        assert torch.equal(held.images, pixels)
        assert held.labels.tolist() == theirs.targets
    # Through the loader, as a model sees them.
    images, labels = all_of(ours.test_loader())
    torch.testing.assert_close(images, pixels.float(), rtol=0, atol=1e-4)
    assert labels.tolist() == theirs.targets


@pytest.mark.realdata
def test_the_real_statistics(real_cifar10):
    dataset = create_dataset("cifar10", dir=str(real_cifar10), validation=5000, mean="per_pixel")
    dataset.prepare()
    images, labels = (part.numpy() for part in dataset._contents.train)
    values = np.arange(256) / 255
    for channel, (mean, std) in enumerate(zip([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], strict=True)):
        shares = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        assert round(shares @ values, 4) == mean
        assert round(float(np.sqrt(shares @ values**2 - (shares @ values) ** 2)), 4) == std
    defaults = create_dataset("cifar10").preprocessing
    assert (defaults["mean"], defaults["std"]) == ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
    # The 45,000 + 5,000 of He et al. 2015: 500 of each class are held out, and the mean is of the others.
    held = dataset._held_out.numpy()
    assert np.bincount(labels[held]).tolist() == [500] * 10
    kept = np.setdiff1d(np.arange(50_000), held)
    assert np.array_equal(dataset._kept.numpy(), kept)
    expected = images[kept].sum(0, dtype=np.int64) / 45_000 / 255
    assert np.allclose(decode(dataset.preprocessing["mean_image"]).numpy(), expected, atol=1e-7, rtol=0)
