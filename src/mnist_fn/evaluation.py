"""How well a network does on a data set: a fold over its batches."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from .activation_functions import ActivationFunction, relu
from .arrays import freeze
from .batches import Batch
from .committees import Member, answers_of, mean_probabilities
from .contracts import checked
from .network import Params
from .softmax import check_labels, cross_entropies


class Evaluation(NamedTuple):
    """The mean loss in nats, the share of right predictions, and the confusion matrix.

    ``confusion[i, j]`` counts the samples of class ``i`` that were taken for class ``j``.
    """

    loss: float
    accuracy: float
    confusion: Int64[np.ndarray, "classes classes"]


@checked
def evaluate(
    params: Params | Sequence[Member], batches: Iterable[Batch], g: ActivationFunction = relu
) -> Evaluation:
    """Return the loss, the accuracy and the confusion matrix over all the batches.

    Args:
        params: those of a network, or the members of a committee.
        batches: the samples.
        g: the hidden activation function.

    Raises:
        ValueError: there is no sample, no member, or a label is not one of the classes.

    >>> from mnist_fn import init_params, key
    >>> batch = Batch(np.zeros((784, 4), np.float32), np.array([0, 0, 0, 1]))
    >>> evaluate(init_params(key(0)), [batch]).accuracy  # of equals, class 0 is predicted
    0.75

    """
    members = [Member(params)] if isinstance(params, Params) else list(params)
    classes = len(members[0].params.W2) if members else 0

    def add(total: tuple[float, np.ndarray], batch: Batch) -> tuple[float, np.ndarray]:
        loss_sum, confusion = total
        X, Y = batch
        answers = answers_of(members, X, g)
        predicted = mean_probabilities(answers).argmax(axis=0)
        check_labels("evaluate", Y, classes)
        # The loss of a mean of probabilities exp(-loss), without computing one of them.
        losses = [-cross_entropies(answer.Z2, Y) for answer in answers]
        loss_sum -= float((np.logaddexp.reduce(losses) - math.log(len(members))).sum())
        cells = Y.astype(np.int64) * classes + predicted
        counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
        return loss_sum, confusion + counts

    nothing = 0.0, np.zeros((classes, classes), np.int64)
    loss_sum, confusion = functools.reduce(add, batches, nothing)
    m = int(confusion.sum())
    if m == 0:
        raise ValueError("evaluate: there are no samples, and a mean needs one")
    freeze((confusion,))
    return Evaluation(loss_sum / m, int(confusion.trace()) / m, confusion)


class EpochRecord(NamedTuple):
    """How an epoch of a training went. Losses are in nats, accuracies from 0 to 1."""

    member: int
    """Which network of a committee was trained, counted from 0."""
    epoch: int
    """Counted from 1."""
    learning_rate: float
    """That of its last step."""
    training_loss: float
    """On some of the training images, as they are."""
    training_accuracy: float
    validation_loss: float
    """On images that were held back; NaN if there were none."""
    validation_accuracy: float
    seconds: float
    """That the training of the epoch took."""


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
