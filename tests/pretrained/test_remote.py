"""A hub that can fail in every way: what it serves is verified before it is seen, or told in one line."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from zoo.cli import main
from zoo.errors import ZooError
from zoo.locations import cache_dir
from zoo.pretrained.hub import find_release, list_pretrained, load_pretrained
from zoo.pretrained.publish import publish, write_index
from zoo.pretrained.remote import hub_address, kept_releases, parse_index, read_index

NAME = "lenet5_modern-test"


class Server(ThreadingHTTPServer):
    """Serves a folder as static file servers do, and worse where it is told to."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root, self.ranges = root, True
        self.cuts: list[int] = []  # after how many bytes the next answers about weights break off
        self.status: dict[str, int] = {}  # by the end of a path
        self.requests: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range") if self.server.ranges else None
        self.server.requests.append((self.path.rpartition("/")[2], asked))
        status = next((code for end, code in self.server.status.items() if self.path.endswith(end)), None)
        file = self.server.root / self.path.lstrip("/")
        if status or not file.is_file():
            return self.send_error(status or 404)
        content = file.read_bytes()
        start = int(asked[6:-1]) if asked else 0
        if start >= len(content) > 0:
            return self.send_error(416)
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts and file.suffix == ".safetensors" else None
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, run: Path, shelf: Path) -> Path:
    """A hub's folder with one release."""
    hub = tmp_path / "hub"
    publish(run, NAME, hub=hub)
    return hub


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with Server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("ZOO_HUB", f"http://127.0.0.1:{running.server_address[1]}/")
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
        yield running
        running.shutdown()
        thread.join()


def refusal() -> str:
    with pytest.raises(ZooError) as refused:
        find_release(NAME)
    assert "\n" not in str(refused.value)
    assert not kept_releases(), "nothing may be seen"
    return str(refused.value)


