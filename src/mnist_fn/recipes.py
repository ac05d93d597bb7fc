"""Named, complete settings of a training run."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from .activation_functions import ActivationFunction, relu
from .arrays import GreyImages, Labels, Pixels, freeze, side_of
from .augment import Distortion, check_distortion, random_positions, resample
from .batches import Batch, epoch_batches, live_pixels, ordered_batches
from .contracts import checked, unchecked
from .dropout import Dropout
from .keys import Key, fold_in, generator, split
from .network import Params, init_params
from .optimizers import Optimizer, momentum, sgd
from .ranges import number_in
from .schedules import Schedule, constant, cosine, warm_up
from .training import Step, TrainState, init_state, make_step
from .views import View, as_they_are, deslanted


class Recipe(NamedTuple):
    """The settings of a training run; ``_replace`` makes variations of it."""

    name: str
    hidden: int
    epochs: int
    batch_size: int | None
    """None is the whole training set."""
    learning_rate: float
    warm_up: int = 0
    """The epochs in which the learning rate rises from 0, before its schedule begins.

    The last epoch is never one of them.
    """
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 0.0
    nesterov: bool = False
    pixel_dropout: float = 0.0
    hidden_dropout: float = 0.0
    distortion: Distortion | None = None
    """Each batch is distorted anew, by at most this, in the first epoch."""
    distortion_end: float = 1.0
    """By at most so much of that in the last epoch, and in between by a share that falls evenly."""
    views: tuple[View, ...] = (as_they_are,)
    """How the network is shown the images. More than one is a committee with as many members."""
    about: str = ""
    """What it is good for, to choose by."""
    init: Literal["he", "uniform"] = "he"
    """``he`` is ``init_params``; ``uniform`` draws weights and biases from [-0.5, 0.5)."""
    g: ActivationFunction = relu


quick: Recipe = Recipe(
    "quick",
    hidden=256,
    epochs=8,
    batch_size=64,
    learning_rate=0.1,
    schedule="cosine",
    momentum=0.9,
    distortion=Distortion(displacement=10),
    about="784-256-10 on distorted images: 98.8 % of MNIST in 11 seconds",
)

digits: Recipe = quick._replace(
    name="digits",
    hidden=128,
    epochs=100,
    distortion=None,
    about="784-128-10 on the built-in digits: 96.6 % in 1 second",
)

plain: Recipe = Recipe(
    "plain",
    hidden=800,
    epochs=100,
    batch_size=128,
    learning_rate=0.1,
    warm_up=1,
    schedule="cosine",
    momentum=0.9,
    nesterov=True,
    pixel_dropout=0.2,
    hidden_dropout=0.5,
    about="784-800-10 with dropout, no distortion: 98.7 % of MNIST in 5 minutes",
)

elastic: Recipe = plain._replace(
    name="elastic",
    epochs=150,
    pixel_dropout=0.0,
    hidden_dropout=0.0,
    distortion=Distortion(),
    about="784-800-10 on distorted images: 99.4 % of MNIST in 7 minutes",
)

best: Recipe = elastic._replace(
    name="best",
    views=(deslanted,),
    about="784-800-10 on distorted images, deslanted: 99.5 % of MNIST in 7 minutes",
)

committee: Recipe = elastic._replace(
    name="committee",
    views=(as_they_are, deslanted),
    about="elastic and best together, by their mean: 99.6 % of MNIST in 13 minutes",
)

seed: Recipe = Recipe(
    "seed",
    hidden=10,
    epochs=500,
    batch_size=None,
    learning_rate=0.1,
    init="uniform",
    about="784-10-10, 500 steps of plain gradient descent: 85 % of MNIST in 1 minute",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (quick, digits, plain, elastic, best, committee, seed)
}
"""Every recipe by its name."""


class Run(NamedTuple):
    """The arguments of ``train_epochs``: a recipe made ready for a training set."""

    step: Step[Any]
    state: TrainState[Any]
    batches: Callable[[int], Iterable[Batch]]
    epochs: int
    pixels: Pixels
    """Those that are in the batches: the others are 0 in the whole training set, and
    ``train_epochs`` leaves them out of the state while it trains. Of what a distortion moves
    onto them, nothing is seen."""


@checked
def prepare(recipe: Recipe, key: Key, X: GreyImages, Y: Labels, classes: int = 10) -> Run:
    """Return the step, the first state and the batches that a recipe trains with.

    The same recipe, key and data give the same bits.

    Raises:
        ValueError: a number of the recipe is out of its range, it is for a committee, or
            images to be distorted or deslanted are not square.

    >>> from mnist_fn import key, train_epochs
    >>> X, Y = np.zeros((784, 20), np.uint8), np.zeros(20, np.uint8)
    >>> run = prepare(quick._replace(epochs=2), key(0), X, Y)
    >>> [state.epoch for state in train_epochs(*run)]
    [1, 2]

    """
    _check(recipe)
    if len(recipe.views) != 1:
        raise ValueError(
            f"prepare: the recipe {recipe.name} is for {len(recipe.views)} networks; "
            "prepare those of members_of(recipe, key) one by one"
        )
    if recipe.distortion is not None:
        side_of("prepare", len(X))
    pixels_of_image = len(X)
    params_key, order_key, distortion_key, dropout_key = split(key, 4)
    m = len(Y)
    batch_size = max(m, 1) if recipe.batch_size is None else recipe.batch_size
    X = _seen(X, Y, *recipe.views)
    pixels = live_pixels(X)
    if recipe.distortion is None:
        X = X.T.take(pixels, axis=1).T

    def batches_of(epoch: int) -> Iterable[Batch]:
        batches = epoch_batches(order_key, epoch, X, Y, batch_size)
        if recipe.distortion is None:
            return batches
        share = 1 - (1 - recipe.distortion_end) * epoch / max(recipe.epochs - 1, 1)
        distortion = _part_of(recipe.distortion, share)
        return _distorted(fold_in(distortion_key, epoch), batches, distortion, pixels)

    init = init_params if recipe.init == "he" else _uniform_params
    params = init(params_key, pixels=pixels_of_image, hidden=recipe.hidden, classes=classes)
    optimizer = _optimizer(recipe, steps_per_epoch=math.ceil(m / batch_size))
    dropout = None
    if recipe.pixel_dropout or recipe.hidden_dropout:
        dropout = Dropout(dropout_key, recipe.pixel_dropout, recipe.hidden_dropout)
    step = make_step(optimizer, recipe.g, dropout=dropout)
    return Run(step, init_state(optimizer, params), batches_of, recipe.epochs, pixels)


@checked
def members_of(recipe: Recipe, key: Key) -> tuple[tuple[Recipe, Key], ...]:
    """Return the recipe and the key of each member of a committee: what ``prepare`` takes.

    A recipe for one network has one member. The key of the first is ``key`` itself.

    >>> from mnist_fn import key
    >>> [alone.views for alone, _ in members_of(committee, key(0))]
    [(as they are,), (deslanted,)]
    >>> members_of(elastic, key(0)) == ((elastic, key(0)),)
    True

    """
    _check(recipe)
    keys = (key, *(fold_in(key, i) for i in range(1, len(recipe.views))))
    alone = (recipe._replace(views=(view,)) for view in recipe.views)
    return tuple(zip(alone, keys, strict=True))


def _check(recipe: Recipe) -> None:
    counts = {"hidden": 1, "epochs": 0, "batch_size": 1, "warm_up": 0}
    for name, least in counts.items():
        number = getattr(recipe, name)
        if number is not None and number < least:
            raise ValueError(f"prepare: {name} is {number}, but it must be {least} or more")
    for name in ("pixel_dropout", "hidden_dropout"):
        number_in(f"prepare: {name}", getattr(recipe, name))
    if not 0 <= recipe.distortion_end <= 1:
        raise ValueError(
            f"prepare: distortion_end is {recipe.distortion_end}, but it must be from 0 to 1"
        )
    if recipe.distortion is not None:
        check_distortion(recipe.distortion)
    if not recipe.views:
        raise ValueError("prepare: views is empty, but a recipe is for one network or more")


def _seen(X: np.ndarray, Y: np.ndarray, view: View) -> np.ndarray:
    """Return the training set under a view, its grey values rounded to 256 again."""
    if view == as_they_are or len(Y) == 0:
        return X

    def grey(part: np.ndarray) -> np.ndarray:
        seen = view.function(part)
        if seen.shape != part.shape or not (seen.min() >= 0 and seen.max() <= 1 + 1e-6):
            raise ValueError(
                f"prepare: the view {view.name!r} made images of shape {seen.shape} with values "
                f"from {seen.min():g} to {seen.max():g} out of {part.shape}; "
                "it must keep the shape, and values from 0 to 1"
            )
        rows: np.ndarray = np.rint(seen.T * 255).astype(np.uint8)
        return rows

    # Some thousands at a time: as floating-point numbers, images are four times as large.
    return np.concatenate([grey(part) for part, _ in ordered_batches(X, Y, 5000)]).T


def _part_of(distortion: Distortion, share: float) -> Distortion:
    """Return the same distortion, less far. Smoothness is not how far it goes."""
    numbers = {name: share * number for name, number in distortion._asdict().items()}
    return Distortion(**numbers | {"smoothing": distortion.smoothing})


def _distorted(
    key: Key, batches: Iterable[Batch], distortion: Distortion, pixels: Pixels
) -> Iterator[Batch]:
    """Yield the batches, each under a distortion of its own, and these pixels of them only."""
    # Their contracts are left to the step, which checks what comes out.
    positions_of, resample_ = unchecked(random_positions), unchecked(resample)
    for i, (X, Y) in enumerate(batches):
        positions = positions_of(fold_in(key, i), math.isqrt(len(X)), distortion)
        yield Batch(resample_(X, positions[:, pixels]), Y)


def _optimizer(recipe: Recipe, steps_per_epoch: int) -> Optimizer[Any]:
    rise = min(recipe.warm_up, max(recipe.epochs - 1, 0))
    schedule: Schedule = constant(recipe.learning_rate)
    if recipe.schedule == "cosine":
        steps = (recipe.epochs - rise) * steps_per_epoch
        schedule = cosine(recipe.learning_rate, max(steps, 1))
    schedule = warm_up(schedule, rise * steps_per_epoch)
    if recipe.momentum:
        return momentum(schedule, recipe.momentum, recipe.nesterov)
    return sgd(schedule)


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
