"""Checkpoints: what a training has reached after an epoch, to go on from with the same bits.

A checkpoint file is the SHA-256 digest of what follows, and then an ``.npz`` archive
without pickled objects. A file that is cut off or altered does not fit its digest, and
is never used.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..arrays import freeze
from ..evaluation import EpochRecord
from ..network import Params
from .archives import DAMAGED, Kind, history_of, read_arrays, settings_of
from .files import replacing

_KEPT = 2  # the newest, and one in case that is damaged
_NAME = re.compile(r"epoch-(\d+)\.checkpoint")
# The arrays of a checkpoint file: the kinds of their elements, and how many dimensions they have.
_KINDS: dict[str, Kind] = {
    "settings": ("U", 0),
    "history": ("f", 2),
    "finished": ("f", 2),
    "leaf": ("fiu", None),
}
_PART = re.compile(r"settings|history|(finished|leaf)\.\d+")
_DIGEST_BYTES = hashlib.sha256().digest_size
T = TypeVar("T")


class CheckpointError(Exception):
    """A checkpoint that is not there, is damaged, or is of another training."""


class Checkpoint(NamedTuple):
    """What a training has reached; ``leaves`` are of the network that is in training."""

    settings: Mapping[str, str]
    """What the training was told."""
    history: Sequence[EpochRecord] = ()
    finished: Sequence[Params] = ()
    """The members of a committee that are trained to their end."""
    leaves: Sequence[np.ndarray] = ()
    """The arrays and numbers of its state, in order; none before its first epoch."""


def leaves_of(state: Any) -> Iterator[np.ndarray]:
    """Yield the arrays and numbers of a state, a tree of tuples.

    >>> [leaf.tolist() for leaf in leaves_of((np.ones(2), (3, ())))]
    [[1.0, 1.0], 3]
    """
    if isinstance(state, tuple):
        for item in state:
            yield from leaves_of(item)
    else:
        yield np.asarray(state)


def with_leaves(state: T, leaves: Sequence[np.ndarray]) -> T:
    """Return a state like this one, with other arrays and numbers.

    Raises:
        CheckpointError: they do not fit.

    >>> with_leaves((np.ones(2), (3, ())), [np.zeros(2), np.array(4)])
    (array([0., 0.]), (4, ()))

    """
    stream = iter(leaves)

    def filled(item: Any) -> Any:
        if isinstance(item, tuple):
            return getattr(item, "_make", tuple)(map(filled, item))
        leaf = next(stream, None)
        if leaf is None or leaf.shape != np.shape(item) or leaf.dtype != np.asarray(item).dtype:
            raise CheckpointError("the state in the checkpoint is not one of this training")
        return freeze((leaf,))[0] if isinstance(item, np.ndarray) else type(item)(leaf)

    result: T = filled(state)
    if next(stream, None) is not None:
        raise CheckpointError("the state in the checkpoint is not one of this training")
    return result


def save_checkpoint(directory: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, all of it or nothing, and remove all but the newest ones."""
    settings, history, finished, leaves = checkpoint
    arrays = {"settings": np.array(json.dumps(dict(settings)))}
    if history:
        arrays["history"] = np.array(history, np.float64)
    arrays |= {f"finished.{i}": array for i, array in enumerate(leaves_of(tuple(finished)))}
    arrays |= {f"leaf.{i}": leaf for i, leaf in enumerate(leaves)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    payload = content.getbuffer()
    written = directory / f"epoch-{len(history):05}.checkpoint"
    with replacing(written) as file:
        file.write(hashlib.sha256(payload).digest())
        file.write(payload)
    paths = checkpoints_in(directory)
    # What is there from later epochs was damaged, or else the training would have gone on there.
    for path in paths[paths.index(written) + _KEPT :]:
        path.unlink(missing_ok=True)


def checkpoints_in(directory: Path) -> list[Path]:
    """Return the checkpoint files of a directory, the newest first."""
    names = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    by_epoch = sorted((int(match[1]), match[0]) for match in names if match)
    return [directory / name for _, name in reversed(by_epoch)]


def load_checkpoint(path: Path) -> Checkpoint:
    """Return what a checkpoint file holds; the memory that it takes is a few times the file.

    Raises:
        CheckpointError: it cannot be read, is not as it was written, or is another version's.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    payload = content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != content[:_DIGEST_BYTES]:
        raise CheckpointError(f"{path} is damaged: it is not as it was written")
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            arrays = read_arrays(archive, len(payload), _kind_of)
        finished = _numbered(arrays, "finished")
        return Checkpoint(
            settings_of(arrays),
            history_of(arrays),
            tuple(Params(*finished[i : i + 4]) for i in range(0, len(finished), 4)),
            _numbered(arrays, "leaf"),
        )
    except (KeyError, TypeError, *DAMAGED) as error:
        raise CheckpointError(f"{path} is of another version of mnist_fn") from error


def _kind_of(name: str) -> Kind | None:
    return _KINDS[name.partition(".")[0]] if _PART.fullmatch(name) else None


def _numbered(arrays: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, ...]:
    count = sum(key.startswith(f"{name}.") for key in arrays)
    return freeze(tuple(arrays[f"{name}.{i}"] for i in range(count)))
