"""Read pictures from files, folders and standard input."""

import glob
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

STANDARD_INPUT = "-"
_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA"}
_AT_ONCE = 1 << 20  # pixels that are made an array of


class PictureError(Exception):
    """A picture that cannot be read; the text says why."""


def find_pictures(names: Sequence[str]) -> Iterator[str]:
    """Yield the names of files, in order: those of a folder or of a pattern each by its own.

    A name that is no file, folder or pattern is left for ``read_picture`` to complain about.
    """
    for name in names:
        if name != STANDARD_INPUT and os.path.isdir(name):
            yield from _pictures_in(name) or [name]
        elif glob.has_magic(name) and not os.path.lexists(name):
            yield from sorted(filter(os.path.isfile, glob.glob(name, recursive=True))) or [name]
        else:
            yield name


def _pictures_in(folder: str) -> list[str]:
    kinds = Image.registered_extensions().items()
    readable = {extension for extension, kind in kinds if kind in Image.OPEN}
    try:
        files = [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError:
        return []
    return sorted(str(path) for path in files if path.suffix.lower() in readable)


def read_picture(name: str) -> np.ndarray:
    """Return a picture as ``images.frame`` takes it, upright as its camera says.

    Beside the file and a few rows, it takes 8 bytes at most for each of the 89,478,485 pixels
    that there may be, and what the kind's decoder does: much with WebP and JPEG 2000.

    Raises:
        PictureError: it cannot be read, is no picture, is damaged, is far too large, or has
            pixels that are not finite.

    """
    if name == STANDARD_INPUT and sys.stdin is None:
        raise PictureError("there is no standard input")
    try:
        source = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
    except IsADirectoryError as error:
        raise PictureError("it is a folder without pictures, or one that cannot be read") from error
    except OSError as error:
        raise PictureError(f"it cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # of a name with a null in it
        raise PictureError(f"it cannot be read: {error}") from error
    if not source:
        raise PictureError("it is empty; make it anew")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and kinds that Pillow will give up
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source), formats=_kinds()) as image:
                ImageOps.exif_transpose(image, in_place=True)
                return _array(image)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            "it is not a picture of a kind that Pillow can read; save it as PNG or JPEG"
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise PictureError(
            f"it has too many pixels ({Image.MAX_IMAGE_PIXELS:,} are the most); scale it down"
        ) from error
    except MemoryError as error:
        raise PictureError("there is not enough memory for it; scale it down") from error
    except Exception as error:  # each kind's reader has errors of its own: AVIF's, for one
        raise PictureError(f"it is damaged: {error}; make it anew") from error


def _kinds() -> list[str]:
    """Return the kinds of pictures that are read without starting another program."""
    Image.init()
    return [kind for kind in Image.OPEN if kind not in ("EPS", "WMF")]


def _array(image: Image.Image) -> np.ndarray:
    if image.mode == "F":  # of no fixed range
        ends = [(part.min(), part.max()) for part in map(np.asarray, _parts(image))]
        low, high = np.min(ends, axis=0)[0].item(), np.max(ends, axis=0)[1].item()
        if not np.isfinite([low, high]).all():
            raise PictureError(
                "some of its pixels are not finite numbers; save it as PNG, whose are whole numbers"
            )
        return _of_parts(image, lambda part: _stretched(np.asarray(part, np.float64), low, high))
    if image.mode.startswith("I"):  # more than 8 bits for each pixel
        return _of_parts(image, lambda part: _sixteen_bits(np.asarray(part)))
    if image.mode in _AS_THEY_ARE:
        return _of_parts(image, np.asarray)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return _of_parts(image, lambda part: np.asarray(part.convert(mode)))


def _stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return _sixteen_bits((values - low) / max(high - low, 1e-300) * 65535)


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 65535).astype(np.uint16)


def _of_parts(image: Image.Image, values: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """Return the values of a picture, without Pillow's two copies of it on the way."""
    array, top = np.empty(0), 0
    for part in _parts(image):
        rows = values(part)
        if not top:
            array = np.empty((image.height, *rows.shape[1:]), rows.dtype)
        array[top : top + len(rows)] = rows
        top += len(rows)
    return array


def _parts(image: Image.Image) -> Iterator[Image.Image]:
    """Yield a few rows at a time."""
    rows = max(1, _AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))
