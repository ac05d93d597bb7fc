"""How well a network does on a data set: a fold over its batches."""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from .activation_functions import ActivationFunction, relu
from .arrays import freeze
from .batches import Batch
from .contracts import checked
from .network import Params, loss, predict


class Evaluation(NamedTuple):
    """The mean loss in nats, the share of right predictions, and the confusion matrix.

    ``confusion[i, j]`` counts the samples of class ``i`` that were taken for class ``j``.
    """

    loss: float
    accuracy: float
    confusion: Int64[np.ndarray, "classes classes"]


@checked
def evaluate(params: Params, batches: Iterable[Batch], g: ActivationFunction = relu) -> Evaluation:
    """Return the loss, the accuracy and the confusion matrix over all the batches.

    Raises:
        ValueError: there is no sample, or a label is not one of the classes.

    >>> from mnist_fn import init_params, key
    >>> batch = Batch(np.zeros((784, 4), np.float32), np.array([0, 0, 0, 1]))
    >>> evaluate(init_params(key(0)), [batch]).accuracy  # of equals, class 0 is predicted
    0.75

    """
    classes = len(params.W2)

    def add(total: tuple[float, np.ndarray], batch: Batch) -> tuple[float, np.ndarray]:
        loss_sum, confusion = total
        X, Y = batch
        loss_sum += loss(params, X, Y, g) * len(Y)
        cells = Y.astype(np.int64) * classes + predict(params, X, g)
        counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        return loss_sum, confusion + counts

    nothing = 0.0, np.zeros((classes, classes), np.int64)
    loss_sum, confusion = functools.reduce(add, batches, nothing)
    m = int(confusion.sum())
    if m == 0:
        raise ValueError("evaluate: there are no samples, and a mean needs one")
    freeze((confusion,))
    return Evaluation(loss_sum / m, int(confusion.trace()) / m, confusion)


class ClassScores(NamedTuple):
    """Precision and recall of each class, from 0 to 1; NaN where there is nothing to count."""

    precision: Float64[np.ndarray, " classes"]
    recall: Float64[np.ndarray, " classes"]


@checked
def class_scores(confusion: Int64[np.ndarray, "classes classes"]) -> ClassScores:
    """Return for each class how many taken for it were it, and how many of it were found.

    >>> class_scores(np.array([[3, 1], [0, 4]]))
    ClassScores(precision=array([1. , 0.8]), recall=array([0.75, 1.  ]))
    """
    right = np.diag(confusion)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        return freeze(ClassScores(right / confusion.sum(axis=0), right / confusion.sum(axis=1)))
