"""CIFAR: the official format, nothing run from a pickle, the very images and labels that torchvision reads."""

import hashlib
import io
import json
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms.v2 import functional as tv

from zoo.data.catalog import DATASETS
from zoo.data.cifar import CIFAR10_ARCHIVE, CIFAR100_ARCHIVE, load_cifar, parse_batch, unpickle
from zoo.data.colour import colour_axes
from zoo.data.in_memory import InMemoryImages
from zoo.data.mean_image import decode, encode
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


@pytest.fixture
def tiny(tiny_cifar):
    """Makes a dataset out of the tiny archive."""

    def make(**settings):
        defaults = {"batch_size": 20, "seed": 0, "validation": 0, "mean": None, "std": None, "augment": None}
        load = lambda: load_cifar(tiny_cifar.archive, str(tiny_cifar.folder), "labels", "label_names", 10)  # noqa: E731
        spec = ImageSpec(3, 32, 32, 10)
        dataset = InMemoryImages(
            load, (tiny_cifar.archive,), spec, (), (0.5,) * 3, (0.25,) * 3, **{**defaults, **settings}
        )
        dataset.prepare()
        return dataset

    return make


def all_of(loader):
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


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


def test_an_archive_becomes_batches(tiny, tiny_cifar):
    dataset = tiny()
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


def test_the_mean_image_is_subtracted_before_everything_else(tiny, tiny_cifar):
    """As the reference codes do: subtract, pad with zeros, cut a window, mirror."""
    dataset = tiny(mean="per_pixel", validation=20, augment={"crop_padding": 4, "flip": True})
    kept = dataset._kept.numpy()
    raw = tiny_cifar.train_images.numpy().astype(np.float64) / 255
    mean = raw[kept].mean(0)
    images, _ = all_of(dataset.test_loader())
    np.testing.assert_allclose(images.numpy(), tiny_cifar.test_images.numpy() / 255 - mean, atol=1e-6)
    # Each training image is one of those that can be cut out of some image, less the mean, within zeros.
    padded = np.pad(raw[kept] - mean, [(0, 0), (0, 0), (4, 4), (4, 4)])
    seen = set()
    for image in all_of(dataset.train_loader())[0][:40].numpy():
        windows = (
            (number, top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for mirrored in (1, -1)
            for number in np.flatnonzero(
                np.abs(padded[:, 0, top + 16, left : left + 32][:, ::mirrored] - image[0, 16]).max(1) < 1e-5
            )
        )
        number, top, left, mirrored = next(windows)
        window = padded[number, :, top : top + 32, left : left + 32][:, :, ::mirrored]
        np.testing.assert_allclose(image, window, atol=1e-6)
        seen.add(number)
    assert len(seen) == 40


def test_the_card_of_a_mean_image(tiny):
    dataset = tiny(mean="per_pixel", std=[0.5, 0.25, 1.0], crop=24)
    described = json.loads(json.dumps(dataset.preprocessing))
    image = decode(described.pop("mean_image"))
    sizes = {"channels": 3, "height": 24, "width": 24, "resize": 32}
    assert described == {**sizes, "mean": [0.0] * 3, "std": [0.5, 0.25, 1.0], "ink": None}
    assert image.shape == (3, 32, 32)
    # What the card says is what the test loader feeds.
    pixels = dataset._contents.test.images
    expected = tv.center_crop((pixels / 255 - image) / torch.tensor(described["std"]).view(-1, 1, 1), [24, 24])
    images, _ = all_of(dataset.test_loader())
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-6)
    # Other data can be prepared with this very image.
    again = tiny(mean=encode(image), std=[0.5, 0.25, 1.0], crop=24, validation=30)
    assert torch.equal(all_of(again.test_loader())[0], images)
    assert again.preprocessing == dataset.preprocessing


@pytest.mark.parametrize("padding", [0, 4])
def test_training_sees_random_windows_and_the_test_the_middle(tiny, tiny_cifar, padding):
    dataset = tiny(crop=24, augment={"crop_padding": padding, "fill": 0.5})
    assert dataset.prepare() == ImageSpec(3, 24, 24, 10)
    images, labels = all_of(dataset.train_loader())
    assert images.shape == (140, 3, 24, 24)
    # Half of the range is exactly 0 once 0.5 is subtracted.
    whole = tv.pad((tiny_cifar.train_images / 255 - 0.5) / 0.25, [padding] * 4)
    places = set()
    for image, label in zip(images, labels, strict=True):
        alike = whole[tiny_cifar.train_labels == label]
        # A row in the middle tells one from another, since it never lies in the border: (n, top, left, 24).
        rows = alike.unfold(2, 24, 1).unfold(3, 24, 1)[:, 0, :, :, 12]
        difference = (rows - image[0, 12]).abs().amax(3).numpy()
        number, top, left = np.unravel_index(difference.argmin(), difference.shape)
        torch.testing.assert_close(tv.crop(alike[number], top, left, 24, 24), image, rtol=0, atol=1e-6)
        places.add((int(top), int(left)))
    assert len(places) > 30
    highest = 8 + 2 * padding
    assert {0, highest} <= {place for pair in places for place in pair} <= set(range(highest + 1))
    assert next(iter(dataset.test_loader()))[0].is_contiguous()
    expected = tv.center_crop((tiny_cifar.test_images / 255 - 0.5) / 0.25, [24, 24])
    torch.testing.assert_close(all_of(dataset.test_loader())[0], expected, rtol=0, atol=1e-6)


