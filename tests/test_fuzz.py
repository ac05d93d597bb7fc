"""The readers of files, given anything: a value that keeps its promises, or a clear refusal."""

import gzip
import hashlib
import io
import itertools
import os
import pickle
import re
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory import memory_below
from PIL import Image

import mnist_fn as mf
from mnist_fn.effects import checkpoints
from mnist_fn.effects.checkpoints import Checkpoint, CheckpointError
from mnist_fn.effects.pictures import PictureError, read_picture
from mnist_fn.idx import decode, encode
from mnist_fn.images import frame
from mnist_fn.views import VIEWS, both_edges

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
MEGABYTE = 1 << 20
MOST_PIXELS = 1 << 14  # Pillow's own limit is 5,000 times that, and 89 megabytes and more
RECORD = mf.EpochRecord(0, 1, 0.1, 0.5, 0.9, 0.5, 0.9, 1.5)
NETWORKS = [mf.init_params(mf.key(i), pixels=4, hidden=3, classes=2) for i in range(2)]
OF_TWO_IMAGES = mf.init_params(mf.key(2), pixels=8, hidden=3, classes=2)

Parts = dict[str, bytes]


class Reader(NamedTuple):
    """A reader of files, and what is known of its files."""

    read: Callable[[Path], None]
    """Reads a file, and asserts what must hold of the result."""
    refusals: tuple[type[Exception], ...]
    refusal: str
    """A pattern that all that it says when it refuses fits; ``FILE`` is the file."""
    seeds: Sequence[bytes]
    """Valid files."""
    parts: Parts
    """The parts of a valid file that have checksums or are compressed."""
    pack: Callable[[Parts], bytes]
    """Makes a file of them, with the right checksums."""
    seal: Callable[[bytes], bytes] = bytes
    """Makes a file that is looked into of any bytes."""


def read_idx(path: Path) -> None:
    content = path.read_bytes()
    for given_content in (content, memoryview(content)):
        array = decode(given_content, str(path))
        assert array.dtype.isnative
        assert not array.flags.writeable
        if content[:2] == b"\0\0":
            assert encode(array) == content


def idx_seeds() -> list[bytes]:
    arrays = [np.ones(shape, dtype) for dtype in ("u1", "f8") for shape in ((), (2, 3), (2, 0, 3))]
    return [pack(encode(array)) for array in arrays for pack in (bytes, gzip.compress)]


def read_model(path: Path) -> None:
    model = mf.load_model(path)
    for params, view in model.members:
        assert view in VIEWS.values()
        assert len(params.W1) == len(params.b1) == params.W2.shape[1] > 0
        assert len(params.W2) == len(params.b2) > 0
        for array in params:
            assert array.dtype == params.W1.dtype in (np.float32, np.float64)
            assert not array.flags.writeable
            assert np.isfinite(array).all()
    assert all(type(n) is int for record in model.history for n in record[:2])
    assert all(type(value) is str for value in model.settings.values())


def model_seeds() -> list[bytes]:
    members = [mf.Member(params, VIEWS["deslanted"]) for params in NETWORKS]
    more: dict[str, Any] = {"history": [RECORD], "settings": {"seed": "0"}, "trained_on": "digits"}
    with tempfile.TemporaryDirectory() as directory:
        alone, committee, joined = (Path(directory, name) for name in "abc")
        mf.save_params(alone, NETWORKS[0], g=mf.tanh)
        mf.save_params(committee, members, **more)
        mf.save_params(joined, [mf.Member(OF_TWO_IMAGES, both_edges)])
        return [path.read_bytes() for path in (alone, committee, joined)]


def read_checkpoint(path: Path) -> None:
    checkpoint = checkpoints.load_checkpoint(path)
    assert all(type(value) is str for value in checkpoint.settings.values())
    assert all(type(n) is int for record in checkpoint.history for n in record[:2])
    for array in (*checkpoint.leaves, *itertools.chain(*checkpoint.finished)):
        assert array.dtype.kind in "fiu"
        assert not array.flags.writeable


