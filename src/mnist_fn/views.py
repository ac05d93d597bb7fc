"""Views: what an image is made into before a network sees it, in training and after.

A view takes away what tells writers apart and not digits, or shows what is hard to see. A
committee of networks with different views is Meier et al.'s (see ``committees``), who gave
digits different widths.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .arrays import Images, freeze, side_of
from .contracts import checked


class View(NamedTuple):
    """A pure function from images to images, under the name that a model file has for it.

    For each image, a column, it returns a column of grey values from 0 to 1: the pixels of
    ``images`` images of the same size, one after the other.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    images: int = 1

    def __repr__(self) -> str:
        """Return the name, which is what a signature has room for."""
        return self.name


@checked
def deslant(X: Images) -> Images:
    """Return the images, each sheared so that its digit stands upright.

    Each row of pixels moves sideways, so that in the grey values as weights the covariance
    of row and column becomes 0; the row of the centre of mass stays. A row moves by at
    most as much as its distance from there. Values are interpolated linearly.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to
    Document Recognition", 1998, section III.A: the deslanted images.

    Raises:
        ValueError: the images are not square, or a grey value is not a finite number.

    >>> X = np.zeros((5, 5, 1))
    >>> X[[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]] = 1  # a stroke that leans
    >>> deslant(X.reshape(25, 1)).reshape(5, 5)[:, 2]
    array([1., 1., 1., 1., 1.])

    """
    images, y, _, slant, _, _ = _moments("deslant", X)
    m, side, _ = images.shape
    shift = np.clip(slant, -1, 1) * y
    whole = np.floor(shift)
    # A row moves as one: it is cut out of itself between zeros.
    wide = np.zeros((m, side, 3 * side + 1), X.dtype)
    wide[:, :, side : 2 * side] = images
    start = np.arange(side, wide.size, 3 * side + 1).reshape(m, side) + whole.astype(np.intp)
    near = wide.ravel().take(start[:, :, np.newaxis] + np.arange(side + 1))
    values: np.ndarray = np.diff(near, axis=2)
    values *= (shift - whole)[:, :, np.newaxis]
    values += near[:, :, :-1]
    freeze((values,))
    return values.reshape(m, side * side).T


@checked
def standardize(X: Images) -> Images:
    """Return the images, each deslanted, moved and scaled so that its digits' moments agree.

    In the grey values as weights, the mean position becomes the centre of the image, the
    covariance of row and column 0, and the deviation of the rows 29/140 of the side: 5.8
    pixels of 28. A digit that is ``r < 1`` times as wide as it is high, as deviations are,
    becomes ``sqrt(sin(r pi / 2))`` times as wide, a wider one as wide as high. No image is
    made more than ten times as large, or four times as small. Values are interpolated
    bilinearly.

    Source: Liu, Nakashima, Sako and Fujisawa, "Handwritten digit recognition:
    investigation of normalization and feature extraction techniques", 2004: moment
    normalization, with the aspect ratio F7.

    Raises:
        ValueError: the images are not square, or a grey value is not a finite number.

    >>> X = np.zeros((28, 28, 1))
    >>> X[2:8, 3:5] = 1  # a small stroke
    >>> standardized = standardize(X.reshape(784, 1)).reshape(28, 28)
    >>> np.flatnonzero(standardized.sum(axis=1) > 0.5)[[0, -1]]
    array([ 2, 25])

    """
    images, y, x, slant, height, width = _moments("standardize", X)
    side = images.shape[1]
    tiny = np.finfo(X.dtype).tiny
    aspect = np.divide(width, height, out=np.ones_like(width), where=width < height)
    new_height = 29 / 140 * side
    new_width = new_height * np.sqrt(np.sin(np.pi / 2 * aspect))
    i = np.arange(side, dtype=X.dtype) - (side - 1) / 2
    rows = i * np.clip(height / new_height, 0.1, 4)
    columns = i * np.clip(width / np.maximum(new_width, tiny), 0.1, 4)
    # y and x begin at the first pixel's distance from the centre of mass.
    along = (slant * rows - x[:, :1])[:, :, np.newaxis] + columns[:, np.newaxis, :]
    return _values_at(images, rows - y[:, :1], along)


