"""Optimizers and learning-rate schedules.

An optimizer is a pair of pure functions, and what it carries from step to step is
a value. A schedule is a function from the number of the step, counted from 0, to
the learning rate.
"""

import math
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from .arrays import freeze
from .contracts import checked, unchecked
from .network import Gradients, Params, update

S = TypeVar("S")

_descend = unchecked(update)  # called by functions that have checked the same arrays

Schedule: TypeAlias = Callable[[int], float]
"""From the number of a step, counted from 0, to its learning rate."""


class Optimizer(NamedTuple, Generic[S]):
    """``init(params) -> state`` and ``update(params, gradients, state) -> params, state``."""

    init: Callable[[Params], S]
    update: Callable[[Params, Gradients, S], tuple[Params, S]]


class SgdState(NamedTuple):
    """The number of steps taken."""

    step: int


class MomentumState(NamedTuple):
    """The number of steps taken, and the decaying sum of the gradients."""

    step: int
    velocity: Gradients


@checked
def constant(learning_rate: float) -> Schedule:
    """Return the schedule that is ``learning_rate`` at every step.

    Raises:
        ValueError: ``learning_rate`` is not finite.

    >>> constant(0.1)(1000)
    0.1

    """
    _check_finite("constant", learning_rate)

    def schedule(step: int) -> float:
        return learning_rate

    return schedule


@checked
def cosine(learning_rate: float, steps: int) -> Schedule:
    """Return the schedule that falls from ``learning_rate`` to 0 along half a cosine.

    It reaches 0 at step number ``steps`` and stays there.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017, equation 5, without restarts.

    Raises:
        ValueError: ``steps`` is less than 1, or ``learning_rate`` is not finite.

    >>> schedule = cosine(0.1, steps=4)
    >>> [round(schedule(step), 4) for step in range(6)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0, 0.0]

    """
    _check_finite("cosine", learning_rate)
    if steps < 1:
        raise ValueError(f"cosine: steps is {steps}, but it must be 1 or more")

    def schedule(step: int) -> float:
        return learning_rate * (1 + math.cos(math.pi * min(step / steps, 1))) / 2

    return schedule


@checked
def sgd(learning_rate: float | Schedule) -> Optimizer[SgdState]:
    """Return plain gradient descent: ``W1 - learning_rate * dW1`` and so on.

    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> optimizer = sgd(0.1)
    >>> params, state = optimizer.update(params, Gradients(*params), optimizer.init(params))
    >>> state
    SgdState(step=1)
    """
    schedule = _as_schedule(learning_rate)

    @checked
    def init(params: Params) -> SgdState:
        return SgdState(step=0)

    @checked
    def descend(params: Params, gradients: Gradients, state: SgdState) -> tuple[Params, SgdState]:
        return _descend(params, gradients, schedule(state.step)), SgdState(state.step + 1)

    return Optimizer(init, descend)


@checked
def momentum(learning_rate: float | Schedule, decay: float = 0.9) -> Optimizer[MomentumState]:
    """Return gradient descent along ``velocity = decay * velocity + gradient``.

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization
    and momentum in deep learning", 2013, equation 1, with the learning rate taken
    out of the velocity, so that a schedule acts at once.

    Raises:
        ValueError: ``decay`` is not in [0, 1).

    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> optimizer = momentum(0.1)
    >>> params, state = optimizer.update(params, Gradients(*params), optimizer.init(params))
    >>> state.step
    1

    """
    if not 0 <= decay < 1:
        raise ValueError(f"momentum: decay is {decay}, but it must be at least 0 and less than 1")
    schedule = _as_schedule(learning_rate)
    mu = float(decay)  # as in `update`: np.float64 would turn float32 into float64

    def decayed_sum(v: np.ndarray, dp: np.ndarray) -> np.ndarray:
        total: np.ndarray = v * mu
        total += dp
        return total

    @checked
    def init(params: Params) -> MomentumState:
        return MomentumState(0, freeze(Gradients(*(np.zeros_like(p) for p in params))))

    @checked
    def descend(
        params: Params, gradients: Gradients, state: MomentumState
    ) -> tuple[Params, MomentumState]:
        velocity = freeze(Gradients(*map(decayed_sum, state.velocity, gradients)))
        params = _descend(params, velocity, schedule(state.step))
        return params, MomentumState(state.step + 1, velocity)

    return Optimizer(init, descend)


def _as_schedule(learning_rate: float | Schedule) -> Schedule:
    return learning_rate if callable(learning_rate) else constant(learning_rate)


def _check_finite(name: str, learning_rate: float) -> None:
    if not math.isfinite(learning_rate):
        raise ValueError(f"{name}: learning_rate is {learning_rate}, but it must be finite")
