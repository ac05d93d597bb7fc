"""What is held back of the training images, and how an epoch went on both parts."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from ..activation_functions import ActivationFunction
from ..batches import Dataset, hold_out, ordered_batches
from ..committees import Member
from ..evaluation import EpochRecord, Evaluation, evaluate
from ..softmax import NotANumberError
from .mapping import release, released

_HELD_BACK = 1 / 12  # of the training images, if nothing else is said: 5,000 of MNIST
_SAMPLE = 5_000  # training images that the loss and accuracy of an epoch are taken on
_PART = 10_000  # images that are read at a time, to be digested


def hold_back(X: np.ndarray, Y: np.ndarray, n: int | None) -> Dataset:
    """Return the training images without the last ``n``, and these as the test part.

    >>> parts = hold_back(np.zeros((784, 24), np.uint8), np.zeros(24, np.uint8), None)
    >>> parts.X_train.shape, parts.X_test.shape
    ((784, 22), (784, 2))
    """
    m = len(Y)
    n = int(m * _HELD_BACK) if n is None else n
    if not 0 <= n < m:
        raise ValueError(
            f"{n} images are to be held back for validation, but there are {m:,}; name fewer"
        )
    return hold_out(X, Y, n) if n else Dataset("validation", X, Y, X[:, m:], Y[m:])


def digest_of(X: np.ndarray, Y: np.ndarray) -> str:
    """Return the SHA-256 digest of images and labels, which tells data sets apart.

    >>> digest_of(np.zeros((2, 1), np.uint8), np.zeros(1, np.uint8))[:8]
    '709e80c8'
    """
    digest = hashlib.sha256()
    for i in range(0, len(Y), _PART):
        digest.update(np.ascontiguousarray(X.T[i : i + _PART]).data)
        release(X)
    digest.update(np.ascontiguousarray(Y).data)
    return digest.hexdigest()


def record_of(
    member: Member,
    g: ActivationFunction,
    parts: Dataset,
    *,
    index: int,
    epoch: int,
    learning_rate: float,
    seconds: float,
) -> EpochRecord:
    """Return how an epoch went, on images that it is trained on and on those held back."""
    sample = parts.X_train[:, :_SAMPLE], parts.Y_train[:_SAMPLE]
    on_training = _loss_and_accuracy(member, *sample, g)
    held_back = math.nan, math.nan
    if len(parts.Y_test):
        held_back = _loss_and_accuracy(member, parts.X_test, parts.Y_test, g)
    return EpochRecord(index, epoch, learning_rate, *on_training, *held_back, seconds)


def _loss_and_accuracy(
    member: Member, X: np.ndarray, Y: np.ndarray, g: ActivationFunction
) -> tuple[float, float]:
    """Return both, or NaN for both if the network is past making predictions."""
    try:
        result = evaluate_members([member], X, Y, g)
    except NotANumberError:
        return math.nan, math.nan
    return result.loss, result.accuracy


def evaluate_members(
    members: Sequence[Member], X: np.ndarray, Y: np.ndarray, g: ActivationFunction
) -> Evaluation:
    """Return how well a network or a committee does on images as they are stored."""
    dtype = members[0].params.W1.dtype.type
    return evaluate(members, released(ordered_batches(X, Y, dtype=dtype), X), g)
