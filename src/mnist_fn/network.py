"""The network 784 -> hidden -> 10, forward and backward, as pure functions.

    Z1 = W1 X + b1     A1 = g(Z1)     Z2 = W2 A1 + b2     A2 = softmax(Z2)

``X`` holds one sample per column. All arrays of a call are float32, or all are
float64 (``SameFloat``), and what is returned is read-only (``freeze``). A batch of
one column is as good as any. A batch of no columns has activations and predictions
(none), but no mean: ``loss``, ``backward`` and ``accuracy`` refuse it.

A NaN in ``params``, or in the image of a sample, makes its ``A2``, its loss and the gradients
NaN. So does a number that is infinite, or too large for its precision, unless it has a limit:
``tanh`` of infinity is 1, and the ``relu`` of minus infinity is 0. But nothing is predicted from
NaN: ``predict`` and ``accuracy`` refuse it.
"""

from typing import Literal, NamedTuple

import numpy as np

from .activation_functions import ActivationFunction, relu, relu_in_place
from .arrays import Images, Labels, freeze
from .contracts import checked
from .hints import SameFloat
from .keys import Key, generator, split
from .ranges import number_in
from .softmax import check_labels, cross_entropies, most_probable, softmax


class Params(NamedTuple):
    """The weights ``W1``, ``W2`` and the biases ``b1``, ``b2`` of the two layers."""

    W1: SameFloat[np.ndarray, "hidden pixels"]
    b1: SameFloat[np.ndarray, "hidden 1"]
    W2: SameFloat[np.ndarray, "classes hidden"]
    b2: SameFloat[np.ndarray, "classes 1"]


class Activations(NamedTuple):
    """The linear parts ``Z1``, ``Z2``, ``A1 = g(Z1)`` and the probabilities ``A2``, in columns."""

    Z1: SameFloat[np.ndarray, "hidden m"]
    A1: SameFloat[np.ndarray, "hidden m"]
    Z2: SameFloat[np.ndarray, "classes m"]
    A2: SameFloat[np.ndarray, "classes m"]


class Gradients(NamedTuple):
    """The loss's derivatives: ``dW1`` by ``W1``, and so ``db1``, ``dW2`` and ``db2``."""

    dW1: SameFloat[np.ndarray, "hidden pixels"]
    db1: SameFloat[np.ndarray, "hidden 1"]
    dW2: SameFloat[np.ndarray, "classes hidden"]
    db2: SameFloat[np.ndarray, "classes 1"]


@checked
def init_params(
    key: Key,
    *,
    pixels: int = 784,
    hidden: int = 128,
    classes: int = 10,
    dtype: type[np.float32] | type[np.float64] = np.float32,
) -> Params:
    """Draw weights from N(0, 2 / inputs of the layer), and set the biases to 0.

    Source: He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, equation 10.

    Raises:
        ValueError: a size is less than 1.

    >>> from mnist_fn import key
    >>> init_params(key(0), hidden=32).W1.shape
    (32, 784)

    """
    for name, size in (("pixels", pixels), ("hidden", hidden), ("classes", classes)):
        if size < 1:
            raise ValueError(f"init_params: {name} is {size}, but it must be 1 or more")

    def he(key: Key, outputs: int, inputs: int) -> np.ndarray:
        W = generator(key).standard_normal((outputs, inputs), dtype=dtype)
        return W * dtype(np.sqrt(2 / inputs))

    key1, key2 = split(key)
    return freeze(
        Params(
            W1=he(key1, hidden, pixels),
            b1=np.zeros((hidden, 1), dtype),
            W2=he(key2, classes, hidden),
            b2=np.zeros((classes, 1), dtype),
        )
    )


