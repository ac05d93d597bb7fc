"""Gradient checks: every entry against central differences, in float64."""

from collections.abc import Callable

import numpy as np

import mnist_fn as mf

_STEP = 1e-3
_FIVE_POINTS = ((2, -1 / 12), (1, 8 / 12), (-1, -8 / 12), (-2, 1 / 12))


def numerical_gradients(loss: Callable[[mf.Params], float], params: mf.Params) -> list[np.ndarray]:
    """Return the derivative of ``loss`` by every entry of every parameter.

    Central differences over five points (Abramowitz and Stegun, 25.3.6): with this step
    both the truncated terms and the rounding are below 1e-11.
    """

    def derivative(field: str, at: tuple[int, ...]) -> float:
        total = 0.0
        for steps, weight in _FIVE_POINTS:
            moved = getattr(params, field).copy()
            moved[at] += steps * _STEP
            total += weight * loss(params._replace(**{field: moved}))
        return total / _STEP

    gradients = []
    for field, array in params._asdict().items():
        gradient = np.empty_like(array)
        for at in np.ndindex(array.shape):
            gradient[at] = derivative(field, at)
        gradients.append(gradient)
    return gradients


def agree(gradients: mf.Gradients, numerical: list[np.ndarray]) -> bool:
    """Tell whether every entry agrees to a relative 1e-6, down to the error of the differences."""
    return all(
        np.allclose(dp, expected, rtol=1e-6, atol=1e-10)
        for dp, expected in zip(gradients, numerical, strict=True)
    )
