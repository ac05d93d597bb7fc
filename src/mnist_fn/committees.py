"""Committees: several networks that answer as one, by the mean of their probabilities.

Source: Meier, Ciresan, Gambardella and Schmidhuber, "Better Digit Recognition with a
Committee of Simple Neural Nets", 2011. Training one is a map over keys: the same
settings, with other random numbers.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .activation_functions import ActivationFunction, relu
from .arrays import Images, Labels, freeze
from .contracts import checked
from .hints import Map, SameFloat
from .network import Activations, Params, forward
from .softmax import most_probable
from .views import View, as_they_are


class Member(NamedTuple):
    """A network's ``params``, and the ``view`` by which it is shown the images."""

    params: Params
    view: View = as_they_are


def image_pixels(member: Member) -> int:
    """Return how many pixels the images have that a network is for.

    >>> from mnist_fn import init_params, key
    >>> from mnist_fn.views import both_edges
    >>> image_pixels(Member(init_params(key(0), pixels=1568), both_edges))
    784
    """
    return int(member.params.W1.shape[1]) // member.view.images


@checked
def committee_probabilities(
    members: Sequence[Member],
    X: Images,
    g: ActivationFunction = relu,
    map: Map = map,
) -> SameFloat[np.ndarray, "classes m"]:
    """Return the mean of the members' ``A2``: the probabilities of each sample.

    They are NaN where those of a member are.

    Args:
        members: each with its own view of the images; hidden units may differ in number.
        X: the images, ``pixels x m``, as they are.
        g: the hidden activation function of all of them.
        map: who asks the members: the built-in, or the ``map`` of an executor, best of threads.

    Raises:
        ValueError: there is no member, or they answer with different numbers of classes.

    >>> from mnist_fn import init_params, key, split
    >>> members = [Member(init_params(k)) for k in split(key(0), 3)]
    >>> A2 = committee_probabilities(members, np.ones((784, 5), np.float32))
    >>> A2.shape, bool(np.allclose(A2.sum(axis=0), 1))
    ((10, 5), True)

    """
    return mean_probabilities(answers_of(members, X, g, map))


@checked
def predict_committee(
    members: Sequence[Member],
    X: Images,
    g: ActivationFunction = relu,
    map: Map = map,
) -> Labels:
    """Return the most probable class of each sample (of equals, the first).

    The arguments are those of ``committee_probabilities``.

    Raises:
        ValueError: there is no member, they answer with different numbers of classes, or the
            probabilities of a sample are NaN.

    >>> from mnist_fn import init_params, key, split
    >>> members = [Member(init_params(k)) for k in split(key(0), 3)]
    >>> predict_committee(members, np.ones((784, 5), np.float32)).shape
    (5,)

    """
    labels = most_probable("predict_committee", committee_probabilities(members, X, g, map))
    freeze((labels,))
    return labels


@checked
def join(members: Sequence[Params]) -> Params:
    """Return one network whose ``Z2`` is the mean of the members': as wide as all together.

    With ``W1`` on top of each other and ``W2`` side by side, it is a committee that takes
    the mean of logits, which is the geometric mean of the probabilities, made equal in sum.
    Its members must share their view; ``assemble`` joins networks with two.

    Raises:
        ValueError: there is no member, or they have different numbers of pixels or
            classes, or different precisions.

    >>> from mnist_fn import init_params, key, split
    >>> members = [init_params(k, hidden=50) for k in split(key(0), 3)]
    >>> join(members).W1.shape, join(members).W2.shape
    ((150, 784), (10, 150))

    """
    if len({_task(params) for params in members}) != 1:
        raise ValueError(
            "join: it takes one network or more, with the same pixels, classes and precision"
        )
    W1, b1, W2, b2 = zip(*members, strict=True)
    return freeze(
        Params(
            W1=np.concatenate(W1),
            b1=np.concatenate(b1),
            W2=np.concatenate(W2, axis=1) / len(members),
            b2=functools.reduce(np.add, b2) / len(members),
        )
    )


@checked  # which looks into Params; in a sequence they may differ in size
def _task(params: Params) -> tuple[int, int, np.dtype[Any]]:
    return params.W1.shape[1], len(params.W2), params.W1.dtype


def answers_of(
    members: Sequence[Member],
    X: Images,
    g: ActivationFunction,
    map: Map = map,
) -> list[Activations]:
    """Return what each member computes of the images, by its own view of them.

    >>> answers_of([], np.zeros((784, 1)), relu)
    []
    """
    return list(map(functools.partial(_answer, X, g), members))


def _answer(X: np.ndarray, g: ActivationFunction, member: Member) -> Activations:
    return forward(member.params, member.view.function(X), g)


def mean_probabilities(answers: Sequence[Activations]) -> np.ndarray:
    """Return the mean of the probabilities ``A2`` that one network or more computed.

    >>> Z = np.zeros((2, 1))
    >>> mean_probabilities([Activations(Z, Z, Z, A2) for A2 in (np.zeros(2), np.ones(2))])
    array([0.5, 0.5])
    """
    probabilities = [answer.A2 for answer in answers]
    if not probabilities:
        raise ValueError("committee: it has no member, but must have one or more")
    for i, A2 in enumerate(probabilities):
        if len(A2) != len(probabilities[0]):
            raise ValueError(
                f"committee: member {i} answers with {len(A2)} classes, "
                f"but member 0 with {len(probabilities[0])}"
            )
    mean: np.ndarray = functools.reduce(np.add, probabilities) / len(probabilities)
    freeze((mean,))
    return mean
