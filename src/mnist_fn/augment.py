"""Distorted images of digits: as good as new ones, of which there can be any number.

Source: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural
Networks Applied to Visual Document Analysis", 2003, section 2: affine and elastic
distortions, with bilinear interpolation.
"""

import functools
import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64

from .arrays import Images, freeze, side_of
from .contracts import checked, unchecked
from .hints import SameFloat
from .keys import Key, generator

Positions: TypeAlias = Float64[np.ndarray, "2 points"]
"""Rows and columns of points in an image: whole numbers are the centres of pixels."""


class Distortion(NamedTuple):
    """How far images are distorted, at most; lengths are in pixels.

    The angle, the changes of scale along both axes (``scaling``), the shear and the shift of
    a distortion are uniform between minus and plus these numbers.
    """

    displacement: float = 20.0
    """The factor of the displacements: uniform in [-1, 1], then smoothed, then times this."""
    smoothing: float = 4.0
    """The standard deviation of the Gaussian that smooths the displacements."""
    rotation: float = 10.0
    """In degrees."""
    scaling: float = 0.1
    shear: float = 0.1
    shift: float = 1.0


_DEFAULT = Distortion()
_MOST = 1000  # of anything: far beyond what leaves a digit in the image
_LEAST_SMOOTHING = 0.01


@checked
def distort(key: Key, X: Images, distortion: Distortion = _DEFAULT) -> Images:
    """Return the images, all moved by one random distortion.

    That all move alike is what makes it cheap: each pixel is found once for all of them.
    For a distortion each, call this with one image and one key at a time.

    Args:
        key: from which the distortion is drawn.
        X: square images, ``pixels x m``: one per column, grey values from 0 to 1. What is
            outside of an image is 0.
        distortion: how far they are distorted.

    Raises:
        ValueError: the images are not square, or ``distortion`` is out of its range.

    >>> from mnist_fn import key
    >>> X = np.zeros((784, 5), np.float32)
    >>> X[300:400] = 1
    >>> distort(key(0), X).shape, bool((distort(key(0), X) == X).all())
    ((784, 5), False)

    """
    return _resample(X, _random_positions(key, side_of("distort", len(X)), distortion))


@checked
def random_positions(
    key: Key, side: int, distortion: Distortion = _DEFAULT
) -> Float64[np.ndarray, "2 {side}*{side}"]:
    """Draw a distortion: where each pixel of a distorted image has its value from.

    With ``p`` a pixel's row and column, ``c`` the centre, ``u`` displacements that are
    uniform in [-1, 1] at each pixel, and ``G`` a Gaussian::

        position(p) = c + A (p - c) + shift + displacement * (G u G)(p)

    where ``A`` rotates, shears and scales.

    Raises:
        ValueError: ``side`` or a number of ``distortion`` is out of its range.

    >>> from mnist_fn import key
    >>> random_positions(key(0), 28).shape
    (2, 784)

    """
    if side < 1:
        raise ValueError(f"random_positions: side is {side}, but it must be 1 or more")
    check_distortion(distortion)
    random = generator(key)
    angle, scale_y, scale_x, shear, shift_y, shift_x = random.uniform(-1, 1, 6).tolist()
    angle *= math.radians(distortion.rotation)
    cos, sin, shear = math.cos(angle), math.sin(angle), shear * distortion.shear
    rows, columns = 1 + distortion.scaling * scale_y, 1 + distortion.scaling * scale_x
    A = np.array(
        [
            [cos * rows, (cos * shear - sin) * columns],
            [sin * rows, (sin * shear + cos) * columns],
        ]
    )
    centre = (side - 1) / 2
    shift = np.array([[shift_y], [shift_x]]) * distortion.shift
    positions = A @ (_grid(side) - centre)
    positions += shift + centre
    if distortion.displacement:
        G = _gaussian(side, float(distortion.smoothing))
        u = random.uniform(-distortion.displacement, distortion.displacement, (2, side, side))
        positions += (G @ u @ G).reshape(positions.shape)
    freeze((positions,))
    return positions


_random_positions = unchecked(random_positions)


@checked
def resample(X: Images, positions: Positions) -> SameFloat[np.ndarray, "points m"]:
    """Return the values of the images at the positions, as images with those pixels.

    Between four pixels a value is interpolated bilinearly; outside of the image it is 0.

    Raises:
        ValueError: the images are not square, or a position is not a number.

    >>> X = np.array([[0.0], [1.0], [0.0], [0.0]])  # 2 x 2 pixels
    >>> rows, columns = [0.0, 0.0, 0.5, 9.0], [0.5, 1.0, 1.0, 9.0]
    >>> resample(X, np.array([rows, columns])).ravel().tolist()
    [0.5, 1.0, 0.5, 0.0]

    """
    side = side_of("resample", len(X))
    # Further out it is 0 as well, and these fit an integer.
    positions = np.clip(positions, -1, side)
    corner = np.floor(positions)
    if np.isnan(corner).any():
        raise ValueError("resample: a position is not a number")
    part = positions - corner
    near = corner.astype(np.intp)
    # A row of pixels at a time: the same neighbour of that pixel in all the images.
    rows = np.ascontiguousarray(X)
    total = np.zeros((positions.shape[1], rows.shape[1]), rows.dtype)
    neighbours = np.empty_like(total)
    for dy, weight_y in ((0, 1 - part[0]), (1, part[0])):
        y = near[0] + dy
        for dx, weight_x in ((0, 1 - part[1]), (1, part[1])):
            x = near[1] + dx
            inside = (y >= 0) & (y < side) & (x >= 0) & (x < side)
            weights = (weight_y * weight_x * inside).astype(rows.dtype)
            # "clip": what is outside has no weight; and `out` is written without a copy.
            rows.take(y * side + x, axis=0, out=neighbours, mode="clip")
            neighbours *= weights[:, np.newaxis]
            total += neighbours
    freeze((total,))
    return total


_resample = unchecked(resample)


@functools.lru_cache
def _grid(side: int) -> np.ndarray:
    """Return the row and the column of every pixel."""
    grid = np.mgrid[:side, :side].reshape(2, side * side)
    freeze((grid,))
    return grid


@functools.lru_cache
def _gaussian(side: int, deviation: float) -> np.ndarray:
    """Return the matrix that smooths a column of pixels; beyond its ends there is nothing."""
    offsets = np.arange(1 - side, side)
    weights = np.exp(-0.5 * (offsets / deviation) ** 2)
    tails = 2 * np.exp(-0.5 * (np.arange(side, side + 10 * deviation) / deviation) ** 2).sum()
    weights /= weights.sum() + tails
    i = np.arange(side)
    G: np.ndarray = weights[i[:, np.newaxis] - i + side - 1]
    freeze((G,))
    return G


def check_distortion(distortion: Distortion) -> None:
    """Raise a ``ValueError`` if one of the numbers is out of its range.

    >>> check_distortion(Distortion(rotation=-5))
    Traceback (most recent call last):
    ValueError: distortion: rotation is -5, but it must be from 0 to 1000
    """
    for name, number in distortion._asdict().items():
        if not 0 <= number <= _MOST:
            raise ValueError(f"distortion: {name} is {number}, but it must be from 0 to {_MOST}")
    if distortion.smoothing < _LEAST_SMOOTHING:
        raise ValueError(
            f"distortion: smoothing is {distortion.smoothing}, "
            f"but it must be {_LEAST_SMOOTHING} or more"
        )
    if distortion.scaling >= 1:
        raise ValueError(f"distortion: scaling is {distortion.scaling}, but it must be less than 1")
