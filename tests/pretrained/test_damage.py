"""Whatever happens to a file of a release, it is noticed or it changes no weight."""

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained.release import load_release, save_release

FILES = ("model.safetensors", "model.json", "card.json")
CARD = {"task": "image_classification"}
_INTACT: dict[str, tuple[Path, nn.Module]] = {}


def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A release that the examples of a property share and copy."""
    if not _INTACT:
        model = create_model("lenet5_modern")
        folder = tmp_path_factory.mktemp("intact") / "release"
        _INTACT["it"] = save_release(folder, model, "lenet5_modern", {"num_classes": 10}, CARD), model
    return _INTACT["it"]


class damaged:  # noqa: N801
    """A copy of a release in which one file holds something else."""

    def __init__(self, folder: Path, file: str, content: bytes) -> None:
        self.folder, self.file, self.content = folder, file, content

    def __enter__(self) -> Path:
        self.place = tempfile.TemporaryDirectory()
        copy = Path(self.place.name) / "release"
        shutil.copytree(self.folder, copy)
        (copy / self.file).write_bytes(self.content)
        return copy

    def __exit__(self, *_: object) -> None:
        self.place.cleanup()


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(
    forger, same, file: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    folder, model = intact(tmp_path_factory)
    content = (folder / file).read_bytes()
    with damaged(folder, file, content[: data.draw(st.integers(0, len(content) - 1))]) as copy:
        # Without its last line break a card is still the same card.
        if file == "card.json" and (copy / file).read_bytes() == content[:-1]:
            assert same(load_release(copy)[0], model)
        else:
            forger.message(copy)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_changes_no_weight(
    forger, same, file: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
):
    folder, model = intact(tmp_path_factory)
    content = bytearray((folder / file).read_bytes())
    # Headers and checksums at the beginning are the more interesting places.
    last = len(content) - 1
    place = data.draw(st.one_of(st.integers(0, last), st.integers(0, min(last, 800))))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with damaged(folder, file, bytes(content)) as copy:
        if file != "card.json":
            forger.message(copy)
            return
        # A misspelt remark in a card hurts no one: nothing else may change unseen.
        with contextlib.suppress(ZooError):
            assert same(load_release(copy)[0], model)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=25, deadline=None)
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(forger, file: str, content: bytes, tmp_path_factory: pytest.TempPathFactory):
    folder, _ = intact(tmp_path_factory)
    with damaged(folder, file, content) as copy:
        if file != "card.json":
            forger.vouch(copy, file)
        forger.message(copy)
