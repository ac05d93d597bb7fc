"""Files larger than memory as arrays: what is not looked at is not read."""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..batches import Batch

_MOST = 1 << 24  # bytes of a mapped file that are read before they are let go


def mapped(path: Path) -> memoryview:
    """Return a file's content, of which the system reads what is looked at, when it is.

    The file must stay as it is for as long: if it is cut short, the system ends the process.
    """
    with open(path, "rb") as file:
        empty = not path.stat().st_size
        return memoryview(b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def release(array: np.ndarray) -> None:
    """Let go what was read of a mapped file; what is looked at again is read again.

    The system does so itself when memory is short, but until then all of it seems to be in use.
    Of an array that is none of a mapped file, nothing happens.
    """
    mapping = mapping_of(array)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def mapping_of(array: np.ndarray) -> mmap.mmap | None:
    """Return the mapped file that an array is a view of, if it is one."""
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    content = owner.obj if isinstance(owner, memoryview) else None
    return content if isinstance(content, mmap.mmap) else None


def released(batches: Iterable[Batch], X: np.ndarray) -> Iterator[Batch]:
    """Yield the batches, and now and then let go what they have read of the mapped ``X``."""
    read = 0
    for batch in batches:
        yield batch
        read += len(X) * len(batch.Y)
        if read > _MOST:
            release(X)
            read = 0
