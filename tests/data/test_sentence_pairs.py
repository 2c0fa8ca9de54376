"""Sentence pairs: the standard splits of Multi30k, dates that are right, settings that make sense."""

import datetime
import gzip
import hashlib
import re
from pathlib import Path

import pytest

from zoo.data import download, sentence_pairs
from zoo.data.catalog import DATASETS
from zoo.data.registry import create_dataset
from zoo.data.sentence_pairs import LANGUAGES, MULTI30K_FILES, PairData
from zoo.data.sources import SourceFile
from zoo.errors import ZooError

Texts = list[tuple[str, str]]


def prepared(name: str, **settings) -> PairData:
    dataset = create_dataset(name, **settings)
    assert isinstance(dataset, PairData)
    dataset.prepare()
    return dataset


MULTI30K_ENDS = {
    "de": (
        "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
        "Ein Mann in Shorts und Hawaiihemd lehnt sich über das Geländer eines Lotsenboots, mit Nebel und Bergen im "
        "Hintergrund.",
        "Eine Gruppe von Männern lädt Baumwolle auf einen Lastwagen",
        "Zwei Frauen in Rot und ein Mann, der aus einer transportablen Toilette kommt.",
        "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
        "Ein Mädchen an einer Küste mit einem Berg im Hintergrund.",
    ),
    "en": (
        "Two young, White males are outside near many bushes.",
        "A man in shorts and a Hawaiian shirt leans over the rail of a pilot boat, with fog and mountains in the "
        "background.",
        "A group of men are loading cotton onto a truck",
        "Two women wearing red and a man coming out of a port-a-potty.",
        "A man in an orange hat starring at something.",
        "A girl at the shore of a beach with a mountain in the distance.",
    ),
    "fr": (
        "Deux jeunes hommes blancs sont dehors près de buissons.",
        "Un homme en short et chemise hawaïenne se penche par dessus le bastingage d'un bateau, avec le brouillard et "
        "les montagnes en arrière-plan.",
        "Un groupe d'hommes chargent du coton dans un camion",
        "Deux femmes portant du rouge et un homme sortant de toilettes portables.",
        "Un homme avec un chapeau orange regardant quelque chose.",
        "Une fille au bord d'une plage avec une montagne au loin.",
    ),
}


@pytest.mark.realdata
@pytest.mark.parametrize(("source", "target"), [("de", "en"), ("en", "fr")])
def test_multi30k_has_the_standard_splits(source: str, target: str, real_data: Path, splits):
    # Words are learnt faster than pieces of them; the splits are the same.
    dataset = prepared("multi30k", dir=str(real_data), source=source, target=target, tokenizer="word")
    found = splits(dataset)
    assert [len(split) for split in found] == [29_000, 1_014, 1_000]
    ends = [pair for split in found for pair in (split[0], split[-1])]
    assert ends == list(zip(MULTI30K_ENDS[source], MULTI30K_ENDS[target], strict=True))


@pytest.mark.realdata
def test_multi30k_is_what_the_catalog_says(real_data: Path, capsys: pytest.CaptureFixture[str]):
    dataset = create_dataset("multi30k", dir=str(real_data))
    assert dataset.prepare() == DATASETS["multi30k"].spec
    assert capsys.readouterr().out == "", "nothing is left out"
    names = [f"{split}.{language}" for split in ("train", "val", "test_2016_flickr") for language in ("de", "en")]
    assert list(dataset.checksums) == [f"multi30k/{name}" for name in names]
    assert sum((real_data / f"multi30k/{name}.gz").stat().st_size for name in names) == (
        DATASETS["multi30k"].download_bytes
    )


