"""What a server sends, or the user has put there, becomes a release or a line that helps."""

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from zoo.cli import main
from zoo.errors import ZooError
from zoo.pretrained import torchvision_weights
from zoo.pretrained.hub import find_release, list_pretrained, load_pretrained, pretrained_card
from zoo.pretrained.release import load_release
from zoo.pretrained.torchvision_weights import WEIGHTS, TorchvisionWeights

NAME = "resnet18-imagenet"


class Server(ThreadingHTTPServer):
    """Serves one file at one path; the first answers end after so many bytes as `cuts` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.path, self.content = "", b""
        self.cuts: list[int] = []
        self.requests: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        if self.path != self.server.path:
            return self.send_error(404)
        start, length = int(asked[6:-1]) if asked else 0, len(self.server.content)
        if start >= length:
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Range", f"bytes {start}-{length - 1}/{length}")
        self.send_header("Content-Length", str(length - start))
        self.end_headers()
        end = start + self.server.cuts.pop(0) if self.server.cuts else length
        self.wfile.write(self.server.content[start:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("ZOO_MIRROR", f"http://127.0.0.1:{running.server_address[1]}/")
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def random_network() -> nn.Module:
    """torchvision's smallest network that is ours too."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return torchvision.models.resnet18().eval()


@pytest.fixture(scope="module")
def weights_file(random_network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "weights.pth"
    torch.save(random_network.state_dict(), path)
    return path


def published(content: bytes, patch: pytest.MonkeyPatch) -> TorchvisionWeights:
    """Makes this the file that torchvision has published under `NAME`."""
    file = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    patch.setitem(WEIGHTS, NAME, replace(WEIGHTS[NAME], file=file, mebibytes=len(content) / 2**20))
    return WEIGHTS[NAME]


def kept() -> list[str]:
    """What lies in the cache, without locks."""
    folder = torchvision_weights.place(NAME).parent
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def refusal(name: str = NAME) -> str:
    with pytest.raises(ZooError) as refused:
        find_release(name)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_first_use_downloads_and_later_ones_do_not(
    shelf: Path, server: Server, random_network: nn.Module, weights_file: Path, tmp_path: Path, monkeypatch, capsys
):
    entry = published(weights_file.read_bytes(), monkeypatch)
    server.path, server.content = f"/models/{entry.file}", weights_file.read_bytes()
    server.cuts = [20_000_000]
    model = load_pretrained(NAME)
    assert server.requests == [None, "bytes=20000000-"]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (model(images) - random_network(images)).abs().max() < 1e-5
    assert kept() == [NAME]
    card = load_release(find_release(f"{NAME}_torchvision"))[1]
    assert (card["source"], card["metrics"], card["dtype"], card["name"]) == ("torchvision", {}, "float32", NAME)
    assert card["reported"]["test/accuracy"] == 69.758
    assert card["parameters"] == 11_689_512
    assert pretrained_card(NAME) == card
    (listed,) = list_pretrained("resnet18-*")
    assert (listed.folder, listed.source) == (torchvision_weights.place(NAME), "torchvision")
    assert listed.bytes > 11_689_512 * 4
    main(["list", "pretrained", "resnet18-*"])
    assert "not downloaded" not in capsys.readouterr().out
    # The pipeline answers with the five most probable of a thousand names.
    Image.fromarray(np.full((300, 260, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    assert main(["predict", NAME, str(tmp_path / "grey.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all(line.strip().split("  ")[0] in torchvision_weights.class_names() for line in lines[1:])
    assert len(server.requests) == 2


def test_processes_share_one_download(server: Server, weights_file: Path, monkeypatch: pytest.MonkeyPatch):
    entry = published(weights_file.read_bytes(), monkeypatch)
    server.path, server.content = f"/models/{entry.file}", weights_file.read_bytes()
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(find_release(NAME))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [torchvision_weights.place(NAME)] * 3
    assert server.requests == [None]


def test_a_download_that_breaks_off_is_continued_next_time(server: Server, monkeypatch: pytest.MonkeyPatch):
    content = os.urandom(50_000)
    entry = published(content, monkeypatch)
    server.path, server.content = f"/models/{entry.file}", content
    server.cuts = [10_000, 0, 0]
    assert "the 10,000 bytes received are kept, try again to continue" in refusal()
    assert kept() == [f"{entry.file}.part"]
    # The rest comes, and it is what was published; that it is no network shows only then.
    assert "cannot be read as weights" in refusal()
    assert server.requests[-1] == "bytes=10000-"


def test_another_file_is_refused_and_not_kept(server: Server, monkeypatch: pytest.MonkeyPatch):
    entry = published(b"what torchvision published", monkeypatch)
    server.path, server.content = f"/models/{entry.file}", b"something else of its size"
    told = refusal()
    assert "what came is not the file: its sha256 begins with " in told
    assert f"instead of {entry.file[9:17]}" in told
    assert kept() == []


def test_a_beginning_of_another_file_is_thrown_away(server: Server, monkeypatch: pytest.MonkeyPatch):
    content = os.urandom(5_000)
    entry = published(content, monkeypatch)
    server.path, server.content = f"/models/{entry.file}", content
    part = torchvision_weights.place(NAME).parent / f"{entry.file}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 2000)
    assert "cannot be read as weights" in refusal()
    assert server.requests == ["bytes=2000-", None]


def test_endless_files_are_refused(server: Server, monkeypatch: pytest.MonkeyPatch):
    entry = published(bytes(1000), monkeypatch)
    server.path, server.content = f"/models/{entry.file}", bytes(2 << 20)
    assert "the server sends 2,097,152 bytes where at most" in refusal()


def test_without_a_network_the_line_says_everything(monkeypatch: pytest.MonkeyPatch, one_line_error):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("ZOO_MIRROR", mirror)
    started = time.monotonic()
    told = one_line_error("predict", "resnet50_v1_5-imagenet", "cat.png")
    assert time.monotonic() - started < 10
    folder = torchvision_weights.place("resnet50_v1_5-imagenet").parent
    for part in (f"{mirror}/models/resnet50-0676ba61.pth", f"not in {folder}", "put the file there yourself"):
        assert part in told


def test_a_file_that_the_user_has_put_there_is_used_and_left(
    random_network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # As files of 2017 are: no zip archive, parameters instead of tensors, another order, no counters.
    state = {name: nn.Parameter(value) for name, value in random_network.state_dict().items() if value.ndim}
    old = tmp_path / "old.pth"
    torch.save(dict(reversed(state.items())), old, _use_new_zipfile_serialization=False)
    entry = published(old.read_bytes(), monkeypatch)
    monkeypatch.setenv("ZOO_MIRROR", "http://127.0.0.1:9")
    own = torchvision_weights.place(NAME).parent / entry.file
    own.parent.mkdir(parents=True)
    own.write_bytes(b"not the file")
    assert f"{own} is not torchvision's file: its sha256 begins with " in refusal()
    own.write_bytes(old.read_bytes())
    loaded = load_pretrained(NAME)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert (loaded(images) - random_network(images)).abs().max() < 1e-5
    assert kept() == sorted([NAME, entry.file])


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_file_s_code_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    marker, forged = tmp_path / "executed", tmp_path / "forged.pth"
    torch.save({"conv1.weight": Payload(marker)}, forged)
    entry = published(forged.read_bytes(), monkeypatch)
    own = torchvision_weights.place(NAME).parent / entry.file
    own.parent.mkdir(parents=True)
    own.write_bytes(forged.read_bytes())
    assert "cannot be read as weights" in refusal()
    assert not marker.exists()
    assert kept() == [entry.file]


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "occupied"))
    assert "ZOO_CACHE" in refusal()
