"""Archives that are damaged or malicious: nothing of them is believed, and nothing leaves its place."""

import gzip
import hashlib
import tarfile
import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data.archives import Archive, Member
from zoo.data.sources import data_cache
from zoo.errors import ZooError

SECOND = "toy-files/second"


def header(name, kind=tarfile.REGTYPE, size=0, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, link
    return entry


def second(entry, content=b""):
    """Says how to pack the toy's files with another second one."""
    return lambda toy: toy.tar([(entry, content) if name == SECOND else (name, toy.files[name]) for name in toy.files])


def long_name_bomb():
    """A header that asks for a name of a gigabyte, and zeros without end behind it."""
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(50 << 20))


def strange_header():
    """Extended headers whose size is no number, before the first file."""
    entry = tarfile.TarInfo("toy-files/first")
    entry.pax_headers = {"size": "many"}
    return gzip.compress(entry.tobuf(tarfile.PAX_FORMAT) + bytes(10_240))


# How to damage it, and what is said of it then.
DAMAGED = {
    "empty": (lambda toy: b"", "does not hold|no tar archive"),
    "no archive": (lambda toy: b"no archive at all, but longer than a block of a tar archive" * 100, "no tar archive"),
    "cut": (lambda toy: toy.packed[: len(toy.packed) // 2], "cannot be decompressed"),
    "cut before its end": (lambda toy: toy.tar(toy.files.items(), "w:")[:-130_000], "breaks off"),
    "changed": (lambda toy: toy.packed[:90_000] + b"????" + toy.packed[90_004:], "cannot be decompressed|sha256"),
    "a file missing": (lambda toy: toy.tar([*toy.files.items()][:1]), f"does not hold {SECOND}"),
    "a file elsewhere": (lambda toy: toy.tar([(f"x/{path}", toy.files[path]) for path in toy.files]), "does not hold"),
    "too short": (second(SECOND, b"short"), "second has 5 instead of 120,000 bytes"),
    "too long": (second(SECOND, bytes(120_001)), "second has 120,001 instead of 120,000 bytes"),
    "other content": (second(SECOND, bytes(120_000)), "sha256 of its toy-files/second is"),
    "symbolic link": (second(header(SECOND, tarfile.SYMTYPE, link="/etc/passwd")), "no regular file"),
    "hard link": (second(header(SECOND, tarfile.LNKTYPE, link="toy-files/first")), "no regular file"),
    "folder": (second(header(SECOND, tarfile.DIRTYPE)), "no regular file"),
    "device": (second(header(SECOND, tarfile.CHRTYPE)), "no regular file"),
    "strange header": (lambda toy: strange_header(), "first has 0 instead of 150,000 bytes"),
    "bomb": (lambda toy: toy.tar([("big", bytes(50 << 20)), *toy.files.items()]), "holds more than the expected"),
    "bomb in a name": (lambda toy: long_name_bomb(), "holds more than the expected"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_named_and_nothing_of_it_is_believed(toy, folder, case, server, below, one_line):
    damage, message = DAMAGED[case]
    body = damage(toy)
    (folder / "toy.tar.gz").write_bytes(body)
    with pytest.raises(ZooError, match=message) as error:
        toy.contents(folder)
    assert one_line(error).startswith(f"{folder / 'toy.tar.gz'} is damaged: ")
    assert f"delete it, and a fresh copy is downloaded from {toy.archive.url}" in str(error.value)
    assert (folder / "toy.tar.gz").read_bytes() == body
    # What was right may stay; it is not enough to be believed.
    left = below(data_cache())
    assert set(left) < set(toy.files)
    assert all((data_cache() / path).read_bytes() == toy.files[path] for path in left)
    (folder / "toy.tar.gz").unlink()
    assert toy.contents(folder) == toy.files


SMALL = {"a": b"first", "b": b"second" * 50}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    changes=st.lists(st.tuples(st.integers(0, 7000), st.integers(0, 255)), max_size=6),
    checksums=st.booleans(),
    length=st.integers(0, 20_000) | st.none(),
)
def test_any_damage_is_noticed(toy, tmp_path, kind, changes, checksums, length, below):
    """Whatever is changed, an archive is unpacked rightly or refused; no other error, no other file."""
    body = bytearray(toy.tar([("long" * 40, b"x"), ("ä" * 60, b"y"), *SMALL.items()], "w:", format=kind))
    for position, value in changes:
        body[position % len(body)] = value
    if checksums:  # of the headers, so that what is in them is believed
        for start in range(0, len(body), 512):
            block = body[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                body[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    members = tuple(Member(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in SMALL.items())
    folder = tmp_path / str(uuid.uuid4())
    folder.mkdir()
    (folder / "small.tar").write_bytes(body[:length])
    archive = Archive("small.tar", "http://127.0.0.1:9", len(body), "", members)
    refused = ""
    try:
        archive.unpack(folder / "small.tar", folder)
    except ZooError as error:
        refused = str(error)
    assert archive.is_unpacked(folder) != ("small.tar is damaged: " in refused)
    found = {path: (folder / path).read_bytes() for path in below(folder)}
    assert found.pop("small.tar") == body[:length]
    assert found.items() <= SMALL.items()


def test_whatever_else_an_archive_holds_stays_in_it(toy, folder, tmp_path, below):
    evil = ["../evil", "../../evil", str(tmp_path / "evil"), "toy-files/../../evil", "toy-files/extra"]
    entries = [(name, b"evil") for name in evil]
    entries += [(header("toy-files/link", tarfile.SYMTYPE, link=str(tmp_path)), b""), ("toy-files/link/evil", b"evil")]
    (folder / "toy.tar.gz").write_bytes(toy.tar([*entries, *toy.files.items()]))
    before = set(below(tmp_path))
    assert toy.contents(folder) == toy.files
    assert set(below(tmp_path)) - before == {f"cache/data/{path}" for path in toy.files}


def test_a_damaged_unpacked_file_is_named_with_the_way_out(toy, folder, one_line):
    (folder / "toy.tar.gz").write_bytes(toy.packed)
    toy.contents(folder)
    damaged = data_cache() / SECOND
    damaged.write_bytes(bytes(120_000))
    with pytest.raises(ZooError, match="the sha256 of its content is") as error:
        toy.contents(folder)
    assert one_line(error).startswith(f"{damaged} is damaged")
    assert "unpacked from toy.tar or downloaded from" in str(error.value)
    damaged.unlink()
    assert toy.contents(folder) == toy.files


def test_a_checksum_may_be_of_another_algorithm(toy, folder, below):
    (folder / "toy.tar.gz").write_bytes(toy.packed)

    def with_md5_of(content):
        first, *others = toy.archive.members
        first = replace(first, checksum=f"md5:{hashlib.md5(content).hexdigest()}")
        return replace(toy, archive=replace(toy.archive, members=(first, *others)))

    right = with_md5_of(toy.files["toy-files/first"])
    assert right.contents(folder) == toy.files
    assert right.archive.checksums["toy-files/first"].startswith("md5:")
    wrong = with_md5_of(b"")
    with pytest.raises(ZooError, match="the md5 of its content is"):
        wrong.contents(folder)
    for path in below(data_cache()):
        (data_cache() / path).unlink()
    with pytest.raises(ZooError, match="the md5 of its toy-files/first is"):
        wrong.contents(folder)
