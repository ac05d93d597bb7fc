"""Dropout: a key goes in, and the mask is inside.

Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: A
Simple Way to Prevent Neural Networks from Overfitting", 2014, section 10: what is
kept is scaled up while training, so that nothing changes when predicting.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from .activation_functions import ActivationFunction
from .arrays import Images, freeze
from .contracts import checked
from .keys import Key, generator
from .ranges import number_in


class Dropout(NamedTuple):
    """Which share of the pixels and of the hidden units a step leaves out, at random.

    The masks of a step are drawn from its epoch, the number of its batch, and ``key``.
    """

    key: Key
    pixels: float = 0.2
    hidden: float = 0.5


@checked
def drop(key: Key, X: Images, rate: float) -> Images:
    """Return ``X`` with each entry 0 with probability ``rate``, and else divided by ``1 - rate``.

    The rate is rounded to a multiple of 1 / 65,536.

    Raises:
        ValueError: ``rate`` is not in [0, 1).

    >>> from mnist_fn import key
    >>> drop(key(0), np.ones((2, 4), np.float32), rate=0.5)
    array([[0., 2., 0., 0.],
           [2., 0., 2., 2.]], dtype=float32)

    """
    left = _masked(X, _mask(key, X.shape, X.dtype, number_in("drop: rate", rate)))
    freeze((left,))
    return left


@checked
def dropped(key: Key, g: ActivationFunction, rate: float) -> ActivationFunction:
    """Return ``g`` followed by ``drop``, with its derivative: a function of ``Z`` and ``key``.

    In place of ``g``, it leaves the same hidden units out in ``forward`` and ``backward``.

    Raises:
        ValueError: ``rate`` is not in [0, 1).

    >>> from mnist_fn import forward, init_params, key, relu
    >>> params, X = init_params(key(0), hidden=6), np.ones((784, 1), np.float32)
    >>> half = forward(params, X, dropped(key(1), relu, rate=0.5)).A1
    >>> bool(((half == 0) | (half == 2 * forward(params, X).A1)).all())
    True

    """
    rate = number_in("dropped: rate", rate)
    # Drawn in `forward`, and of use again in `backward`.
    mask_of = functools.lru_cache(maxsize=1)(functools.partial(_mask, key, rate=rate))

    def function(Z: np.ndarray) -> np.ndarray:
        return _masked(g.function(Z), mask_of(Z.shape, Z.dtype))

    def derivative(Z: np.ndarray, A: np.ndarray) -> np.ndarray:
        # `A` is 0 where it was dropped, and not what the derivative of `g` may ask for.
        return _masked(g.derivative(Z, g.function(Z)), mask_of(Z.shape, Z.dtype))

    return ActivationFunction(f"{g.name} with dropout {rate:g}", function, derivative)


def _mask(key: Key, shape: tuple[int, ...], dtype: np.dtype[Any], rate: float) -> np.ndarray:
    """Return a mask of 0 and ``1 / (1 - rate)``."""
    # Sixteen random bits each, which take less time than random floats.
    levels = 2**16
    least = min(round(rate * levels), levels - 1)
    bits = np.frombuffer(generator(key).bytes(2 * math.prod(shape)), "<u2").reshape(shape)
    mask: np.ndarray = (bits >= least) * dtype.type(levels / (levels - least))
    return mask


def _masked(A: np.ndarray, mask: np.ndarray) -> np.ndarray:
    # Like `A` in memory, which is what the products of a step are fast with.
    out: np.ndarray = np.empty_like(A, dtype=mask.dtype)
    np.multiply(A, mask, out=out)
    return out
