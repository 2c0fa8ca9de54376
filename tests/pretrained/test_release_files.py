"""Files that a release holds besides its weights, such as a vocabulary: vouched for by the card, published with it."""

import hashlib
from pathlib import Path

import pytest
from torch import nn

from zoo.data.vocabulary import VOCABULARY, Vocabulary
from zoo.errors import ZooError
from zoo.models.registry import create_model
from zoo.pretrained import card as card_module
from zoo.pretrained.pipelines import pipeline
from zoo.pretrained.publish import publish
from zoo.pretrained.release import load_release, read_card, read_files, save_release

FILES = {"vocabulary.json": b'{"tokens": []}', "notes.txt": "für später\n".encode(), "empty": b""}


@pytest.fixture
def with_files(tmp_path: Path, lenet: nn.Module) -> Path:
    card = {"task": "image_classification"}
    return save_release(tmp_path / "with_files", lenet, "lenet5_modern", {}, card, files=FILES)


def message(folder: Path) -> str:
    with pytest.raises(ZooError) as refused:
        read_files(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
    return str(refused.value)


def test_files_come_back_as_they_were(with_files: Path, release: Path):
    assert read_files(with_files) == FILES
    assert read_files(str(with_files)) == FILES
    assert read_files(release) == {}
    checksums = read_card(with_files)["sha256"]
    assert {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}.items() <= checksums.items()
    load_release(with_files)  # the weights need none of them


def test_a_release_saved_again_has_its_new_files_only(with_files: Path, lenet: nn.Module):
    save_release(with_files, lenet, "lenet5_modern", {}, {"task": "image_classification"}, files={"other": b"1"})
    assert read_files(with_files) == {"other": b"1"}
    assert {path.name for path in with_files.iterdir()} == {"card.json", "model.json", "model.safetensors", "other"}


def test_a_file_that_was_changed_or_lost_is_told(with_files: Path):
    (with_files / "notes.txt").write_text("for later\n")
    assert "notes.txt is damaged: its sha256 is not the one in card.json" in message(with_files)
    (with_files / "notes.txt").unlink()
    assert "is no complete release: notes.txt is missing; get the release anew" in message(with_files)


def test_a_file_of_absurd_size_is_not_read(with_files: Path, monkeypatch):
    monkeypatch.setattr(card_module, "_LARGEST_JSON", 10_000)
    (with_files / "notes.txt").write_bytes(b" " * 10_001)
    assert "notes.txt is larger than" in message(with_files)


@pytest.mark.parametrize("name", ["../notes.txt", "/etc/passwd", "folder/notes.txt", "..", "", "folder/.."])
def test_a_forged_card_reaches_no_file_outside(with_files: Path, name: str, forger):
    (with_files.parent / "notes.txt").write_bytes(FILES["notes.txt"])
    forger.rewrite(with_files, "card.json", lambda card: card["sha256"].update({name: "0" * 64}))
    told = message(with_files)
    assert "is no name of a file in it" in told or "is missing" in told


@pytest.mark.parametrize("checksum", [None, 3, [], "0" * 64])
def test_a_forged_checksum_is_refused(with_files: Path, checksum, forger):
    forger.rewrite(with_files, "card.json", lambda card: card["sha256"].update({"notes.txt": checksum}))
    assert "notes.txt is damaged" in message(with_files)


def test_a_published_release_keeps_its_files(tmp_path: Path, shelf: Path):
    vocabulary = Vocabulary(["<eos>", "it", "is", "<unk>"], "word")
    headline = {"metric": "test/perplexity", "value": 9.0, "direction": "min"}
    card = {"task": {"name": "language_modeling"}, "release": "lstm_char-tiny", "data": {"name": "textfile"},
            "metrics": {}, "headline": headline}  # fmt: skip
    arguments = {"vocabulary_size": 4, "width": 6}
    source = save_release(
        tmp_path / "source", create_model("lstm_char", **arguments), "lstm_char", arguments, card,
        files={VOCABULARY: vocabulary.to_json()},
    )  # fmt: skip
    folder = publish(source)
    assert folder == shelf / "lstm_char-tiny"
    assert read_files(folder) == read_files(source) == {VOCABULARY: vocabulary.to_json()}
    assert pipeline("lstm_char-tiny").vocabulary.tokens == vocabulary.tokens
