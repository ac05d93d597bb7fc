"""The names of the array shapes, and freezing.

``pixels x m`` is the mathematics, not the memory: images lie in memory one after
the other and ``X`` is the transposed view, so that taking a batch copies whole images.
"""

import math
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import Integer, UInt8

from .hints import SameFloat

Images: TypeAlias = SameFloat[np.ndarray, "pixels m"]
"""``X``: grey values in [0, 1], one sample per column."""

GreyImages: TypeAlias = UInt8[np.ndarray, "pixels m"]
"""Images as they are stored: grey values from 0 to 255, one sample per column."""

Labels: TypeAlias = Integer[np.ndarray, " m"]
"""``Y``: the class of each sample, counted from 0."""

Pixels: TypeAlias = Integer[np.ndarray, " live"]
"""The rows of ``X`` that are some pixels of an image, counted from 0."""


T = TypeVar("T", bound=tuple[np.ndarray, ...])


def freeze(arrays: T) -> T:
    """Make arrays that the caller itself has made read-only, and return them.

    >>> Z, A = freeze((np.zeros(2), np.ones(2)))
    >>> A[0] = 7
    Traceback (most recent call last):
    ValueError: assignment destination is read-only
    """
    for array in arrays:
        array.setflags(write=False)
    return arrays


def frozen(array: np.ndarray) -> np.ndarray:
    """Return a read-only array of the caller's: itself if it is read-only, else a copy.

    >>> frozen(np.zeros(2)).flags.writeable
    False
    """
    if array.flags.writeable:
        array = array.copy(order="K")
        array.setflags(write=False)
    return array


def side_of(name: str, pixels: int) -> int:
    """Return how many pixels square images have on a side, for the function of that name.

    >>> side_of("distort", 784)
    28
    """
    side = math.isqrt(pixels)
    if side * side != pixels or not side:
        raise ValueError(f"{name}: images of {pixels} pixels are not square")
    return side