def test_colours_shift_along_the_axes_of_the_training_images(tiny):
    plain, shifted = (tiny(validation=20, augment=augment) for augment in (None, {"pca_colour": 0.5}))
    before, after = (all_of(dataset.train_loader())[0] for dataset in (plain, shifted))
    shifts = (after - before).double() * 0.25  # back to pixels in 0..1
    assert (shifts.amax((2, 3)) - shifts.amin((2, 3))).max() < 1e-6, "one colour for all pixels of an image"
    axes = colour_axes(shifted._contents.train.images, shifted._kept)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(shifted._axes, axes, strict=True))
    amounts = shifts.mean((2, 3)) @ axes.vectors / axes.deviations
    assert 0.35 < amounts.std() < 0.65
    first, second = (all_of(loader)[0] for loader in [shifted.train_loader()] * 2)
    assert not torch.equal(first.mean((2, 3)).sort(0).values, second.mean((2, 3)).sort(0).values)
    assert torch.equal(all_of(plain.test_loader())[0], all_of(shifted.test_loader())[0])


def test_cutout_leaves_a_square_of_zeros(tiny):
    plain, cut = (tiny(augment=augment) for augment in (None, {"cutout": 9}))
    before, after = (all_of(dataset.train_loader())[0] for dataset in (plain, cut))
    changed = (before != after).any(1)
    assert (after * changed.unsqueeze(1)).abs().max() == 0
    assert changed.sum((1, 2)).max() == 81
    assert changed.sum((1, 2)).min() < 81, "some squares reach beyond the border"


def test_ten_views_in_evaluation_only(tiny):
    dataset, plain = tiny(crop=24, views=10, validation=20), tiny(validation=20)
    assert next(iter(dataset.train_loader()))[0].shape == (20, 3, 24, 24)
    for name in ("validation_loader", "test_loader"):
        images, labels = all_of(getattr(dataset, name)())
        whole, same = all_of(getattr(plain, name)())
        assert torch.equal(labels, same)
        assert images.shape == (20, 10, 3, 24, 24)
        # torchvision has the centre last, and names the corners after mirroring.
        theirs = torch.stack(tv.ten_crop(whole, [24, 24]), dim=1)[:, [4, 0, 1, 2, 3, 9, 6, 5, 8, 7]]
        assert torch.equal(images, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 33}, "data.crop=33 is not possible: expected 1..32"),
        ({"crop": 0}, "data.crop=0 is not possible: expected 1..32"),
        ({"views": 3, "crop": 24}, "data.views=3 is not possible: expected 1 (the centre) or 10"),
        ({"views": 10}, "data.views=10 would be the whole image each time: give data.crop"),
        ({"views": 10, "crop": 32}, "data.views=10 would be the whole image each time: give data.crop"),
        ({"mean": "per_channel"}, "data.mean=per_channel is not possible: expected one number per channel, or per_p"),
        ({"mean": {"shape": [3, 32, 32]}}, "the mean image is malformed"),
        ({"mean": encode(torch.zeros(1, 28, 28))}, "data.mean is an image of 1x28x28 numbers, the data's are 3x32x32"),
        ({"mean": "per_pixel", "std": [1.0]}, "data.std has 1 numbers, the images have 3 channel(s)"),
        ({"augment": {"cutoff": 3}}, "unknown key data.augment.cutoff: did you mean data.augment.cutout?"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings, message):
    with pytest.raises(ZooError) as error:
        create_dataset("cifar10", **settings)
    assert message in str(error.value)


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
def test_the_real_files_are_what_torchvision_reads(real_cifar10):
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mean", [None, "per_pixel"])
def test_batches_on_the_device_are_those_of_the_cpu(tiny, mean):
    augment = {"crop_padding": 4, "flip": True, "fill": 0.25, "pca_colour": 0.1, "cutout": 8}
    dataset = tiny(mean=mean, augment=augment, crop=24, views=10)
    for name in ("train_loader", "test_loader"):
        on_cpu, on_gpu = (all_of(getattr(dataset, name)(device=device)) for device in ("cpu", "cuda"))
        assert on_gpu[0].is_cuda
        assert torch.equal(on_cpu[1], on_gpu[1].cpu())
        torch.testing.assert_close(on_cpu[0], on_gpu[0].cpu(), rtol=0, atol=1e-5)
