"""The network 784 -> hidden -> 10, forward and backward, as pure functions.

    Z1 = W1 X + b1     A1 = g(Z1)     Z2 = W2 A1 + b2     A2 = softmax(Z2)

``X`` holds one sample per column. All arrays of a call are float32, or all are
float64. A batch of one column is as good as any. A batch of no columns has
activations and predictions (none), but no mean: ``loss``, ``backward`` and
``accuracy`` refuse it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .arrays import Images, Labels, freeze
from .contracts import checked
from .hints import SameFloat
from .keys import Key, generator, split


class Params(NamedTuple):
    """Weights and biases of the two layers."""

    W1: SameFloat[np.ndarray, "hidden pixels"]
    b1: SameFloat[np.ndarray, "hidden 1"]
    W2: SameFloat[np.ndarray, "classes hidden"]
    b2: SameFloat[np.ndarray, "classes 1"]


class Activations(NamedTuple):
    """What ``forward`` computes on its way, one sample per column."""

    Z1: SameFloat[np.ndarray, "hidden m"]
    A1: SameFloat[np.ndarray, "hidden m"]
    Z2: SameFloat[np.ndarray, "classes m"]
    A2: SameFloat[np.ndarray, "classes m"]


class Gradients(NamedTuple):
    """The loss's derivatives by each of the parameters."""

    dW1: SameFloat[np.ndarray, "hidden pixels"]
    db1: SameFloat[np.ndarray, "hidden 1"]
    dW2: SameFloat[np.ndarray, "classes hidden"]
    db2: SameFloat[np.ndarray, "classes 1"]


class ActivationFunction(NamedTuple):
    """A hidden activation function ``g`` beside its derivative.

    ``derivative(Z, A)`` is g'(Z), where ``A`` is ``function(Z)``, which it may use.
    Both work element by element and keep the precision.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _relu(Z: np.ndarray) -> np.ndarray:
    A: np.ndarray = np.maximum(Z, 0)
    return A


def _relu_derivative(Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return (Z > 0).astype(Z.dtype)


def _tanh(Z: np.ndarray) -> np.ndarray:
    A: np.ndarray = np.tanh(Z)
    return A


def _tanh_derivative(Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    derivative: np.ndarray = 1 - A * A
    return derivative


def _sigmoid(Z: np.ndarray) -> np.ndarray:
    E = np.exp(-np.abs(Z))  # at most 1, so that it cannot overflow
    A: np.ndarray = np.where(Z >= 0, 1, E) / (1 + E)
    return A


def _sigmoid_derivative(Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    derivative: np.ndarray = A * (1 - A)
    return derivative


relu: ActivationFunction = ActivationFunction("relu", _relu, _relu_derivative)
"""max(Z, 0); its derivative at 0 is taken to be 0."""

tanh: ActivationFunction = ActivationFunction("tanh", _tanh, _tanh_derivative)
"""The hyperbolic tangent."""

sigmoid: ActivationFunction = ActivationFunction("sigmoid", _sigmoid, _sigmoid_derivative)
"""1 / (1 + exp(-Z))."""


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

    >>> from mnist_fn import key
    >>> A2 = forward(init_params(key(0)), np.zeros((784, 5), np.float32)).A2
    >>> A2.shape, bool(np.allclose(A2.sum(axis=0), 1))
    ((10, 5), True)
    """
    W1, b1, W2, b2 = params
    Z1 = W1 @ X
    Z1 += b1
    A1 = g.function(Z1)
    Z2 = W2 @ A1
    Z2 += b2
    return freeze(Activations(Z1, A1, Z2, _softmax(Z2)))


@checked
def loss(params: Params, X: Images, Y: Labels, g: ActivationFunction = relu) -> float:
    """Return the mean cross-entropy ``-log A2[Y]`` over the samples, in nats.

    It is computed from ``Z2``, so that a probability too small for its precision
    still has a logarithm.

    Raises:
        ValueError: there is no sample, or a label is not one of the classes.

    >>> from mnist_fn import key
    >>> X, Y = np.zeros((784, 2), np.float32), np.array([3, 8])
    >>> round(loss(init_params(key(0)), X, Y), 4)  # log 10: all classes alike
    2.3026

    """
    Z2 = forward(params, X, g).Z2
    _check_labels("loss", Y, classes=len(Z2))
    Z2_max = Z2.max(axis=0)
    log_sum_exp = np.log(np.exp(_below(Z2, Z2_max)).sum(axis=0))
    Z2_true = Z2[Y, np.arange(len(Y))]
    # In float64, where the distance of two float32 numbers is always finite.
    return float(np.mean(log_sum_exp + (Z2_max.astype(np.float64) - Z2_true)))


