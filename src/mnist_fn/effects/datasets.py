"""Find, verify and read data sets; the built-in digits."""

import hashlib
import importlib.resources
import os
import re
import shlex
from pathlib import Path

import numpy as np

from .. import idx
from ..arrays import freeze
from ..batches import Dataset
from ..contracts import checked
from . import downloads, mapping
from .downloads import DatasetError as DatasetError

# Such as train-images-idx3-ubyte.gz, t10k-labels.idx1-ubyte, qmnist-test-labels-idx2-int.
_FILE_NAME = re.compile(
    r"(?P<prefix>|.*-)(?P<part>train|t10k|test)-(?P<kind>images|labels)"
    r"[-.]idx\d-(?:ubyte|int)(?:\.gz)?"
)

_LARGE = 1 << 28  # bytes, from which on a file is mapped if nothing else is said
_GZIP_MAGIC = b"\x1f\x8b"

_PARTS = [(part, kind) for part in ("train", "test") for kind in ("images", "labels")]


@checked
def load_mnist(directory: str | os.PathLike[str] | None = None) -> Dataset:
    """Return the MNIST digits: 60,000 images to train with and 10,000 to test on.

    The four files are looked for in ``directory``, else in ``$MNIST_FN_DATA``, else in
    the user's cache directory, and else downloaded into that (11.6 MB).

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to
    document recognition", 1998.

    Raises:
        DatasetError: the files are not there or cannot be had, or are not MNIST.
        IdxError: a file is damaged.

    """
    where = directory if directory is not None else os.environ.get("MNIST_FN_DATA")
    if where:
        files = _find(Path(where))
    else:  # what was verified in the cache, whatever else may lie there
        files = dict(zip(_PARTS, downloads.cached_mnist(), strict=True))
    dataset = _read(files, "mnist", mmap=False)
    X_train, Y_train, X_test, Y_test = dataset[1:]
    arrays = (_pictures(X_train), Y_train, _pictures(X_test), Y_test)
    for (file, (_, digest)), array in zip(downloads.MNIST.items(), arrays, strict=True):
        if hashlib.sha256(idx.encode(array)).hexdigest() != digest:
            raise DatasetError(
                f"{where}: what {file} should hold is not MNIST's; "
                "read another data set of the same format with load_idx_dataset(directory), "
                "or --data DIRECTORY"
            )
    return dataset


def _pictures(X: np.ndarray) -> np.ndarray:
    """Return what MNIST's files hold; images of another size are not MNIST's in any shape."""
    return X.T.reshape(-1, 28, 28) if len(X) == 28 * 28 else X.T


@checked
def load_idx_dataset(directory: str | os.PathLike[str], mmap: bool | None = None) -> Dataset:
    """Return the data set of a directory with the four files of the MNIST format.

    It reads MNIST, Fashion-MNIST, KMNIST, QMNIST and EMNIST as they are distributed:
    compressed with gzip or not, with a dash or a dot before ``idx``, with a prefix
    such as ``qmnist-`` or ``emnist-digits-``. The images of EMNIST, which lie on
    their side in its files, are put upright, for which they are read into memory.

    A file that is mapped is read where the arrays are looked at, and can be larger than memory.
    What was read of it counts as this process's memory until the system wants it back, which
    costs nothing. It must stay as it is while the arrays are in use.

    Args:
        directory: where the files are.
        mmap: whether to map the files and not to read them. None maps those that are larger
            than 256 MB and not compressed.

    Raises:
        DatasetError: a file is missing, the files do not belong together, or one that is to be
            mapped is compressed.
        IdxError: a file is damaged.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     for part, m in ("train", 5), ("t10k", 2):
    ...         images, labels = np.zeros((m, 28, 28), np.uint8), np.arange(m, dtype=np.uint8)
    ...         _ = Path(directory, f"{part}-images-idx3-ubyte").write_bytes(idx.encode(images))
    ...         _ = Path(directory, f"{part}-labels-idx1-ubyte").write_bytes(idx.encode(labels))
    ...     dataset = load_idx_dataset(directory)
    >>> dataset.X_train.shape, dataset.Y_test
    ((784, 5), array([0, 1], dtype=uint8))

    """
    return _read(_find(Path(directory)), str(directory), mmap)


