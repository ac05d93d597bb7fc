"""Read pictures from files, folders and standard input."""

import glob
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

STANDARD_INPUT = "-"
_AS_THEY_ARE = {"L", "LA", "RGB", "RGBA"}


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

    Raises:
        PictureError: it cannot be read, is no picture, is damaged, or is far too large.

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
                return _array(ImageOps.exif_transpose(image))
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
    if image.mode.startswith("I") or image.mode == "F":  # more than 8 bits for each pixel
        values = np.asarray(image)
        if image.mode == "F":  # of no fixed range
            values = np.nan_to_num(values).astype(np.float64)
            values = (values - values.min()) / max(np.ptp(values), 1e-300) * 65535
        return values.clip(0, 65535).astype(np.uint16)
    if image.mode not in _AS_THEY_ARE:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)
