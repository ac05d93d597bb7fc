"""How well a network does on a data set: a fold over its batches."""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Integer

from .activation_functions import ActivationFunction, relu
from .arrays import Labels, freeze
from .batches import Batch
from .committees import Member, answers_of, mean_probabilities
from .contracts import checked
from .hints import Map, SameFloat
from .network import Params
from .softmax import check_labels, cross_entropies, most_probable


class Evaluation(NamedTuple):
    """The mean loss in nats, the accuracy (share of right predictions), the confusion matrix.

    ``confusion[i, j]`` counts the samples of class ``i`` that were taken for class ``j``.
    """

    loss: float
    accuracy: float
    confusion: Int64[np.ndarray, "classes classes"]


@checked
def evaluate(
    params: Params | Sequence[Member],
    batches: Iterable[Batch],
    g: ActivationFunction = relu,
    map: Map = map,
) -> Evaluation:
    """Return the loss, the accuracy and the confusion matrix over all the batches.

    Args:
        params: those of a network, or the members of a committee.
        batches: the samples.
        g: the hidden activation function.
        map: who asks the members about a batch, as for ``committee_probabilities``.

    Raises:
        ValueError: there is no sample, no member, a label is not one of the classes, or the
            probabilities of a sample are NaN.

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
        answers = answers_of(members, X, g, map)
        before = int(confusion.sum())
        predicted = most_probable("evaluate", mean_probabilities(answers), before)
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
    if not m:
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
    """On the same."""
    validation_loss: float
    """On images that were held back; NaN if there were none."""
    validation_accuracy: float
    """On the same."""
    seconds: float
    """That the training of the epoch took; NaN if that was not recorded."""


class ClassScores(NamedTuple):
    """The precision and recall of each class, from 0 to 1; NaN where there is nothing to count."""

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


class Calibration(NamedTuple):
    """How certain predictions are, and how often right, in bins of equal width.

    Confidence is the probability of the class that is predicted. Of ``n`` bins, that of index
    ``i`` counts confidences above ``i/n``, up to ``(i+1)/n`` and with it. Means of nothing
    are NaN.
    """

    confidence: Float64[np.ndarray, " bins"]
    """The mean of each bin."""
    accuracy: Float64[np.ndarray, " bins"]
    """The share of each bin that is right."""
    samples: Int64[np.ndarray, " bins"]
    """How many there are in each bin."""
    expected_error: float
    """How far confidence and accuracy lie apart in the mean, over the samples."""


@checked
def calibration(
    probabilities: SameFloat[np.ndarray, "classes m"], Y: Labels, bins: int = 10
) -> Calibration:
    """Return how certain a network is against how often it is right.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks",
    2017: the reliability diagram and the expected calibration error.

    Args:
        probabilities: ``A2``, or those of a committee.
        Y: the true labels.
        bins: into how many parts the confidences from 0 to 1 are divided.

    Raises:
        ValueError: there is no sample, ``bins`` is less than 1, a label is not one of the
            classes, or what is given are no probabilities.

    >>> A2 = np.array([[0.75, 0.5, 0.25], [0.25, 0.5, 0.75]])
    >>> result = calibration(A2, np.array([0, 0, 0]), bins=2)
    >>> result.samples, result.accuracy  # of equals, class 0 is predicted
    (array([1, 2]), array([1. , 0.5]))
    >>> round(result.expected_error, 6)  # (1 x |1 - 0.5| + 2 x |0.5 - 0.75|) / 3
    0.333333

    """
    if bins < 1:
        raise ValueError(f"calibration: bins is {bins}, but it must be 1 or more")
    predicted, confidence = _predicted("calibration", probabilities, Y)
    bin_of = np.searchsorted(np.arange(1, bins) / bins, confidence)
    samples = np.bincount(bin_of, minlength=bins)
    certain = np.bincount(bin_of, confidence, bins)
    right = np.bincount(bin_of, predicted == Y, bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is wanted
        arrays = freeze((certain / samples, right / samples, samples))
    return Calibration(*arrays, float(np.abs(right - certain).sum()) / len(Y))


@checked
def mistakes(
    probabilities: SameFloat[np.ndarray, "classes m"], Y: Labels, most: int = 25
) -> Integer[np.ndarray, " mistakes"]:
    """Return which samples are taken for another class, counted from 0, the most certain first.

    Args:
        probabilities: ``A2``, or those of a committee.
        Y: the true labels.
        most: how many are wanted at most. Of equally certain ones, the first come first.

    Raises:
        ValueError: as ``calibration``, and if ``most`` is less than 1.

    >>> A2 = np.array([[0.4, 0.1, 0.8], [0.6, 0.9, 0.2]])
    >>> mistakes(A2, np.array([0, 0, 0]))
    array([1, 0])

    """
    if most < 1:
        raise ValueError(f"mistakes: most is {most}, but it must be 1 or more")
    predicted, confidence = _predicted("mistakes", probabilities, Y)
    wrong = np.flatnonzero(predicted != Y)
    indices = wrong[np.argsort(-confidence[wrong], kind="stable")[:most]]
    freeze((indices,))
    return indices


def _predicted(
    name: str, probabilities: np.ndarray, Y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is predicted of each sample, and with which probability, in float64."""
    check_labels(name, Y, len(probabilities))
    predicted = most_probable(name, probabilities)
    confidence = probabilities.max(axis=0).astype(np.float64)
    least, most = float(probabilities.min()), float(confidence.max())
    # A softmax of the user's own may round to a little more than 1, and 1 less that to below 0.
    if least < -1e-6 or most > 1 + 1e-6:
        raise ValueError(
            f"{name}: the probabilities are from {least:.8g} to {most:.8g}, but must be from 0 "
            "to 1; give it A2, not Z2"
        )
    return predicted, confidence
