"""Loaders that decode files: the same batches from any number of processes, from any position, on any rank."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data.augmentation import Augmentation
from zoo.data.class_folders import ImageFiles, class_folders, list_images
from zoo.data.cropping import Centre, RandomPart
from zoo.data.decoding_loader import BrokenImages, DecodingEvaluationLoader, DecodingTrainingLoader
from zoo.data.decoding_workers import Decoders, EvaluationImages, TrainingImages
from zoo.data.image_folder import imagefolder
from zoo.data.image_loader import ImageStore, TrainingImageLoader
from zoo.errors import ZooError

COUNTS = (9, 8, 20)  # images of each class
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
CROP = RandomPart(8, (0.2, 1.0), (0.75, 1.33))
AUGMENT = {"flip": True, "crop_padding": 1, "pca_colour": 0.1, "cutout": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(0)
    for label, count in enumerate(COUNTS):
        (root / f"class{label}").mkdir()
        for number in range(count):
            pixels = random.integers(0, 256, (14, 12 + label, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class{label}/{number:02}.png")
    return root


def listing(folder: Path) -> ImageFiles:
    return list_images(folder, "", class_folders(folder))


def store() -> ImageStore:
    return ImageStore(torch.empty(0, 3, 8, 8, dtype=torch.uint8), torch.empty(0), MEAN, STD)


def training(
    folder: Path, workers: int = 0, batch_size: int = 10, seed: int = 3, augment: dict | None = AUGMENT,
    rank: int = 0, world: int = 1, start: str | None = "fork", crop: RandomPart = CROP,
) -> DecodingTrainingLoader:  # fmt: skip
    files = listing(folder)
    images = TrainingImages(files, crop, seed)
    dataset = imagefolder(str(folder), batch_size=1)
    dataset.prepare()
    axes = dataset.train_loader()._axes
    return DecodingTrainingLoader(
        Decoders(images, workers, start), len(files), batch_size, seed, Augmentation(augment), store(),
        BrokenImages("error", ""), rank, world, axes,
    )  # fmt: skip


def evaluation(folder: Path, workers: int = 0, batch_size: int = 10, policy="error", views=1, rank=0, world=1):
    files = listing(folder)
    images = EvaluationImages(files, Centre(8 if views == 1 else 10, 10))
    return DecodingEvaluationLoader(
        Decoders(images, workers), len(files), batch_size, 8, views, store(), BrokenImages(policy, "it is left out"),
        rank, world,
    )  # fmt: skip


def epochs(count: int, loader) -> list:
    return [batch for _ in range(count) for batch in loader]


def same(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


@pytest.fixture(scope="module")
def three_epochs(folder: Path) -> list:
    return epochs(3, training(folder))


def test_shapes_and_types(folder: Path, three_epochs: list):
    assert len(training(folder)) == 4
    assert [tuple(images.shape) for images, _ in three_epochs[:4]] == [(10, 3, 8, 8)] * 3 + [(7, 3, 8, 8)]
    assert {(images.dtype, labels.dtype) for images, labels in three_epochs} == {(torch.float32, torch.int64)}


def test_each_image_comes_once_in_an_epoch_in_another_order_than_in_the_next(three_epochs: list):
    labels = [torch.cat([labels for _, labels in three_epochs[start : start + 4]]) for start in (0, 4, 8)]
    for epoch in labels:
        assert torch.bincount(epoch).tolist() == list(COUNTS)
    assert not torch.equal(labels[0], labels[1])


def test_parts_differ_from_image_to_image_epoch_to_epoch_and_seed_to_seed(tmp_path: Path):
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for number in range(12):
        (tmp_path / f"class{number % 2}").mkdir(exist_ok=True)
        picture.save(tmp_path / f"class{number % 2}/{number}.png")
    squares = [images for seed in (0, 1) for images, _ in epochs(2, training(tmp_path, 0, 12, seed, None))]
    different = len(torch.cat(squares).flatten(1).unique(dim=0))
    assert different >= 45  # of 48: some draws end alike by chance


def test_seeds_differ(folder: Path, three_epochs: list):
    assert same(epochs(1, training(folder)), three_epochs[:4])
    assert not same(epochs(1, training(folder, seed=4)), three_epochs[:4])


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_batches(workers: int, folder: Path, three_epochs: list):
    assert same(epochs(3, training(folder, workers)), three_epochs)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_however_workers_are_started_they_give_the_same_batches(start: str, folder: Path, three_epochs: list):
    assert same(epochs(3, training(folder, 2, start=start)), three_epochs)


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_from_any_position_the_rest_is_the_same(workers: int, folder: Path, three_epochs: list):
    interrupted, resumed = training(folder, workers), training(folder, workers)
    stream = (batch for _ in range(3) for batch in interrupted)
    for position in range(9):
        state = interrupted.state_dict()
        assert all(type(value) is int for value in state.values())
        resumed.load_state_dict(state)
        assert same(epochs(3, resumed)[: 12 - position], three_epochs[position:])
        assert same([next(stream)], three_epochs[position : position + 1])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_position_moves_on_before_a_batch_is_handed_out(workers: int, folder: Path):
    loader = training(folder, workers)
    states = [loader.state_dict() for _ in loader]
    assert [(state["epoch"], state["batch"]) for state in states] == [(0, 1), (0, 2), (0, 3), (1, 0)]


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_that_are_cut_short_go_on_where_they_stopped(workers: int, folder: Path, three_epochs: list):
    """Lightning drops the iterator after `limit_train_batches`, or after the last batch, without exhausting it."""
    loader, taken = training(folder, workers), []
    for limit in (3, 4, 1, 4):
        passing = iter(loader)
        taken += [next(passing) for _ in range(limit)]
        del passing
    assert same(taken, three_epochs)


@pytest.mark.parametrize("world", [2, 5])
def test_ranks_share_each_batch_and_change_images_alike(world: int, folder: Path, three_epochs: list):
    shares = [epochs(2, training(folder, rank=rank, world=world)) for rank in range(world)]
    for number, (images, labels) in enumerate(three_epochs[:8]):
        for rank in range(world):
            assert torch.equal(shares[rank][number][0], images[rank::world])
            assert torch.equal(shares[rank][number][1], labels[rank::world])


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generators_play_no_part(workers: int, folder: Path, three_epochs: list):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    loader = training(folder, workers)
    assert same(epochs(1, loader) + epochs(1, loader), three_epochs[:8])
    list(evaluation(folder, workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_which_all_is_taken_give_the_batches_of_images_in_memory(tmp_path: Path):
    pixels = torch.randint(0, 256, (37, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for index, image in enumerate(pixels):
        (tmp_path / f"class{index // 20}").mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"class{index // 20}/{index:02}.png")
    ours = training(tmp_path, crop=RandomPart(8, (1.0, 1.0), (1.0, 1.0)))
    in_memory = ImageStore(pixels, torch.arange(37) // 20, MEAN, STD)
    theirs = TrainingImageLoader(in_memory, torch.arange(37), 10, 3, Augmentation(AUGMENT), axes=ours._axes)
    assert same(epochs(2, ours), epochs(2, theirs))


def test_a_batch_size_that_does_not_fit(folder: Path):
    with pytest.raises(ZooError, match=r"batch_size=38 is not possible: expected 1\.\.37"):
        training(folder, batch_size=38)
    with pytest.raises(ZooError, match="batch_size=10 cannot be shared by 3 processes"):
        training(folder, world=3)
    with pytest.raises(ZooError, match="rank 2 of 2"):
        training(folder, rank=2, world=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_sees_each_image_once_in_order(workers: int, folder: Path):
    loader = evaluation(folder, workers)
    first, second = list(loader), list(loader)
    assert len(loader) == len(first) == 4
    assert same(first, second)
    assert torch.equal(torch.cat([labels for _, labels in first]), listing(folder).labels)


def test_an_evaluation_that_is_cut_short_begins_anew(folder: Path):
    loader = evaluation(folder, 2)
    whole = list(loader)
    next(iter(loader))
    assert same(list(loader), whole)


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_an_evaluation(world: int, folder: Path):
    whole = torch.cat([images for images, _ in evaluation(folder)])
    for rank in range(world):
        share = torch.cat([images for images, _ in evaluation(folder, batch_size=3, rank=rank, world=world)])
        assert torch.equal(share, whole[rank::world])


def test_ten_views_are_torchvision_s_in_another_order(folder: Path):
    from torchvision.transforms import functional as F

    (images, _), *_ = evaluation(folder, batch_size=40, views=10)
    assert images.shape == (37, 10, 3, 8, 8)
    files = listing(folder)
    for index in (0, 12, 36):
        with Image.open(files.path(index)) as image:
            square = F.center_crop(F.resize(image.copy(), 10), 10)
        views = [F.normalize(F.to_tensor(view), MEAN, STD) for view in F.ten_crop(square, 8)]
        # Theirs: corners, centre, then those of the mirrored image; ours: centre, corners, then the same mirrored.
        for ours, theirs in zip(images[index], [views[k] for k in (4, 0, 1, 2, 3, 9, 6, 5, 8, 7)], strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """The same images; of class 0 one is cut in half, of class 1 one is text, of class 2 one is empty."""
    for path in folder.glob("*/*.png"):
        target = tmp_path / path.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    half = (tmp_path / "class0/03.png").read_bytes()
    (tmp_path / "class0/03.png").write_bytes(half[: len(half) // 2])
    (tmp_path / "class1/07.png").write_text("words")
    (tmp_path / "class2/00.png").write_bytes(b"")
    return tmp_path


def skipping(loader: DecodingTrainingLoader) -> DecodingTrainingLoader:
    loader._broken = BrokenImages("skip", "another of its class stands in for it")
    return loader


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [training, evaluation])
def test_a_broken_image_stops_with_its_name(kind, workers: int, damaged: Path):
    with pytest.raises(ZooError, match=r"class\d/0\d.png cannot be decoded: .*data.broken=skip") as told:
        list(kind(damaged, workers))
    assert "Traceback" not in str(told.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_another_of_its_class_stands_in_for_a_broken_image(workers: int, damaged: Path, three_epochs: list, caplog):
    loader = skipping(training(damaged, workers))
    batches = epochs(3, loader)
    # Batches keep their size and their classes; all but the three images of an epoch are as they were.
    assert [labels.tolist() for _, labels in batches] == [labels.tolist() for _, labels in three_epochs]
    for start in (0, 4, 8):
        changed = sum(
            int((ours[0] != whole[0]).flatten(1).any(1).sum())
            for ours, whole in zip(batches[start : start + 4], three_epochs[start : start + 4], strict=True)
        )
        assert changed == 3
    resumed = skipping(training(damaged, 1))
    resumed.load_state_dict({"epoch": 1, "batch": 2})
    assert same(epochs(1, resumed), batches[6:10])
    named = [record.message for record in caplog.records if ".png cannot be decoded" in record.message]
    assert sorted(Path(line.split()[0]).name for line in named[:3]) == ["00.png", "03.png", "07.png"]
    assert sum("3 images cannot be decoded; another of its class" in record.message for record in caplog.records) >= 1


def test_the_stand_in_for_the_last_of_a_class_is_its_first(damaged: Path):
    files = listing(damaged)
    images = TrainingImages(files, RandomPart(8, (1.0, 1.0), (1.0, 1.0)), 0)
    order = [list(images._with_stand_ins(sample)) for sample in (0, 16)]
    assert order == [[0, *range(1, 9)], [16, *range(9, 16)]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_class_of_broken_images_only_is_an_error(workers: int, damaged: Path):
    for path in (damaged / "class1").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ZooError, match=r"no image of .*/class1/.*'s class can be decoded") as told:
        list(skipping(training(damaged, workers)))
    assert "Traceback" not in str(told.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_images_are_left_out_of_an_evaluation(workers: int, damaged: Path, folder: Path, caplog):
    whole = torch.cat([images for images, _ in evaluation(folder)])
    loader = evaluation(damaged, workers, batch_size=1, policy="skip")
    for _ in range(2):
        batches = list(loader)
        # A batch of which nothing is left does not come at all.
        assert len(batches) == len(loader) - 3 == 34
        kept = [index for index in range(37) if index not in (3, 16, 17)]
        assert torch.equal(torch.cat([images for images, _ in batches]), whole[kept])
        assert torch.equal(torch.cat([labels for _, labels in batches]), listing(folder).labels[kept])
    lines = [record.message for record in caplog.records]
    assert len(lines) == 4
    assert lines[3] == "3 images cannot be decoded; it is left out"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_batches_on_a_gpu_are_those_on_the_cpu(folder: Path):
    batches = []
    for device in ("cpu", "cuda"):
        dataset = imagefolder(str(folder), batch_size=10, size=8, resize=10, augment=AUGMENT, workers=2)
        dataset.prepare()
        loaders = dataset.train_loader(device=device), dataset.test_loader(device=device)
        batches.append([batch for loader in loaders for batch in loader])
    assert all(images.is_cuda and labels.is_cuda for images, labels in batches[1])
    for (images, labels), (theirs, same_labels) in zip(*batches, strict=True):
        assert torch.equal(labels, same_labels.cpu())
        assert torch.allclose(images, theirs.cpu(), atol=1e-5)
