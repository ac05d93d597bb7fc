"""Named, complete settings of a training run."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

from .activation_functions import ActivationFunction, relu
from .arrays import GreyImages, Labels, Pixels, freeze
from .batches import Batch, epoch_batches, live_pixels
from .contracts import checked
from .keys import Key, generator, split
from .network import Params, init_params
from .optimizers import Optimizer, constant, cosine, momentum, sgd
from .training import Step, TrainState, init_state, make_step


class Recipe(NamedTuple):
    """The settings of a training run; ``_replace`` makes variations of it."""

    name: str
    hidden: int
    epochs: int
    batch_size: int | None
    """None is the whole training set."""
    learning_rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 0.0
    init: Literal["he", "uniform"] = "he"
    """``he`` is ``init_params``; ``uniform`` draws weights and biases from [-0.5, 0.5)."""
    g: ActivationFunction = relu


quick: Recipe = Recipe(
    "quick",
    hidden=128,
    epochs=10,
    batch_size=64,
    learning_rate=0.1,
    schedule="cosine",
    momentum=0.9,
)
"""The best accuracy on MNIST within a few seconds on two cores."""

digits: Recipe = quick._replace(name="digits", epochs=100)
"""``quick`` for the built-in digits, of which there are forty times fewer."""

seed: Recipe = Recipe(
    "seed",
    hidden=10,
    epochs=500,
    batch_size=None,
    learning_rate=0.1,
    init="uniform",
)
"""Where this project began: 500 steps of gradient descent on the whole training set."""

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (quick, digits, seed)}
"""Every recipe by its name."""


class Run(NamedTuple):
    """The arguments of ``train_epochs``: a recipe made ready for a training set."""

    step: Step[Any]
    state: TrainState[Any]
    batches: Callable[[int], Iterable[Batch]]
    epochs: int
    pixels: Pixels
    """Those that are in the batches: the others are 0 in the whole training set, and
    ``train_epochs`` leaves them out of the state while it trains."""


@checked
def prepare(recipe: Recipe, key: Key, X: GreyImages, Y: Labels, classes: int = 10) -> Run:
    """Return the step, the first state and the batches that a recipe trains with.

    The same recipe, key and data give the same bits.

    Raises:
        ValueError: a number of the recipe is out of its range.

    >>> from mnist_fn import key, train_epochs
    >>> X, Y = np.zeros((784, 20), np.uint8), np.zeros(20, np.uint8)
    >>> run = prepare(quick._replace(epochs=2), key(0), X, Y)
    >>> [state.epoch for state in train_epochs(*run)]
    [1, 2]

    """
    for name, least in (("hidden", 1), ("epochs", 0), ("batch_size", 1)):
        number = getattr(recipe, name)
        if number is not None and number < least:
            raise ValueError(f"prepare: {name} is {number}, but it must be {least} or more")
    params_key, order_key = split(key)
    m = len(Y)
    batch_size = max(m, 1) if recipe.batch_size is None else recipe.batch_size
    live = live_pixels(X)
    X_live = X.T.take(live, axis=1).T

    def batches_of(epoch: int) -> Iterable[Batch]:
        return epoch_batches(order_key, epoch, X_live, Y, batch_size)

    init = init_params if recipe.init == "he" else _uniform_params
    params = init(params_key, pixels=len(X), hidden=recipe.hidden, classes=classes)
    optimizer = _optimizer(recipe, steps=recipe.epochs * math.ceil(m / batch_size))
    state = init_state(optimizer, params)
    return Run(make_step(optimizer, recipe.g), state, batches_of, recipe.epochs, live)


def _optimizer(recipe: Recipe, steps: int) -> Optimizer[Any]:
    if recipe.schedule == "cosine":
        schedule = cosine(recipe.learning_rate, max(steps, 1))
    else:
        schedule = constant(recipe.learning_rate)
    return momentum(schedule, recipe.momentum) if recipe.momentum else sgd(schedule)


def _uniform_params(key: Key, *, pixels: int, hidden: int, classes: int) -> Params:
    random = generator(key)

    def uniform(rows: int, columns: int) -> np.ndarray:
        return random.random((rows, columns), dtype=np.float32) - np.float32(0.5)

    return freeze(
        Params(
            W1=uniform(hidden, pixels),
            b1=uniform(hidden, 1),
            W2=uniform(classes, hidden),
            b2=uniform(classes, 1),
        )
    )