def checkpoint_seeds() -> list[bytes]:
    """Return what comes after the digest."""
    leaves = tuple(checkpoints.leaves_of(mf.init_state(mf.momentum(0.1), NETWORKS[0])))
    with tempfile.TemporaryDirectory() as directory:
        for history in ((), (RECORD,)):
            checkpoint = Checkpoint({"seed": "0"}, history, NETWORKS, leaves)
            checkpoints.save_checkpoint(Path(directory), checkpoint)
        return [path.read_bytes()[32:] for path in checkpoints.checkpoints_in(Path(directory))]


def with_digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest() + content


def zip_parts(content: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: Parts, compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, compression)
    return content.getvalue()


def read_and_frame(path: Path) -> None:
    picture = read_picture(str(path))
    assert picture.dtype in (np.uint8, np.uint16)
    assert picture.ndim == 2 or picture.shape[2] in (2, 3, 4)
    image = frame(picture)
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert not image.flags.writeable
    assert 0 <= image.min() < image.max() <= 1


def picture_seeds() -> list[bytes]:
    grey = np.full((16, 12), 255, np.uint8)
    grey[3, 3:9] = grey[3:13, 8] = 10
    eight, sixteen = Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    kinds = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "PCX", "IM"]
    images = [(eight.convert("RGB"), kind) for kind in kinds]
    images += [(eight, "PNG"), (sixteen, "PNG"), (sixteen, "TIFF"), (eight.convert("F"), "TIFF")]
    contents = []
    for image, kind in images:
        content = io.BytesIO()
        with warnings.catch_warnings(action="ignore"):  # of kinds that Pillow will give up
            image.save(content, kind)
        contents.append(content.getvalue())
    return contents


def png(parts: Parts) -> bytes:
    chunks = [
        (name[:4].encode(), zlib.compress(part) if name == "IDAT" else part)
        for name, part in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def png_header(width: int, height: int) -> bytes:
    return struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)


PNG: Parts = {
    "IHDR": png_header(9, 9),
    "tRNS": b"\0\7",
    "eXIf": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0",
    "tEXt": b"Comment\0seven",
    "IDAT": bytes([0, *[255] * 9] * 3 + [0, *[255] * 4, 0, *[255] * 4] * 6),
    "IEND": b"",
}

MODEL_SEEDS, CHECKPOINT_SEEDS = model_seeds(), checkpoint_seeds()
READERS = {
    "idx": Reader(
        read_idx,
        (mf.IdxError,),
        r"FILE: (offset \d+: .+|the gzip data is damaged or cut short .*; get the file again)",
        idx_seeds(),
        {"array": encode(np.ones((2, 3), ">i4"))},
        lambda parts: gzip.compress(parts["array"], 1),
    ),
    "model": Reader(
        read_model,
        (mf.ModelError,),
        r"FILE is damaged, or not a model file: .+\. Make one with .+"
        r"|FILE cannot be read: .+\. Name a model file, .+",
        MODEL_SEEDS,
        zip_parts(MODEL_SEEDS[1]),
        zipped,
    ),
    "checkpoint": Reader(
        read_checkpoint,
        (CheckpointError,),
        "FILE is of another version of mnist_fn",
        CHECKPOINT_SEEDS,
        zip_parts(CHECKPOINT_SEEDS[0]),
        zipped,
        with_digest,
    ),
    # That its line begins with the file's name is the doing of the command.
    "picture": Reader(
        read_and_frame,
        (PictureError, ValueError),
        r"it is empty; .+|it is not a picture .+; save it .+|it has too many pixels .+; scale it .+"
        r"|some of its pixels are not finite numbers; save it .+"
        r"|it is damaged: .+; make it anew|frame: .+, (which is too small; .+|but strokes must .+)"
        r"|frame: there is no digit to be seen: .+",
        picture_seeds(),
        PNG,
        png,
    ),
}
every_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS)