@checked
def backward(
    params: Params,
    activations: Activations,
    X: Images,
    Y: Labels,
    g: ActivationFunction = relu,
) -> Gradients:
    """Compute the derivatives of ``loss`` at ``params`` from the activations there.

    Raises:
        ValueError: there is no sample, or a label is not one of the classes.

    >>> from mnist_fn import key
    >>> params = init_params(key(0), hidden=16)
    >>> X, Y = np.ones((784, 2), np.float32), np.array([3, 8])
    >>> backward(params, forward(params, X), X, Y).dW1.shape
    (16, 784)

    """
    Z1, A1, _, A2 = activations
    _check_labels("backward", Y, classes=len(A2))
    m = len(Y)
    dZ2 = A2.copy()
    dZ2[Y, np.arange(m)] -= 1
    dZ2 /= m
    dW2 = dZ2 @ A1.T
    db2 = dZ2.sum(axis=1, keepdims=True)
    dZ1 = params.W2.T @ dZ2
    dZ1 *= g.derivative(Z1, A1)
    dW1 = dZ1 @ X.T
    db1 = dZ1.sum(axis=1, keepdims=True)
    return freeze(Gradients(dW1, db1, dW2, db2))


@checked
def update(params: Params, gradients: Gradients, learning_rate: float) -> Params:
    """Take one step of plain gradient descent: ``W1 - learning_rate * dW1`` and so on.

    >>> from mnist_fn import key
    >>> params = init_params(key(0))
    >>> update(params, Gradients(*params), 1.0).W1.any()  # W1 - 1 * W1
    np.False_
    """
    rate = float(learning_rate)  # np.float64 is a float, but would turn float32 into float64
    return freeze(Params(*(p - rate * dp for p, dp in zip(params, gradients, strict=True))))


@checked
def predict(params: Params, X: Images, g: ActivationFunction = relu) -> Labels:
    """Return the most probable class of each sample (of equals, the first).

    >>> from mnist_fn import key
    >>> predict(init_params(key(0)), np.ones((784, 3), np.float32)).shape
    (3,)
    """
    labels: np.ndarray = forward(params, X, g).Z2.argmax(axis=0)
    freeze((labels,))
    return labels


@checked
def accuracy(params: Params, X: Images, Y: Labels, g: ActivationFunction = relu) -> float:
    """Return the share of samples whose most probable class is ``Y``, from 0 to 1.

    Raises:
        ValueError: there is no sample, or a label is not one of the classes.

    >>> from mnist_fn import key
    >>> params, X = init_params(key(0)), np.ones((784, 3), np.float32)
    >>> accuracy(params, X, predict(params, X))
    1.0

    """
    _check_labels("accuracy", Y, classes=len(params.W2))
    return float(np.mean(predict(params, X, g) == Y))


def _softmax(Z: np.ndarray) -> np.ndarray:
    E: np.ndarray = np.exp(_below(Z, Z.max(axis=0)))
    E /= E.sum(axis=0)
    return E


def _below(Z: np.ndarray, Z_max: np.ndarray) -> np.ndarray:
    """Return ``Z - Z_max``; a distance past the largest float is -inf, which exp makes 0."""
    with np.errstate(over="ignore"):
        distance: np.ndarray = Z - Z_max
    return distance


def _check_labels(name: str, Y: np.ndarray, classes: int) -> None:
    if len(Y) == 0:
        raise ValueError(f"{name}: the batch is empty (m = 0), and a mean needs a sample")
    # A negative label would count from the last class, and never fail.
    for label in (Y.min(), Y.max()):
        if not 0 <= label < classes:
            raise ValueError(
                f"{name}: Y holds the label {label}, but the {classes} classes "
                f"are numbered 0 to {classes - 1}"
            )
