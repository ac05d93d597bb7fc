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
    side = side_of("deslant", len(X))
    if not np.isfinite(X).all():
        raise ValueError("deslant: a grey value is not a finite number")
    images = np.ascontiguousarray(X.T).reshape(-1, side, side)
    i = np.arange(side, dtype=X.dtype)
    of_row, of_column = images.sum(axis=2), images.sum(axis=1)
    ink = np.maximum(of_row.sum(axis=1, keepdims=True), np.finfo(X.dtype).tiny)
    y, x = i - of_row @ i[:, np.newaxis] / ink, i - of_column @ i[:, np.newaxis] / ink
    covariance = np.einsum("mij,mi,mj->m", images, y, x, optimize=True)
    variance = np.einsum("mi,mi,mi->m", of_row, y, y)
    slant = covariance / np.maximum(variance, np.finfo(X.dtype).tiny)
    slant = np.clip(slant, -1, 1)[:, np.newaxis]
    return _along_rows(images, i + (slant * y)[:, :, np.newaxis])


def _as_they_are(X: np.ndarray) -> np.ndarray:
    return X


as_they_are: View = View("as they are", _as_they_are)
deslanted: View = View("deslanted", deslant)

VIEWS: dict[str, View] = {view.name: view for view in (as_they_are, deslanted)}
"""Every view by its name."""


def _along_rows(images: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the values at these columns of each row, 0 outside, as images in columns."""
    side = images.shape[2]
    columns = np.clip(columns, -1, side)
    left = np.floor(columns)
    part = columns - left
    left = left.astype(np.intp)
    moved = np.zeros_like(images)
    for column, weight in ((left, 1 - part), (left + 1, part)):
        inside = (column >= 0) & (column < side)
        values = np.take_along_axis(images, np.clip(column, 0, side - 1), axis=2)
        moved += values * (weight * inside)
    freeze((moved,))
    return moved.reshape(len(images), side * side).T
