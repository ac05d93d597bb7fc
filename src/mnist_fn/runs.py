"""A recipe made ready for a training set: what ``train_epochs`` takes, and what becomes of it."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .arrays import GreyImages, Labels, Pixels, freeze, frozen, side_of
from .augment import Distortion, check_distortion, random_positions, resample
from .batches import Batch, epoch_batches, live_pixels, ordered_batches, scale
from .committees import Member, join
from .contracts import checked, unchecked
from .dropout import Dropout
from .keys import Key, fold_in, generator, split
from .network import Params, init_params
from .optimizers import Optimizer, momentum, sgd
from .ranges import number_in
from .recipes import Recipe
from .schedules import Schedule, constant, cosine, warm_up
from .training import Step, TrainState, init_state, make_step
from .views import TOGETHER, View, as_they_are

_LARGE = 1 << 28  # bytes of images, from which on a training set may not fit into memory
_BLOCK = 1024  # images that a disk reads in one go


class Run(NamedTuple):
    """The arguments of ``train_epochs``: a recipe made ready for a training set.

    ``step`` goes from the first ``state`` through the ``batches`` of so many ``epochs``.
    """

    step: Step[Any]
    state: TrainState[Any]
    batches: Callable[[int], Iterable[Batch]]
    epochs: int
    pixels: Pixels
    """Those that are in the batches: the others are 0 in the whole training set as the network is
    shown it, and ``train_epochs`` leaves them out of the state while it trains. Of what a
    distortion moves onto them, nothing is seen."""


@checked
def prepare(recipe: Recipe, key: Key, X: GreyImages, Y: Labels, classes: int = 10) -> Run:
    """Return the step, the first state and the batches that a recipe trains with.

    The same recipe, key and data give the same bits.

    Of a training set of more than 256 MB no copy is made, as it may be a mapped file larger
    than memory: it is shuffled in blocks of 1,024 images (see ``epoch_batches``), shown under a
    view batch by batch, and trained on with all its pixels.

    Raises:
        ValueError: a number of the recipe is out of its range, it is for a committee, or the
            images are not such as its distortion or view takes: square, for edges of an even side.

    >>> from mnist_fn import key, train_epochs
    >>> X, Y = np.zeros((784, 20), np.uint8), np.zeros(20, np.uint8)
    >>> from mnist_fn import recipes
    >>> run = prepare(recipes.quick._replace(epochs=2), key(0), X, Y)
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
    (view,) = recipe.views
    large = X.nbytes > _LARGE
    if large:
        (pixels,) = freeze((np.arange(len(X)),))
    else:
        seen = _seen(X, Y, view)
        pixels = live_pixels(seen)
        if recipe.distortion is None:
            X = seen.T.take(pixels, axis=1).T

    def batches_of(epoch: int) -> Iterable[Batch]:
        batches = epoch_batches(order_key, epoch, X, Y, batch_size, block=_BLOCK if large else None)
        if recipe.distortion is None:
            if large and view != as_they_are:
                return (Batch(scale(_grey(view, X).T), Y) for X, Y in batches)
            return batches
        share = 1 - (1 - recipe.distortion_end) * epoch / max(recipe.epochs - 1, 1)
        distortion = _part_of(recipe.distortion, share)
        return _distorted(fold_in(distortion_key, epoch), batches, distortion, view, pixels)

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

    >>> from mnist_fn import key, recipes
    >>> [alone.views for alone, _ in members_of(recipes.committee, key(0))]
    [(deslanted edges,), (standardized edges,)]
    >>> members_of(recipes.elastic, key(0)) == ((recipes.elastic, key(0)),)
    True

    """
    _check(recipe)
    keys = (key, *(fold_in(key, i) for i in range(1, len(recipe.views))))
    alone = (recipe._replace(views=(view,)) for view in recipe.views)
    return tuple(zip(alone, keys, strict=True))


@checked
def assemble(recipe: Recipe, members: Sequence[Member]) -> tuple[Member, ...]:
    """Return what the trained members make up: a committee, or the one network they are joined to.

    If they have several views, the one network sees by all of them, and the weights from what a
    unit's member was not shown are 0.

    Raises:
        ValueError: they are to be joined, but no view is all of theirs, or their sizes do not
            agree.

    >>> from mnist_fn import init_params, key, recipes, split
    >>> from mnist_fn.views import deslanted
    >>> members = [Member(init_params(k), deslanted) for k in split(key(0), 2)]
    >>> [len(member.params.W1) for member in assemble(recipes.best, members)]
    [256]

    """
    if not recipe.joined:
        return tuple(Member(Params(*map(frozen, params)), view) for params, view in members)
    if not members:
        raise ValueError("assemble: there is no network; train those of members_of(recipe, key)")
    view, parts = _view_for_all("assemble", [member.view for member in members])
    return (Member(join([_widened(member, parts) for member in members]), view),)


def _view_for_all(name: str, views: Sequence[View]) -> tuple[View, tuple[View, ...]]:
    """Return the view by which one network sees what others see by these, and its parts."""
    distinct = tuple(dict.fromkeys(views))
    if len(distinct) == 1:
        return distinct[0], distinct
    for parts, view in TOGETHER.items():
        if set(parts) == set(distinct):
            return view, parts
    known = " or to ".join(" and ".join(map(repr, parts)) for parts in TOGETHER)
    raise ValueError(
        f"{name}: networks that are shown images {' and '.join(map(repr, distinct))} cannot be "
        f"joined; leave them a committee, or set all views to one, or to {known}"
    )


def _widened(member: Member, views: tuple[View, ...]) -> Params:
    """Return the same network for what all these views show, below each other."""
    W1 = member.params.W1
    parts = [W1 if view == member.view else np.zeros_like(W1) for view in views]
    return member.params._replace(W1=np.concatenate(parts, axis=1))


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
    for view in recipe.views:
        if view.images != 1:
            raise ValueError(
                f"prepare: {view.name} are {view.images} images in place of one, which networks "
                "are not trained on; train one on each, and join them"
            )
    if recipe.joined:
        _view_for_all("prepare", recipe.views)


def _seen(X: np.ndarray, Y: np.ndarray, view: View) -> np.ndarray:
    """Return the training set under a view, its grey values rounded to 256 again."""
    if view == as_they_are or len(Y) == 0:
        return X
    # Some thousands at a time: as floating-point numbers, images are four times as large.
    return np.concatenate([_grey(view, part) for part, _ in ordered_batches(X, Y, 5000)]).T


def _grey(view: View, X: np.ndarray) -> np.ndarray:
    """Return images under a view as they are stored: 256 grey values, one image in each row."""
    rows: np.ndarray = np.rint(_shown(view, X).T * 255).astype(np.uint8)
    return rows


def _shown(view: View, X: np.ndarray) -> np.ndarray:
    """Return images under a view, which may be anybody's."""
    seen = view.function(X)
    if seen.shape != X.shape or not (seen.min() >= 0 and seen.max() <= 1 + 1e-6):
        raise ValueError(
            f"prepare: the view {view.name!r} made images of shape {seen.shape} with values "
            f"from {seen.min():g} to {seen.max():g} out of {X.shape}; "
            "it must keep the shape, and values from 0 to 1"
        )
    return seen


