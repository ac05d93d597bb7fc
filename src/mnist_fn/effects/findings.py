"""What a report on a network says: tables, and pictures with sentences."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ..activation_functions import ActivationFunction
from ..batches import Dataset, ordered_batches
from ..committees import Member, committee_probabilities
from ..evaluation import EpochRecord, Evaluation, calibration, class_scores, evaluate, mistakes
from . import plots
from .drawing import Theme
from .terminal import percent

_MOST_NAMED = 8  # mistakes in a sentence


class Panel(NamedTuple):
    """A picture with what it shows in words, or what is to be said where there is none."""

    title: str
    text: str
    numbers: str = ""
    """What the picture says, for those who cannot see it."""
    draw: Callable[[Theme], Figure] | None = None


class Table(NamedTuple):
    """Rows of cells, all of them text, the first of each being what the row is about."""

    title: str
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()


class Report(NamedTuple):
    """What there is to say, in the order in which it is shown."""

    title: str
    parts: Sequence[Panel | Table]


def report_on(
    members: Sequence[Member],
    g: ActivationFunction,
    dataset: Dataset,
    history: Sequence[EpochRecord],
    settings: Mapping[str, str],
) -> Report:
    """Return how well a network or a committee does on the test images, in words and pictures."""
    X, Y = dataset.X_test, dataset.Y_test
    dtype = members[0].params.W1.dtype.type if members else np.float32
    result = evaluate(members, ordered_batches(X, Y, dtype=dtype), g)
    batches = ordered_batches(X, Y, dtype=dtype)
    answers = [committee_probabilities(members, batch.X, g) for batch in batches]
    probabilities = np.concatenate(answers, axis=1)
    parts: list[Panel | Table] = [
        _results(members, g, dataset, history, result),
        _digits(result),
        _curves(history),
        _confusion(result),
        _mistakes(X, Y, probabilities),
        _calibration(probabilities, Y),
        _weights(members),
        _settings(settings),
    ]
    return Report(f"mnist-fn report: {dataset.name}", parts)


def _results(
    members: Sequence[Member],
    g: ActivationFunction,
    dataset: Dataset,
    history: Sequence[EpochRecord],
    result: Evaluation,
) -> Table:
    m = len(dataset.Y_test)
    shapes = {(p.W1.shape[1], len(p.W1), len(p.W2)) for p, _ in members}
    views = {view.name for _, view in members}
    rows = [
        ("test accuracy", percent(result.accuracy)),
        ("test loss", f"{result.loss:.4f}"),
        ("mistakes", f"{m - int(result.confusion.trace()):,} of {m:,} test images"),
        ("networks", f"{len(members)}"),
        ("shape", ", ".join("-".join(map(str, shape)) for shape in sorted(shapes))),
        ("activation", g.name),
        ("images shown", ", ".join(sorted(views))),
        ("parameters", f"{sum(array.size for p, _ in members for array in p):,}"),
    ]
    seconds = sum(record.seconds for record in history)
    if history and math.isfinite(seconds):
        rows.append(("training time", f"{seconds:,.1f} s"))
    return Table("Results", rows)


def _digits(result: Evaluation) -> Table:
    precision, recall = class_scores(result.confusion)
    images = result.confusion.sum(axis=1)
    rows = [
        (f"{digit}", f"{images[digit]:,}", percent(precision[digit]), percent(recall[digit]))
        for digit in range(len(images))
    ]
    return Table("Digits", rows, ("digit", "images", "precision", "recall"))


def _curves(history: Sequence[EpochRecord]) -> Panel:
    title = "Training"
    if not history:
        return Panel(title, "The model file does not say how the training went.")
    last = {record.member: record for record in history}.values()
    mean = np.mean([record[3:7] for record in last], axis=0)
    numbers = (
        f"After {max(record.epoch for record in last)} epochs"
        f"{f', in the mean of {len(last)} networks' if len(last) > 1 else ''}: training loss "
        f"{mean[0]:.4f}, training accuracy {percent(mean[1])}"
    )
    if math.isfinite(mean[2]):
        numbers += f", validation loss {mean[2]:.4f}, validation accuracy {percent(mean[3])}"
    text = f"Loss (in nats), accuracy and learning rate over the epochs. {numbers}."
    return Panel(title, text, numbers, lambda theme: plots.curves(history, theme))


def _confusion(result: Evaluation) -> Panel:
    confusion = result.confusion
    wrong = confusion * (1 - np.eye(len(confusion), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_NAMED]
    cells = [divmod(int(cell), len(wrong)) for cell in order]
    named = [f"{i} taken for {j} ({wrong[i, j]:,} x)" for i, j in cells if wrong[i, j]]
    numbers = f"The most frequent mistakes: {', '.join(named)}" if named else "No mistakes"
    text = f"What was taken for what. {numbers}."
    return Panel("Confusion", text, numbers, lambda theme: plots.confusion_matrix(confusion, theme))


def _mistakes(X: np.ndarray, Y: np.ndarray, probabilities: np.ndarray) -> Panel:
    title, which = "Most confident mistakes", mistakes(probabilities, Y)
    if not len(which):
        return Panel(title, "There are none.")
    if not _is_square(len(X)):
        return Panel(title, f"Images of {len(X)} pixels are not square, and are not shown.")
    taken_for, certain = probabilities.argmax(axis=0), probabilities.max(axis=0)
    numbers = ", ".join(f"{Y[i]} taken for {taken_for[i]} ({percent(certain[i])})" for i in which)
    text = (
        f"The {len(which)} mistakes that the network is most certain of: truth → prediction, "
        "and the probability that it gave it."
    )
    return Panel(
        title,
        text,
        numbers,
        lambda theme: plots.mistaken_images(X, Y, probabilities, which, theme),
    )


def _calibration(probabilities: np.ndarray, Y: np.ndarray) -> Panel:
    result = calibration(probabilities, Y)
    bins = zip(*result[:3], strict=True)
    numbers = ", ".join(
        f"confidence {percent(certain)}: {percent(right)} of {n:,} right"
        for certain, right, n in bins
        if n
    )
    text = (
        "How often predictions are right (with 95 % intervals) against how certain the network "
        "is of them, and the number of images. Points on the dashed line are as often right as "
        f"they claim; the mean distance, over the images, is {percent(result.expected_error)} "
        "(the expected calibration error of Guo et al., 2017)."
    )
    return Panel("Calibration", text, numbers, lambda theme: plots.reliability(result, theme))


def _weights(members: Sequence[Member]) -> Panel:
    title, (params, view) = "Weights of the hidden units", members[0]
    hidden, pixels = params.W1.shape
    if view.images > 1:
        text = f"The network is shown {view.images} images in place of one: no weights are shown."
        return Panel(title, text)
    if not _is_square(pixels):
        return Panel(title, f"Images of {pixels} pixels are not square: no weights are shown.")
    shown, side = len(plots.influential_units(params)), math.isqrt(pixels)
    which = f"the {shown} of {hidden:,} units" if shown < hidden else f"all {hidden} units"
    of_first = f" in the first of {len(members)} networks" if len(members) > 1 else ""
    text = (
        f"What hidden units look for: the weights of the {side} x {side} pixels of images "
        f"{view.name}, blue if they are negative, orange if positive. Shown are {which}{of_first}, "
        "those of the largest influence first: the norm of the weights into a unit times that of "
        "those out of it."
    )
    return Panel(title, text, text, lambda theme: plots.hidden_weights(params, theme))


def _settings(settings: Mapping[str, str]) -> Panel | Table:
    if not settings:
        return Panel("Settings", "The model file does not say how it was trained.")
    return Table("Settings", list(settings.items()))


def _is_square(pixels: int) -> bool:
    return math.isqrt(pixels) ** 2 == pixels
