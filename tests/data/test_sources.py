"""Finding, downloading and verifying files, against a real HTTP server on loopback."""

import gzip
import hashlib
import os
import random
import socket
import subprocess
import sys
import threading
import time

import pytest

from zoo.data import download
from zoo.data.images import FASHION_MNIST_FILES, MNIST_FILES
from zoo.data.sources import SourceFile, data_cache, places, read
from zoo.errors import ZooError

# Random bytes do not shrink: the compressed file is a little longer than its content.
CONTENT = random.Random(1).randbytes(300_000)
PACKED = gzip.compress(CONTENT, mtime=0)
PATH = "Toy/raw/toy"
URL_PATH = "/files/toy.gz"


@pytest.fixture
def toy(server, monkeypatch):
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    server.files[URL_PATH] = PACKED
    return SourceFile(PATH, f"{server.address}/files/", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def cached():
    return data_cache() / f"{PATH}.gz"


def part():
    return data_cache() / f"{PATH}.gz.part"


def leave_part(content):
    part().parent.mkdir(parents=True)
    part().write_bytes(content)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_file_comes_from_the_named_folder_first(toy, tmp_path, server):
    folder = tmp_path / "mine"
    (folder / "Toy/raw").mkdir(parents=True)
    (folder / f"{PATH}.gz").write_bytes(PACKED)
    assert read(toy, str(folder)) == CONTENT
    (folder / PATH).write_bytes(CONTENT)
    assert toy.find(places(str(folder))) == folder / PATH
    assert read(toy, str(folder)) == CONTENT
    assert server.requests == []
    assert not data_cache().exists()


def test_read_only_folder_stays_as_it_is(toy, tmp_path):
    raw = tmp_path / "mine/Toy/raw"
    raw.mkdir(parents=True)
    (raw / "toy.gz").write_bytes(PACKED)
    raw.chmod(0o555)
    try:
        assert read(toy, str(tmp_path / "mine")) == CONTENT
        assert [path.name for path in raw.iterdir()] == ["toy.gz"]
    finally:
        raw.chmod(0o755)


def test_working_directory_data_folder_is_used_if_it_exists(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places(None) == [data_cache()]
    assert places("") == [data_cache()]
    (tmp_path / "data/Toy/raw").mkdir(parents=True)
    (tmp_path / "data" / PATH).write_bytes(CONTENT)
    assert read(toy) == CONTENT


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("a file")])
def test_named_folder_that_is_none_is_refused_and_not_made(toy, tmp_path, make, server):
    folder = tmp_path / "nowhere"
    make(folder)
    with pytest.raises(ZooError, match=r"data\.dir=.*nowhere (does not exist|is not a folder)"):
        read(toy, str(folder))
    assert not folder.is_dir()
    assert server.requests == []


def test_download_goes_into_the_cache_once(toy, server, tmp_path):
    (tmp_path / "empty").mkdir()
    assert read(toy, str(tmp_path / "empty")) == CONTENT
    assert read(toy) == CONTENT
    assert server.requests == [(URL_PATH, None)]
    assert cached().read_bytes() == PACKED
    assert not part().exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_mirror_takes_the_place_of_the_official_server(toy, server, monkeypatch):
    server.files = {f"/mirror/{PATH}.gz": PACKED}
    monkeypatch.setenv("ZOO_MIRROR", f"{server.address}/mirror/")
    assert read(toy) == CONTENT


