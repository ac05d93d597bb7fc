"""Sweeps: every recipe with every key, trained by whoever does the ``map``.

A run is a pure function of values that pickle, so that it may be done anywhere: by the built-in
``map``, by the ``map`` of an executor of ``concurrent.futures``, or by that of
``Client.get_executor()`` of Dask.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..batches import Dataset
from ..committees import Member
from ..contracts import checked
from ..evaluation import EpochRecord
from ..hints import Map
from ..keys import Key
from ..recipes import Recipe
from ..runs import assemble, learning_rates, members_of, prepare
from ..training import train_epochs
from .validation import evaluate_members, hold_back, record_of
from .workers import Source, keep_freed_memory, source_of, training_images


class Trial(NamedTuple):
    """One run of a sweep: a ``recipe``, a ``key``, and what came of them."""

    recipe: Recipe
    key: Key
    members: tuple[Member, ...]
    """What was trained: one network, or a committee."""
    history: tuple[EpochRecord, ...]
    """Of every epoch; where the loss was no longer a number, a network's training ended."""
    validation_accuracy: float
    """On the images that were held back; NaN if there were none, or a training ended early."""
    seconds: float
    """That the training took, one network after the other, on one core."""


@checked
def sweep(
    recipes: Sequence[Recipe],
    keys: Sequence[Key],
    dataset: Dataset | Callable[[], Dataset],
    held_back: int | None = None,
    map: Map = map,
) -> Iterator[Trial]:
    """Yield one trial for every recipe with the first key, then with the next one.

    The stream is lazy and in order. Its bits, but for the seconds, do not depend on ``map``:
    each network has one thread of BLAS wherever it is trained. The members of a
    committee are trained apart from each other.

    Args:
        recipes: the settings.
        keys: from which the random numbers are drawn.
        dataset: what to train on; its test part is never looked at. Workers on other machines
            need a function that loads it there, such as ``load_mnist``; it must pickle.
        held_back: how many training images, the last ones, to hold back for validation; by
            default a twelfth.
        map: who trains: the built-in, or another ``map`` with its results in its order.

    Raises:
        ValueError: a number of a recipe is out of its range, or too many images are held back.
        DatasetError: (in the stream) a worker has other training images, or none.

    >>> from mnist_fn import key, load_digits, recipes
    >>> small = [recipes.digits._replace(hidden=n, epochs=1) for n in (4, 64)]
    >>> few, many = sweep(small, [key(0)], load_digits())
    >>> few.validation_accuracy < many.validation_accuracy
    True

    """
    pairs = [(recipe, key) for key in keys for recipe in recipes]
    return trials_of(pairs, dataset, held_back, map)


class Job(NamedTuple):
    """One network to train."""

    source: Source
    held_back: int | None
    member: int
    """Which network of a committee it is, counted from 0."""
    recipe: Recipe
    key: Key


def trials_of(
    pairs: Sequence[tuple[Recipe, Key]],
    dataset: Dataset | Callable[[], Dataset] | Source,
    held_back: int | None,
    map: Map,
) -> Iterator[Trial]:
    """Yield one trial for each recipe with its key, as ``sweep`` does."""
    members = [members_of(*pair) for pair in pairs]
    return _trials(pairs, members, dataset, held_back, map)


def _trials(
    pairs: Sequence[tuple[Recipe, Key]],
    members: Sequence[tuple[tuple[Recipe, Key], ...]],
    dataset: Dataset | Callable[[], Dataset] | Source,
    held_back: int | None,
    map: Map,
) -> Iterator[Trial]:
    with source_of(dataset, map) as source:
        jobs = [
            Job(source, held_back, index, *alone)
            for together in members
            for index, alone in enumerate(together)
        ]
        trained = iter(map(train_job, jobs))
        for (recipe, key), together in zip(pairs, members, strict=True):
            parts = list(itertools.islice(trained, len(together)))
            history = tuple(record for _, of_member in parts for record in of_member)
            networks = assemble(recipe, [member for member, _ in parts])
            accuracy = _accuracy(recipe, networks, history, source, held_back)
            seconds = sum(record.seconds for record in history)
            yield Trial(recipe, key, networks, history, accuracy, seconds)


def train_job(job: Job) -> tuple[Member, tuple[EpochRecord, ...]]:
    """Return a trained network, and how its epochs went."""
    from .blas import one_thread

    keep_freed_memory()
    recipe = job.recipe
    # Numbers that overflow are found out by the loss.
    with one_thread(), np.errstate(over="ignore", invalid="ignore"):
        parts = hold_back(*training_images(job.source), job.held_back)
        run = prepare(recipe, job.key, parts.X_train, parts.Y_train)
        m = len(parts.Y_train)
        steps = math.ceil(m / (recipe.batch_size or m))
        rates = learning_rates(recipe, steps)
        params, history = run.state.params, []
        began = time.perf_counter()
        for state in train_epochs(*run):
            seconds = time.perf_counter() - began
            params = state.params
            record = record_of(
                Member(params, *recipe.views),
                recipe.g,
                parts,
                index=job.member,
                epoch=state.epoch,
                learning_rate=rates(state.epoch * steps - 1),
                seconds=seconds,
            )
            history.append(record)
            if not math.isfinite(record.training_loss):
                break
            began = time.perf_counter()
        return Member(params, *recipe.views), tuple(history)


def _accuracy(
    recipe: Recipe,
    members: tuple[Member, ...],
    history: tuple[EpochRecord, ...],
    source: Source,
    held_back: int | None,
) -> float:
    """Return the validation accuracy of what was trained, one network or more."""
    if not all(math.isfinite(record.training_loss) for record in history):
        return math.nan
    if history and len(recipe.views) == 1:
        return history[-1].validation_accuracy
    from .blas import one_thread

    with one_thread():
        parts = hold_back(*training_images(source), held_back)
        if not len(parts.Y_test):
            return math.nan
        return evaluate_members(members, parts.X_test, parts.Y_test, recipe.g).accuracy