DEEDS = {
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"),
    *("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "socket.connect"),
}
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watches: list[list[str]] = []  # that of the reader that is at work, if one is


def _note(event: str, args: tuple[Any, ...]) -> None:
    if not _watches:
        return
    if event == "open":
        path, mode, flags = args
        writes = flags & TO_WRITE or set(mode or "") & set("wax+")
        if not writes or "__pycache__" in str(path):  # where Python keeps what it imports
            return
    elif event not in DEEDS:
        return
    _watches[-1].append(f"{event}{args}")


sys.addaudithook(_note)  # for good: there is no taking it away


@contextmanager
def deeds() -> Iterator[list[str]]:
    """Yield what is done beside reading, as long as the block lasts."""
    _watches.append([])
    try:
        yield _watches[-1]
    finally:
        _watches.pop()


def refusal_of(reader: Reader, directory: Path, content: bytes) -> str:
    """Read a file, assert what must hold of any, and return what is said if it is refused."""
    content = reader.seal(content)
    path = directory / "input"
    path.write_bytes(content)
    written, descriptors = path.stat().st_mtime_ns, os.listdir("/dev/fd")
    said = None
    with (
        warnings.catch_warnings(record=True, action="always") as warned,
        memory_below(4 * MEGABYTE + 16 * len(content)),
        deeds() as done,
    ):
        try:
            reader.read(path)
        except reader.refusals as error:
            said = str(error)
    pattern = reader.refusal.replace("FILE", re.escape(str(path)))
    assert said is None or re.fullmatch(pattern, said, re.DOTALL)
    assert warned == []
    assert done == []
    assert os.listdir("/dev/fd") == descriptors
    assert os.listdir(directory) == [path.name]
    assert path.read_bytes() == content
    assert path.stat().st_mtime_ns == written
    return said or ""


LENGTHS = [0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


@st.composite
def mutants(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw a valid file, some of whose bytes are changed, gone, new, doubled or of another."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at, count = draw(st.integers(0, len(content))), draw(st.integers(1, 40))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "splice", "length"])):
            case "flip":
                content[at : at + 1] = bytes(b ^ 1 << count % 8 for b in content[at : at + 1])
            case "cut":
                del content[at : at + count]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                content[at:at] = content[at : at + count]
            case "splice":
                other = draw(st.sampled_from(seeds))
                content[at:] = other[draw(st.integers(0, len(other))) :]
            case _:
                order = draw(st.sampled_from(["<H", "<I", "<Q", ">H", ">I", ">Q"]))
                length = draw(st.sampled_from(LENGTHS)) % 256 ** struct.calcsize(order)
                content[at : at + struct.calcsize(order)] = struct.pack(order, length)
    return bytes(content)


@pytest.mark.parametrize(
    "do",
    [
        lambda path: path.with_name("other").touch(),
        lambda path: path.parent.with_name("elsewhere").write_bytes(b""),
        lambda path: path.rename(path.parent.with_name("elsewhere")),
        lambda path: os.system("true"),
    ],
)
def test_what_a_reader_does_beside_reading_is_found(
    do: Callable[[Path], Any], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(AssertionError, match=r"^assert \[.(open|os\.rename|os\.system)\("):
        refusal_of(READERS["idx"]._replace(read=do), tmp_path / "in", b"")


@every_reader
def test_valid_files_are_read(reader: Reader, tmp_path: Path) -> None:
    for content in (*reader.seeds, reader.pack(reader.parts)):
        assert refusal_of(reader, tmp_path, content) == ""


@every_reader
@in_one_directory
@given(data=st.data())
def test_any_bytes_are_read_or_refused(reader: Reader, tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([b"", *(seed[:4] for seed in reader.seeds)]))
    refusal_of(reader, tmp_path, start + data.draw(st.binary(max_size=100)))


@every_reader
@in_one_directory
@given(data=st.data())
def test_changed_files_are_read_or_refused(
    reader: Reader, tmp_path: Path, data: st.DataObject
) -> None:
    refusal_of(reader, tmp_path, data.draw(mutants(reader.seeds)))


@every_reader
@in_one_directory
@given(data=st.data())
def test_what_is_changed_behind_a_checksum_is_read_or_refused(
    reader: Reader, tmp_path: Path, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(reader.parts)))
    part = data.draw(mutants([reader.parts[name], *reader.parts.values()]))
    refusal_of(reader, tmp_path, reader.pack(reader.parts | {name: part}))


def npy(descr: str, shape: str, data: bytes = b"", more: str = "") -> bytes:
    """Return an array as ``.npy`` has it, whose header need not be right."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}{more}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def text(letters: str) -> bytes:
    return npy(f"<U{len(letters)}", "()", letters.encode("utf-32-le"))


def with_byte(content: bytes, value: int, places: dict[bytes, int]) -> bytes:
    """Return an archive with this byte so far after each of these signatures."""
    changed = bytearray(content)
    for signature, offset in places.items():
        for match in re.finditer(re.escape(signature), content):
            changed[match.start() + offset] = value
    return bytes(changed)


def twice(parts: Parts, name: str) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(content, "w") as archive:
        for part in (*parts, name):
            archive.writestr(part, parts[part])
    return content.getvalue()


def without(parts: Parts, *names: str) -> Parts:
    return {name: part for name, part in parts.items() if name not in names}


def begins_past_any_file(parts: Parts) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
        archive.infolist()[0].header_offset = 2**63
    return content.getvalue()


W1 = NETWORKS[0].W1.tobytes()
LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"  # with what a part's two headers begin
SIGNALLING = b"\1\0\0\0\0\0\xf4\x7f"  # a NaN of float64 that arithmetic complains of
ZEROS = bytes(20 * MEGABYTE)
PICKLE = pickle.dumps([1])

# What an archive's arrays may be instead of what they should be.
ARRAYS = {
    "2^62 bytes": npy("<f4", f"({2**30}, {2**30})"),
    "a gigabyte": npy("<f4", f"({2**14}, {2**14})"),
    "more than 2^63": npy("<f4", f"({2**40}, {2**40})"),
    "objects": npy("|O", "(3, 4)", PICKLE.ljust(96)),
    "a pickle": PICKLE,
    "an archive": zipped({"W1.npy": W1}),
    "whole numbers of Python 2": npy("<f4", "(3L, 4L)", W1),
    "a size that is True": npy("<f4", "(True, 12)", W1),
    "a text that Python warns of": npy("<f4", "(3, 4)", W1, r", '\d': 0"),
    "a number that Python warns of": npy("<f4", "(3if 1 else 3, 4)", W1),
    "a type that NumPy warns of": npy("|a48", "(1, 1)", W1),
}
HISTORIES = {
    "infinite": np.full((1, 8), np.inf).tobytes(),
    "signalling": SIGNALLING * 8,
    "half": np.full((1, 8), 0.5).tobytes(),
}
ARCHIVES: dict[str, Callable[[Parts], bytes]] = {
    "a zip bomb": lambda parts: zipped(parts | {"history.npy": ZEROS}, zipfile.ZIP_DEFLATED),
    "a bomb of bzip2": lambda parts: zipped(parts | {"history.npy": ZEROS}, zipfile.ZIP_BZIP2),
    "a part twice": lambda parts: twice(parts, "settings.npy"),
    "a part by two names": lambda parts: zipped(parts | {"settings": parts["settings.npy"]}),
    "encrypted": lambda parts: with_byte(zipped(parts), 1, {LOCAL: 6, CENTRAL: 8}),
    "a method that there is not": lambda parts: with_byte(
        zipped(parts), 99, {LOCAL: 8, CENTRAL: 10}
    ),
    "parts that begin past the end": lambda parts: with_byte(zipped(parts), 64, {LOCAL: 29}),
    "a part that begins past any file": begins_past_any_file,
    "a part less": lambda parts: zipped(without(parts, "b1.npy", "finished.1.npy")),
    "the last part less": lambda parts: zipped(without(parts, "b2.1.npy", "finished.7.npy")),
    "a part more": lambda parts: zipped(parts | {"../evil.npy": W1}),
    "5,000 parts": lambda parts: zipped(dict.fromkeys(map(str, range(5_000)), b"")),
    "deep settings": lambda parts: zipped(parts | {"settings.npy": text("[" * 100_000)}),
    "settings of numbers": lambda parts: zipped(parts | {"settings.npy": text('{"seed": 1}')}),
    "settings of none": lambda parts: zipped(parts | {"settings.npy": text("[1]")}),
    "letters past Unicode": lambda parts: zipped(
        parts | {"settings.npy": npy(">U1", "()", b"\1\0\0\0")}
    ),
}


@pytest.mark.parametrize("name", ["model", "checkpoint"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_not_what_they_claim_are_refused(
    name: str, array: bytes, tmp_path: Path
) -> None:
    reader = READERS[name]
    part = "W1.npy" if name == "model" else "finished.0.npy"
    assert part in reader.parts
    content = reader.pack(reader.parts | {part: array})
    assert refusal_of(reader, tmp_path, content) != ""


@pytest.mark.parametrize("name", ["model", "checkpoint"])
@pytest.mark.parametrize("table", HISTORIES.values(), ids=HISTORIES)
def test_epochs_that_cannot_be_counted_are_refused(name: str, table: bytes, tmp_path: Path) -> None:
    reader = READERS[name]
    history = {"history.npy": npy("<f8", "(1, 8)", table)}
    assert refusal_of(reader, tmp_path, reader.pack(reader.parts | history)) != ""


@pytest.mark.parametrize("name", ["model", "checkpoint"])
@pytest.mark.parametrize("damage", ARCHIVES.values(), ids=ARCHIVES)
def test_archives_that_are_not_as_they_are_written_are_refused(
    name: str, damage: Callable[[Parts], bytes], tmp_path: Path
) -> None:
    assert refusal_of(READERS[name], tmp_path, damage(READERS[name].parts)) != ""


def test_the_size_of_a_history_is_of_the_numbers_that_are_written(tmp_path: Path) -> None:
    reader = READERS["model"]
    for descr in ("<f2", "<f4", "<f16"):
        table = npy(descr, "(1, 8)", np.zeros(8, descr).tobytes())
        said = refusal_of(reader, tmp_path, reader.pack(reader.parts | {"history.npy": table}))
        assert "history, of shape (1, 8), is not a table of epochs" in said


def idx_header(*sizes: int) -> bytes:
    return struct.pack(f">2xBB{len(sizes)}I", 8, len(sizes), *sizes)


class Bomb(NamedTuple):
    reader: str
    content: bytes
    says: str


def bombs() -> Iterator[tuple[str, Bomb]]:
    yield "2^31 images", Bomb("idx", idx_header(2**31, 28, 28) + bytes(9), "offset 25: the data e")
    packed = gzip.compress(idx_header(2**31, 28, 28) + bytes(9))
    yield "2^31 images in gzip", Bomb("idx", packed, "offset 25: the data ends")
    packed = gzip.compress(idx_header(3) + ZEROS, 1)
    yield "a gzip bomb", Bomb("idx", packed, "offset 11: there is more data")
    many = b"".join([gzip.compress(b"", 1)] * 5_000)
    yield "5,000 times nothing in gzip", Bomb("idx", many, "offset 0: the data ends")
    large = PNG | {"IHDR": png_header(60_000, 60_000)}
    yield "60,000 x 60,000 pixels", Bomb("picture", png(large), "it has too many pixels")
    large = PNG | {"IDAT": ZEROS}
    yield "more pixels than there are", Bomb("picture", png(large), "")
    note = {"IHDR": PNG["IHDR"], "zTXt": b"Comment\0\0" + zlib.compress(ZEROS)}
    yield "a note of 20 megabytes", Bomb("picture", png(note | PNG), "it is")


BOMBS = dict(bombs())


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_a_file_only_claims_takes_no_memory(bomb: Bomb, tmp_path: Path) -> None:
    assert bomb.says in refusal_of(READERS[bomb.reader], tmp_path, bomb.content)
