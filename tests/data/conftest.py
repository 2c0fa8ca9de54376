"""A misbehaving HTTP server on loopback, a small archive, small IDX files, CIFAR, what splits of pairs hold."""

import gzip
import hashlib
import io
import random
import struct
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from zoo.data import download
from zoo.data.archives import Archive, Member, read_members
from zoo.data.cifar import CIFAR10_ARCHIVE, load_cifar
from zoo.data.image_loader import Batch
from zoo.data.in_memory import InMemoryImages
from zoo.data.pair_loader import EvaluationPairLoader, TrainingPairLoader
from zoo.data.sentence_pairs import PairData
from zoo.data.sources import SourceFile
from zoo.data.spec import ImageSpec
from zoo.errors import ZooError


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
        files.append(SourceFile(f"Tiny/raw/{name}", "http://127.0.0.1:9/tiny", len(content), sha256(content)))
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


def tar_bytes(entries: Iterable[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w:gz", **options: Any) -> bytes:
    """Returns a tar archive with these entries, each with a name or a header of its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for name, content in entries:
            entry = tarfile.TarInfo(name) if isinstance(name, str) else name
            if entry.isreg():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Toy:
    """An archive of three files; `server` serves it at `path`."""

    archive: Archive
    files: dict[str, bytes]
    packed: bytes
    path: str

    tar = staticmethod(tar_bytes)

    def contents(self, directory: object = None) -> dict[str, bytes]:
        """Reads all members."""
        held = read_members(self.archive, directory and str(directory))
        return dict(zip([member.path for member in self.archive.members], held, strict=True))


@pytest.fixture
def toy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """Hands out the archive, which is not in any folder yet."""
    monkeypatch.setattr(download, "_PAUSE_SECONDS", 0.01)
    monkeypatch.delenv("ZOO_MIRROR", raising=False)
    files = {
        "toy-files/first": random.Random(1).randbytes(150_000),
        "toy-files/second": b"two" * 40_000,
        "toy-files/third": b"3",
    }
    packed = tar_bytes([("toy-files/readme.html", b"<p>"), *files.items()])
    members = tuple(Member(path, len(content), sha256(content)) for path, content in files.items())
    archive = Archive("toy.tar", f"{server.address}/files/", len(packed), hashlib.md5(packed).hexdigest(), members)
    server.files["/files/toy.tar.gz"] = packed
    return Toy(archive, files, packed, "/files/toy.tar.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of the user's."""
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


@pytest.fixture
def below() -> Callable[[Path], list[str]]:
    """Names all files below a folder but locks."""

    def names(path: Path) -> list[str]:
        found = (file for file in path.rglob("*") if not file.is_dir() and file.suffix != ".lock")
        return sorted(str(file.relative_to(path)) for file in found)

    return names


@pytest.fixture
def one_line() -> Callable[[pytest.ExceptionInfo[ZooError]], str]:
    """Returns the text of an error, which has one line."""

    def text_of(error: pytest.ExceptionInfo[ZooError]) -> str:
        text = str(error.value)
        assert "\n" not in text
        return text

    return text_of


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
    members = tuple(Member(path, len(content), sha256(content)) for path, content in files.items())
    packed = tar_bytes(files.items())
    archive = Archive(
        "tiny-python.tar", "http://127.0.0.1:9/tiny", len(packed), hashlib.md5(packed).hexdigest(), members
    )
    folder = tmp_path / "datasets"
    folder.mkdir()
    (folder / "tiny-python.tar.gz").write_bytes(packed)
    return TinyCifar(folder, archive, files, images[:140], labels[:140], images[140:], labels[140:])


@pytest.fixture
def tiny_dataset(tiny_cifar: TinyCifar) -> Callable[..., InMemoryImages]:
    """Makes a prepared dataset out of the tiny archive."""

    def make(**settings: Any) -> InMemoryImages:
        defaults = {"batch_size": 20, "seed": 0, "validation": 0, "mean": None, "std": None, "augment": None}
        load = lambda: load_cifar(tiny_cifar.archive, str(tiny_cifar.folder), "labels", "label_names", 10)  # noqa: E731
        spec = ImageSpec(3, 32, 32, 10)
        dataset = InMemoryImages(
            load, (tiny_cifar.archive,), spec, (), (0.5,) * 3, (0.25,) * 3, **{**defaults, **settings}
        )
        dataset.prepare()
        return dataset

    return make


@pytest.fixture
def all_of() -> Callable[[Iterable[Batch]], Batch]:
    """Puts all batches of a loader together."""

    def together(loader: Iterable[Batch]) -> Batch:
        images, labels = zip(*loader, strict=True)
        return torch.cat(images), torch.cat(labels)

    return together


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


@pytest.fixture(scope="session")
def splits() -> Callable[[PairData], list[list[tuple[str, str]]]]:
    """Returns the sentences of the training, validation and test split, each in the order of its file."""

    def texts(loader: TrainingPairLoader | EvaluationPairLoader) -> list[tuple[str, str]]:
        found = {at: text for batch in loader for at, text in zip(batch.places, batch.texts, strict=True)}
        assert sorted(found) == list(range(len(found)))
        return [found[place] for place in sorted(found)]

    return lambda dataset: [
        texts(loader) for loader in (dataset.train_loader(), dataset.validation_loader(), dataset.test_loader())
    ]
