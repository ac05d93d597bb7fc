"""Training is a fold: a step is a reducer, and ``train`` is ``functools.reduce``."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from .activation_functions import ActivationFunction, relu, relu_in_place
from .arrays import Pixels, freeze, frozen
from .batches import Batch
from .contracts import checked, unchecked
from .network import Gradients, Params, backward, forward
from .optimizers import Optimizer, consuming

S = TypeVar("S")


class TrainState(NamedTuple, Generic[S]):
    """All that training carries on: from this value it goes on with the same bits."""

    params: Params
    optimizer_state: S
    epoch: int


Step: TypeAlias = Callable[[TrainState[S], Batch], TrainState[S]]
"""A reducer: from the state before a batch to the state after it."""


@checked
def init_state(optimizer: Optimizer[S], params: Params) -> TrainState[S]:
    """Return the state before the first epoch.

    >>> from mnist_fn import init_params, key, sgd
    >>> init_state(sgd(0.1), init_params(key(0))).epoch
    0
    """
    params = Params(*map(frozen, params))
    return TrainState(params, optimizer.init(params), epoch=0)


@checked
def make_step(optimizer: Optimizer[S], g: ActivationFunction = relu) -> Step[S]:
    """Return the step that moves the parameters along the gradient of one batch.

    >>> import numpy as np
    >>> from mnist_fn import init_params, key, loss, sgd
    >>> X, Y = np.ones((784, 1), np.float32), np.array([3])
    >>> optimizer = sgd(0.001)
    >>> before = init_state(optimizer, init_params(key(0)))
    >>> after = make_step(optimizer)(before, Batch(X, Y))
    >>> loss(after.params, X, Y) < loss(before.params, X, Y)
    True
    """
    # The contract of the step holds for all that it is made of; and what one part of it
    # makes, nobody but the next one sees, which may write over it.
    forward_, backward_ = unchecked(forward), unchecked(backward)
    update = consuming(optimizer)
    g = relu_in_place if g is relu else g

    @checked
    def step(state: TrainState[S], batch: Batch) -> TrainState[S]:
        params, optimizer_state, epoch = state
        X, Y = batch
        gradients = backward_(params, forward_(params, X, g), X, Y, g)
        params, optimizer_state = update(params, gradients, optimizer_state)
        return TrainState(params, optimizer_state, epoch)

    return step


@checked
def train(step: Step[S], state: TrainState[S], batches: Iterable[Batch]) -> TrainState[S]:
    """Return the state after all the batches: ``functools.reduce(step, batches, state)``.

    >>> from mnist_fn import init_params, key, sgd
    >>> optimizer = sgd(0.1)
    >>> state = init_state(optimizer, init_params(key(0)))
    >>> train(make_step(optimizer), state, []) is state
    True
    """
    return functools.reduce(step, batches, state)


@checked
def train_epochs(
    step: Step[S],
    state: TrainState[S],
    batches: Callable[[int], Iterable[Batch]],
    epochs: int,
    pixels: Pixels | None = None,
) -> Iterator[TrainState[S]]:
    """Yield the state after each epoch, from that of ``state`` on until ``epochs``.

    The stream is lazy: an epoch is trained when its state is asked for. It can be
    taken up again from any of its states, with the same bits.

    Args:
        step: the reducer, as ``make_step`` returns it.
        state: where to begin, as ``init_state`` or an earlier stream returns it.
        batches: from the number of an epoch, counted from 0, to its batches.
        epochs: how many epochs there are in all, with those already in ``state``.
        pixels: which pixels the batches hold, as ``live_pixels`` returns them, if they
            do not hold them all. The weights of the others stay as they are, and so does
            what the optimizer keeps of them, in ``Params`` and ``Gradients`` in its state.

    Raises:
        ValueError: ``pixels`` are not rows of an image, each once and in order.

    >>> from mnist_fn import init_params, key, sgd
    >>> optimizer = sgd(0.1)
    >>> state = init_state(optimizer, init_params(key(0)))
    >>> stream = train_epochs(make_step(optimizer), state, lambda epoch: [], epochs=3)
    >>> [state.epoch for state in stream]
    [1, 2, 3]

    """
    if pixels is not None:
        pixels = frozen(pixels)
        of_image = state.params.W1.shape[1]
        if np.any(np.diff(pixels) <= 0) or np.any(pixels < 0) or np.any(pixels >= of_image):
            raise ValueError(
                f"train_epochs: pixels must be numbers from 0 to {of_image - 1}, each once and "
                "in order; `live_pixels` returns them so"
            )
    return _epochs(step, state, batches, epochs, pixels)


def _epochs(
    step: Step[S],
    state: TrainState[S],
    batches: Callable[[int], Iterable[Batch]],
    epochs: int,
    pixels: np.ndarray | None,
) -> Iterator[TrainState[S]]:
    for epoch in range(state.epoch, epochs):
        if pixels is None:
            state = train(step, state, batches(epoch))
        else:
            part = train(step, _narrow(state, pixels), batches(epoch))
            state = _widen(state, part, pixels)
        state = state._replace(epoch=epoch + 1)
        yield state


def _narrow(state: Any, pixels: np.ndarray) -> Any:
    """Return the state, a tree of NamedTuples, of a network that sees these pixels only."""
    match state:
        case Params() | Gradients():
            return _with_first(state, state[0].T[pixels].T)
        case tuple():
            return _like(state, (_narrow(item, pixels) for item in state))
        case _:
            return state


def _widen(whole: Any, part: Any, pixels: np.ndarray) -> Any:
    """Return the state ``part``, with the weights of all other pixels as in ``whole``."""
    match whole:
        case Params() | Gradients():
            W1 = whole[0].copy(order="K")
            W1[:, pixels] = part[0]
            return _with_first(part, W1)
        case tuple() if type(whole) is type(part) and len(whole) == len(part):
            pairs = zip(whole, part, strict=True)
            return _like(whole, (_widen(*pair, pixels) for pair in pairs))
        case _ if isinstance(whole, tuple) or isinstance(part, tuple):
            raise ValueError(
                "train_epochs: with `pixels`, what an optimizer keeps must keep its form, but "
                f"{type(whole).__name__} became {type(part).__name__}; leave `pixels` out"
            )
        case _:
            return part


def _with_first(arrays: Params | Gradients, W1: np.ndarray) -> Params | Gradients:
    freeze((W1,))
    return type(arrays)(W1, *arrays[1:])


def _like(values: tuple[Any, ...], others: Iterable[Any]) -> tuple[Any, ...]:
    make: Callable[[Iterable[Any]], tuple[Any, ...]] = getattr(values, "_make", tuple)
    return make(others)
