"""The tables say what the records say: means and spreads by hand, nothing rounded away."""

import copy
import math
from typing import Any

import pytest

from zoo.errors import ZooError
from zoo.training import tables
from zoo.training.records import make_record
from zoo.training.tables import (
    BEGIN,
    END,
    decimals,
    long_page,
    mean_and_spread,
    measured,
    readme_with_results,
    short_part,
    short_table,
    unit_text,
)


@pytest.fixture(scope="module")
def records(trained) -> dict[str, list[dict[str, Any]]]:
    """Three seeds, made from one real record: errors 0.90, 1.00 and 1.25 percent, 30, 60 and 120 seconds."""
    record = make_record(trained.run)
    group = []
    for seed, (error, seconds) in enumerate(((0.90, 30), (1.00, 60), (1.25, 120)), 1):
        one = copy.deepcopy(record) | {"seed": seed, "duration_s": seconds}
        one["metrics"]["test/error"] = one["headline"]["value"] = error
        one["dirty"] = False
        one["command"] = f"zoo train experiment=lenet5_modern_tiny seed={seed}"
        group.append(one)
    return {"lenet5_modern_tiny": group}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_mean_and_the_sample_standard_deviation():
    mean = (0.90 + 1.00 + 1.25) / 3
    spread = math.sqrt(((0.90 - mean) ** 2 + (1.00 - mean) ** 2 + (1.25 - mean) ** 2) / 2)
    assert (mean, spread) == (pytest.approx(1.05), pytest.approx(0.180278, abs=1e-6))
    assert mean_and_spread([0.90, 1.00, 1.25], 3) == "1.050 ± 0.180"
    assert mean_and_spread([0.925], 2) == "0.93"


@pytest.mark.parametrize(("reported", "digits"), [(0.95, 3), (0.8, 2), (5, 1), (28.4, 2), (0.0, 2)])
def test_ours_has_one_digit_more_than_the_paper_printed(reported: float, digits: int):
    assert decimals(reported) == digits


def test_units():
    assert unit_text({"unit": "percent"}) == " %"
    assert unit_text({"unit": "nats"}) == " nats"


def test_readme_s_row(records):
    header, _, row = short_table(records).splitlines()
    shown = dict(zip(cells(header), cells(row), strict=True))
    assert shown == {
        "experiment": "`lenet5_modern_tiny`",
        "published in": "LeCun 1998, Section III.B, Figure 9",
        "published": "0.95 %",
        "ours": "**1.050 ± 0.180** %",
        "seeds": "3",
        "protocol": "reduced",
        "training takes": "1 min",  # 70 s
        "release": "not shipped: `python scripts/reproduce.py lenet5_modern_tiny --seeds 1`",
    }


def test_a_shipped_release_is_named(records):
    of_shipped = copy.deepcopy(records)
    for record in of_shipped["lenet5_modern_tiny"]:
        record["release"] = "lenet5_modern-mnist"
    assert cells(short_table(of_shipped).splitlines()[-1])[-1] == "`lenet5_modern-mnist`"


def test_several_claims_are_several_rows(records):
    several = copy.deepcopy(records)
    for record in several["lenet5_modern_tiny"]:
        record["claim"] = [record["claim"], record["claim"] | {"metric": "test/accuracy", "reported": 99.05}]
        record["metrics"]["test/accuracy"] = 100 - record["metrics"]["test/error"]
    rows = short_table(several).splitlines()[2:]
    assert ["**1.050 ± 0.180** %" in rows[0], "**98.950 ± 0.180** %" in rows[1]] == [True, True]
    assert measured(several["lenet5_modern_tiny"], {"metric": "test/accuracy", "reported": 99}) == "99.0 ± 0.2"


def test_a_number_of_another_paper_is_marked(records):
    assert "†" not in short_part(records)
    other = copy.deepcopy(records)
    for record in other["lenet5_modern_tiny"]:
        record["claim"]["paper"] = "liu2017"
    row, note = short_part(other).splitlines()[2:5:2]
    assert "| Liu 2017, Section III.B, Figure 9 | 0.95 % † |" in row
    assert note.startswith("† Not a number of the network's own paper")


def test_claims_are_worded_as_the_experiment_s_file_words_them(records):
    known = copy.deepcopy(records)
    for record in known["lenet5_modern_tiny"]:
        record["experiment"] = "lenet5_modern_mnist"
    assert "reduced: another network than the paper's" in long_page(known)
    assert "reduced: two passes" not in long_page(known)


def test_code_that_was_changed_is_told(records):
    assert "` and changes |" not in long_page(records)
    changed = copy.deepcopy(records)
    for record in changed["lenet5_modern_tiny"]:
        record["dirty"] = True
    assert long_page(changed).count("` and changes |") == 3


def test_the_long_page_shows_every_seed_with_its_command(records):
    page = long_page(records)
    assert "## lenet5_modern_tiny" in page
    assert "reduced: two passes" in page
    for record in records["lenet5_modern_tiny"]:
        assert f"`{record['command']}` | {record['headline']['value']:.4g} |" in page
        assert record["weights_sha256"][:12] in page
    assert page.count("\n\n\n") == 0


def test_the_long_page_says_why_a_number_was_missed(records):
    assert "Ours is worse than the published 0.95 %. Not explained yet." in long_page(records)
    explained = copy.deepcopy(records)
    for record in explained["lenet5_modern_tiny"]:
        record["claim"]["miss"] = "Two passes are few."
    assert "Ours is worse than the published 0.95 %. Two passes are few." in long_page(explained)
    better = copy.deepcopy(records)
    for record in better["lenet5_modern_tiny"]:
        record["metrics"]["test/error"] = 0.9
    assert "Ours is worse" not in long_page(better)


def test_readme_says_why_a_number_was_missed_and_what_has_none(records, monkeypatch: pytest.MonkeyPatch):
    part = short_part(records)
    assert part.startswith(short_table(records))
    assert "- `lenet5_modern_tiny`: Ours is worse than the published 0.95 %. Not explained yet." in part
    assert "No network of these papers has a record yet: " in part
    assert "LeCun 1998" in part.splitlines()[-1], "the experiment recorded here is none of the shipped ones"
    monkeypatch.setattr(tables, "experiments", lambda: {})
    assert "has a record yet" not in short_part(records)
    for record in (better := copy.deepcopy(records))["lenet5_modern_tiny"]:
        record["metrics"]["test/error"] = 0.9
    assert short_part(better) == short_table(better)


def test_the_results_stand_between_their_markers_and_nothing_else_changes(records):
    readme = f"# A\n\n{BEGIN}\nold\n{END}\n\nmore \\1 text\n"
    renewed = readme_with_results(readme, records)
    assert renewed == f"# A\n\n{BEGIN}\n{short_part(records)}\n{END}\n\nmore \\1 text\n"
    assert readme_with_results(renewed, records) == renewed
    with pytest.raises(ZooError, match="lost the markers"):
        readme_with_results("# A\n", records)
