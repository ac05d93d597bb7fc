"""The readers of files under atheris, one to a process: what ``fuzz.py`` starts.

Whatever the bytes, a reader must give a value that keeps its promises, or raise an error
of its own that names the file; without a warning, much memory, or a change of any file.
What it does instead is written to the directory ``findings``, once for each place in the code.
"""

import hashlib
import io
import itertools
import os
import random
import re
import resource
import struct
import sys
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

atheris: Any = import_module("atheris")  # it comes without types
with atheris.instrument_imports(include=["mnist_fn", "PIL", "gzip", "zipfile"]):
    import gzip
    import zipfile

    from PIL import Image

    import mnist_fn as mf
    from mnist_fn.effects import checkpoints, pictures
    from mnist_fn.effects.checkpoints import Checkpoint, CheckpointError
    from mnist_fn.effects.pictures import PictureError
    from mnist_fn.idx import decode, encode
    from mnist_fn.images import frame
    from mnist_fn.views import VIEWS

_MOST_MEMORY = 64 << 20  # that one input may add, in bytes, and 32 for each of its own
_MOST_PIXELS = 1 << 12  # few, so that no input is slow; Pillow's own limit is 20,000 times that
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024

Change = Callable[[bytes], bytes]


class Reader(NamedTuple):
    """How to fuzz one reader."""

    seeds: Callable[[Path], Iterator[bytes]]
    """Yields valid files; may use an empty directory."""
    read: Callable[[Path, bytes], None]
    """Reads the file, which has these bytes, and asserts what must hold of the result."""
    refusals: tuple[type[Exception], ...]
    refusal: str
    """A pattern of how a refusal begins; ``FILE`` is the file."""
    inside: Callable[[bytes, Change, random.Random], bytes]
    """Makes a change behind a file's checksums and compression."""
    longest: int
    """How many bytes an input has at most."""


def idx_seeds(directory: Path) -> Iterator[bytes]:
    """Yield every type of elements and some shapes, plain and compressed."""
    for dtype in ("u1", "i1", "i2", "i4", "f4", "f8"):
        for shape in ((), (5,), (2, 3, 3), (1, 0, 2)):
            content = encode(np.ones(shape, dtype))
            yield content
            yield gzip.compress(content, 1)


def read_idx(path: Path, content: bytes) -> None:
    """Decode bytes, and a view of them."""
    for given in (content, memoryview(content)):
        array = decode(given, str(path))
        assert not array.flags.writeable
        assert array.dtype.isnative
        if not content.startswith(b"\x1f\x8b"):
            assert encode(array) == content


def inside_gzip(content: bytes, change: Change, chance: random.Random) -> bytes:
    """Change what is compressed."""
    return gzip.compress(change(gzip.decompress(content)), 1)


def networks() -> list[mf.Member]:
    """Return a committee of two."""
    return [
        mf.Member(mf.init_params(mf.key(i), pixels=4, hidden=2, classes=2), VIEWS[name])
        for i, name in enumerate(["as they are", "deslanted"])
    ]


RECORD = mf.EpochRecord(0, 1, 0.1, 0.5, 0.9, 0.5, 0.9, 1.5)


def model_seeds(directory: Path) -> Iterator[bytes]:
    """Yield a network, a committee with all that a file can hold, and compressed ones.

    And one that is shown two images in place of one.
    """
    path = directory / "model.npz"
    joined = mf.init_params(mf.key(2), pixels=8, hidden=2, classes=2)
    more: dict[str, Any] = {"history": [RECORD], "settings": {"seed": "0"}, "trained_on": "x"}
    of_both = [mf.Member(joined, VIEWS["deslanted and standardized edges"])]
    for network, about in ((networks()[0].params, {}), (networks(), more), (of_both, {})):
        mf.save_params(path, network, **about)
        yield path.read_bytes()
        with np.load(path) as arrays:
            np.savez_compressed(path, **arrays)
        yield path.read_bytes()


def read_model(path: Path, content: bytes) -> None:
    """Load a model file."""
    model = mf.load_model(path)
    for params, _ in model.members:
        for array in params:
            assert not array.flags.writeable
            assert array.dtype == params.W1.dtype in (np.float32, np.float64)
            assert np.isfinite(array).all()
        assert len(params.W1) == len(params.b1) == params.W2.shape[1] > 0
    assert all(type(record.epoch) is int for record in model.history)
    assert all(type(value) is str for value in model.settings.values())


def checkpoint_seeds(directory: Path) -> Iterator[bytes]:
    """Yield what follows the digest in a checkpoint."""
    finished = [member.params for member in networks()]
    state = mf.init_state(mf.adam(0.1), finished[0])
    leaves = tuple(checkpoints.leaves_of(state))
    for checkpoint in (
        Checkpoint({"seed": "0"}),
        Checkpoint({"seed": "0"}, [RECORD], finished, leaves),
    ):
        checkpoints.save_checkpoint(directory, checkpoint)
        yield checkpoints.checkpoints_in(directory)[0].read_bytes()[32:]


def read_checkpoint(path: Path, content: bytes) -> None:
    """Load a checkpoint that begins with the digest of these bytes."""
    path.write_bytes(hashlib.sha256(content).digest() + content)
    try:
        checkpoint = checkpoints.load_checkpoint(path)
    finally:
        path.write_bytes(content)
    assert all(type(value) is str for value in checkpoint.settings.values())
    assert all(type(record.epoch) is int for record in checkpoint.history)
    for array in (*checkpoint.leaves, *itertools.chain(*checkpoint.finished)):
        assert array.dtype.kind in "fiu"
        assert not array.flags.writeable


