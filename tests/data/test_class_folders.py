"""Class folders are listed as torchvision lists them, compactly, and have one fingerprint."""

import os
import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from torchvision.datasets import ImageFolder

from zoo.data.class_folders import ImageFiles, class_folders, fingerprint, list_images
from zoo.errors import ZooError

# Names that sort differently as text, as paths or in another case; endings of all kinds.
TREE = [
    "a/2.jpg", "a/10.jpg", "a/B.PNG", "a/deep/er/x.jpeg", "a/deep-er/y.webp", "a/deep/z.Tif", "a/deep.jpg",
    "a b/1.bmp", "a-b/1.ppm", "A/1.pgm", "é/ü.tiff", "a/notes.txt", "A/jpg", "a-b/picture.gif",
]  # fmt: skip


def write(folder: Path, names: list[str]) -> Path:
    for size, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"." * size)  # listing never looks inside
    return folder


def listed(files: ImageFiles) -> list[tuple[str, int]]:
    return [(files.path(index), int(files.labels[index])) for index in range(len(files))]


def test_classes_labels_and_order_are_torchvision_s(tmp_path: Path):
    theirs = ImageFolder(str(write(tmp_path, TREE)))
    assert class_folders(tmp_path) == theirs.classes
    files = list_images(tmp_path, "", theirs.classes)
    assert listed(files) == theirs.samples
    assert files.labels.tolist() == theirs.targets


def test_a_split_is_a_folder_below(tmp_path: Path):
    theirs = ImageFolder(str(write(tmp_path / "train", TREE)))
    assert listed(list_images(tmp_path, "train", theirs.classes)) == theirs.samples


def test_what_is_hidden_does_not_count(tmp_path: Path):
    write(tmp_path, ["a/1.jpg", "a/._1.jpg", "a/.thumbnails/1.jpg", ".ipynb_checkpoints/1.jpg", "b/1.jpg", ".DS_Store"])
    assert class_folders(tmp_path) == ["a", "b"]
    files = list_images(tmp_path, "", ["a", "b"])
    assert [Path(path).relative_to(tmp_path).as_posix() for path, _ in listed(files)] == ["a/1.jpg", "b/1.jpg"]


def test_links_are_followed_and_one_that_leads_nowhere_is_listed(tmp_path: Path):
    write(tmp_path, ["elsewhere/1.jpg", "data/a/1.jpg"])
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/a/2.jpg").symlink_to(tmp_path / "gone.jpg")
    files = list_images(tmp_path / "data", "", class_folders(tmp_path / "data"))
    assert [(Path(path).name, label) for path, label in listed(files)] == [("1.jpg", 0), ("2.jpg", 0), ("1.jpg", 1)]


def test_a_subset_keeps_paths_and_labels(tmp_path: Path):
    files = list_images(write(tmp_path, TREE), "", class_folders(tmp_path))
    chosen = torch.tensor([0, 3, 4, 8])
    assert listed(files.subset(chosen)) == [listed(files)[index] for index in chosen]
    assert files.subset(chosen).lines() == [files.lines()[index] for index in chosen]


def test_a_class_without_images_is_named(tmp_path: Path):
    write(tmp_path, ["a/1.jpg", "b/readme.txt"])
    with pytest.raises(ZooError, match=r"/b holds no image"):
        list_images(tmp_path, "", ["a", "b"])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path):
    write(tmp_path, ["a/1.jpg"])
    (tmp_path / "a").chmod(0)
    with pytest.raises(ZooError, match="/a cannot be read: Permission denied"):
        list_images(tmp_path, "", ["a"])


def test_a_folder_that_has_gone_is_named(tmp_path: Path):
    with pytest.raises(ZooError, match="/a cannot be read: No such file"):
        list_images(tmp_path, "", ["a"])
    with pytest.raises(ZooError, match="/gone cannot be read: No such file"):
        class_folders(tmp_path / "gone")


def test_the_fingerprint_is_what_the_shell_makes_of_a_listing(tmp_path: Path):
    images = [name for name in TREE if not name.endswith((".txt", ".gif", "/jpg"))]
    for split in ("train", "val"):
        write(tmp_path / split, images)
    splits = [list_images(tmp_path, split, class_folders(tmp_path / split)) for split in ("val", "train")]
    command = r"find train val -type f -printf '%p %s\n' | LC_ALL=C sort | sha256sum"
    told = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert fingerprint(splits) == told.split()[0]
    (tmp_path / "val/a/2.jpg").write_bytes(b"changed")
    again = [list_images(tmp_path, split, class_folders(tmp_path / split)) for split in ("train", "val")]
    assert fingerprint(again) != fingerprint(splits)


def test_a_listing_takes_little_more_memory_than_its_names():
    names = [f"n{label:08d}/n{label:08d}_{number}.JPEG" for label in range(100) for number in range(200)]
    files = ImageFiles("/data/train", ((name, 100_000, index // 200) for index, name in enumerate(names)))
    assert files.path(12_345) == f"/data/train/{names[12_345]}"
    # Beside the name: 8 bytes each for its end, the file's size and the label.
    assert len(pickle.dumps(files)) < sum(map(len, names)) + 24 * len(names) + 2000


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, open_terminal):
    write(tmp_path, ["a/1.jpg", "b/1.jpg", "b/2.jpg"])
    list_images(tmp_path, "", ["a", "b"], quiet_seconds=0)
    assert capfd.readouterr().err == ""
    terminal = open_terminal()
    with os.fdopen(terminal.end, "w", closefd=False) as screen:
        monkeypatch.setattr("sys.stderr", screen)
        monkeypatch.setenv("TERM", "xterm")
        list_images(tmp_path, "", ["a", "b"])  # over before it is worth showing
        print("nothing yet", file=screen, flush=True)
        list_images(tmp_path, "", ["a", "b"], quiet_seconds=0)
    shown = terminal.read()
    assert shown.startswith("nothing yet")
    assert "3 images found in" in shown
