"""Optimizers: pairs of pure functions. What one carries from step to step is a value.

A gradient that is NaN or infinite makes its parameter, and what is kept of it, NaN or infinite.
"""

import inspect
import itertools
import math
import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from .arrays import freeze, frozen
from .contracts import checked, unchecked
from .network import Gradients, Params, descend
from .ranges import number_in
from .schedules import Schedule, as_schedule

S = TypeVar("S")


class Optimizer(NamedTuple, Generic[S]):
    """``init(params) -> state`` and ``update(params, gradients, state) -> params, state``."""

    init: Callable[[Params], S]
    update: Callable[[Params, Gradients, S], tuple[Params, S]]


class SgdState(NamedTuple):
    """``step``: how many were taken."""

    step: int


class MomentumState(NamedTuple):
    """``step``: how many were taken; ``velocity``: the decaying sum of the gradients."""

    step: int
    velocity: Gradients


class AverageState(NamedTuple, Generic[S]):
    """The state of the optimizer inside, and the average of the parameters after each step.

    Before the first step it is the first parameters.
    """

    step: int
    inside: S
    average: Params


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
    schedule = as_schedule(learning_rate)

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
def momentum(
    learning_rate: float | Schedule, decay: float = 0.9, nesterov: bool = False
) -> Optimizer[MomentumState]:
    """Return gradient descent along ``velocity = decay * velocity + gradient``.

    With ``nesterov`` it goes along ``decay * velocity + gradient``, with the velocity
    that has the gradient in it already: where the next step would go.

    Source: Sutskever, Martens, Dahl and Hinton, "On the importance of initialization
    and momentum in deep learning", 2013, equations 1 to 4, with the learning rate taken
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
    mu = number_in("momentum: decay", decay)
    schedule = as_schedule(learning_rate)

    def decayed_sum(v: np.ndarray, dp: np.ndarray) -> np.ndarray:
        total: np.ndarray = v * mu
        total += dp
        return total

    @checked
    def init(params: Params) -> MomentumState:
        return MomentumState(0, each(np.zeros_like, params))

    @checked
    def update(
        params: Params, gradients: Gradients, state: MomentumState
    ) -> tuple[Params, MomentumState]:
        return update_into(_room_for(gradients), params, gradients, state)

    def update_into(
        out: Gradients, params: Params, gradients: Gradients, state: MomentumState
    ) -> tuple[Params, MomentumState]:
        velocity = each(decayed_sum, state.velocity, gradients)
        direction = each(decayed_sum, velocity, gradients) if nesterov else velocity
        moved = _descend(out, params, direction, schedule(state.step))
        return moved, MomentumState(state.step + 1, velocity)

    _INTO[update] = update_into
    return Optimizer(init, update)


@checked
def decay_weights(optimizer: Optimizer[S], weight_decay: float) -> Optimizer[S]:
    """Return the optimizer of the loss plus ``weight_decay / 2`` times the squared weights.

    It adds ``weight_decay * W1`` and ``weight_decay * W2`` to their gradients. Biases do
    not decay. (For ``adam``, its own ``weight_decay`` is the better one.)

    Source: Krogh and Hertz, "A Simple Weight Decay Can Improve Generalization", 1991.

    Raises:
        ValueError: ``weight_decay`` is not in [0, infinity).

    >>> ones, zeros = [np.ones((1, 1))] * 4, [np.zeros((1, 1))] * 4
    >>> decayed = decay_weights(sgd(0.5), 0.1).update(Params(*ones), Gradients(*zeros), SgdState(0))
    >>> decayed[0].W1, decayed[0].b1
    (array([[0.95]]), array([[1.]]))

    """
    weight_decay = number_in("decay_weights: weight_decay", weight_decay, below=math.inf)
    inside = unchecked(optimizer.update)

    @checked
    def update(params: Params, gradients: Gradients, state: S) -> tuple[Params, S]:
        return inside(params, with_decay(gradients, params, weight_decay), state)

    return Optimizer(optimizer.init, update)


@checked
def average_params(optimizer: Optimizer[S], decay: float = 0.999) -> Optimizer[AverageState[S]]:
    """Return the optimizer that also keeps an exponential average of the parameters.

    It is ``state.average``, ``decay * average + (1 - decay) * params`` after each step but
    the first, when it is the parameters themselves. The training does not depend on it.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging",
    1992, with exponential weights; started as in PyTorch.

    Raises:
        ValueError: ``decay`` is not in [0, 1).

    >>> ones = [np.ones((1, 1))] * 4
    >>> optimizer = average_params(sgd(1.0), decay=0.5)
    >>> params, state = Params(*ones), optimizer.init(Params(*ones))
    >>> for _ in range(3):  # 0, -1, -2
    ...     params, state = optimizer.update(params, Gradients(*ones), state)
    >>> state.average.W1
    array([[-1.25]])

    """
    rho = number_in("average_params: decay", decay)
    inside = unchecked(optimizer.update)

    @checked
    def init(params: Params) -> AverageState[S]:
        return AverageState(0, optimizer.init(params), Params(*map(frozen, params)))

    @checked
    def update(
        params: Params, gradients: Gradients, state: AverageState[S]
    ) -> tuple[Params, AverageState[S]]:
        moved, inner = inside(params, gradients, state.inside)
        average = moved
        if state.step:
            average = Params(*each(lambda a, p: rho * a + (1 - rho) * p, state.average, moved))
        return moved, AverageState(state.step + 1, inner, average)

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
    update_into = _INTO.get(optimizer.update) if inspect.isfunction(optimizer.update) else None
    if update_into is None:
        return unchecked(optimizer.update)

    def update(params: Params, gradients: Gradients, state: S) -> tuple[Params, S]:
        for dp in gradients:
            dp.setflags(write=True)
        result: tuple[Params, S] = update_into(gradients, params, gradients, state)
        return result

    return update


def each(function: Callable[..., np.ndarray], *of: Params | Gradients) -> Gradients:
    """Return what the function makes of each array, or of those at the same place.

    >>> each(np.zeros_like, Params(*[np.ones((1, 1))] * 4)).dW1
    array([[0.]])
    """
    return freeze(Gradients(*map(function, *of)))


def with_decay(gradients: Gradients, params: Params, weight_decay: float) -> Gradients:
    """Add to the gradients of the weights, not of the biases, this share of the weights.

    >>> ones = [np.ones((1, 1))] * 4
    >>> with_decay(Gradients(*ones), Params(*ones), 0.5).dW1
    array([[1.5]])
    """
    dW1, db1, dW2, db2 = gradients
    dW1, dW2 = freeze((dW1 + weight_decay * params.W1, dW2 + weight_decay * params.W2))
    return Gradients(dW1, db1, dW2, db2)


def _descend(out: Gradients, params: Params, gradients: Gradients, learning_rate: float) -> Params:
    rate = float(learning_rate)  # np.float64 would turn float32 into float64
    return freeze(Params(*map(descend, params, gradients, itertools.repeat(rate), out)))


def _room_for(gradients: Gradients) -> Gradients:
    return Gradients(*map(np.empty_like, gradients))
