"""Views: what an image is made into before a network sees it, in training and after.

A view takes away what tells writers apart and not digits. A committee of networks with
different views is Meier et al.'s (see ``committees``), who gave digits different widths.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .arrays import Images, freeze, side_of
from .contracts import checked


class View(NamedTuple):
    """A pure function from images to images, under the name that a model file has for it.

    What it returns has as many pixels as what it is given, of grey values from 0 to 1.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]

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
    images, y, x = _centred("deslant", X)
    slant = np.clip(_moments(images, y, x).slant, -1, 1)
    i = np.arange(images.shape[1], dtype=X.dtype)
    return _values_at(images, i[:, np.newaxis], i + (slant * y)[:, :, np.newaxis])


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
    images, y, x = _centred("standardize", X)
    side = images.shape[1]
    moments = _moments(images, y, x)
    across = x[:, np.newaxis, :] - moments.slant[:, :, np.newaxis] * y[:, :, np.newaxis]
    ink = np.maximum(images.sum(axis=(1, 2)), np.finfo(X.dtype).tiny)
    width = np.sqrt(np.einsum("mij,mij->m", images, across**2) / ink)[:, np.newaxis]
    height = moments.height
    aspect = np.minimum(width / np.maximum(height, np.finfo(X.dtype).tiny), 1)
    new_height = 29 / 140 * side
    new_width = new_height * np.sqrt(np.sin(np.pi / 2 * aspect))
    i = np.arange(side, dtype=X.dtype) - (side - 1) / 2
    rows = i * np.clip(height / new_height, 0.1, 4)
    columns = i * np.clip(width / np.maximum(new_width, np.finfo(X.dtype).tiny), 0.1, 4)
    rows, columns = rows.astype(X.dtype), columns.astype(X.dtype)
    along = columns[:, np.newaxis, :] + moments.slant[:, :, np.newaxis] * rows[:, :, np.newaxis]
    # y and x begin at the first pixel's distance from the centre of mass.
    return _values_at(
        images, rows[:, :, np.newaxis] - y[:, :1, np.newaxis], along - x[:, :1, np.newaxis]
    )


def _as_they_are(X: np.ndarray) -> np.ndarray:
    return X


as_they_are: View = View("as they are", _as_they_are)
deslanted: View = View("deslanted", deslant)

standardized: View = View("standardized", standardize)

VIEWS: dict[str, View] = {view.name: view for view in (as_they_are, deslanted, standardized)}
"""Every view by its name."""


class _Moments(NamedTuple):
    """Of each image: its slant and the deviation of its rows, ``m x 1``."""

    slant: np.ndarray
    height: np.ndarray


def _centred(name: str, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images ``m x side x side``, and rows and columns from their centres of mass."""
    side = side_of(name, len(X))
    if not np.isfinite(X).all():
        raise ValueError(f"{name}: a grey value is not a finite number")
    images = np.ascontiguousarray(X.T).reshape(-1, side, side)
    i = np.arange(side, dtype=X.dtype)
    ink = np.maximum(images.sum(axis=(1, 2)), np.finfo(X.dtype).tiny)[:, np.newaxis]
    of_row, of_column = images.sum(axis=2), images.sum(axis=1)
    y, x = (i - part @ i[:, np.newaxis] / ink for part in (of_row, of_column))
    return images, y, x


def _moments(images: np.ndarray, y: np.ndarray, x: np.ndarray) -> _Moments:
    tiny = np.finfo(images.dtype).tiny
    of_row = images.sum(axis=2)
    covariance = np.einsum("mij,mi,mj->m", images, y, x, optimize=True)
    variance = np.einsum("mi,mi,mi->m", of_row, y, y)
    slant = covariance / np.maximum(variance, tiny)
    height = np.sqrt(variance / np.maximum(of_row.sum(axis=1), tiny))
    return _Moments(slant[:, np.newaxis], height[:, np.newaxis])


def _values_at(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the values at these positions, 0 outside, as images in columns."""
    m, side, _ = images.shape
    rows, columns = np.clip(rows, -1, side), np.clip(columns, -1, side)
    top, left = np.floor(rows), np.floor(columns)
    below, right = rows - top, columns - left
    top, left = top.astype(np.intp), left.astype(np.intp)
    image = np.arange(m)[:, np.newaxis, np.newaxis]
    values = np.zeros_like(images)
    for row, weight_y in ((top, 1 - below), (top + 1, below)):
        for column, weight_x in ((left, 1 - right), (left + 1, right)):
            inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
            nearest = images[image, np.clip(row, 0, side - 1), np.clip(column, 0, side - 1)]
            values += nearest * (weight_y * weight_x * inside)
    freeze((values,))
    return values.reshape(m, side * side).T
