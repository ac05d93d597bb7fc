"""The IDX format of the MNIST files: bytes <-> arrays.

A file is two zero bytes, one byte for the type of the elements, one for the number
of dimensions, a big-endian 32-bit size for each dimension, and the elements,
big-endian, the last dimension varying fastest.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
"""

import gzip
import io
import math
import zlib
from typing import Any

import numpy as np
from jaxtyping import Shaped

from .arrays import freeze
from .contracts import checked

_DTYPES: dict[int, np.dtype] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_MOST_DIMENSIONS = 64  # NumPy's own limit
_LONGEST_HEADER = 1024  # the magic number, and as many sizes as a byte can count
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1_000_000


class IdxError(ValueError):
    """Bytes that are not one whole IDX array, or an array that the format cannot hold."""


@checked
def decode(content: bytes | memoryview, name: str = "IDX data") -> Shaped[np.ndarray, "..."]:
    """Return the array in an IDX file's content, plain or compressed with gzip.

    No more is unpacked than the header declares, and nothing is allocated on the
    header's word alone.

    Args:
        content: the whole file. The array of bytes lies in memory of its own; that of a plain
            read-only ``memoryview``, such as a mapped file's, is a view of it, if its elements
            are single bytes.
        name: what to call it in error messages, such as the file's name.

    Returns:
        A read-only array, in the machine's own byte order.

    Raises:
        IdxError: with the name, the offset, what was there and what was expected.

    >>> decode(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([[7, 8, 9]], dtype=uint8)
    >>> decode(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7]), name="labels")
    Traceback (most recent call last):
    mnist_fn.idx.IdxError: labels: offset 9: the data ends, but the header declares \
3 elements of 1 byte (3), which end at offset 10

    """
    view = memoryview(content).cast("B")
    if view[:2] != _GZIP_MAGIC:
        dtype, shape = _header(io.BytesIO(view[:_LONGEST_HEADER]), name)
        data = view[4 + 4 * len(shape) :]
        may_share = isinstance(content, memoryview) and content.readonly
        return _array(data, dtype, shape, name, copy=not may_share)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            dtype, shape = _header(stream, name)
            # One byte more than declared tells that there is more.
            unpacked = _read(stream, math.prod(shape) * dtype.itemsize + 1)
            return _array(memoryview(unpacked), dtype, shape, name, copy=False)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise IdxError(
            f"{name}: the gzip data is damaged or cut short ({error}); get the file again"
        ) from error


@checked
def encode(array: Shaped[np.ndarray, "..."]) -> bytes:
    """Return the content of the (plain) IDX file that holds an array.

    Raises:
        IdxError: the format has no code for the element type, or a size is 2^32 or more.

    >>> encode(np.array([7, 8], np.uint8)).hex(" ")
    '00 00 08 01 00 00 00 02 07 08'

    """
    header = encode_header(array.dtype, array.shape)
    return header + array.astype(_DTYPES[header[2]]).tobytes()


@checked
def encode_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the beginning of an IDX file, after which come the elements of such an array.

    Raises:
        IdxError: the format has no code for the element type, or a size is 2^32 or more.

    >>> encode_header(np.dtype(np.uint8), (60_000, 28, 28)).hex(" ", 4)
    '00000803 0000ea60 0000001c 0000001c'

    """
    # NumPy's newer kinds of elements have no byte order to ask for.
    code = _CODES.get(dtype.newbyteorder("=")) if dtype.kind in "iuf" else None
    if code is None:
        known = ", ".join(str(dtype) for dtype in _CODES)
        raise IdxError(f"encode: IDX has no {dtype} elements; convert to one of {known}")
    if any(size >= 1 << 32 for size in shape):
        raise IdxError(f"encode: the shape is {shape}, but IDX sizes must be below 2^32")
    return bytes([0, 0, code, len(shape)]) + np.array(shape, dtype=">u4").tobytes()


def _header(stream: io.BufferedIOBase, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4:
        raise IdxError(f"{name}: offset {len(magic)}: the data ends inside the 4-byte magic number")
    if any(magic[:2]):
        raise IdxError(
            f"{name}: offset 0: there is {magic[:2].hex(' ')}, but an IDX file starts with 00 00"
        )
    code, ndim = magic[2:]
    if code not in _DTYPES:
        known = ", ".join(f"{code:02x} ({dtype.name})" for code, dtype in _DTYPES.items())
        raise IdxError(
            f"{name}: offset 2: the element type is {code:02x}, but it must be one of {known}"
        )
    if ndim > _MOST_DIMENSIONS:
        raise IdxError(
            f"{name}: offset 3: there are {ndim} dimensions, but NumPy has at most "
            f"{_MOST_DIMENSIONS}"
        )
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise IdxError(
            f"{name}: offset {4 + len(sizes)}: the data ends inside the {ndim} sizes, "
            f"which end at offset {4 + 4 * ndim}"
        )
    return _DTYPES[code], tuple(np.frombuffer(sizes, ">u4").tolist())


def _read(stream: io.BufferedIOBase, most: int) -> bytearray:
    # The data, not the header, says how much memory is taken.
    data = bytearray()
    while chunk := stream.read(min(_CHUNK, most - len(data))):
        data += chunk
    return data


def _array(
    data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str, copy: bool
) -> np.ndarray:
    start = 4 + 4 * len(shape)
    count = math.prod(shape)
    declared = count * dtype.itemsize
    unit = "byte" if dtype.itemsize == 1 else "bytes"
    declares = (
        f"the header declares {count} elements of {dtype.itemsize} {unit} ({declared}), "
        f"which end at offset {start + declared - 1}"
    )
    if len(data) < declared:
        raise IdxError(f"{name}: offset {start + len(data)}: the data ends, but {declares}")
    if len(data) > declared:
        raise IdxError(f"{name}: offset {start + declared}: there is more data, but {declares}")
    try:
        flat = np.frombuffer(data, dtype)
        flat.setflags(write=False)  # what is made of a bytearray would not be
        array = flat.reshape(shape)
    except ValueError as error:
        raise IdxError(f"{name}: offset 4: NumPy cannot have the shape {shape}: {error}") from error
    (array,) = freeze((array.astype(dtype.newbyteorder("="), copy=copy),))
    return array
