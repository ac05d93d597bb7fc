"""Optimizers that give each parameter a learning rate of its own.

They square the gradients. Where the square of a finite gradient is too large for its precision
(1.8e19 is the largest in float32), NumPy warns of an overflow, and its parameter stays as it is
from then on: by an infinite root, every step is 0.
"""

import math
from typing import NamedTuple

import numpy as np

from .contracts import checked, unchecked
from .network import Gradients, Params, update
from .optimizers import Optimizer, each, with_decay
from .ranges import number_in
from .schedules import Schedule, as_schedule

_update = unchecked(update)
_LEAST_EPSILON = 1e-12  # 0 / 0 would be where no gradient ever was


class RmspropState(NamedTuple):
    """``step``: how many steps were taken; ``square``: the mean of the squared gradients."""

    step: int
    square: Gradients


class AdamState(NamedTuple):
    """``step``: how many were taken; ``mean``: of gradients, ``square``: of their squares."""

    step: int
    mean: Gradients
    square: Gradients


@checked
def rmsprop(
    learning_rate: float | Schedule, decay: float = 0.99, epsilon: float = 1e-8
) -> Optimizer[RmspropState]:
    """Return gradient descent with each gradient divided by the root of its mean square.

    Source: Tieleman and Hinton, "Lecture 6.5: rmsprop", 2012; with the defaults, and
    ``epsilon`` added to the root, as in PyTorch.

    Raises:
        ValueError: ``decay`` is not in [0, 1), or ``epsilon`` is not in [1e-12, 1).

    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> optimizer = rmsprop(0.01, decay=0.75)
    >>> after, _ = optimizer.update(params, Gradients(*params), optimizer.init(params))
    >>> round(float(abs(after.W1 - params.W1).max()), 4)  # the first step: 0.01 / sqrt(0.25)
    0.02

    """
    rho = number_in("rmsprop: decay", decay)
    epsilon = number_in("rmsprop: epsilon", epsilon, least=_LEAST_EPSILON)
    schedule = as_schedule(learning_rate)

    @checked
    def init(params: Params) -> RmspropState:
        return RmspropState(0, each(np.zeros_like, params))

    @checked
    def update_(
        params: Params, gradients: Gradients, state: RmspropState
    ) -> tuple[Params, RmspropState]:
        square = each(lambda s, dp: rho * s + (1 - rho) * (dp * dp), state.square, gradients)
        steps = each(lambda s, dp: dp / (np.sqrt(s) + epsilon), square, gradients)
        moved = _update(params, steps, schedule(state.step))
        return moved, RmspropState(state.step + 1, square)

    return Optimizer(init, update_)


@checked
def adam(
    learning_rate: float | Schedule = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer[AdamState]:
    """Return Adam, and with ``weight_decay`` AdamW.

    Sources: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm
    1; Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019, algorithm 2,
    with the decay multiplied by the learning rate, as in PyTorch. Biases do not decay.

    Raises:
        ValueError: a beta is not in [0, 1), ``epsilon`` is not in [1e-12, 1), or
            ``weight_decay`` is negative.

    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> optimizer = adam(0.01)
    >>> after, _ = optimizer.update(params, Gradients(*params), optimizer.init(params))
    >>> round(float(abs(after.W1 - params.W1).max()), 4)  # the first step is the learning rate
    0.01

    """
    b1, b2 = number_in("adam: beta1", beta1), number_in("adam: beta2", beta2)
    epsilon = number_in("adam: epsilon", epsilon, least=_LEAST_EPSILON)
    weight_decay = number_in("adam: weight_decay", weight_decay, below=math.inf)
    schedule = as_schedule(learning_rate)

    @checked
    def init(params: Params) -> AdamState:
        return AdamState(0, each(np.zeros_like, params), each(np.zeros_like, params))

    @checked
    def update_(params: Params, gradients: Gradients, state: AdamState) -> tuple[Params, AdamState]:
        t = state.step + 1
        mean = each(lambda v, dp: b1 * v + (1 - b1) * dp, state.mean, gradients)
        square = each(lambda s, dp: b2 * s + (1 - b2) * (dp * dp), state.square, gradients)
        # Both began at 0; these make up for it.
        up1, up2 = 1 / (1 - b1**t), 1 / (1 - b2**t)
        steps = each(lambda v, s: up1 * v / (np.sqrt(up2 * s) + epsilon), mean, square)
        if weight_decay:
            steps = with_decay(steps, params, weight_decay)
        moved = _update(params, steps, schedule(state.step))
        return moved, AdamState(t, mean, square)

    return Optimizer(init, update_)
