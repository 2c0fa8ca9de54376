"""`zoo verify` sees what is damaged, what measures something else, and what it could not measure."""

import json
import shutil
from pathlib import Path

import pytest

from zoo.cli import main
from zoo.locations import shipped
from zoo.pretrained.hub import list_pretrained
from zoo.training import verify as verifying
from zoo.training.verify import Verdict, verify_release

# Of a network that is not small, or whose test split is not, it takes up to a minute; `zoo verify` has them all.
QUICK = ("lenet5", "dqn_mlp", "dqn_minatar")
RELEASES = [
    pytest.param(entry.name, marks=[] if entry.name.startswith(QUICK) else pytest.mark.slow)
    for entry in list_pretrained()
    if entry.source == "zoo"
]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A shipped release that may be changed, of a network that plays."""
    return shutil.copytree(shipped("pretrained") / "dqn_mlp-cartpole", tmp_path / "dqn_mlp-cartpole")


def change(folder: Path, **entries) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | entries))


def test_what_its_card_says_is_measured(copied: Path, capsys):
    change(copied, data=json.loads((copied / "card.json").read_text())["data"] | {"episodes": 1, "test_episodes": 2})
    assert main(["verify", str(copied)]) == 0
    shown = capsys.readouterr().out
    assert "✓  dqn_mlp-cartpole  eval/return" in shown
    assert shown.count("500") == 3  # in the record, on the card, now


def test_a_card_that_tells_something_else_is_seen(copied: Path, capsys):
    headline = {"metric": "eval/return", "value": 499.0, "direction": "max"}
    change(copied, headline=headline)
    assert main(["verify", str(copied)]) == 1
    assert "✗" in (shown := capsys.readouterr().out)
    assert "card and record differ" in shown
    data = json.loads((copied / "card.json").read_text())["data"] | {"episodes": 1, "test_episodes": 1}
    change(copied, experiment=None, data=data)
    assert verify_release(copied).wrong == "card and measurement differ"


def test_damaged_weights_are_seen(copied: Path):
    content = bytearray((copied / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copied / "model.safetensors").write_bytes(content)
    assert "sha256 is not the one" in verify_release(copied).wrong


def test_without_its_data_a_release_is_not_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    assert main(["verify", "lenet5-mnist"]) == 0
    assert "mnist is not here: make data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("precision", "native", "measured_in", "wrong_from"),
    [
        ("bf16-mixed", False, "32-true", 1e-2),
        ("bf16-mixed", True, "bf16-mixed", 1e-3),
        ("32-true", False, "32-true", 1e-3),
    ],
)
def test_what_was_measured_in_bfloat16_is_measured_in_float32_where_that_has_no_instructions(
    precision: str, native: bool, measured_in: str, wrong_from: float, copied: Path, monkeypatch: pytest.MonkeyPatch
):
    told = json.loads((copied / "card.json").read_text())["headline"]
    record = {"precision": precision, "headline": told}
    monkeypatch.setattr(verifying, "record_of", lambda card: record)
    monkeypatch.setattr(verifying, "computes_bfloat16", lambda: native)
    asked = []
    for off, wrong in ((0.9 * wrong_from, False), (1.1 * wrong_from, True)):

        def measure(folder: Path, words: list[str], off: float = off) -> tuple[dict[str, float]]:
            asked.extend(words)
            return ({told["metric"]: told["value"] * (1 - off)},)

        monkeypatch.setattr("zoo.training.evaluate.measure", measure)
        assert bool(verify_release(copied).wrong) == wrong
    assert asked == [f"trainer.precision={measured_in}"] * 2


def test_data_of_the_owner_is_not_looked_for():
    assert verifying._why_not("textfile", None) == "textfile is data of its owner's"
    assert "not this installation's" in verifying._why_not("my_data", None)
    assert verifying._why_not("digits", None) == ""


@pytest.mark.realdata
def test_a_run_s_own_folder_of_data_is_where_it_is_looked_for(tmp_path: Path, real_data: Path, monkeypatch):
    monkeypatch.delenv("ZOO_DATA")
    assert "mnist is not here" in verifying._why_not("mnist", None)
    assert verifying._why_not("mnist", str(real_data)) == ""
    assert verifying._why_not("imagefolder", str(real_data)) == ""


def test_each_row_stands_as_soon_as_it_is_measured(monkeypatch: pytest.MonkeyPatch, capsys):
    names, before = ["lenet5-mnist", "lstm_small-ptb"], []

    def verified(folder: Path) -> Verdict:
        before.append(capsys.readouterr().out)
        return Verdict(folder.name, "test/bits_per_character", told=1.234567)

    monkeypatch.setattr(verifying, "verify_release", verified)
    assert main(["verify", *names]) == 0
    rows = [*before, capsys.readouterr().out]
    assert "release" in rows[0]
    assert [name in row for name, row in zip(names, rows[1:], strict=True)] == [True, True]
    header, first, second = "".join(rows).splitlines()
    ends = {title: header.index(title) + len(title) for title in ("card", "record")}
    assert [row[: ends["card"]].endswith("  1.235") for row in (first, second)] == [True, True]
    assert [row[ends["record"] - 6 : ends["record"]].strip() for row in (first, second)] == ["", ""]


def test_without_releases_there_is_nothing_to_verify(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(verifying, "list_pretrained", lambda: [])
    assert main(["verify"]) == 0
    assert capsys.readouterr().out == "no releases yet\n"


def test_a_release_that_is_not_there_is_told(one_line_error):
    assert "did you mean lenet5-mnist" in one_line_error("verify", "lenet5-mnits")


@pytest.mark.realdata
@pytest.mark.parametrize("name", RELEASES)
def test_every_shipped_release_measures_what_it_says(name: str, real_data: Path):
    verdict = verify_release(shipped("pretrained") / name)
    assert not verdict.wrong
    assert verdict.now is not None, verdict.open
