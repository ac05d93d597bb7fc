"""Optimizers and learning-rate schedules.

An optimizer is a pair of pure functions, and what it carries from step to step is
a value. A schedule is a function from the number of the step, counted from 0, to
the learning rate.
"""

import math
import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from .arrays import freeze
from .contracts import checked, unchecked
from .network import Gradients, Params, descend

S = TypeVar("S")

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
    def update(params: Params, gradients: Gradients, state: SgdState) -> tuple[Params, SgdState]:
        return update_into(_room_for(gradients), params, gradients, state)

    def update_into(
        out: Gradients, params: Params, gradients: Gradients, state: SgdState
    ) -> tuple[Params, SgdState]:
        moved = _descend(out, params, gradients, schedule(state.step))
        return moved, SgdState(state.step + 1)

    _INTO[update] = update_into
    return Optimizer(init, update)


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
    mu = float(decay)  # as in `network.update`: np.float64 would turn float32 into float64

    def decayed_sum(v: np.ndarray, dp: np.ndarray) -> np.ndarray:
        total: np.ndarray = v * mu
        total += dp
        return total

    @checked
    def init(params: Params) -> MomentumState:
        return MomentumState(0, freeze(Gradients(*(np.zeros_like(p) for p in params))))

    @checked
    def update(
        params: Params, gradients: Gradients, state: MomentumState
    ) -> tuple[Params, MomentumState]:
        return update_into(_room_for(gradients), params, gradients, state)

    def update_into(
        out: Gradients, params: Params, gradients: Gradients, state: MomentumState
    ) -> tuple[Params, MomentumState]:
        velocity = freeze(Gradients(*map(decayed_sum, state.velocity, gradients)))
        moved = _descend(out, params, velocity, schedule(state.step))
        return moved, MomentumState(state.step + 1, velocity)

    _INTO[update] = update_into
    return Optimizer(init, update)


# The updates that can make the new parameters of memory that is given to them. They are kept
# here and not in the Optimizer, so that one whose `update` was replaced does what it says.
_INTO: weakref.WeakKeyDictionary[Callable[..., Any], Callable[..., Any]] = (
    weakref.WeakKeyDictionary()
)


def consuming(optimizer: Optimizer[S]) -> Callable[[Params, Gradients, S], tuple[Params, S]]:
    """Return ``optimizer.update`` without its contract, for gradients that nobody else holds.

    Where it can, it makes the new parameters of their memory.

    >>> ones = [np.ones((1, 1)) for _ in range(4)]
    >>> gradients = Gradients(*freeze(tuple(ones)))
    >>> params, _ = consuming(sgd(0.25))(Params(*ones), gradients, SgdState(0))
    >>> params.W1 is gradients.dW1
    True
    """
    update_into = _INTO.get(optimizer.update)
    if update_into is None:
        return unchecked(optimizer.update)

    def update(params: Params, gradients: Gradients, state: S) -> tuple[Params, S]:
        for dp in gradients:
            dp.setflags(write=True)
        result: tuple[Params, S] = update_into(gradients, params, gradients, state)
        return result

    return update


def _descend(out: Gradients, params: Params, gradients: Gradients, learning_rate: float) -> Params:
    rate = float(learning_rate)  # np.float64 would turn float32 into float64
    rows = zip(params, gradients, out, strict=True)
    return freeze(Params(*(descend(p, dp, rate, out=o) for p, dp, o in rows)))


def _room_for(gradients: Gradients) -> Gradients:
    return Gradients(*map(np.empty_like, gradients))


def _as_schedule(learning_rate: float | Schedule) -> Schedule:
    return learning_rate if callable(learning_rate) else constant(learning_rate)


def _check_finite(name: str, learning_rate: float) -> None:
    if not math.isfinite(learning_rate):
        raise ValueError(f"{name}: learning_rate is {learning_rate}, but it must be finite")