@pytest.fixture
def little_multi30k(server, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Serves files in place of Multi30k's; returns their lines."""
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    lines, files = {}, {}
    for name, count in (("train", 30), ("val", 4), ("test_2016_flickr", 3)):
        for language in LANGUAGES:
            own = [f"{language} {name} number {number} 's" for number in range(count)]
            content = "".join(f"{line}\n" for line in own).encode()
            digest = hashlib.sha256(content).hexdigest()
            key = f"{name}.{language}"
            files[key] = SourceFile(f"multi30k/{key}", server.address, len(content), digest)
            server.files[f"/{key}.gz"] = gzip.compress(content)
            lines[key] = own
    monkeypatch.setattr(sentence_pairs, "MULTI30K_FILES", files)
    return lines


def test_only_the_files_of_the_two_languages_are_downloaded(server, little_multi30k: dict[str, list[str]], splits):
    dataset = prepared("multi30k", source="fr", target="de")
    assert splits(dataset) == [
        list(zip(little_multi30k[f"{name}.fr"], little_multi30k[f"{name}.de"], strict=True))
        for name in ("train", "val", "test_2016_flickr")
    ]
    asked = [path for path, _ in server.requests]
    assert sorted(asked) == sorted(f"{file.path.removeprefix('multi30k')}.gz" for file in dataset.files)
    assert len(asked) == 6
    assert dataset.checksums == {file.path: file.sha256 for file in dataset.files}
    assert prepared("multi30k", source="fr", target="de").checksums == dataset.checksums
    assert len(server.requests) == 6, "they are kept"


def test_official_files_come_from_the_authors_repository():
    folder = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
    assert [MULTI30K_FILES[name].url for name in ("train.de", "test_2016_flickr.fr")] == [
        f"{folder}/train.de.gz", f"{folder}/test_2016_flickr.fr.gz",
    ]  # fmt: skip


def test_the_tokeniser_is_known_once_the_data_is_prepared():
    with pytest.raises(RuntimeError, match="comes first"):
        _ = create_dataset("dates").vocabulary


@pytest.fixture(scope="module")
def date_splits(splits) -> list[Texts]:
    return splits(prepared("dates"))


DATE_FORMATS = [
    "%d %B %Y", "%B %d, %Y", "%d %b %Y", "%b %d, %Y", "%A, %B %d, %Y", "%a %d %b %Y", "the %d of %B, %Y", "%d.%m.%Y",
    "%m/%d/%Y",
]  # fmt: skip


def read_date(written: str) -> tuple[datetime.date, str]:
    """Returns a date as Python reads it, and the format in which it is written."""
    without_endings = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", written)
    for form in DATE_FORMATS:
        try:
            return datetime.datetime.strptime(without_endings, form).date(), form
        except ValueError:
            continue
    raise AssertionError(f"{written!r} is no date")


def test_dates_mean_what_is_written(date_splits: list[Texts]):
    pairs = [pair for split in date_splits for pair in split]
    forms = set()
    for written, iso in pairs:
        date, form = read_date(written)
        assert date.isoformat() == iso
        forms.add(form)
        if form.startswith(("%A", "%a")):
            assert written.startswith(date.strftime("%A, " if form.startswith("%A") else "%a ").lower())
    assert forms == set(DATE_FORMATS)
    ordinals = {found for written, _ in pairs for found in re.findall(r"\d+[a-z]+", written)}
    teens = {f"{number}th" for number in (*range(4, 21), *range(24, 31))}
    assert ordinals == {"1st", "2nd", "3rd", "21st", "22nd", "23rd", "31st"} | teens


def test_the_splits_of_dates_are_fixed_and_disjoint(date_splits: list[Texts], splits):
    assert [len(split) for split in date_splits] == [20_000, 1_000, 1_000]
    assert len({iso for split in date_splits for _, iso in split}) == 22_000
    other = prepared("dates", seed=7, tokenizer="character", batch_size=512)
    assert splits(other) == date_splits
    assert [split[0] for split in date_splits] == [
        ("14.03.2005", "2005-03-14"), ("the 28th of july, 2044", "2044-07-28"), ("15 feb 2038", "2038-02-15"),
    ]  # fmt: skip


def test_dates_need_no_file():
    dataset = create_dataset("dates")
    assert dataset.prepare() == DATASETS["dates"].spec
    assert dataset.files == ()
    assert list(dataset.checksums) == ["sentences"]
    assert dataset.preprocessing == {"tokenizer": "bpe", "lowercase": True}
    assert dataset.class_names == []


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("multi30k", {"source": "en"}, r"data\.source and data\.target are both en: choose two languages"),
        ("multi30k", {"source": "cs"}, r"data\.source=cs is not possible: choose de, en, fr"),
        ("multi30k", {"target": "EN"}, r"data\.target=EN is not possible"),
        ("multi30k", {"tokenizer": "bpr"}, r"unknown data\.tokenizer 'bpr': did you mean bpe"),
        ("dates", {"tokenizer": "words"}, r"unknown data\.tokenizer 'words': did you mean word"),
        ("dates", {"batch_size": 7}, r"data\.batch_size=7 is not possible: expected 8 or more"),
        ("dates", {"vocabulary": 4}, r"data\.vocabulary=4 is not possible: expected 5 or more"),
        ("parallel_files", {"max_tokens": 0}, r"data\.max_tokens=0 is not possible: expected 1 or more"),
        ("parallel_files", {"validation_share": 0.0}, r"data\.validation_share=0.0 is not possible: expected a share"),
        ("parallel_files", {"test_share": 1.0}, r"data\.test_share=1.0 is not possible"),
        ("parallel_files", {"test_share": float("nan")}, r"data\.test_share=nan is not possible"),
    ],
)
def test_settings_that_make_no_sense(name: str, settings, told: str, one_line):
    with pytest.raises(ZooError, match=told) as error:
        create_dataset(name, **settings)
    assert one_line(error)
