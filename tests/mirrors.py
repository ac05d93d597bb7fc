"""A small MNIST, and servers on loopback that have it: good mirrors and bad ones."""

import contextlib
import gzip
import hashlib
import http.server
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import pytest
from patience import PATIENCE

import mnist_fn as mf
from mnist_fn.effects import downloads
from mnist_fn.idx import encode

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]

Contents: TypeAlias = dict[str, bytes]


def grey(*shape: int) -> np.ndarray:
    """Images whose every pixel tells where it is."""
    return (np.arange(math.prod(shape)) % 251).astype(np.uint8).reshape(shape)


# Three images to train with and two to test on, of 28 x 28 as load_mnist has them.
ARRAYS = [
    grey(3, 28, 28),
    np.array([7, 0, 9], np.uint8),
    255 - grey(2, 28, 28),
    np.array([4, 2], np.uint8),
]
PLAIN: Contents = {name: encode(array) for name, array in zip(FILES, ARRAYS, strict=True)}
PACKED: Contents = {f"{name}.gz": gzip.compress(content) for name, content in PLAIN.items()}


def is_the_small_set(dataset: mf.Dataset) -> bool:
    read = [dataset.X_train.T, dataset.Y_train, dataset.X_test.T, dataset.Y_test]
    return all(
        np.array_equal(array, wanted.reshape(array.shape)) and not array.flags.writeable
        for array, wanted in zip(read, ARRAYS, strict=True)
    )


class Request(http.server.BaseHTTPRequestHandler):
    """One of a client's; ``over`` is set when the server is about to end."""

    over = threading.Event()

    def answer(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


Misdeed: TypeAlias = Callable[[Request, bytes], None]


class Mirror(NamedTuple):
    """What a server sends under each name, and what it was asked for."""

    url: str
    files: Contents
    log: list[str]
    misdeeds: dict[str, Misdeed]
    """What it does instead of sending the file of a name."""

    def misbehave(self, misdeed: Misdeed) -> None:
        self.misdeeds.update(dict.fromkeys(self.files, misdeed))


NewMirror: TypeAlias = Callable[[Contents], Mirror]


@contextlib.contextmanager
def mirrors() -> Iterator[NewMirror]:
    """Give a function that starts mirrors, and end them all."""
    with contextlib.ExitStack() as stack:

        def new_mirror(files: Contents) -> Mirror:
            class OfThis(Request):
                over = threading.Event()

                def do_HEAD(self) -> None:
                    mirror.log.append("HEAD")
                    self.answer(200, b"")

                def do_GET(self) -> None:
                    name = self.path.removeprefix("/")
                    mirror.log.append(name)
                    if misdeed := mirror.misdeeds.get(name):
                        misdeed(self, mirror.files[name])
                    elif name in mirror.files:
                        self.answer(200, mirror.files[name])
                    else:
                        self.send_error(404)

            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OfThis)
            mirror = Mirror(f"http://127.0.0.1:{server.server_port}/", dict(files), [], {})
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            stack.callback(OfThis.over.set)
            return mirror

        yield new_mirror


def use_cache(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Cache in this directory, and take the small set for MNIST."""
    digests = {
        name: (hashlib.sha256(packed).hexdigest(), hashlib.sha256(PLAIN[plain]).hexdigest())
        for (name, packed), plain in zip(PACKED.items(), FILES, strict=True)
    }
    monkeypatch.setattr(downloads, "MNIST", digests)
    monkeypatch.setattr(downloads, "_cache_directory", lambda: directory)
    monkeypatch.delenv("MNIST_FN_DATA", raising=False)


def use(monkeypatch: pytest.MonkeyPatch, *mirrors: Mirror | str) -> None:
    """Download from these mirrors, and from no other; give them time on a busy machine."""
    for name in ("_SECONDS_TO_ANSWER", "_SECONDS_OF_SILENCE"):
        monkeypatch.setattr(downloads, name, PATIENCE)
    urls = tuple(mirror.url if isinstance(mirror, Mirror) else mirror for mirror in mirrors)
    monkeypatch.setattr(downloads, "MIRRORS", urls)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


def contents_of(directory: Path) -> Contents:
    return {path.name: path.read_bytes() for path in directory.glob("*")}


def stops_half_way(request: Request, content: bytes) -> None:
    request.answer(200, content[: len(content) // 2], Content_Length=str(len(content)))


def stops_half_way_and_does_not_say_how_long(request: Request, content: bytes) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])


def sends_a_login_page(request: Request, content: bytes) -> None:
    request.answer(200, b"<html>log in to this network</html>")


def sends_a_byte_too_many(request: Request, content: bytes) -> None:
    request.answer(200, content + b"\0")


def redirects_endlessly(request: Request, content: bytes) -> None:
    request.answer(302, b"", Location=request.path)


def hangs(request: Request, content: bytes) -> None:
    request.over.wait(PATIENCE)


def hangs_half_way(request: Request, content: bytes) -> None:
    stops_half_way(request, content)
    request.wfile.flush()
    request.over.wait(PATIENCE)


def answers_with(status: int) -> Misdeed:
    def answer(request: Request, content: bytes) -> None:
        request.answer(status, b"no")

    return answer
