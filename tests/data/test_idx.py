"""The IDX reader takes what MNIST's files are and refuses the rest in one line."""

import pytest
import torch

from zoo.data.idx import parse_idx
from zoo.errors import ZooError

IMAGES = bytes([0, 0, 8, 3]) + bytes([0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3]) + bytes([1, 2, 3, 4, 5, 255])


def test_values_and_shape():
    expected = torch.tensor([[[1, 2, 3]], [[4, 5, 255]]], dtype=torch.uint8)
    assert torch.equal(parse_idx(IMAGES, "f"), expected)


def test_reader_agrees_with_torchvision(tmp_path):
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

    (tmp_path / "f").write_bytes(IMAGES)
    assert torch.equal(parse_idx(IMAGES, "f"), read_sn3_pascalvincent_tensor(str(tmp_path / "f")))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no IDX file"),
        (b"\x00\x00", "no IDX file"),
        (b"PK\x03\x04" + IMAGES, "no IDX file"),
        (bytes([0, 0, 13, 3]) + IMAGES[4:], "no IDX file"),
        (IMAGES[:10], "within its header"),
        (IMAGES[:-1], "holds 5 values where its header says 6"),
        (IMAGES + b"x", "holds 7 values where its header says 6"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "header says"),
    ],
)
def test_other_files_are_refused(content, reason):
    with pytest.raises(ZooError, match=rf"some-file.*{reason}") as error:
        parse_idx(content, "some-file")
    assert "delete it" in str(error.value)
