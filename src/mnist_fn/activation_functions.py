"""Hidden activation functions, each beside its derivative."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class ActivationFunction(NamedTuple):
    """A hidden activation function ``g``, under a name, beside its derivative.

    ``derivative(Z, A)`` is g'(Z), where ``A`` is ``function(Z)``, which it may use.
    Both work element by element, keep the shape, and leave ``Z`` as it is; ``A`` keeps the
    precision. A derivative that is 0 or 1 may be a mask.
    """

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __repr__(self) -> str:
        """Return the name, which is what a signature has room for."""
        return self.name


def _relu(Z: np.ndarray) -> np.ndarray:
    A: np.ndarray = np.maximum(Z, 0)
    return A


def _relu_in_place(Z: np.ndarray) -> np.ndarray:
    np.maximum(Z, 0, out=Z)
    return Z


def _relu_derivative(Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    mask: np.ndarray = Z > 0
    return mask


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

relu_in_place: ActivationFunction = relu._replace(function=_relu_in_place)
"""``relu`` written over ``Z``: where nobody else sees ``Z``, which becomes ``A``."""
