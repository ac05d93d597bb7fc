"""A large data set out of a small one: its images as they are, then distorted copies of them.

Source: Loosli, Canu and Bottou, "Training Invariant Support Vector Machines using Selective
Sampling", 2007, whose InfiMNIST goes on after the 60,000 images of MNIST in this way.
"""

import errno
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .. import idx
from ..arrays import GreyImages, side_of
from ..augment import distort
from ..batches import Dataset, scale
from ..keys import Key, fold_in
from .datasets import DatasetError
from .mapping import release

_PART = 4096  # images that are in memory at a time
_BLOCK = 16  # images that share a distortion: finding where pixels move takes most of the time


class _File(NamedTuple):
    """An IDX file that is to be written, a part at a time."""

    header: bytes
    parts: Iterable[np.ndarray]
    size: int


def enlarge(
    dataset: Dataset,
    times: int,
    key: Key,
    directory: Path,
    advance: Callable[[int], object] = lambda images: None,
) -> None:
    """Write a data set with ``times`` as many training images to a new directory.

    The first of them are those of ``dataset``; each copy of all of them after that is
    distorted by ``distort``, 16 images at a time by one distortion. The test images stay as
    they are. The directory is there whole or not at all. The same arguments write the same
    bytes.

    Args:
        dataset: what to enlarge; its labels must fit a byte.
        times: how many times as many, from 1 on.
        key: from which the distortions are drawn.
        directory: what must not be there yet.
        advance: is told after each part how many images it had.

    Raises:
        DatasetError: the directory is there already, or cannot be written.
        IdxError: these are more images than the format can count.

    """
    files = _files(dataset, times, key, advance)
    _check(directory, sum(file.size for file in files.values()))
    temporary = directory.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.mkdir()
        for name, file in files.items():
            _write(temporary / name, file)
        temporary.rename(directory)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some space, or name one on a larger disk" if full else "name another one"
        raise DatasetError(
            f"the directory {directory} cannot be written: {error.strerror}; nothing was kept; "
            f"{advice}"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(
    dataset: Dataset, times: int, key: Key, advance: Callable[[int], object]
) -> dict[str, _File]:
    _, X_train, Y_train, X_test, Y_test = dataset
    side = side_of("enlarge", len(X_train))
    images = _training_images(X_train, times, key, advance)
    labels = Y_train.astype(np.uint8)
    return {
        "train-images-idx3-ubyte": _file((times * len(Y_train), side, side), images),
        "train-labels-idx1-ubyte": _file((times * len(Y_train),), (labels for _ in range(times))),
        "t10k-images-idx3-ubyte": _file((len(Y_test), side, side), [X_test.T]),
        "t10k-labels-idx1-ubyte": _file((len(Y_test),), [Y_test.astype(np.uint8)]),
    }


def _file(shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> _File:
    header = idx.encode_header(np.dtype(np.uint8), shape)
    return _File(header, parts, len(header) + math.prod(shape))


def _check(directory: Path, size: int) -> None:
    """Refuse before the work what would fail after it."""
    if directory.exists() or directory.is_symlink():
        raise DatasetError(f"{directory} is there already; name a directory that is not")
    if not directory.parent.is_dir():
        raise DatasetError(f"{directory.parent} is not a directory; name one, or make it first")
    free = shutil.disk_usage(directory.parent).free
    if size > free:
        raise DatasetError(
            f"the images take {size / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free where "
            f"{directory} is to be; free some space, or name a directory on a larger disk"
        )


def _write(path: Path, file: _File) -> None:
    with open(path, "xb") as stream:
        stream.write(file.header)
        for part in file.parts:
            stream.write(np.ascontiguousarray(part).data)
        stream.flush()
        os.fsync(stream.fileno())


def _training_images(
    X: GreyImages, times: int, key: Key, advance: Callable[[int], object]
) -> Iterator[np.ndarray]:
    for copy in range(times):
        for i in range(0, X.shape[1], _PART):
            part = X[:, i : i + _PART]
            yield part.T if copy == 0 else _distorted(fold_in(fold_in(key, copy), i), part)
            release(X)
            advance(part.shape[1])


def _distorted(key: Key, X: GreyImages) -> np.ndarray:
    """Return distorted images as they are stored, one in each row."""
    blocks = (
        distort(fold_in(key, i), scale(X[:, i : i + _BLOCK])) for i in range(0, X.shape[1], _BLOCK)
    )
    return np.concatenate([np.rint(block.T * 255).astype(np.uint8) for block in blocks])