def test_mirror_must_be_http(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_MIRROR", f"file://{tmp_path}")
    with pytest.raises(ZooError, match="only http:// and https://"):
        read(toy)


def test_body_that_breaks_off_is_continued(toy, server):
    server.faults = [("cut", 100_000), ("cut", 100_000)]
    assert read(toy) == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_server_without_ranges_starts_again(toy, server):
    server.ranges = False
    server.faults = [("cut", 100_000)]
    assert read(toy) == CONTENT
    assert len(server.requests) == 2


def test_server_that_always_breaks_off_leaves_the_part_for_next_time(toy, server):
    server.faults = [("cut", 1000), ("cut", 0), ("cut", 0)]
    with pytest.raises(ZooError) as error:
        read(toy)
    assert f"ended after 1,000 of {len(PACKED):,} bytes" in one_line(error)
    assert "try again to continue" in str(error.value)
    assert not cached().exists()
    assert part().read_bytes() == PACKED[:1000]
    assert read(toy) == CONTENT
    assert server.requests[-1] == (URL_PATH, "bytes=1000-")


def test_missing_length_and_broken_body_is_no_file(toy, server):
    server.lengths = False
    server.faults = [("cut", 1000)]
    with pytest.raises(ZooError, match="cannot be decompressed"):
        read(toy)
    assert not cached().exists()
    assert not part().exists()
    assert read(toy) == CONTENT


@pytest.mark.parametrize(
    "left", [PACKED[:1], PACKED[:-1], PACKED], ids=["first byte", "all but the last byte", "complete"]
)
def test_part_of_an_earlier_run_is_continued(toy, server, left):
    leave_part(left)
    assert read(toy) == CONTENT
    assert server.requests == [(URL_PATH, f"bytes={len(left)}-")]


@pytest.mark.parametrize("left", [b"rubbish" * 100, PACKED + b"more"], ids=["other bytes", "too long"])
@pytest.mark.parametrize("ranges", [True, False])
def test_part_that_does_not_belong_is_thrown_away(toy, server, left, ranges):
    server.ranges = ranges
    leave_part(left)
    assert read(toy) == CONTENT


def test_wrong_bytes_are_refused_and_not_kept(toy, server):
    server.faults = [("wrong", gzip.compress(b"x" * len(CONTENT)))]
    with pytest.raises(ZooError) as error:
        read(toy)
    assert toy.sha256 in one_line(error)
    assert hashlib.sha256(b"x" * len(CONTENT)).hexdigest() in str(error.value)
    assert [path.suffix for path in cached().parent.iterdir()] == [".lock"]
    assert read(toy) == CONTENT


@pytest.mark.parametrize("body", [b"<html>sign in to this network</html>", b"", PACKED[:-9]])
def test_body_that_is_no_gzip_is_refused(toy, server, body):
    server.faults = [("wrong", body)]
    with pytest.raises(ZooError, match="is not the file"):
        read(toy)
    assert not cached().exists()


def test_endless_body_is_refused(toy, server):
    server.files[URL_PATH] = bytes(len(CONTENT) + (2 << 20))
    with pytest.raises(ZooError, match="bytes where at most"):
        read(toy)
    server.lengths = False
    with pytest.raises(ZooError, match="sends more than"):
        read(toy)


def test_404_is_told_at_once(toy, server):
    server.files = {}
    with pytest.raises(ZooError, match="the server answers 404"):
        read(toy)
    assert len(server.requests) == 1


def test_500_is_tried_again(toy, server):
    server.faults = [500, 503]
    assert read(toy) == CONTENT


def test_500_for_good_is_told(toy, server):
    server.faults = [500] * 9
    with pytest.raises(ZooError, match="the server answers 500"):
        read(toy)
    assert len(server.requests) == download.ATTEMPTS


def test_without_a_network_the_line_says_everything(toy, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("ZOO_MIRROR", f"http://127.0.0.1:{port}")
    started = time.monotonic()
    with pytest.raises(ZooError) as error:
        read(toy, str(tmp_path))
    assert time.monotonic() - started < 5
    for part_of_it in (PATH, str(tmp_path), str(data_cache()), f"http://127.0.0.1:{port}/{PATH}.gz", toy.sha256):
        assert part_of_it in one_line(error)


def test_server_that_never_answers_is_given_up(toy, monkeypatch):
    assert download.CONNECT_SECONDS < 10
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("ZOO_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ZooError, match=r"no answer within 0\.3 seconds"):
            read(toy)


def test_cache_that_cannot_be_written_is_told(toy, tmp_path, monkeypatch):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(ZooError, match="ZOO_CACHE"):
        read(toy)


@pytest.mark.parametrize(
    ("name", "content", "damage"),
    [
        ("toy", CONTENT[:-1], "ends after 299,999 of 300,000 bytes"),
        ("toy", CONTENT + b"x", "holds more than the expected 300,000 bytes"),
        ("toy", bytes(len(CONTENT)), "sha256"),
        ("toy.gz", PACKED[:1000], "cannot be decompressed"),
        ("toy.gz", PACKED[:50_000] + b"????" + PACKED[50_004:], "cannot be decompressed|sha256"),
        ("toy.gz", b"no gzip at all", "cannot be decompressed"),
        ("toy.gz", gzip.compress(bytes(10_000_000)), "holds more than"),
    ],
)
@pytest.mark.parametrize("in_cache", [True, False])
def test_damaged_file_is_named_with_the_way_out(toy, tmp_path, name, content, damage, in_cache, server):
    folder = data_cache() if in_cache else tmp_path / "mine"
    path = folder / "Toy/raw" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ZooError, match=damage) as error:
        read(toy, None if in_cache else str(folder))
    assert one_line(error).startswith(f"{path} is damaged")
    assert f"delete it, and a fresh copy is downloaded from {toy.url}" in str(error.value)
    assert path.read_bytes() == content
    path.unlink()
    assert read(toy) == CONTENT


def test_threads_share_one_download(toy, server):
    results = []
    threads = [threading.Thread(target=lambda: results.append(read(toy))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 6
    assert len(server.requests) == 1


def test_processes_share_one_download(toy, server):
    program = (
        "import sys; from zoo.data.sources import SourceFile, read; "
        f"print(len(read(SourceFile({toy.path!r}, {toy.address!r}, {toy.size}, {toy.sha256!r})))); "
        "assert 'torch' not in sys.modules"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [job.communicate(timeout=60)[0].strip() for job in jobs] == [str(len(CONTENT))] * 3
    assert len(server.requests) == 1


def test_progress_is_shown_on_a_terminal_only(toy, open_terminal):
    program = (
        "from zoo.data.sources import SourceFile, read; "
        f"read(SourceFile({toy.path!r}, {toy.address!r}, {toy.size}, {toy.sha256!r}))"
    )
    terminal = open_terminal()
    environment = {**os.environ, "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", program], stderr=terminal.end, check=True, env=environment)
    assert "toy.gz" in terminal.read()
    cached().unlink()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == done.stderr == b""


def test_fetch_keeps_the_file_where_it_is_told_to(toy, tmp_path):
    assert toy.fetch(tmp_path / "new/place", [tmp_path]) == tmp_path / "new/place" / f"{PATH}.gz"
    assert not data_cache().exists()


def test_official_addresses(monkeypatch):
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    assert MNIST_FILES[0].url == "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    assert FASHION_MNIST_FILES[3].url == (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz"
    )
