"""A data set, a key and an epoch -> an iterator of batches."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from .arrays import GreyImages, Images, Labels, Pixels, freeze, frozen
from .contracts import checked, unchecked
from .keys import Key, fold_in, generator

_WINDOW = 64  # blocks that are shuffled together


class Batch(NamedTuple):
    """``X``: images in [0, 1], one per column; ``Y``: their labels."""

    X: Images
    Y: Labels


class Dataset(NamedTuple):
    """A name; images as they are stored (0 to 255), one per column, and their labels.

    ``X_train`` and ``Y_train`` are to learn from, ``X_test`` and ``Y_test`` to be judged by.
    """

    name: str
    X_train: UInt8[np.ndarray, "pixels m_train"]
    Y_train: Integer[np.ndarray, " m_train"]
    X_test: UInt8[np.ndarray, "pixels m_test"]
    Y_test: Integer[np.ndarray, " m_test"]


@checked
def scale(X: GreyImages, dtype: type[np.float32] | type[np.float64] = np.float32) -> Images:
    """Return the grey values 0 to 255 as fractions from 0 to 1.

    >>> scale(np.array([[0], [255]], np.uint8)).tolist()
    [[0.0], [1.0]]
    """
    # Image by image, as they lie in memory.
    scaled: np.ndarray = X.T.astype(dtype)
    scaled *= dtype(1 / 255)
    freeze((scaled,))
    return scaled.T


_scale = unchecked(scale)  # called by functions that have checked the same arrays


@checked
def live_pixels(X: GreyImages) -> Pixels:
    """Return, in order, the rows of ``X`` that a network learns from, and a few more.

    A pixel that is 0 in every image of a training set has no gradient. Training without
    it is the same at less work, with an optimizer that leaves weights whose gradients are 0
    as they are (weight decay does not): see ``train_epochs``. (Masks of pixel dropout are then
    others, as there are fewer pixels to draw them for.) As many of these are kept
    as make a multiple of 16, so that images that lie one after the other in memory all
    begin on the same boundary, which products are faster with.

    >>> X = np.zeros((784, 3), np.uint8)
    >>> X[100:130] = 255
    >>> len(live_pixels(X))
    32

    """
    live = np.flatnonzero(X.any(axis=1))
    dead = np.setdiff1d(np.arange(len(X)), live)
    pixels = np.union1d(live, dead[: -len(live) % 16])
    freeze((pixels,))
    return pixels


@checked
def ordered_batches(
    X: GreyImages,
    Y: Labels,
    batch_size: int = 1000,
    dtype: type[np.float32] | type[np.float64] = np.float32,
) -> Iterator[Batch]:
    """Yield the samples in the order in which they are, for an evaluation.

    Raises:
        ValueError: ``batch_size`` is less than 1.

    >>> X, Y = np.zeros((784, 300), np.uint8), np.zeros(300, np.uint8)
    >>> [batch.X.shape for batch in ordered_batches(X, Y, batch_size=200)]
    [(784, 200), (784, 100)]

    """
    _check_batch_size(batch_size)
    parts = (slice(i, i + batch_size) for i in range(0, len(Y), batch_size))
    return (_batch(X, Y, part, dtype) for part in parts)


@checked
def epoch_batches(
    key: Key,
    epoch: int,
    X: GreyImages,
    Y: Labels,
    batch_size: int = 128,
    dtype: type[np.float32] | type[np.float64] = np.float32,
    block: int | None = None,
) -> Iterator[Batch]:
    """Yield each sample once, in an order that depends on ``key`` and ``epoch`` only.

    The last batch holds what is left over. If one batch holds them all, they keep
    their own order, as the gradient does not depend on it.

    Without ``block`` every order is as probable as any other. A file larger than memory would
    be read from anywhere at each step; with ``block`` it is read in pieces, and no more than
    64 of them are held at a time: the blocks of so many samples that lie one after the other
    come in random order, and the samples of each 64 blocks are shuffled together. What is left
    of them after the last whole batch is shuffled with the next 64.

    Args:
        key: from which the order is drawn.
        epoch: the number of the epoch, counted from 0.
        X: the images as they are stored.
        Y: their labels.
        batch_size: how many samples are in a batch.
        dtype: the precision of the batches.
        block: how many samples are in a block.

    Raises:
        ValueError: ``batch_size`` or ``block`` is less than 1, or ``epoch`` is negative.

    >>> from mnist_fn import key
    >>> X, Y = np.zeros((784, 300), np.uint8), np.zeros(300, np.uint8)
    >>> [batch.X.shape for batch in epoch_batches(key(0), 0, X, Y)]
    [(784, 128), (784, 128), (784, 44)]

    """
    _check_batch_size(batch_size)
    if epoch < 0:
        raise ValueError(f"epoch_batches: epoch is {epoch}, but it must be 0 or more")
    if block is not None and block < 1:
        raise ValueError(f"epoch_batches: block is {block}, but it must be 1 or more")
    m = len(Y)
    if batch_size >= m:
        return ordered_batches(X, Y, batch_size, dtype)
    if block is not None:
        return _shuffled_blocks(fold_in(key, epoch), X, Y, batch_size, dtype, block)
    order = generator(fold_in(key, epoch)).permutation(m)
    parts = (order[i : i + batch_size] for i in range(0, m, batch_size))
    return (_batch(X, Y, part, dtype) for part in parts)


def _shuffled_blocks(
    key: Key,
    X: np.ndarray,
    Y: np.ndarray,
    batch_size: int,
    dtype: type[np.float32] | type[np.float64],
    block: int,
) -> Iterator[Batch]:
    starts = generator(key).permutation(-(-len(Y) // block)) * block
    images, labels = X[:, :0], Y[:0]
    for first in range(0, len(starts), _WINDOW):
        # In the order of the file: it makes no difference to the shuffle, but to a disk.
        window = np.sort(starts[first : first + _WINDOW])
        images = np.concatenate([images.T, *(X.T[i : i + block] for i in window)]).T
        labels = np.concatenate([labels, *(Y[i : i + block] for i in window)])
        order = generator(fold_in(key, first)).permutation(len(labels))
        rest = len(order) % batch_size if first + _WINDOW < len(starts) else 0
        for i in range(0, len(order) - rest, batch_size):
            yield _batch(images, labels, order[i : i + batch_size], dtype)
        # Copied, so that the window is let go before the next one is read.
        left = order[len(order) - rest :]
        images, labels = images.T.take(left, axis=0).T, labels.take(left)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, but it must be 1 or more")


def _batch(
    X: np.ndarray,
    Y: np.ndarray,
    part: slice | np.ndarray,
    dtype: type[np.float32] | type[np.float64],
) -> Batch:
    if isinstance(part, slice):
        X, Y = X[:, part], Y[part].copy()
    else:
        X, Y = X.T.take(part, axis=0).T, Y.take(part)
    freeze((Y,))
    return Batch(_scale(X, dtype), Y)


@checked
def hold_out(X: GreyImages, Y: Labels, n: int = 10_000) -> Dataset:
    """Return a data set whose test part is the last ``n`` of these training samples.

    Settings are chosen on such a part, so that the real test set is left to report them.

    Raises:
        ValueError: ``n`` leaves no sample on one side.

    >>> X, Y = np.zeros((784, 300), np.uint8), np.zeros(300, np.uint8)
    >>> hold_out(X, Y, n=100).X_train.shape
    (784, 200)

    """
    if not 0 < n < len(Y):
        raise ValueError(
            f"hold_out: n is {n}, but of {len(Y)} samples it must leave some on each side"
        )
    X, Y = frozen(X), frozen(Y)
    return Dataset("validation", X[:, :-n], Y[:-n], X[:, -n:], Y[-n:])
