"""metrics.csv against a plain list of rows, whatever is appended and however often a run goes back."""

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import ZooError
from zoo.training.metrics_file import LEADING_COLUMNS, MetricsFile

NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9)
NAMES = st.sampled_from(["train/loss", "val/error", "lr", "a,b", 'quo"te', "ü"])
ROWS = st.builds(
    lambda kind, epoch, metrics: {"row": kind, "epoch": epoch, "step": 7 * epoch, **metrics},
    st.sampled_from(["step", "epoch", "test"]),
    st.integers(0, 50),
    st.dictionaries(NAMES, NUMBERS, max_size=4),
)
ACTIONS = st.lists(st.tuples(st.just("append"), ROWS) | st.tuples(st.just("truncate"), st.integers(0, 12)), max_size=20)


def read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or []), list(reader)


@settings(max_examples=40)
@given(ACTIONS, st.booleans())
def test_the_file_holds_exactly_the_rows_that_were_kept(actions, reopened: bool):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics.csv"
        file, kept = MetricsFile(path), []
        for action, what in actions:
            if reopened:
                file = MetricsFile(path)
            if action == "append":
                file.append(what)
                kept.append(what)
            else:
                file.truncate(what)
                kept = kept[:what]
            assert file.rows == len(kept)
        if not path.exists():
            assert kept == []
            return
        columns, rows = read(path)
        assert set(columns) == {*LEADING_COLUMNS, *(name for row in kept for name in row)}
        assert tuple(columns[:3]) == LEADING_COLUMNS
        # Numbers come back exactly.
        assert rows == [{name: str(row.get(name, "")) for name in columns} for row in kept]
        assert MetricsFile(path).rows == len(kept)


@settings(max_examples=40)
@given(st.lists(ROWS, min_size=1, max_size=12), st.data())
def test_going_back_and_on_gives_the_same_bytes_as_never_having_stopped(rows, data):
    with tempfile.TemporaryDirectory() as folder:
        straight, killed = MetricsFile(Path(folder) / "a.csv"), MetricsFile(Path(folder) / "b.csv")
        for row in rows:
            straight.append(row)
        written = data.draw(st.integers(0, len(rows)))
        for row in rows[:written]:
            killed.append(row)
        saved = data.draw(st.integers(0, written))
        resumed = MetricsFile(killed.path)
        resumed.truncate(saved)
        for row in rows[saved:]:
            resumed.append(row)
        assert killed.path.read_bytes() == straight.path.read_bytes()


def test_appending_leaves_what_is_there_untouched(tmp_path: Path):
    file = MetricsFile(tmp_path / "metrics.csv")
    file.append({"row": "step", "epoch": 0, "step": 1, "lr": 0.1})
    before = file.path.stat().st_ino
    file.append({"row": "step", "epoch": 0, "step": 2, "lr": 0.1})
    assert file.path.stat().st_ino == before
    assert file.path.read_text() == "row,epoch,step,lr\nstep,0,1,0.1\nstep,0,2,0.1\n"


def test_a_last_row_cut_short_by_a_kill_goes_with_the_rows_after_the_checkpoint(tmp_path: Path):
    file = MetricsFile(tmp_path / "metrics.csv")
    for step in (1, 2):
        file.append({"row": "step", "epoch": 0, "step": step, "lr": 0.1})
    with file.path.open("a") as raw:
        raw.write("step,0")
    resumed = MetricsFile(file.path)
    resumed.truncate(2)
    resumed.append({"row": "step", "epoch": 0, "step": 3, "lr": 0.1})
    assert [row["step"] for row in read(file.path)[1]] == ["1", "2", "3"]


def test_a_file_that_cannot_be_written_is_told_in_a_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="cannot write"):
        MetricsFile(tmp_path / "file" / "metrics.csv").append({"row": "step", "epoch": 0, "step": 1})
