"""Archives: found, downloaded, unpacked once; killed in the middle. Damaged ones are in `test_damaged_archives.py`."""

import gzip
import os
import signal
import subprocess
import sys

import pytest

from zoo.data import archives
from zoo.data.sources import data_cache, places
from zoo.errors import ZooError


def test_unpacked_files_are_read_where_they_are(toy, folder, server):
    for path, content in toy.files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    assert toy.archive.find([folder]) == folder / "toy-files"
    assert toy.contents(folder) == toy.files
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
def test_an_archive_in_a_read_only_folder_is_unpacked_into_the_cache_once(toy, folder, name, mode, server, below):
    (folder / name).write_bytes(toy.tar([("./" + path, content) for path, content in toy.files.items()], mode))
    folder.chmod(0o555)
    try:
        assert toy.archive.find([folder]) == folder / name
        assert toy.contents(folder) == toy.files
        assert below(folder) == [name]
    finally:
        folder.chmod(0o755)
    assert below(data_cache()) == sorted(toy.files)
    # From now on the archive is not read any more.
    (folder / name).write_bytes(b"nothing")
    assert toy.contents(folder) == toy.files
    assert toy.archive.find(places(str(folder))) == data_cache() / "toy-files"
    assert server.requests == []


def test_an_archive_in_the_cache_is_found(toy, server):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz").write_bytes(toy.packed)
    assert toy.contents() == toy.files
    assert server.requests == []


def test_a_download_leaves_the_files_alone(toy, server, folder, below):
    assert toy.contents(folder) == toy.files
    assert toy.contents() == toy.files
    assert server.requests == [(toy.path, None)]
    assert below(data_cache()) == sorted(toy.files)
    assert below(folder) == []


def test_a_download_goes_where_it_is_told_to(toy, folder, below):
    assert toy.archive.fetch(folder / "new", [folder]) == folder / "new/toy-files"
    assert below(folder / "new") == sorted(toy.files)
    assert not data_cache().exists()


def test_a_download_that_breaks_off_is_continued(toy, server):
    server.faults = [("cut", 100_000), 500]
    assert toy.contents() == toy.files
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=100000-"]


def test_the_mirror_takes_the_place_of_the_official_server(toy, server, monkeypatch):
    server.files = {"/mirror/toy.tar.gz": toy.packed}
    monkeypatch.setenv("ZOO_MIRROR", f"{server.address}/mirror/")
    assert toy.contents() == toy.files


def test_a_whole_download_whose_unpacking_was_interrupted_is_not_downloaded_again(toy, server, below):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz.part").write_bytes(toy.packed)
    server.files = {}
    assert toy.contents() == toy.files
    assert below(data_cache()) == sorted(toy.files)


def test_a_part_of_another_day_is_thrown_away(toy, server):
    data_cache().mkdir(parents=True)
    (data_cache() / "toy.tar.gz.part").write_bytes(b"rubbish" * 100)
    assert toy.contents() == toy.files


@pytest.mark.parametrize(
    "body_of",
    [
        lambda packed: b"<html>sign in</html>",
        lambda packed: packed[:-500],
        lambda packed: gzip.compress(b"no tar" * 1000),
    ],
    ids=["a page", "cut short", "not a tar"],
)
def test_a_wrong_download_is_refused_and_not_kept(toy, server, body_of, below):
    server.faults = [("wrong", body_of(toy.packed))]
    with pytest.raises(ZooError, match="what came is not the archive"):
        toy.contents()
    assert [path for path in below(data_cache()) if path.endswith((".part", ".gz"))] == []
    assert toy.contents() == toy.files


def test_a_download_that_is_too_long_is_refused(toy, server):
    server.files[toy.path] = bytes(sum(map(len, toy.files.values())) + archives._SLACK + 1)
    with pytest.raises(ZooError, match="bytes where at most"):
        toy.contents()


def test_without_a_network_the_line_says_everything(toy, server, folder, one_line):
    server.files = {}
    with pytest.raises(ZooError) as error:
        toy.contents(folder)
    told = (str(folder), str(data_cache()), toy.archive.url, toy.archive.md5, "data.dir")
    for part in ("toy.tar(.gz, .xz)", "toy-files", *told):
        assert part in one_line(error)


def test_a_cache_that_cannot_be_written_is_told(toy, folder, monkeypatch, one_line):
    (folder / "toy.tar.gz").write_bytes(toy.packed)
    (folder / "occupied").write_text("a file")
    monkeypatch.setenv("ZOO_CACHE", str(folder / "occupied"))
    with pytest.raises(ZooError, match=r"cannot be unpacked into .*: Not a directory; .*ZOO_CACHE") as error:
        toy.contents(folder)
    assert one_line(error).startswith(str(folder / "toy.tar.gz"))


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
def test_killed_in_the_middle_nothing_half_done_is_believed(toy, folder, reads, below):
    # Plain, so that what is read is what has been written.
    (folder / "toy.tar").write_bytes(toy.tar(toy.files.items(), "w:"))
    killed = other_process(toy.archive, folder, KILL.format(reads=reads))
    assert killed.wait(60) == -signal.SIGKILL
    assert not toy.archive.is_unpacked(data_cache())
    for path in set(below(data_cache())) & set(toy.files):
        assert (data_cache() / path).read_bytes() == toy.files[path]
    assert toy.contents(folder) == toy.files
    assert below(data_cache()) == sorted(toy.files)


def test_processes_unpack_once(toy, folder):
    (folder / "toy.tar.xz").write_bytes(toy.tar(toy.files.items(), "w:xz"))
    note = """\
unpack = Archive._unpack
def noted(self, packed, folder):
    print("unpacking")
    unpack(self, packed, folder)
Archive._unpack = noted
"""
    jobs = [other_process(toy.archive, folder, note, stdout=subprocess.PIPE) for _ in range(3)]
    lines = sorted(line for job in jobs for line in job.communicate(timeout=60)[0].split())
    assert lines == [str(sum(map(len, toy.files.values())))] * 3 + ["unpacking"]


def test_progress_is_shown_on_a_terminal_if_it_takes_a_moment(toy, folder, open_terminal):
    (folder / "toy.tar.gz").write_bytes(toy.packed)

    def screen(prepare):
        terminal = open_terminal()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        job = other_process(
            toy.archive, folder, prepare, stderr=terminal.end, stdout=subprocess.DEVNULL, env=environment
        )
        assert job.wait(60) == 0
        shown = terminal.read()
        for path in toy.files:
            (data_cache() / path).unlink()
        return shown

    assert screen("") == ""
    assert "unpacking toy.tar.gz" in screen("archives._QUIET_SECONDS = 0")
    job = other_process(
        toy.archive, folder, "archives._QUIET_SECONDS = 0", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert job.communicate(timeout=60)[1] == ""