@checked
def edges(X: Images) -> Images:
    """Return where the grey values rise and fall: four small images in place of each.

    With ``right`` the value of the pixel on the right less that of the one on the left, and
    ``down`` that of the pixel below less that of the one above (both 0 at the border), they show
    ``max(right, 0)`` and beside it ``max(-right, 0)``, below them ``max(down, 0)`` and
    ``max(-down, 0)``, each with the mean of 2 x 2 pixels in one.

    Source: Liu, Nakashima, Sako and Fujisawa, "Handwritten digit recognition: benchmarking of
    state-of-the-art techniques", 2003: the gradient's components in some directions as features.
    Theirs are four or eight, and of a Sobel operator.

    Raises:
        ValueError: the images are not square, their side is odd, or a grey value is not a
            finite number.

    >>> X = np.zeros((4, 4, 1))
    >>> X[:, 2:] = 1  # the right half
    >>> edges(X.reshape(16, 1)).reshape(4, 4)
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0. , 0. ],
           [0. , 0. , 0. , 0. ]])

    """
    images = _square("edges", X)
    m, side, _ = images.shape
    if side % 2:
        raise ValueError(f"edges: the images are {side} x {side} pixels, but the side must be even")
    right, down = np.zeros_like(images), np.zeros_like(images)
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=right[:, :, 1:-1])
    np.subtract(images[:, 2:], images[:, :-2], out=down[:, 1:-1])
    small = np.empty((m, 2, side // 2, 2, side // 2), X.dtype)
    part = np.empty_like(images)
    for i, rises in enumerate((right, down)):
        small[:, i, :, 0] = _halved(np.maximum(rises, 0, out=part))
        part -= rises
        small[:, i, :, 1] = _halved(part)
    freeze((small,))
    return small.reshape(m, side * side).T


def _halved(images: np.ndarray) -> np.ndarray:
    """Return the images half as large, each pixel the mean of 2 x 2."""
    rows = images[:, ::2] + images[:, 1::2]
    small: np.ndarray = (rows[:, :, ::2] + rows[:, :, 1::2]) / 4
    return small


def _as_they_are(X: np.ndarray) -> np.ndarray:
    return X


def _deslanted_edges(X: np.ndarray) -> np.ndarray:
    return edges(deslant(X))


def _standardized_edges(X: np.ndarray) -> np.ndarray:
    return edges(standardize(X))


def _both_edges(X: np.ndarray) -> np.ndarray:
    both = np.concatenate([_deslanted_edges(X), _standardized_edges(X)])
    freeze((both,))
    return both


as_they_are: View = View("as they are", _as_they_are)
deslanted: View = View("deslanted", deslant)
standardized: View = View("standardized", standardize)
deslanted_edges: View = View("deslanted edges", _deslanted_edges)
standardized_edges: View = View("standardized edges", _standardized_edges)
both_edges: View = View("deslanted and standardized edges", _both_edges, images=2)

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        as_they_are,
        deslanted,
        standardized,
        deslanted_edges,
        standardized_edges,
        both_edges,
    )
}
"""Every view by its name."""

TOGETHER: dict[tuple[View, ...], View] = {(deslanted_edges, standardized_edges): both_edges}
"""The view by which one network sees all that others see by several, in this order."""


def _square(name: str, X: np.ndarray) -> np.ndarray:
    """Return the images as ``m x side x side``, or refuse them."""
    side = side_of(name, len(X))
    if not np.isfinite(X).all():
        raise ValueError(f"{name}: a grey value is not a finite number")
    return np.ascontiguousarray(X.T).reshape(-1, side, side)


class _Moments(NamedTuple):
    """Square images, ``m x side x side``, and what their grey values have as weights.

    Rows ``y`` and columns ``x`` are counted from the centre of mass, ``m x side``; of each image,
    ``m x 1``, there are the slant, the deviation of its rows, and that of its columns if it is
    made upright.
    """

    images: np.ndarray
    y: np.ndarray
    x: np.ndarray
    slant: np.ndarray
    height: np.ndarray
    width: np.ndarray


def _moments(name: str, X: np.ndarray) -> _Moments:
    images = _square(name, X)
    side = images.shape[1]
    tiny = np.finfo(X.dtype).tiny
    i = np.arange(side, dtype=X.dtype)[:, np.newaxis]
    of_row, of_column = images.sum(axis=2), images.sum(axis=1)
    ink = np.maximum(of_row.sum(axis=1, keepdims=True), tiny)
    y, x = (i.T - part @ i / ink for part in (of_row, of_column))
    variance = (of_row * y**2).sum(axis=1, keepdims=True)
    covariance = (y * (images @ x[:, :, np.newaxis])[:, :, 0]).sum(axis=1, keepdims=True)
    slant = covariance / np.maximum(variance, tiny)
    upright = (of_column * x**2).sum(axis=1, keepdims=True) - slant * covariance
    height, width = (np.sqrt(np.maximum(part, 0) / ink) for part in (variance, upright))
    return _Moments(images, y, x, slant, height, width)


def _values_at(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the values at these positions, 0 outside, as images in columns.

    ``rows`` is ``m x side``: all pixels of a row have theirs from the same height. So whole rows
    are interpolated first, and then the pixels along them.
    """
    m, side, _ = images.shape
    wide = side + 3  # with 0 around, from one pixel before the image to two behind it
    framed = np.zeros((m, wide, wide), images.dtype)
    framed[:, 1:-2, 1:-2] = images
    near, part = _split(rows, side)
    near += np.arange(m)[:, np.newaxis] * wide
    lines = _between(framed.reshape(-1, wide), near, part[:, :, np.newaxis])
    near, part = _split(columns, side)
    near += np.arange(0, m * side * wide, wide).reshape(m, side, 1)
    values = _between(lines.ravel(), near, part)
    freeze((values,))
    return values.reshape(m, side * side).T


def _split(positions: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the framed pixels comes before each position, and how far it is behind."""
    positions = np.clip(positions, -1, side) + 1
    near = positions.astype(np.intp)
    positions -= near
    return near, positions


def _between(items: np.ndarray, near: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return what is such a part of the way from the near items to those that come next."""
    values = items.take(near, axis=0)
    near += 1
    steps = items.take(near, axis=0)
    steps -= values
    steps *= part
    values += steps
    return values