def edited(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    index = json.loads((folder / "index.json").read_text())
    change(index["releases"][NAME]["files"])
    (folder / "index.json").write_text(json.dumps(index))


def test_a_release_is_fetched_once_and_is_the_one_that_was_published(server: Server, lenet: nn.Module):
    entry = next(entry for entry in list_pretrained() if entry.name == NAME)
    assert (entry.source, entry.folder, entry.metric) == ("hub", None, "test/error 0.93 %")
    model = load_pretrained(NAME)
    assert torch.equal(model.c5.weight, lenet.c5.weight.half().float())
    before = len(server.requests)
    load_pretrained(NAME)
    assert len(server.requests) == before
    entry = next(entry for entry in list_pretrained() if entry.name == NAME)
    assert entry.folder == cache_dir() / "releases" / NAME
    assert sorted(path.name for path in entry.folder.iterdir()) == [
        "README.md", "card.json", "model.json", "model.safetensors",
    ]  # fmt: skip


def test_a_release_that_is_damaged_in_the_cache_stops_nothing_and_comes_anew(server: Server, capsys):
    load_pretrained(NAME)
    kept = cache_dir() / "releases" / NAME
    (kept / "card.json").write_text("{")
    assert NAME in [entry.name for entry in list_pretrained()]
    assert f"delete {kept} and it is downloaded again" in capsys.readouterr().err
    (kept / "card.json").unlink()
    assert load_pretrained(NAME)
    (kept / "model.safetensors").unlink()
    with pytest.raises(ZooError, match=r"is missing; delete .* and it is downloaded again"):
        load_pretrained(NAME)


def test_a_release_that_the_hub_offers_in_another_form_by_now_is_told(server: Server, folder: Path, capsys):
    load_pretrained(NAME)
    list_pretrained()
    assert capsys.readouterr().err == ""
    edited(folder, lambda files: files["model.safetensors"].update(sha256="0" * 64))
    list_pretrained()
    assert f"zoo: {NAME} here is not the one of http://127.0.0.1" in capsys.readouterr().err


def test_a_shared_folder_is_a_hub_too(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_HUB", folder.as_uri())
    assert set(read_index()) == {NAME}
    assert load_pretrained(NAME)
    shutil.rmtree(folder)
    assert load_pretrained(NAME), "what was fetched stays"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_breaks_is_taken_up_again(server: Server, ranges: bool):
    server.cuts, server.ranges = [50_000], ranges
    assert load_pretrained(NAME)
    asked = [range_ for name, range_ in server.requests if name == "model.safetensors"]
    assert asked == [None, "bytes=50000-" if ranges else None]


def test_what_came_before_a_kill_is_used(server: Server, folder: Path):
    aside = cache_dir() / "releases" / f".{NAME}.part"
    aside.mkdir(parents=True)
    content = (folder / NAME / "model.safetensors").read_bytes()
    (aside / "model.safetensors.part").write_bytes(content[:1000])
    shutil.copy(folder / NAME / "card.json", aside)
    assert load_pretrained(NAME)
    assert ("model.safetensors", "bytes=1000-") in server.requests
    assert ("card.json", None) not in server.requests


def test_what_came_of_another_day_s_file_is_fetched_anew(server: Server):
    aside = cache_dir() / "releases" / f".{NAME}.part"
    aside.mkdir(parents=True)
    (aside / "model.safetensors.part").write_bytes(b"x" * 1000)
    assert load_pretrained(NAME)


def test_what_came_whole_of_another_release_is_fetched_anew(server: Server, folder: Path):
    aside = cache_dir() / "releases" / f".{NAME}.part"
    aside.mkdir(parents=True)
    content = (folder / NAME / "model.json").read_bytes()
    (aside / "model.json").write_bytes(content.replace(b" ", b"  ", 1))
    assert load_pretrained(NAME)
    assert (cache_dir() / "releases" / NAME / "model.json").read_bytes() == content


def test_what_keeps_breaking_is_told(server: Server):
    server.cuts = [0] * 20
    assert "cannot be fetched" in refusal()


@pytest.mark.parametrize(("status", "told"), [(404, "404 Not Found"), (500, "500 Internal Server Error")])
def test_a_server_that_refuses_is_told(status: int, told: str, server: Server):
    server.status = {"model.safetensors": status}
    assert told in refusal()
    server.status = {"index.json": status}
    assert told in refusal()


def test_wrong_bytes_are_told_and_thrown_away(server: Server, folder: Path):
    path = folder / NAME / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "what came is not the file: model.safetensors has the sha256" in refusal()
    path.write_bytes(content[:-5])
    assert "bytes instead of" in refusal()
    path.write_bytes(content + b"more")
    assert "at most" in refusal()
    assert not list((cache_dir() / "releases").rglob("model.safetensors*"))


def test_ten_processes_at_once_fetch_it_once(server: Server):
    code = f"from zoo.pretrained.hub import find_release; print(find_release({NAME!r}))"
    waiting = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(10)
    ]
    found = {process.communicate(timeout=60)[0].strip() for process in waiting}
    assert found == {str(cache_dir() / "releases" / NAME)}
    assert [name for name, _ in server.requests].count("model.safetensors") == 1
    assert load_pretrained(NAME)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..", ".hidden", "", "A"])
def test_a_name_that_could_leave_the_cache_is_refused(name: str, server: Server, folder: Path):
    index = json.loads((folder / "index.json").read_text())
    index["releases"][name] = index["releases"][NAME]
    (folder / "index.json").write_text(json.dumps(index))
    assert "cannot name a release" in refusal()


@pytest.mark.parametrize("file", ["../card.json", "/card.json", "a/b", "..", ".card", ""])
def test_a_file_that_could_leave_its_folder_is_refused(file: str, server: Server, folder: Path):
    edited(folder, lambda files: files.update({file: files["card.json"]}))
    assert "is no name of a file" in refusal()


@pytest.mark.parametrize(
    "entry",
    [{"size": -1}, {"size": 2**60}, {"size": 1.5}, {"size": True}, {"size": "9"}, {"sha256": "zz"}, {"sha256": None}],
)
def test_absurd_entries_are_refused(entry: dict[str, Any], server: Server, folder: Path):
    edited(folder, lambda files: files["card.json"].update(entry))
    assert "is no index of a hub" in refusal()


def test_what_does_not_fit_on_the_disk_is_not_begun(server: Server, folder: Path):
    edited(folder, lambda files: files["card.json"].update(size=2**39))
    assert "are free" in refusal()
    assert [name for name, _ in server.requests] == ["index.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 1}', b'{"format": "x", "releases": {}}', b'{"format": 1, "releases": []}',
     b'{"format": 1, "releases": {"a": {}}}', b'{"format": 1, "releases": {"a": {"files": {}}}}', b"[" * 100_000,
     b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_index_is_refused_in_one_line(content: bytes):
    with pytest.raises(ZooError, match="is no index of a hub") as refused:
        parse_index(content, "hub/index.json")
    assert "\n" not in str(refused.value)


def test_a_newer_index_asks_for_a_newer_zoo():
    with pytest.raises(ZooError, match="pip install --upgrade"):
        parse_index(b'{"format": 2, "releases": {}}', "hub/index.json")


def test_links_in_a_shared_folder_are_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_HUB", folder.as_uri())
    path = folder / NAME / "model.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "it is a link" in refusal()


@pytest.mark.parametrize("address", ["ftp://host", "hub", "https://", "C:\\hub"])
def test_an_address_that_is_none_is_told(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOO_HUB", address)
    with pytest.raises(ZooError, match=r"expected https://… or file://…"):
        hub_address()


def test_a_hub_that_is_not_there_costs_a_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys):
    monkeypatch.setenv("ZOO_HUB", "http://127.0.0.1:9")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    assert main(["list", "pretrained", "lenet5-mnist"]) == 0
    shown = capsys.readouterr()
    assert "lenet5-mnist" in shown.out
    assert shown.err.startswith("zoo: the hub ZOO_HUB=http://127.0.0.1:9 cannot be read")
    assert shown.err.count("\n") == 1


def test_an_index_is_renewed_whole(folder: Path, run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ZOO_HUB", f"file://{folder}")
    publish(run, "another-test", hub=folder)
    index = json.loads((folder / "index.json").read_text())
    assert set(index["releases"]) == {NAME, "another-test"}
    shutil.rmtree(folder / NAME)
    shutil.copytree(folder / "another-test", folder / ".third-test.123")  # as a kill leaves it
    assert set(json.loads(write_index(folder).read_text())["releases"]) == {"another-test"}
    assert read_index().keys() == {"another-test"}
    shutil.rmtree(folder / ".third-test.123")
    assert not list(folder.glob(".*"))
