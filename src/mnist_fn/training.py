"""Training is a fold: a step is a reducer, and ``train`` is ``functools.reduce``."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from .activation_functions import ActivationFunction, relu, relu_in_place
from .arrays import Pixels, freeze, frozen
from .batches import Batch
from .contracts import checked, unchecked
from .dropout import Dropout, drop, dropped
from .keys import fold_in, split
from .network import Gradients, Params, backward, forward, order_of
from .optimizers import Optimizer, consuming

S = TypeVar("S")
T = TypeVar("T")


class TrainState(NamedTuple, Generic[S]):
    """All that training carries on: from this value it goes on with the same bits.

    ``epoch`` counts those that ``params`` and ``optimizer_state`` have been through.
    (``train_epochs`` goes on from whole epochs: one that was begun is begun anew.)
    """

    params: Params
    optimizer_state: S
    epoch: int
    batch: int = 0
    """How many batches of this epoch are in the state. With ``epoch`` and a key, it gives
    the key of the step that comes next."""


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
def make_step(
    optimizer: Optimizer[S],
    g: ActivationFunction = relu,
    *,
    dropout: Dropout | None = None,
    label_smoothing: float = 0.0,
) -> Step[S]:
    """Return the step that moves the parameters along the gradient of one batch.

    Args:
        optimizer: how they move.
        g: the hidden activation function.
        dropout: which share of the pixels and hidden units each step leaves out.
        label_smoothing: which share of each label is spread over all the classes.

    Raises:
        ValueError: (at the first step) a share is not in its range.

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
    drop_, dropped_ = unchecked(drop), unchecked(dropped)
    g_ = relu_in_place if g == relu and dropout is None else g

    @checked
    def step(state: TrainState[S], batch: Batch) -> TrainState[S]:
        params, optimizer_state, epoch, index = state
        X, Y = batch
        h = g_
        if dropout is not None:
            pixels_key, hidden_key = split(fold_in(fold_in(dropout.key, epoch), index))
            X = drop_(pixels_key, X, dropout.pixels)
            h = dropped_(hidden_key, g_, dropout.hidden)
        gradients = backward_(params, forward_(params, X, h), X, Y, h, label_smoothing)
        params, optimizer_state = update(params, gradients, optimizer_state)
        return TrainState(params, optimizer_state, epoch, index + 1)

    return step


@checked
def train(step: Step[S], state: TrainState[S], batches: Iterable[Batch]) -> TrainState[S]:
    """Return the state after all the batches: ``functools.reduce(step, batches, state)``.

    Nothing looks at the loss on the way. If that of a batch is NaN, so are all parameters from
    then on, and ``loss`` with them.

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


@checked
def stop_early(states: Iterable[T], loss_of: Callable[[T], float], patience: int = 5) -> T:
    """Return the state of least loss, and take no more once it has not fallen for a while.

    Args:
        states: the stream of epochs, as ``train_epochs`` returns it.
        loss_of: from a state to its loss, on samples held back for validation.
        patience: so many states in a row without a lesser loss are the last.

    Raises:
        ValueError: ``patience`` is less than 1, or there is no state whose loss is a number
            and less than infinity.

    >>> from mnist_fn import init_params, key, sgd
    >>> first = init_state(sgd(0.1), init_params(key(0)))
    >>> states = (first._replace(epoch=epoch) for epoch in range(100))
    >>> stop_early(states, lambda state: [5.0, 2.0, 1.0, 1.5, 3.0][state.epoch], patience=2).epoch
    2

    """
    if patience < 1:
        raise ValueError(f"stop_early: patience is {patience}, but it must be 1 or more")
    best: T | None = None
    least, waited = math.inf, 0
    for state in states:
        loss = loss_of(state)
        if loss < least:
            best, least, waited = state, loss, 0
        else:
            waited += 1
        if waited == patience:
            break
    if best is None:
        raise ValueError("stop_early: no state has a loss that is a number and less than infinity")
    return best


def _epochs(
    step: Step[S],
    state: TrainState[S],
    batches: Callable[[int], Iterable[Batch]],
    epochs: int,
    pixels: np.ndarray | None,
) -> Iterator[TrainState[S]]:
    for epoch in range(state.epoch, epochs):
        state = state._replace(batch=0)
        if pixels is None:
            state = train(step, state, batches(epoch))
        else:
            part = train(step, _narrow(state, pixels), batches(epoch))
            state = _widen(state, part, pixels)
        state = state._replace(epoch=epoch + 1, batch=0)
        yield state


def _narrow(state: Any, pixels: np.ndarray) -> Any:
    """Return the state, a tree of NamedTuples, of a network that sees these pixels only."""
    match state:
        case Params() | Gradients():
            W1 = state[0].T[pixels].T
            # As all of a step lies: what an optimizer keeps is never laid anew.
            return _with_first(state, np.asarray(W1, order=order_of(W1)))
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
            return _like(whole, map(functools.partial(_widen, pixels=pixels), whole, part))
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