def _part_of(distortion: Distortion, share: float) -> Distortion:
    """Return the same distortion, less far. Smoothness is not how far it goes."""
    numbers = {name: share * number for name, number in distortion._asdict().items()}
    return Distortion(**numbers | {"smoothing": distortion.smoothing})


def _distorted(
    key: Key, batches: Iterable[Batch], distortion: Distortion, view: View, pixels: Pixels
) -> Iterator[Batch]:
    """Yield the batches, each under a distortion of its own, then under the view.

    So the network learns from what it will be shown: a digit that was written another way, made
    upright. Of the images only these pixels are yielded.
    """
    # Their contracts are left to the step, which checks what comes out.
    positions_of, resample_ = unchecked(random_positions), unchecked(resample)
    for i, (X, Y) in enumerate(batches):
        positions = positions_of(fold_in(key, i), math.isqrt(len(X)), distortion)
        if view == as_they_are:
            yield Batch(resample_(X, positions[:, pixels]), Y)
        else:
            rows = _shown(view, resample_(X, positions)).T.take(pixels, axis=1)
            freeze((rows,))
            yield Batch(rows.T, Y)


def learning_rates(recipe: Recipe, steps_per_epoch: int) -> Schedule:
    """Return the recipe's schedule: from the number of a step to its learning rate.

    >>> from mnist_fn import recipes
    >>> rates = learning_rates(recipes.quick, steps_per_epoch=10)
    >>> rates(0), rates(40), rates(80)
    (0.1, 0.05, 0.0)
    """
    rise = min(recipe.warm_up, max(recipe.epochs - 1, 0))
    schedule: Schedule = constant(recipe.learning_rate)
    if recipe.schedule == "cosine":
        steps = (recipe.epochs - rise) * steps_per_epoch
        schedule = cosine(recipe.learning_rate, max(steps, 1))
    return warm_up(schedule, rise * steps_per_epoch)


def _optimizer(recipe: Recipe, steps_per_epoch: int) -> Optimizer[Any]:
    schedule = learning_rates(recipe, steps_per_epoch)
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
