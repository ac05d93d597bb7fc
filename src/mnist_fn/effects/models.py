"""Save and load networks.

A model file is an ``.npz`` archive without pickled objects and without compression:
the arrays ``W1 b1 W2 b2``, the ``format`` version, the name of the ``activation``
function and what the network was ``trained_on``. The further members of a committee
are in ``W1.1 b1.1 W2.1 b2.1``, ``W1.2`` and so on. ``view``, ``view.1`` and so on say how
a member is shown the images, if not as they are. ``history`` has a row for each epoch, the
fields of an ``EpochRecord``, and ``settings`` what the training was told, as JSON.
"""

import itertools
import json
import math
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..activation_functions import ActivationFunction, relu, sigmoid, tanh
from ..arrays import freeze
from ..committees import Member, image_pixels
from ..contracts import checked
from ..evaluation import EpochRecord
from ..network import Params
from ..views import VIEWS, View, as_they_are
from .archives import DAMAGED, Kind, history_of, read_arrays, settings_of
from .files import replacing

_FORMAT = 1
_ACTIVATIONS = {g.name: g for g in (relu, tanh, sigmoid)}
# The arrays of a model file: the kind of their elements, and how many dimensions they have.
_ABOUT = {"format": ("i", 0), "activation": ("U", 0), "trained_on": ("U", 0)}
_OF_TRAINING = {"history": ("f", 2), "settings": ("U", 0)}
_OF_MEMBER = {**dict.fromkeys(Params._fields, ("f", 2)), "view": ("U", 0)}
_KINDS = _ABOUT | _OF_TRAINING | _OF_MEMBER
_MOST_MEMBERS = 100
_PART = re.compile(rf"{'|'.join(_ABOUT | _OF_TRAINING)}|({'|'.join(_OF_MEMBER)})(\.[1-9][0-9]?)?")


class ModelError(Exception):
    """A model file that is not there, is damaged, or does not fit together."""


class Model(NamedTuple):
    """A network with what is needed to use it: ``g``, and the data it was ``trained_on``.

    A committee has more than one of ``members``; see ``committee_probabilities``.
    """

    members: Sequence[Member]
    g: ActivationFunction
    trained_on: str
    history: Sequence[EpochRecord] = ()
    """One for each epoch of the training, if it was recorded."""
    settings: Mapping[str, str] = MappingProxyType({})
    """What the training was told, if it was recorded."""


@checked
def save_params(
    path: str | os.PathLike[str],
    params: Params | Sequence[Member],
    *,
    g: ActivationFunction = relu,
    trained_on: str = "",
    history: Sequence[EpochRecord] = (),
    settings: Mapping[str, str] | None = None,
) -> None:
    """Write a model file, all of it or nothing: a file that was there is kept till then.

    Args:
        path: the file's name; ``.npz`` is usual.
        params: the network's parameters, or the members of a committee.
        g: its activation function, one of ``relu``, ``tanh`` and ``sigmoid``.
        trained_on: the name of the data set, for ``evaluate`` to know.
        history: how each epoch of the training went, for ``report`` to draw.
        settings: what the training was told, for ``report`` to list.

    Raises:
        ModelError: the activation function cannot be named, a parameter is not finite,
            the members of a committee are not for the same images and classes,
            ``trained_on`` ends with a null, or the file cannot be written.

    >>> import tempfile
    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/model.npz", params)
    ...     bool((load_params(f"{directory}/model.npz").W1 == params.W1).all())
    True

    """
    if _ACTIVATIONS.get(g.name) != g:
        raise ModelError(
            f"the activation function {g.name!r} is not one that a model file can name "
            f"({', '.join(_ACTIVATIONS)}); save the arrays with numpy.savez instead"
        )
    about = {
        "format": np.array(_FORMAT),
        "activation": np.array(g.name),
        "trained_on": np.array(trained_on),
    }
    members = [Member(params)] if isinstance(params, Params) else list(params)
    try:
        _check(members)
        if trained_on.endswith("\0"):  # as NumPy's texts cannot
            raise ValueError(f"trained_on is {trained_on!r}, but must not end with a null")
        arrays = {
            _part(name, i): array
            for i, member in enumerate(members)
            for name, array in member.params._asdict().items()
        }
        for i, member in enumerate(members):
            if member.view != as_they_are:
                arrays[_part("view", i)] = np.array(member.view.name)
        if history:
            arrays["history"] = np.array(history, np.float64)
        if settings:
            arrays["settings"] = np.array(json.dumps(dict(settings)))
        with replacing(Path(path)) as file:
            np.savez(file, allow_pickle=False, **arrays, **about)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"the network cannot be saved in {path}: {error}") from error


@checked
def load_params(path: str | os.PathLike[str]) -> Params:
    """Return the parameters in the model file of one network.

    Raises:
        ModelError: as ``load_model``, and if it is the file of a committee, or of a
            network that is not to be shown images as they are.

    >>> import tempfile
    >>> from mnist_fn import init_params, key
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/model.npz", init_params(key(0), hidden=32))
    ...     load_params(f"{directory}/model.npz").W1.shape
    (32, 784)

    """
    members = load_model(path).members
    if len(members) > 1:
        raise ModelError(f"{path} is a committee of {len(members)}; read it with load_model")
    params, view = members[0]
    if view != as_they_are:
        raise ModelError(
            f"{path} is a network that must be shown images {view.name}; read it with load_model"
        )
    return params