@checked
def forward(params: Params, X: Images, g: ActivationFunction = relu) -> Activations:
    """Compute ``Z1``, ``A1``, ``Z2`` and the probabilities ``A2`` of each sample.

    Args:
        params: the weights and biases.
        X: the images, ``pixels x m``: one per column, grey values from 0 to 1.
        g: the hidden activation function, ``relu``, ``tanh``, ``sigmoid`` or your own.
            Whatever is asked of a network must be asked with the same ``g``.

    >>> from mnist_fn import key
    >>> A2 = forward(init_params(key(0)), np.zeros((784, 5), np.float32)).A2
    >>> A2.shape, bool(np.allclose(A2.sum(axis=0), 1))
    ((10, 5), True)

    """
    W1, b1, W2, b2 = params
    Z1 = np.matmul(W1, X, order=order_of(W1))
    Z1 += b1
    if g is not relu_in_place:
        freeze((Z1,))
    A1 = g.function(Z1)
    Z2 = W2 @ A1
    Z2 += b2
    return freeze(Activations(Z1, A1, Z2, softmax(Z2)))


@checked
def loss(
    params: Params,
    X: Images,
    Y: Labels,
    g: ActivationFunction = relu,
    label_smoothing: float = 0.0,
) -> float:
    """Return the mean cross-entropy ``-log A2[Y]`` over the samples, in nats.

    With ``label_smoothing`` it is the cross-entropy with labels of which this share is
    spread evenly over the classes (Szegedy et al., "Rethinking the Inception
    Architecture for Computer Vision", 2016, section 7).

    It is computed from ``Z2``, as ``log(sum(exp(Z2))) - Z2[Y]`` in each column, so that
    a probability too small for its precision still has a logarithm. It is finite for
    any finite float32 logits, infinite where float64 cannot hold it, and NaN where ``A2`` is.

    Args:
        params: the weights and biases.
        X: the images, ``pixels x m``.
        Y: the true class of each image, from 0 on.
        g: the hidden activation function.
        label_smoothing: from 0 on, and less than 1.

    Raises:
        ValueError: there is no sample, a label is not one of the classes, or
            ``label_smoothing`` is not in [0, 1).

    >>> from mnist_fn import key
    >>> X, Y = np.zeros((784, 2), np.float32), np.array([3, 8])
    >>> round(loss(init_params(key(0)), X, Y), 4)  # log 10: all classes alike
    2.3026

    """
    Z2 = forward(params, X, g).Z2
    check_labels("loss", Y, classes=len(Z2))
    losses = cross_entropies(Z2, Y, number_in("loss: label_smoothing", label_smoothing))
    return float((losses / len(Y)).sum())


@checked
def backward(
    params: Params,
    activations: Activations,
    X: Images,
    Y: Labels,
    g: ActivationFunction = relu,
    label_smoothing: float = 0.0,
) -> Gradients:
    """Compute the derivatives of ``loss`` at ``params`` from the activations there.

    With ``T`` the one-hot labels (1 for the true class of a sample, else 0), smoothed as in
    ``loss``, and ``*`` element by element::

        dZ2 = (A2 - T) / m          dW2 = dZ2 A1.T    db2 = dZ2 summed over the samples
        dZ1 = W2.T dZ2 * g'(Z1)     dW1 = dZ1 X.T     db1 = dZ1 summed over the samples

    Source: Rumelhart, Hinton and Williams, "Learning representations by
    back-propagating errors", 1986; softmax and cross-entropy together make dZ2 simple.

    Args:
        params: where the derivatives are taken.
        activations: ``forward(params, X, g)``.
        X: the images, ``pixels x m``.
        Y: the true class of each image, from 0 on.
        g: the hidden activation function.
        label_smoothing: from 0 on, and less than 1.

    Raises:
        ValueError: there is no sample, a label is not one of the classes,
            ``label_smoothing`` is not in [0, 1), or the derivative of ``g`` has another
            shape than ``Z1``.

    >>> from mnist_fn import key
    >>> params = init_params(key(0), hidden=16)
    >>> X, Y = np.ones((784, 2), np.float32), np.array([3, 8])
    >>> backward(params, forward(params, X), X, Y).dW1.shape
    (16, 784)

    """
    Z1, A1, _, A2 = activations
    classes, m = A2.shape
    T = np.arange(classes)[:, np.newaxis] == Y
    if m == 0 or np.count_nonzero(T) != m:
        check_labels("backward", Y, classes)
    if s := number_in("backward: label_smoothing", label_smoothing):
        T = (1 - s) * T.astype(A2.dtype) + s / classes
    dZ2 = A2 - T
    dZ2 /= m
    dW2 = np.matmul(dZ2, A1.T, order="F")
    db2 = dZ2.sum(axis=1, keepdims=True)
    order = order_of(params.W1)
    dZ1 = np.matmul(params.W2.T, dZ2, order=order)
    slope = g.derivative(Z1, A1)
    if slope.shape != Z1.shape:
        raise ValueError(
            f"backward: the derivative of {g.name} has the shape {slope.shape}, "
            f"but must have that of Z1, {Z1.shape}"
        )
    dZ1 *= slope
    dW1 = np.matmul(dZ1, X.T, order=order)
    db1 = dZ1.sum(axis=1, keepdims=True)
    return freeze(Gradients(dW1, db1, dW2, db2))


