"""Archives of arrays that are safe to read: ``.npz`` with nothing pickled or compressed.

What is in them is checked first, and takes no more memory than the file is long.
"""

import io
import math
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

Kind: TypeAlias = tuple[str, int]
"""The kind of an array's elements, as ``dtype.kind``, and how many dimensions it has."""


def read_arrays(
    archive: zipfile.ZipFile, most_bytes: int, kind_of: Callable[[str], Kind | None]
) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, which all together must be no longer than it.

    ``kind_of`` says what the array of a name must be, and None if there is no such array.

    Raises:
        ValueError: an array is not what it must be. So do the errors of ``zipfile``.

    """
    infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos]
    twice = {name for name, count in Counter(names).items() if count > 1}
    for name, info in zip(names, infos, strict=True):
        if kind_of(name) is None or name in twice:
            raise ValueError(f"{info.filename!r} is not a part that a model file has, or has once")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted")
        most_bytes -= info.file_size
        if info.file_size != info.compress_size or most_bytes < 0:
            raise ValueError(f"{name} cannot be {info.file_size} bytes long")
    return {
        name: _read(name, archive.read(info), kind_of(name))
        for name, info in zip(names, infos, strict=True)
    }


def _read(name: str, content: bytes, expected: Kind | None) -> np.ndarray:
    """Return an array; the data, not the header, says how much memory it takes."""
    stream = io.BytesIO(content)
    try:
        np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # NumPy lets out whatever its parser of Python literals does
        raise ValueError(f"the header of {name} is damaged") from error
    data = stream.read()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"{name} declares {dtype} elements in the shape {shape}, but has {len(data)} bytes"
        )
    if (dtype.kind, len(shape)) != expected or not data:
        raise ValueError(f"{name} is a {dtype} array of shape {shape}")
    if dtype.kind == "U" and np.frombuffer(data, np.uint32).max() > sys.maxunicode:
        raise ValueError(f"{name} is not text")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="))
