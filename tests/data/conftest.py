"""An HTTP server on loopback that misbehaves on demand, small IDX files, small batches of CIFAR, the real CIFAR-10."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from zoo.data.archives import Archive, Member
from zoo.data.cifar import CIFAR10_ARCHIVE
from zoo.data.sources import SourceFile


class Server(ThreadingHTTPServer):
    """Serves `files`; each entry of `faults` spoils one request, first come first served.

    Faults: a number (status to answer with), `("cut", n)` (close after n bytes of the body), `("wrong", bytes)`.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list = []
        self.ranges = True
        self.lengths = True
        self.requests: list[tuple[str, str | None]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away in the middle is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            return self.send_error(fault)
        if self.path not in self.server.files:
            return self.send_error(404)
        body, start = self.server.files[self.path], 0
        if isinstance(fault, tuple) and fault[0] == "wrong":
            body = fault[1]
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if self.server.lengths:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + fault[1] if isinstance(fault, tuple) and fault[0] == "cut" else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Batches are small: threads that wait for one another on a busy machine cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def idx_bytes(values: torch.Tensor) -> bytes:
    """Returns a uint8 tensor as an IDX file."""
    header = struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape)
    return header + bytes(values.flatten().tolist())


@pytest.fixture
def tiny_files(tmp_path: Path) -> tuple[Path, tuple[SourceFile, ...], dict[str, torch.Tensor]]:
    """A data folder with the four IDX files of a dataset of 60 + 20 images, two of them compressed."""
    generator = torch.Generator().manual_seed(7)
    folder = tmp_path / "datasets"
    (folder / "Tiny/raw").mkdir(parents=True)
    values = {
        "train-images": torch.randint(0, 256, (60, 28, 28), generator=generator, dtype=torch.uint8),
        "train-labels": (torch.arange(60) % 10).to(torch.uint8),
        "t10k-images": torch.randint(0, 256, (20, 28, 28), generator=generator, dtype=torch.uint8),
        "t10k-labels": (torch.arange(20) % 10).to(torch.uint8),
    }
    files = []
    for name, tensor in values.items():
        content = idx_bytes(tensor)
        path = folder / "Tiny/raw" / name
        if name.endswith("images"):
            path.with_name(f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(SourceFile(f"Tiny/raw/{name}", "http://127.0.0.1:9/tiny", len(content), sha256))
    return folder, tuple(files), values


def python2_pickle(value: Any) -> bytes:
    """Pickles as Python 2 did, which wrote the official batches: its strings are bytes, arrays are numpy's of 2009."""
    memo = 0

    def put(code: bytes) -> bytes:
        nonlocal memo
        memo += 1
        return code + (b"q" + bytes([memo]) if memo < 256 else b"r" + struct.pack("<I", memo))

    def write(value: Any) -> bytes:
        if isinstance(value, str):
            value = value.encode("ascii")
        if isinstance(value, int):
            small = value in range(256)
            return b"K" + bytes([value]) if small else b"J" + struct.pack("<i", value)
        if isinstance(value, bytes):
            short = len(value) < 256
            return put((b"U" + bytes([len(value)]) if short else b"T" + struct.pack("<i", len(value))) + value)
        if isinstance(value, list):
            return put(b"]") + b"(" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            return put(b"}") + b"(" + b"".join(write(part) for item in value.items() for part in item) + b"u"
        by_columns = not value.is_contiguous()
        raw = bytes((value.T if by_columns else value).flatten().tolist())
        dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"(" + b"".join(map(write, value.shape)) + b"t"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        return empty + b"(K\x01" + shape + dtype + (b"\x88" if by_columns else b"\x89") + write(raw) + b"tb"

    return b"\x80\x02" + write(value) + b"."


@pytest.fixture(name="python2_pickle")
def _python2_pickle() -> Callable[[Any], bytes]:
    """Hands the function of that name to tests."""
    return python2_pickle


def _tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@dataclass(frozen=True)
class TinyCifar:
    """A dataset of 140 + 20 pictures of 10 classes in the format of CIFAR-10, packed as `.tar.gz` in `folder`."""

    folder: Path
    archive: Archive
    files: dict[str, bytes]
    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


TINY_NAMES = [f"thing_{number}" for number in range(10)]


@pytest.fixture
def tiny_cifar(tmp_path: Path) -> TinyCifar:
    """A packed dataset in the format of CIFAR-10, in two training batches."""
    generator = torch.Generator().manual_seed(11)
    images = torch.randint(0, 256, (160, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.arange(160) % 10
    contents = {
        name: python2_pickle(
            {"labels": labels[part].tolist(), "data": images[part].flatten(1), "filenames": ["x.png"] * 3}
        )
        for name, part in (
            ("data_batch_1", slice(100)),
            ("data_batch_2", slice(100, 140)),
            ("test_batch", slice(140, 160)),
        )
    }
    contents["batches.meta"] = python2_pickle({"num_vis": 3072, "label_names": TINY_NAMES})
    files = {f"tiny-batches-py/{name}": content for name, content in contents.items()}
    members = tuple(Member(path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items())
    packed = _tar_gz(files)
    archive = Archive(
        "tiny-python.tar", "http://127.0.0.1:9/tiny", len(packed), hashlib.md5(packed).hexdigest(), members
    )
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "tiny-python.tar.gz").write_bytes(packed)
    return TinyCifar(folder, archive, files, images[:140], labels[:140], images[140:], labels[140:])


@pytest.fixture
def real_cifar10(real_data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A data folder with the real CIFAR-10 unpacked, once for all of xdist's workers; tests leave it as it is."""
    found = CIFAR10_ARCHIVE.find([real_data])
    if found is None:
        pytest.skip("needs the real CIFAR-10 in ZOO_DATA")
    if found.is_dir():
        return real_data
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(request.config, "workerinput") else base) / "real_cifar10"
    with FileLock(f"{folder}.lock"):
        CIFAR10_ARCHIVE.unpack(found, folder)
    return folder
