"""Archives of arrays that are safe to read: ``.npz`` with nothing pickled or compressed.

What is in them is checked first, and takes no more memory than a few times the file.
Model files and checkpoints are such archives, and both hold a ``history`` and ``settings``.
"""

import io
import json
import math
import struct
import sys
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from ..evaluation import EpochRecord

Kind: TypeAlias = tuple[str, int | None]
"""What ``dtype.kind`` may be, a letter each, and how many dimensions; None is any number."""

DAMAGED = (zipfile.BadZipFile, struct.error, EOFError, OverflowError, RuntimeError, ValueError)
"""What comes of reading a file that is no such archive; most of it is let out by ``zipfile``."""


def read_arrays(
    archive: zipfile.ZipFile, most_bytes: int, kind_of: Callable[[str], Kind | None]
) -> dict[str, np.ndarray]:
    """Return the arrays of an archive, which all together must be no longer than it.

    ``kind_of`` says what the array of a name must be, and None if there is no such array.

    Raises:
        ValueError: an array is not what it must be. ``zipfile`` raises more of ``DAMAGED``.

    """
    infos = archive.infolist()
    names = [info.filename.removesuffix(".npy") for info in infos]
    twice = {name for name, count in Counter(names).items() if count > 1}
    kinds = {}
    for name, info in zip(names, infos, strict=True):
        if (kind := kind_of(name)) is None or name in twice:
            raise ValueError(f"{info.filename!r} is not a part that a model file has, or has once")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted")
        most_bytes -= info.file_size
        if info.file_size != info.compress_size or most_bytes < 0:
            raise ValueError(f"{name} cannot be {info.file_size} bytes long")
        kinds[name] = kind
    return {
        name: _read(name, archive.read(info), kinds[name])
        for name, info in zip(names, infos, strict=True)
    }


def history_of(arrays: Mapping[str, np.ndarray]) -> tuple[EpochRecord, ...]:
    """Return the epochs in ``history``, a row for each; raise a ``ValueError`` if it has others."""
    table = arrays.get("history")
    if table is None:
        return ()
    rows = table.tolist()
    if (
        table.dtype != np.float64
        or table.shape[1] != len(EpochRecord._fields)
        or not all(n.is_integer() and 0 <= n < 2**31 for row in rows for n in row[:2])
    ):
        raise ValueError(f"history, of shape {table.shape}, is not a table of epochs")
    return tuple(EpochRecord(int(member), int(epoch), *rest) for member, epoch, *rest in rows)


def settings_of(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return what ``settings`` holds as JSON; raise a ``ValueError`` if it is not texts."""
    settings = json.loads(str(arrays.get("settings", "{}")))
    if not isinstance(settings, dict) or not all(type(v) is str for v in settings.values()):
        raise ValueError("settings is not a table of texts")
    return settings


def _read(name: str, content: bytes, expected: Kind) -> np.ndarray:
    """Return an array; the data, not the header, says how much memory it takes."""
    stream = io.BytesIO(content)
    try:
        with warnings.catch_warnings(action="error"):  # of headers that are nearly right
            np.lib.format.read_magic(stream)
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if bool in map(type, shape):  # which NumPy's parser takes for whole numbers
            raise ValueError(f"the shape is {shape}")
    except Exception as error:  # NumPy lets out whatever its parser of Python literals does
        raise ValueError(f"the header of {name} is damaged") from error
    data = stream.read()
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"{name} declares {dtype} elements in the shape {shape}, but has {len(data)} bytes"
        )
    kinds, ndim = expected
    if dtype.kind not in kinds or ndim not in (None, len(shape)) or not data:
        raise ValueError(f"{name} is a {dtype} array of shape {shape}")
    if dtype.kind == "U" and np.frombuffer(data, f"{dtype.byteorder}u4").max() > sys.maxunicode:
        raise ValueError(f"{name} is not text")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="))
