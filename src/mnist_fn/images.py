"""Any picture of one digit, made into what the network was trained on: the MNIST frame.

A digit of MNIST is light on dark and fills a box of 20 x 20 pixels, with its aspect kept
and grey values at its edges; its centre of mass is in the middle of 28 x 28 pixels.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", 1998, section III.A, on how MNIST was made. The threshold between paper and
ink: Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from .arrays import freeze
from .contracts import checked

Picture: TypeAlias = (
    UInt8[np.ndarray, "height width"]
    | UInt8[np.ndarray, "height width channels"]
    | UInt16[np.ndarray, "height width"]
    | UInt16[np.ndarray, "height width channels"]
)
"""A picture as files have it. Its channels: grey; grey and alpha; red, green and blue; or
these and alpha. A grey picture may also be without that axis."""

_SIDE, _BOX = 28, 20
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601: what colours look like in grey
_LEAST_SIDE = 8  # of the longer side: with less, there are no strokes
_MOST_SIDE = 512  # a larger picture is scaled down first
_AT_ONCE = 1 << 20  # pixels, or one block, that are floating-point numbers while that is done
_LEAST_CONTRAST = 13  # of 255 grey values, between paper and ink: more than a camera's noise
_SPECK = 1 / 8  # of the largest piece of ink: what is smaller is dirt
_FINE = 8  # in this many parts a pixel of the frame is cut, for strokes to be widened by less

# The width of MNIST's strokes, in pixels, as `_width` measures it on the training images: 2.4
# in the middle; 1.8 is less than that of nine in ten, and 5 is more than that of 99 in 100.
_THIN, _THICK = 1.8, 5.0
_OF_THIN, _OF_THICK = 2.6, 4.5  # what thinner and thicker strokes are made


class _Ink(NamedTuple):
    """The strokes of a picture: how dark they are, from 0 to 1, and which pixels are theirs."""

    values: np.ndarray
    mask: np.ndarray


@checked
def frame(picture: Picture) -> Float32[np.ndarray, "28 28"]:
    """Return the digit in a picture as an image of MNIST: ``frame(p).reshape(784, 1)`` is an X.

    It finds out by itself whether the strokes are dark or light, evens out the paper, leaves
    out specks, makes strokes that are much thinner or thicker than those of MNIST as wide as
    those, and puts the digit where MNIST has it. An image of MNIST stays nearly as it is.

    Args:
        picture: 8 or 16 bits per value, at least 8 pixels high or wide, of any size.

    Returns:
        Grey values from 0, the paper, to 1, the ink.

    Raises:
        ValueError: the picture is too small, has more than four channels, or shows nothing.

    >>> picture = np.full((300, 200), 250, np.uint8)
    >>> picture[50:250, 100:104] = 20  # a thin, dark stroke: a one
    >>> image = frame(picture)
    >>> np.flatnonzero(image.max(axis=1) > 0.5)[[0, -1]]  # it is 20 pixels high
    array([ 4, 23])
    >>> np.flatnonzero(image.max(axis=0) > 0.5)  # and as wide as the strokes of MNIST
    array([13, 14, 15])

    """
    image = _placed(_fitted(_ink(_grey(picture)))).astype(np.float32)
    freeze((image,))
    return image


def _grey(picture: np.ndarray) -> np.ndarray:
    """Return grey values from 0 to 1, scaled down by the mean of blocks if there are many.

    What is transparent is black if that which is seen is light, and else white.
    """
    height, width, *axis = picture.shape
    count = math.prod(axis)  # without that axis, 1
    if not 1 <= count <= 4:
        raise ValueError(
            f"frame: the picture is an array of shape {picture.shape}, but it must be "
            "height x width, with 1 to 4 channels"
        )
    if max(height, width) < _LEAST_SIDE or 0 in (height, width):
        raise ValueError(
            f"frame: the picture is {width} x {height} pixels, which is too small; "
            f"it must be {_LEAST_SIDE} pixels wide or high, or more"
        )
    channels = picture.reshape(height, width, count)
    block = math.ceil(max(height, width) / _MOST_SIDE)
    across = block * max(1, _AT_ONCE // block**2)
    lefts, tops = range(0, width, across), range(0, height, block)

    def means(part: np.ndarray) -> np.ndarray:
        starts = np.arange(0, part.shape[1], block)
        widths = np.diff(starts, append=part.shape[1])
        rows = part / np.iinfo(picture.dtype).max
        grey = rows[..., :3] @ _LUMINANCE if count > 2 else rows[..., 0]
        alpha = np.ones_like(grey) if count % 2 else rows[..., -1]
        of_columns = np.stack([grey * alpha, alpha]).mean(axis=1)
        of_blocks: np.ndarray = np.add.reduceat(of_columns, starts, axis=1) / widths
        return of_blocks

    # A part at a time: as floating-point numbers, a photo would be gigabytes.
    parts = [
        [means(channels[top : top + block, left : left + across]) for left in lefts] for top in tops
    ]
    seen, alpha = np.stack([np.concatenate(row, axis=1) for row in parts], axis=1)
    ground = 0.0 if seen.sum() > alpha.sum() / 2 else 1.0
    grey: np.ndarray = seen + ground * (1 - alpha)
    return grey


def _ink(grey: np.ndarray) -> _Ink:
    """Return the strokes: what differs from the paper, without specks."""
    difference = grey - _paper(grey)
    light, dark = np.maximum(difference, 0), np.maximum(-difference, 0)
    ink = light if (light**2).sum() > (dark**2).sum() else dark
    levels = np.floor(255 * np.minimum(ink, 1) + 0.5).astype(np.intp)
    mask = levels > _threshold(levels)
    if mask.any():
        mask = _without_specks(mask)
    full = np.sort(levels[mask])[9 * (mask.sum() - 1) // 10] if mask.any() else 0
    if full < _LEAST_CONTRAST:
        raise ValueError(
            f"frame: there is no digit to be seen: the picture's grey values differ from the "
            f"paper's by {full} of 255 at most, but strokes must by {_LEAST_CONTRAST}"
        )
    padded = np.pad(mask, 1)
    near = np.any(_shifts(padded, mask.shape), axis=0)
    return _Ink(np.where(near, np.minimum(levels / full, 1), 0), mask)


def _paper(grey: np.ndarray) -> np.ndarray:
    """Return the paper's grey values: the surface of second degree that most pixels are near.

    It begins with the picture's rim, which strokes seldom cover.
    """
    sides = (np.linspace(-1, 1, length) for length in grey.shape)
    y, x = (at.ravel() for at in np.meshgrid(*sides, indexing="ij"))
    basis = np.stack([np.ones_like(y), y, x, y * y, x * y, x * x])
    values = grey.ravel()
    margin = max(1, min(grey.shape) // 14)
    rim = np.ones(grey.shape, np.bool_)
    rim[margin:-margin, margin:-margin] = False
    on_rim = rim.ravel()
    paper = np.full_like(values, np.median(values[on_rim]))
    for terms, among in ((3, on_rim), (3, on_rim), (6, True), (6, True), (6, True)):
        distance = np.abs(values - paper)
        near = among & (distance <= max(4 * np.median(distance[on_rim]), 0.02))
        part = basis[:terms, near]
        # The little that is added lets a picture one pixel wide have a solution.
        normal = part @ part.T + 1e-9 * np.eye(terms)
        paper = np.linalg.solve(normal, part @ values[near]) @ basis[:terms]
    return paper.reshape(grey.shape)


def _threshold(levels: np.ndarray) -> int:
    """Return Otsu's threshold: above it, and up to it, levels differ the most."""
    counts = np.bincount(levels.ravel(), minlength=256)
    below, sum_below = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above, sum_above = below[-1] - below, sum_below[-1] - sum_below
    apart = sum_below / np.maximum(below, 1) - sum_above / np.maximum(above, 1)
    return int((below * above * apart**2).argmax())


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Return the mask, without the pieces that are small beside the largest one."""
    piece, points = _pieces(mask), np.argwhere(mask)
    extents = np.zeros(len(piece), np.intp)
    for along in points.T:
        first, last = np.full_like(extents, max(mask.shape)), np.zeros_like(extents)
        np.minimum.at(first, piece, along)
        np.maximum.at(last, piece, along)
        extents = np.maximum(extents, last - first + 1)
    kept = points[extents[piece] >= _SPECK * extents.max()]
    clean = np.zeros_like(mask)
    clean[tuple(kept.T)] = True
    return clean


def _pieces(mask: np.ndarray) -> np.ndarray:
    """Return for each pixel of the mask the first one that it is connected with."""
    numbers = np.full(np.add(mask.shape, 2), -1)
    inner = numbers[1:-1, 1:-1]
    inner[mask] = np.arange(mask.sum())
    # Each pixel, beside its right neighbour and the three below it.
    right, *below = (
        numbers[y : y + mask.shape[0], x : x + mask.shape[1]]
        for y, x in ((1, 2), (2, 0), (2, 1), (2, 2))
    )
    pairs = np.concatenate([np.stack([inner, other])[:, mask] for other in (right, *below)], axis=1)
    pairs = pairs[:, pairs[1] != -1]
    first = np.arange(mask.sum())
    while True:
        of_pair = first[pairs]
        if (of_pair[0] == of_pair[1]).all():
            return first
        np.minimum.at(first, of_pair.max(axis=0), of_pair.min(axis=0))
        while (first != first[first]).any():
            first = first[first]


def _fitted(ink: _Ink) -> np.ndarray:
    """Return the digit without a margin, its longer side as long as the box."""
    rows, columns = np.nonzero(ink.values)
    box = np.array([[rows.min(), rows.max() + 1], [columns.min(), columns.max() + 1]])
    lengths = box[:, 1] - box[:, 0]
    width, longest = _width(ink.mask), lengths.max()
    scale, wider = _BOX / longest, 0.0
    if not _THIN <= width * scale <= _THICK:
        # The strokes' middle lines are scaled, and drawn with a pen of another width.
        pen = _OF_THIN if width * scale < _THIN else _OF_THICK
        scale = (_BOX - pen) / max(longest - width, longest / 2)
        wider = pen - width * scale
    # Up to a rounding error, a length of 20.0 is 20 pixels.
    sizes = np.ceil(lengths * scale + max(wider, 0) - 1e-9).astype(np.intp).clip(max=_SIDE)
    step = 1 / (_FINE * scale)
    starts = box.mean(axis=1) - sizes * _FINE / 2 * step
    over_rows, over_columns = (
        _means(start, step, size * _FINE, length)
        for start, size, length in zip(starts, sizes, ink.values.shape, strict=True)
    )
    fine = _widened(over_rows @ ink.values @ over_columns.T, wider / 2 * _FINE)
    digit: np.ndarray = fine.reshape(sizes[0], _FINE, sizes[1], _FINE).mean(axis=(1, 3))
    return digit


def _width(mask: np.ndarray) -> float:
    """Return how wide strokes are, in pixels: twice their area over their outline.

    Along a line in any direction, pixels have 4 / pi times as much outline as the line.
    """
    steps = (np.diff(mask, axis=axis, prepend=False, append=False) for axis in (0, 1))
    outline = sum(np.count_nonzero(step) for step in steps)
    return float(2 * mask.sum() / (math.pi / 4 * outline))


def _means(start: float, step: float, count: int, length: int) -> np.ndarray:
    """Return the matrix that takes the mean over intervals of pixels, ``count x length``."""
    left = start + step * np.arange(count)[:, np.newaxis]
    pixels = np.arange(length)
    overlap = np.minimum(left + step, pixels + 1) - np.maximum(left, pixels)
    means: np.ndarray = np.maximum(overlap, 0) / step
    return means


def _widened(image: np.ndarray, radius: float) -> np.ndarray:
    """Return the image with ink as far around itself, or if that is negative, paper."""
    reach = math.floor(abs(radius))
    most = np.maximum if radius > 0 else np.minimum
    height, width = image.shape
    padded = np.pad(image, reach)
    widened, half, runs = image, 0, padded[:, reach : reach + width]
    # From the first and last row of a disc to its middle, rows get longer on both sides.
    for y in reversed(range(reach + 1)):
        while (half + 1) ** 2 + y**2 <= radius**2:
            half += 1
            left, right = reach - half, reach + half
            runs = most(runs, padded[:, left : left + width])
            runs = most(runs, padded[:, right : right + width])
        for top in (reach - y, reach + y):
            widened = most(widened, runs[top : top + height])
    return widened


def _placed(digit: np.ndarray) -> np.ndarray:
    """Return the frame with the digit in it, its centre of mass in the middle."""
    image = np.zeros((_SIDE, _SIDE))
    corner = []
    for axis, length in enumerate(digit.shape):
        mass = digit.sum(axis=1 - axis)
        # MNIST's are in the half-open pixel beyond the middle. A rounding error is not beyond it.
        start = math.ceil(_SIDE / 2 - mass @ (np.arange(length) + 0.5) / mass.sum() - 1e-9)
        corner.append(min(max(start, 0), _SIDE - length))
    top, left = corner
    image[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return image


def _shifts(padded: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return what is at each of the 9 places around every pixel."""
    height, width = shape
    return [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