@checked
def load_model(path: str | os.PathLike[str]) -> Model:
    """Return what a model file holds.

    All of it is checked, and the memory that it takes is a few times the file's length
    at most. Nothing is unpickled.

    Raises:
        ModelError: with the file, and the array that does not fit.

    >>> import tempfile
    >>> from mnist_fn import init_params, key
    >>> committee = [Member(init_params(key(seed))) for seed in range(3)]
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_params(f"{directory}/model.npz", committee, g=tanh, trained_on="mnist")
    ...     model = load_model(f"{directory}/model.npz")
    >>> len(model.members), model.g, model.trained_on
    (3, tanh, 'mnist')

    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            return _model(read_arrays(archive, os.fstat(file.fileno()).st_size, _kind_of))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}. "
            "Name a model file, or make one with mnist-fn train."
        ) from error
    except DAMAGED as error:
        raise ModelError(
            f"{path} is damaged, or not a model file: {str(error) or 'it is cut short'}. "
            "Make one with mnist-fn train, or with save_params."
        ) from error


def _kind_of(name: str) -> Kind | None:
    return _KINDS[name.partition(".")[0]] if _PART.fullmatch(name) else None


def _model(arrays: Mapping[str, np.ndarray]) -> Model:
    views = {name: array for name, array in arrays.items() if name.startswith("view")}
    of_params = arrays.keys() - _ABOUT.keys() - _OF_TRAINING.keys() - views.keys()
    count = max(1, math.ceil(len(of_params) / len(Params._fields)))
    parts = [[_part(name, i) for name in Params._fields] for i in range(count)]
    if lacking := [name for name in itertools.chain(*parts, _ABOUT) if name not in arrays]:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    version, activation = int(arrays["format"]), str(arrays["activation"])
    if version != _FORMAT:
        raise ValueError(f"its format is {version}, and this version of mnist_fn reads {_FORMAT}")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, not one of {', '.join(_ACTIVATIONS)}")
    networks = [freeze(Params(*(arrays[name] for name in names))) for names in parts]
    members = tuple(
        Member(params, _view(views.pop(_part("view", i), None)))
        for i, params in enumerate(networks)
    )
    if views:
        raise ValueError(f"it has {', '.join(views)}, but only {count} members")
    _check(members)
    about = _ACTIVATIONS[activation], str(arrays["trained_on"])
    return Model(members, *about, history_of(arrays), settings_of(arrays))


def _view(name: np.ndarray | None) -> View:
    if name is None:
        return as_they_are
    if str(name) not in VIEWS:
        raise ValueError(f"view is {str(name)!r}, not one of {', '.join(VIEWS)}")
    return VIEWS[str(name)]


def _part(name: str, member: int) -> str:
    """Return what the array of a member is called; of a network alone, it is its own name."""
    return f"{name}.{member}" if member else name


def _check(members: Sequence[Member]) -> None:
    """Raise a ``ValueError`` if these are not networks for one task, contracts or not."""
    if not 0 < len(members) <= _MOST_MEMBERS:
        raise ValueError(f"it has {len(members)} members, but must have 1 to {_MOST_MEMBERS}")
    for i, member in enumerate(members):
        params, view = member
        _check_params(params, i)
        if VIEWS.get(view.name) != view:
            raise ValueError(f"a model file cannot name the view {view.name!r}")
        if _task(member) != _task(members[0]):
            raise ValueError(
                f"{_part('W1', i)} and {_part('W2', i)} are for {_task(member)}, "
                f"but W1 and W2 for {_task(members[0])}"
            )
        _check_view(member, i)


def _task(member: Member) -> str:
    W1, classes = member.params.W1, len(member.params.W2)
    return f"{image_pixels(member)} pixels, {classes} classes and {W1.dtype} numbers"


def _check_view(member: Member, i: int) -> None:
    inputs, name = member.params.W1.shape[1], member.view.name
    try:
        # It takes no image to see how many numbers a view makes of one.
        seen = member.view.function(np.zeros((image_pixels(member), 0)))
    except ValueError as error:
        raise ValueError(f"images cannot be shown {name}: {error}") from error
    if len(seen) != inputs:
        raise ValueError(
            f"{_part('W1', i)} takes {inputs} numbers, but images shown {name} have {len(seen)}"
        )


def _check_params(params: Params, member: int) -> None:
    W1, W2 = params.W1, params.W2
    if W1.dtype not in (np.float32, np.float64):
        raise ValueError(
            f"{_part('W1', member)} is a {W1.dtype} array, but must be float32 or float64"
        )
    hidden, classes = len(W1), len(W2)
    shapes = {"W1": W1.shape, "b1": (hidden, 1), "W2": (classes, hidden), "b2": (classes, 1)}
    for name, array in params._asdict().items():
        if array.shape != shapes[name] or array.dtype != W1.dtype or array.size == 0:
            raise ValueError(
                f"{_part(name, member)} is a {array.dtype} array of shape {array.shape}, but "
                f"beside {_part('W1', member)} it must be a {W1.dtype} array of shape "
                f"{shapes[name]}, and not empty"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{_part(name, member)} holds numbers that are not finite")