def inside_zip(content: bytes, change: Change, chance: random.Random) -> bytes:
    """Change a part of an archive, or put a changed one in the place of another."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    replaced, changed = chance.choices(list(parts), k=2)
    parts[replaced] = change(parts[replaced if chance.random() < 0.8 else changed])
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part)
    return written.getvalue()


def picture_seeds(directory: Path) -> Iterator[bytes]:
    """Yield a small seven in every kind and mode that Pillow can write and reads by itself."""
    grey = np.full((16, 12), 255, np.uint8)
    grey[3, 3:9] = grey[3:13, 8] = 10
    eight, sixteen = Image.fromarray(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    images = [eight.convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "F")]
    Image.init()
    for kind in sorted(Image.SAVE.keys() & Image.OPEN.keys() - {"ICNS"}):  # whose are large
        for image in (*images, sixteen):
            content = io.BytesIO()
            try:
                image.save(content, kind)
            except (OSError, ValueError, KeyError):
                continue  # not every kind has every mode
            yield content.getvalue()


def read_picture(path: Path, content: bytes) -> None:
    """Read a picture and put the digit into MNIST's frame."""
    picture = pictures.read_picture(str(path))
    assert picture.dtype in (np.uint8, np.uint16)
    assert picture.ndim == 2 or picture.shape[2] in (2, 3, 4)
    image = frame(picture)
    assert image.shape == (28, 28)
    assert not image.flags.writeable
    assert image.min() >= 0
    assert image.max() <= 1
    assert image.any()


def inside_png(content: bytes, change: Change, chance: random.Random) -> bytes:
    """Change a chunk of a PNG file; that of its pixels, what is compressed."""
    signature, rest = content[:8], content[8:]
    chunks = []
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        chunks.append((rest[4:8], rest[8 : 8 + length]))
        rest = rest[12 + length :]
    i = chance.randrange(len(chunks))
    name, body = chunks[i]
    if name == b"IDAT":
        chunks[i] = name, zlib.compress(change(zlib.decompress(body)), 1)
    else:
        chunks[i] = name, change(body)
    return signature + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


READERS = {
    "idx": Reader(idx_seeds, read_idx, (mf.IdxError,), "FILE: ", inside_gzip, 1000),
    "model": Reader(
        model_seeds,
        read_model,
        (mf.ModelError,),
        r"FILE is damaged, or not a model file: .*\. Make one with |FILE cannot be read: ",
        inside_zip,
        8000,
    ),
    "checkpoint": Reader(
        checkpoint_seeds, read_checkpoint, (CheckpointError,), "FILE is ", inside_zip, 8000
    ),
    "picture": Reader(
        picture_seeds,
        read_picture,
        (PictureError, ValueError),
        "(it is|it has|some of its pixels|there is not enough memory).*; |frame: ",
        inside_png,
        4000,
    ),
}


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def check(reader: Reader, path: Path, content: bytes) -> None:
    """Read one input; raise whatever is wrong with that."""
    path.write_bytes(content)
    before, said = peak(), None
    try:
        reader.read(path, content)
    except reader.refusals as error:
        said = str(error)
    more = peak() - before
    begins = reader.refusal.replace("FILE", re.escape(str(path)))
    assert said is None or re.match(begins, said, re.DOTALL), f"it says: {said}"
    assert more < _MOST_MEMORY + 32 * len(content), f"it takes {more:,} bytes more"
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == content


def fuzz(reader: Reader, inputs: int, directory: Path) -> None:
    """Give the reader so many inputs; never returns."""
    corpus, findings, scratch = (directory / name for name in ("corpus", "findings", "scratch"))
    for path in (corpus, findings, scratch):
        path.mkdir(exist_ok=True)
    mf.key(0)  # at the first call, jaxtyping imports JAX, if that is there: a hundred megabytes
    for i, seed in enumerate(reader.seeds(scratch)):
        (corpus / f"seed-{i}").write_bytes(seed)
    for path in (*scratch.iterdir(), *findings.iterdir()):
        path.unlink()
    found = set()

    def note(error: BaseException, content: bytes) -> None:
        place = f"{type(error)} {traceback.extract_tb(error.__traceback__)[-1:]}"
        if place not in found:
            found.add(place)
            finding = findings / f"{len(found)}"
            finding.write_bytes(content)
            finding.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))

    def one_input(content: bytes) -> None:
        # What a finalizer raises, such as of a file left open, is only handed to the hook.
        sys.unraisablehook = lambda raised: note(raised.exc_value or Exception(raised), content)
        try:
            check(reader, scratch / "input", content)
        except Exception as error:
            note(error, content)

    def mutated(content: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            try:
                changed = reader.inside(
                    content, lambda part: bytes(atheris.Mutate(part, len(part) + 64)), chance
                )
            except Exception:  # it is too damaged to look into
                changed = b""
            if 0 < len(changed) <= longest:
                return changed
        mutant: bytes = atheris.Mutate(content, longest)
        return mutant

    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS
    warnings.simplefilter("error")
    options = [f"-runs={inputs}", f"-max_len={reader.longest}", "-seed=1", "-timeout=60"]
    options += ["-rss_limit_mb=2048", f"-artifact_prefix={findings}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    fuzz(READERS[sys.argv[1]], int(sys.argv[2]), Path(sys.argv[3]))
