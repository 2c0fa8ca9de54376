"""Archives: found, unpacked once, downloaded; killed in the middle, damaged, malicious."""

import gzip
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tarfile
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data import archives, download
from zoo.data.archives import Archive, Member, read_members
from zoo.data.sources import data_cache, places
from zoo.errors import ZooError


def tar_bytes(entries: list[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w:gz", **options: Any) -> bytes:
    """Returns a tar archive with these entries, each with a name or a header of its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name) if isinstance(name, str) else name
            if entry.isreg():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


FILES = {
    "toy-files/first": random.Random(1).randbytes(150_000),
    "toy-files/second": b"two" * 40_000,
    "toy-files/third": b"3",
}
PACKED = tar_bytes([("toy-files/readme.html", b"<p>"), *FILES.items()])
URL_PATH = "/files/toy.tar.gz"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def made(address="http://127.0.0.1:9/files/", **checksums):
    members = (Member(path, len(content), checksums.get(path[10:], sha256(content))) for path, content in FILES.items())
    return Archive("toy.tar", address, len(PACKED), hashlib.md5(PACKED).hexdigest(), tuple(members))


@pytest.fixture
def toy(server, monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    server.files[URL_PATH] = PACKED
    return made(f"{server.address}/files/")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def contents(archive, directory=None):
    return dict(zip([member.path for member in archive.members], read_members(archive, directory), strict=True))


def below(path):
    """Names all files below a folder but locks."""
    return sorted(
        str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir() and file.suffix != ".lock"
    )


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_unpacked_files_are_read_where_they_are(toy, folder, server):
    for path, content in FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    assert toy.find([folder]) == folder / "toy-files"
    assert contents(toy, str(folder)) == FILES
    assert server.requests == []
    assert not data_cache().exists()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("toy.tar.gz", "w:gz"),
        ("toy.tar.xz", "w:xz"),
        ("toy.tar", "w:"),
        ("toy.tar.gz", "w:"),  # browsers like to unpack the outer layer and keep the name
        ("toy.tar", "w:gz"),
    ],
)
def test_an_archive_in_a_read_only_folder_is_unpacked_into_the_cache_once(toy, folder, name, mode, server):
    (folder / name).write_bytes(tar_bytes([("./" + path, content) for path, content in FILES.items()], mode))
    folder.chmod(0o555)
    try:
        assert toy.find([folder]) == folder / name
        assert contents(toy, str(folder)) == FILES
        assert below(folder) == [name]
    finally:
        folder.chmod(0o755)
    assert below(data_cache()) == sorted(FILES)
    # From now on the archive is not read any more.
    (folder / name).write_bytes(b"nothing")
    assert contents(toy, str(folder)) == FILES
    assert toy.find(places(str(folder))) == data_cache() / "toy-files"
    assert server.requests == []


def test_an_archive_in_the_cache_is_found(toy, server):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz").write_bytes(PACKED)
    assert contents(toy) == FILES
    assert server.requests == []


def test_a_download_leaves_the_files_alone(toy, server, folder):
    assert contents(toy, str(folder)) == FILES
    assert contents(toy) == FILES
    assert server.requests == [(URL_PATH, None)]
    assert below(data_cache()) == sorted(FILES)
    assert below(folder) == []


def test_a_download_goes_where_it_is_told_to(toy, folder):
    assert toy.fetch(folder / "new", [folder]) == folder / "new/toy-files"
    assert below(folder / "new") == sorted(FILES)
    assert not data_cache().exists()


def test_a_download_that_breaks_off_is_continued(toy, server):
    server.faults = [("cut", 100_000), 500]
    assert contents(toy) == FILES
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=100000-"]


def test_the_mirror_takes_the_place_of_the_official_server(toy, server, monkeypatch):
    server.files = {"/mirror/toy.tar.gz": PACKED}
    monkeypatch.setenv("ZOO_MIRROR", f"{server.address}/mirror/")
    assert contents(toy) == FILES


def test_a_whole_download_whose_unpacking_was_interrupted_is_not_downloaded_again(toy, server):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz.part").write_bytes(PACKED)
    server.files = {}
    assert contents(toy) == FILES
    assert below(data_cache()) == sorted(FILES)


def test_a_part_of_another_day_is_thrown_away(toy, server):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz.part").write_bytes(b"rubbish" * 100)
    assert contents(toy) == FILES


@pytest.mark.parametrize(
    "body",
    [b"<html>sign in</html>", PACKED[:-500], gzip.compress(b"no tar" * 1000)],
    ids=["a page", "cut short", "not a tar"],
)
def test_a_wrong_download_is_refused_and_not_kept(toy, server, body):
    server.faults = [("wrong", body)]
    with pytest.raises(ZooError, match="what came is not the archive"):
        contents(toy)
    assert [path for path in below(data_cache()) if path.endswith((".part", ".gz"))] == []
    assert contents(toy) == FILES


def test_a_download_that_is_too_long_is_refused(toy, server):
    server.files[URL_PATH] = bytes(sum(map(len, FILES.values())) + archives._SLACK + 1)
    with pytest.raises(ZooError, match="bytes where at most"):
        contents(toy)


def test_without_a_network_the_line_says_everything(toy, server, folder):
    server.files = {}
    with pytest.raises(ZooError) as error:
        contents(toy, str(folder))
    for part in ("toy.tar(.gz, .xz)", "toy-files", str(folder), str(data_cache()), toy.url, toy.md5, "data.dir"):
        assert part in one_line(error)


def test_a_cache_that_cannot_be_written_is_told(toy, folder, monkeypatch):
    (folder / "toy.tar.gz").write_bytes(PACKED)
    (folder / "occupied").write_text("a file")
    monkeypatch.setenv("ZOO_CACHE", str(folder / "occupied"))
    with pytest.raises(ZooError, match=r"cannot be unpacked into .*: Not a directory; .*ZOO_CACHE") as error:
        contents(toy, str(folder))
    assert one_line(error).startswith(str(folder / "toy.tar.gz"))


def header(name, kind=tarfile.REGTYPE, size=0, link=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, link
    return entry


def replaced(path, entry, content=b""):
    return tar_bytes([(entry, content) if name == path else (name, held) for name, held in FILES.items()])


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


SECOND = "toy-files/second"
DAMAGED = {
    "empty": (b"", "does not hold|no tar archive"),
    "no archive": (b"no archive at all, but longer than a block of a tar archive" * 100, "no tar archive"),
    "cut": (PACKED[: len(PACKED) // 2], "cannot be decompressed"),
    "cut before its end": (tar_bytes(list(FILES.items()), "w:")[:-130_000], "breaks off"),
    "changed": (PACKED[:90_000] + b"????" + PACKED[90_004:], "cannot be decompressed|sha256"),
    "a file missing": (tar_bytes([("toy-files/first", FILES["toy-files/first"])]), f"does not hold {SECOND}"),
    "a file elsewhere": (tar_bytes([(f"x/{path}", content) for path, content in FILES.items()]), "does not hold"),
    "too short": (replaced(SECOND, SECOND, b"short"), "second has 5 instead of 120,000 bytes"),
    "too long": (replaced(SECOND, SECOND, bytes(120_001)), "second has 120,001 instead of 120,000 bytes"),
    "other content": (replaced(SECOND, SECOND, bytes(120_000)), "sha256 of its toy-files/second is"),
    "symbolic link": (replaced(SECOND, header(SECOND, tarfile.SYMTYPE, link="/etc/passwd")), "no regular file"),
    "hard link": (replaced(SECOND, header(SECOND, tarfile.LNKTYPE, link="toy-files/first")), "no regular file"),
    "folder": (replaced(SECOND, header(SECOND, tarfile.DIRTYPE)), "no regular file"),
    "device": (replaced(SECOND, header(SECOND, tarfile.CHRTYPE)), "no regular file"),
    "strange header": (strange_header(), "first has 0 instead of 150,000 bytes"),
    "bomb": (tar_bytes([("big", bytes(50 << 20)), *FILES.items()]), "holds more than the expected"),
    "bomb in a name": (long_name_bomb(), "holds more than the expected"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_archive_is_named_and_nothing_of_it_is_believed(toy, folder, case, server):
    body, message = DAMAGED[case]
    (folder / "toy.tar.gz").write_bytes(body)
    with pytest.raises(ZooError, match=message) as error:
        contents(toy, str(folder))
    assert one_line(error).startswith(f"{folder / 'toy.tar.gz'} is damaged: ")
    assert f"delete it, and a fresh copy is downloaded from {toy.url}" in str(error.value)
    assert (folder / "toy.tar.gz").read_bytes() == body
    # What was right may stay; it is not enough to be believed.
    left = below(data_cache())
    assert set(left) < set(FILES)
    assert all((data_cache() / path).read_bytes() == FILES[path] for path in left)
    (folder / "toy.tar.gz").unlink()
    assert contents(toy, str(folder)) == FILES


SMALL = {"a": b"first", "b": b"second" * 50}
SMALL_TAR = {
    kind: bytearray(tar_bytes([("long" * 40, b"x"), ("ä" * 60, b"y"), *SMALL.items()], "w:", format=kind))
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(list(SMALL_TAR)),
    changes=st.lists(st.tuples(st.integers(0, 7000), st.integers(0, 255)), max_size=6),
    checksums=st.booleans(),
    length=st.integers(0, 20_000) | st.none(),
)
def test_any_damage_is_noticed(tmp_path, kind, changes, checksums, length):
    """Whatever is changed, an archive is unpacked rightly or refused; no other error, no other file."""
    body = bytearray(SMALL_TAR[kind])
    for position, value in changes:
        body[position % len(body)] = value
    if checksums:  # of the headers, so that what is in them is believed
        for start in range(0, len(body), 512):
            block = body[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                body[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    members = tuple(Member(path, len(content), sha256(content)) for path, content in SMALL.items())
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


def test_whatever_else_an_archive_holds_stays_in_it(toy, folder, tmp_path):
    evil = ["../evil", "../../evil", str(tmp_path / "evil"), "toy-files/../../evil", "toy-files/extra"]
    entries = [(name, b"evil") for name in evil]
    entries += [(header("toy-files/link", tarfile.SYMTYPE, link=str(tmp_path)), b""), ("toy-files/link/evil", b"evil")]
    (folder / "toy.tar.gz").write_bytes(tar_bytes([*entries, *FILES.items()]))
    before = set(below(tmp_path))
    assert contents(toy, str(folder)) == FILES
    assert set(below(tmp_path)) - before == {f"cache/data/{path}" for path in FILES}


def test_a_damaged_unpacked_file_is_named_with_the_way_out(toy, folder):
    (folder / "toy.tar.gz").write_bytes(PACKED)
    contents(toy, str(folder))
    damaged = data_cache() / SECOND
    damaged.write_bytes(bytes(120_000))
    with pytest.raises(ZooError, match="the sha256 of its content is") as error:
        contents(toy, str(folder))
    assert one_line(error).startswith(f"{damaged} is damaged")
    assert "unpacked from toy.tar or downloaded from" in str(error.value)
    damaged.unlink()
    assert contents(toy, str(folder)) == FILES


def test_a_checksum_may_be_of_another_algorithm(folder):
    (folder / "toy.tar.gz").write_bytes(PACKED)
    right = made(first=f"md5:{hashlib.md5(FILES['toy-files/first']).hexdigest()}")
    assert contents(right, str(folder)) == FILES
    assert right.checksums["toy-files/first"].startswith("md5:")
    wrong = made(first=f"md5:{hashlib.md5(b'').hexdigest()}")
    with pytest.raises(ZooError, match="the md5 of its content is"):
        contents(wrong, str(folder))
    for path in below(data_cache()):
        (data_cache() / path).unlink()
    with pytest.raises(ZooError, match="the md5 of its toy-files/first is"):
        contents(wrong, str(folder))


# What the other processes of the tests below run; `Archive(...)` writes itself.
PROGRAM = """\
import os, signal, sys
from zoo.data import archives
from zoo.data.archives import Archive, Member, read_members
{prepare}
archive = {archive!r}
print(sum(len(content) for content in read_members(archive, sys.argv[1])))
assert "torch" not in sys.modules
"""

KILL = """\
left = {reads}
archives._CHUNK = 10_240
read = archives._Bounded.read
def killed(self, size):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, size)
archives._Bounded.read = killed
"""


def other_process(archive, directory, prepare="", **options):
    program = PROGRAM.format(archive=archive, prepare=prepare)
    return subprocess.Popen([sys.executable, "-c", program, str(directory)], text=True, **options)


@pytest.mark.parametrize("reads", [0, 8, 20, 26])
def test_killed_in_the_middle_nothing_half_done_is_believed(toy, folder, reads):
    # Plain, so that what is read is what has been written.
    (folder / "toy.tar").write_bytes(tar_bytes(list(FILES.items()), "w:"))
    killed = other_process(toy, folder, KILL.format(reads=reads))
    assert killed.wait(60) == -signal.SIGKILL
    assert not toy.is_unpacked(data_cache())
    for path in set(below(data_cache())) & set(FILES):
        assert (data_cache() / path).read_bytes() == FILES[path]
    assert contents(toy, str(folder)) == FILES
    assert below(data_cache()) == sorted(FILES)


def test_processes_unpack_once(toy, folder):
    (folder / "toy.tar.xz").write_bytes(tar_bytes(list(FILES.items()), "w:xz"))
    note = """\
unpack = Archive._unpack
def noted(self, packed, folder):
    print("unpacking")
    unpack(self, packed, folder)
Archive._unpack = noted
"""
    jobs = [other_process(toy, folder, note, stdout=subprocess.PIPE) for _ in range(3)]
    lines = sorted(line for job in jobs for line in job.communicate(timeout=60)[0].split())
    assert lines == [str(sum(map(len, FILES.values())))] * 3 + ["unpacking"]


def test_progress_is_shown_on_a_terminal_if_it_takes_a_moment(toy, folder):
    (folder / "toy.tar.gz").write_bytes(PACKED)

    def screen(prepare):
        ours, terminal = os.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        job = other_process(toy, folder, prepare, stderr=terminal, stdout=subprocess.DEVNULL, env=environment)
        assert job.wait(60) == 0
        os.write(terminal, b"|")  # so that there is something to read
        os.close(terminal)
        shown = os.read(ours, 10_000)
        os.close(ours)
        for path in FILES:
            (data_cache() / path).unlink()
        return shown

    assert screen("") == b"|"
    assert b"unpacking toy.tar.gz" in screen("archives._QUIET_SECONDS = 0")
    job = other_process(toy, folder, "archives._QUIET_SECONDS = 0", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.communicate(timeout=60)[1] == ""
