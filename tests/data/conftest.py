"""An HTTP server on loopback that misbehaves on demand, and small IDX files."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

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