@checked
def load_digits() -> Dataset:
    """Return the built-in digits: 1,437 images to train with and 360 to test on.

    They are 8 x 8 images in 17 grey levels, enlarged here to 20 x 20 in the middle of
    a frame of 28 x 28, as MNIST has it. The same 13 writers are on both sides.

    Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", 1998,
    UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.

    >>> load_digits().X_train.shape
    (784, 1437)
    """
    resource = importlib.resources.files("mnist_fn.effects") / "digits.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    # Bilinear interpolation between the centres of the pixels.
    centres = np.clip((np.arange(20) + 0.5) * 8 / 20 - 0.5, 0, 7)
    weights = np.maximum(0, 1 - np.abs(centres[:, np.newaxis] - np.arange(8)))
    frames = np.zeros((len(images), 28, 28), np.uint8)
    frames[:, 4:24, 4:24] = np.rint(weights @ images @ weights.T * (255 / 16))
    rows, labels = freeze((frames.reshape(len(frames), 784), labels))
    m = 1437
    return Dataset("digits", rows[:m].T, labels[:m], rows[m:].T, labels[m:])


def _find(directory: Path) -> dict[tuple[str, str], Path]:
    """Return the files of the four parts, keyed by ``("train", "images")`` and so on."""
    if not directory.is_dir():
        raise DatasetError(f"{directory} is not a directory; name one that holds the IDX files")
    found: dict[str, dict[tuple[str, str], Path]] = {}
    # A plain file comes before a compressed one, and is taken.
    for path in sorted(directory.iterdir(), key=lambda path: (path.suffix == ".gz", path.name)):
        if (match := _FILE_NAME.fullmatch(path.name)) and path.is_file():
            part = "train" if match["part"] == "train" else "test"
            found.setdefault(match["prefix"], {}).setdefault((part, match["kind"]), path)
    complete = {prefix: files for prefix, files in found.items() if len(files) == len(_PARTS)}
    if len(complete) > 1:
        prefixes = ", ".join(f"{prefix}*" for prefix in sorted(complete))
        raise DatasetError(
            f"{directory} holds several data sets ({prefixes}); give each its own directory"
        )
    if not complete:
        there = max(found.values(), key=len, default={})
        missing = ", ".join(f"{part} {kind}" for part, kind in _PARTS if (part, kind) not in there)
        raise DatasetError(
            f"{directory} lacks the {missing}; it must hold train-images-idx3-ubyte, "
            "train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, "
            "each with or without .gz"
        )
    (files,) = complete.values()
    return files


def _read(files: dict[tuple[str, str], Path], name: str, mmap: bool | None) -> Dataset:
    arrays = {part: idx.decode(_content(path, mmap), str(path)) for part, path in files.items()}
    shapes = {part: arrays[part, "images"].shape[1:] for part in ("train", "test")}
    X_train, Y_train = _samples("train", files, arrays)
    X_test, Y_test = _samples("test", files, arrays)
    if shapes["train"] != shapes["test"]:
        raise DatasetError(
            f"{name}: the training images have {shapes['train']} pixels and the test images "
            f"{shapes['test']}; they must come from one data set"
        )
    return Dataset(name, X_train, Y_train, X_test, Y_test)


def _content(path: Path, mmap: bool | None) -> memoryview:
    if not (mmap or (mmap is None and path.stat().st_size > _LARGE)):
        return memoryview(path.read_bytes())
    content = mapping.mapped(path)
    if mmap and content[:2] == _GZIP_MAGIC:
        raise DatasetError(
            f"{path} is compressed and cannot be mapped; unpack it with "
            f"`gunzip {shlex.quote(str(path))}`, or read it, with mmap=False"
        )
    return content


def _samples(
    part: str, files: dict[tuple[str, str], Path], arrays: dict[tuple[str, str], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of a part as columns of pixels, and their labels."""
    images, labels = arrays[part, "images"], arrays[part, "labels"]
    images_path, labels_path = files[part, "images"], files[part, "labels"]
    if images.ndim != 3 or images.dtype != np.uint8 or images.size == 0:
        raise DatasetError(
            f"{images_path}: the images are a {images.dtype} array of shape {images.shape}, "
            "but they must be uint8 (images, rows, columns), and some"
        )
    if images.shape[1] != images.shape[2]:
        raise DatasetError(
            f"{images_path}: the images have {images.shape[1]} x {images.shape[2]} pixels, "
            "but they must be square"
        )
    if labels.ndim == 2 and labels.shape[1] > 0:
        labels = labels[:, 0]  # QMNIST: the class, then the writer and more
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"{labels_path}: the labels are a {labels.dtype} array of shape {labels.shape}, "
            "but they must be whole numbers, one for each image"
        )
    if labels.size and labels.min() < 0:
        raise DatasetError(
            f"{labels_path} holds the label {labels.min()}, but classes are counted from 0"
        )
    if len(images) != len(labels):
        raise DatasetError(
            f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels; "
            "they must come from one data set"
        )
    if images_path.name.startswith("emnist-"):
        images = images.transpose(0, 2, 1)
    return freeze((images.reshape(len(images), -1),))[0].T, labels