@checked
def update(params: Params, gradients: Gradients, learning_rate: float) -> Params:
    """Take one step of plain gradient descent: ``W1 - learning_rate * dW1`` and so on.

    What is NaN or infinite in the gradients is so in the new parameters. At a learning rate
    of 0 the parameters stay, but for a sign: -0.0 and a negative gradient make 0.0.

    >>> ones = [np.ones((1, 1))] * 4
    >>> update(Params(*ones), Gradients(*ones), learning_rate=0.25).W1
    array([[0.75]])
    """
    rate = float(learning_rate)  # np.float64 is a float, but would turn float32 into float64
    pairs = zip(params, gradients, strict=True)
    return freeze(Params(*(descend(p, dp, rate, out=np.empty_like(dp)) for p, dp in pairs)))


def descend(p: np.ndarray, dp: np.ndarray, rate: float, out: np.ndarray) -> np.ndarray:
    """Write ``p - rate * dp`` into ``out``, which may be ``dp``, and return it.

    >>> descend(np.ones(2), np.ones(2), 0.25, out=np.empty(2))
    array([0.75, 0.75])
    """
    np.multiply(dp, rate, out=out)
    np.subtract(p, out, out=out)
    return out


@checked
def predict(params: Params, X: Images, g: ActivationFunction = relu) -> Labels:
    """Return the most probable class of each sample (of equals, the first).

    Raises:
        ValueError: the probabilities of a sample are NaN.

    >>> from mnist_fn import key
    >>> predict(init_params(key(0)), np.ones((784, 3), np.float32)).shape
    (3,)

    """
    labels = most_probable("predict", forward(params, X, g).A2)
    freeze((labels,))
    return labels


@checked
def accuracy(params: Params, X: Images, Y: Labels, g: ActivationFunction = relu) -> float:
    """Return the share of samples whose most probable class is ``Y``, from 0 to 1.

    Raises:
        ValueError: there is no sample, a label is not one of the classes, or the
            probabilities of a sample are NaN.

    >>> from mnist_fn import key
    >>> params, X = init_params(key(0)), np.ones((784, 3), np.float32)
    >>> accuracy(params, X, predict(params, X))
    1.0

    """
    check_labels("accuracy", Y, classes=len(params.W2))
    return float(np.mean(most_probable("accuracy", forward(params, X, g).A2) == Y))


def order_of(W1: np.ndarray) -> Literal["C", "F"]:
    """Return the memory order of the products, that in which OpenBLAS is faster.

    It splits a product between its threads along the contiguous side, best if that is the
    shorter one. All of a step follow ``W1``, so that what is added lies alike.

    >>> order_of(np.ones((800, 784))), order_of(np.ones((128, 784)))
    ('C', 'F')
    """
    hidden, pixels = W1.shape
    return "C" if hidden > pixels else "F"
