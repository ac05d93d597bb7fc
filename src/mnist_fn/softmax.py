"""Softmax, the cross-entropy of what it returns, and the class that is most probable by it.

Nothing overflows for finite ``Z``. A column that holds NaN, or plus infinity, or nothing but
minus infinity, becomes NaN in all its probabilities, and so does its cross-entropy; beside
finite numbers, minus infinity has the probability 0.
"""

import numpy as np


class NotANumberError(ValueError):
    """Probabilities that are NaN, of which none is the largest."""


def softmax(Z: np.ndarray) -> np.ndarray:
    """Return ``exp(Z)``, divided in each column by its sum.

    >>> softmax(np.zeros((2, 1)))
    array([[0.5],
           [0.5]])
    """
    # exp(Z - max) instead of exp(Z): the quotient is the same, and nothing overflows.
    E = _minus(Z, Z.max(axis=0))
    np.exp(E, out=E)
    E /= E.sum(axis=0)
    return E


def cross_entropies(Z2: np.ndarray, Y: np.ndarray, label_smoothing: float = 0.0) -> np.ndarray:
    """Return the loss of each sample, from its logits and its label.

    >>> cross_entropies(np.zeros((2, 1)), np.array([0])).round(4)  # log 2
    array([0.6931])
    """
    # log(sum(exp(Z2))) = max + log(sum(exp(Z2 - max))), in which nothing overflows.
    Z2_max = Z2.max(axis=0)
    log_sum = np.log(np.exp(_minus(Z2, Z2_max)).sum(axis=0))
    Z2_true = Z2[Y, np.arange(len(Y))]
    # In float64, where the distance of two float32 numbers is always finite.
    with np.errstate(over="ignore"):
        losses: np.ndarray = log_sum + (Z2_max.astype(np.float64) - Z2_true)
        if label_smoothing:
            by_class = log_sum + (Z2_max.astype(np.float64) - Z2)
            losses = (1 - label_smoothing) * losses + label_smoothing * by_class.mean(axis=0)
    return losses


def most_probable(name: str, probabilities: np.ndarray, before: int = 0) -> np.ndarray:
    """Return the class of each sample, for the function of that name (of equals, the first).

    ``before`` samples came before these, and count where one is named.

    >>> most_probable("here", np.array([[0.25, 0.5], [0.75, 0.5]]))
    array([1, 0])
    >>> most_probable("here", np.array([[0.25, np.nan], [0.75, np.nan]]))
    Traceback (most recent call last):
    mnist_fn.softmax.NotANumberError: here: the probabilities of sample 1 (counted from 0) are \
NaN, so that no class is the most probable; look for NaN, infinite or too large numbers in its \
image and in params
    """
    unknown = np.isnan(probabilities)
    if np.count_nonzero(unknown):  # the fastest way to ask; argmax would take NaN for the largest
        sample = before + int(unknown.any(axis=0).argmax())
        raise NotANumberError(
            f"{name}: the probabilities of sample {sample} (counted from 0) are NaN, so that no "
            "class is the most probable; look for NaN, infinite or too large numbers in its image "
            "and in params"
        )
    labels: np.ndarray = probabilities.argmax(axis=0)
    return labels


def check_labels(name: str, Y: np.ndarray, classes: int) -> None:
    """Raise a ``ValueError`` if there is no label, or one that is not one of the classes.

    >>> check_labels("here", np.array([0, 9]), classes=10)
    """
    if not len(Y):
        raise ValueError(f"{name}: the batch is empty (m = 0), and a mean needs a sample")
    # A negative label would count from the last class, and never fail.
    for label in (Y.min(), Y.max()):
        if not 0 <= label < classes:
            raise ValueError(
                f"{name}: Y holds the label {label}, but the {classes} classes "
                f"are numbered 0 to {classes - 1}"
            )


def _minus(Z: np.ndarray, Z_max: np.ndarray) -> np.ndarray:
    # A distance past the largest float is -inf, and exp makes the right 0 of it.
    with np.errstate(over="ignore"):
        distance: np.ndarray = Z - Z_max
    return distance
