"""Grids: settings in words, ``hidden=64,128``, and the recipes that they make."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..activation_functions import relu, sigmoid, tanh
from ..augment import Distortion
from ..recipes import Recipe
from ..views import VIEWS


class GridError(ValueError):
    """A grid that says nothing, or not what it means."""


class Setting(NamedTuple):
    """One point of a grid: the recipe, and in words what is special about it."""

    words: Mapping[str, str]
    recipe: Recipe


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise GridError("a whole number")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise GridError("a number from 0 on")
    return number


def _batch_size(text: str) -> int | None:
    return None if text == "all" else _whole(text)


def _one_of(values: Mapping[str, Any]) -> Callable[[str], Any]:
    def chosen(text: str) -> Any:
        if text not in values:
            raise GridError(" or ".join(values))
        return values[text]

    return chosen


_KINDS: dict[str, Callable[[str], Any]] = {
    "hidden": _whole,
    "epochs": _whole,
    "batch-size": _batch_size,
    "learning-rate": _number,
    "warm-up": _whole,
    "schedule": _one_of({"constant": "constant", "cosine": "cosine"}),
    "momentum": _number,
    "nesterov": _one_of({"yes": True, "no": False}),
    "pixel-dropout": _number,
    "hidden-dropout": _number,
    **dict.fromkeys(Distortion._fields, _number),
    "distortion-end": _number,
    "view": _one_of({name: view for name, view in VIEWS.items() if view.images == 1}),
    "init": _one_of({"he": "he", "uniform": "uniform"}),
    "activation": _one_of({g.name: g for g in (relu, tanh, sigmoid)}),
}

NAMES = f"Names of settings: {', '.join(_KINDS)}."


def settings_of(recipe: Recipe, grid: Sequence[str]) -> list[Setting]:
    """Return every combination of the values that a grid has for each name.

    Raises:
        GridError: a name or a value is not known, is there twice, or does not fit the recipe.

    >>> from mnist_fn.recipes import quick
    >>> few, many = settings_of(quick, ["hidden=64,128", "learning-rate=0.1"])
    >>> few.words, many.recipe.hidden
    ({'hidden': '64', 'learning-rate': '0.1'}, 128)

    """
    parsed = [_parsed(text) for text in grid]
    names = [name for name, _ in parsed]
    for name in names:
        if names.count(name) > 1:
            raise GridError(f"{name} is there twice; give it all its values at once, by commas")
    settings = []
    for point in itertools.product(*(values.items() for _, values in parsed)):
        of_point = recipe
        for name, (_, value) in zip(names, point, strict=True):
            of_point = _with(of_point, name, value)
        words = {name: text for name, (text, _) in zip(names, point, strict=True)}
        settings.append(Setting(words, of_point))
    return settings


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """Return a name, and its values by their words."""
    name, equals, listed = text.partition("=")
    if not equals:
        raise GridError(f"{text!r} is not of the form NAME=VALUE,VALUE")
    if name not in _KINDS:
        raise GridError(f"{name!r} is not one of {', '.join(_KINDS)}")
    values: dict[str, Any] = {}
    for word in map(str.strip, listed.split(",")):
        try:
            value = _KINDS[name](word)
        except GridError as error:
            raise GridError(f"{name} is {word!r}, but it must be {error}") from error
        if value in values.values():
            raise GridError(f"{name} has the value {word} twice")
        values[word] = value
    return name, values


def _with(recipe: Recipe, name: str, value: Any) -> Recipe:
    if name == "view":
        return recipe._replace(views=(value,) * len(recipe.views))
    if name == "activation":
        return recipe._replace(g=value)
    if name in Distortion._fields:
        if recipe.distortion is None:
            raise GridError(f"the recipe {recipe.name} has no distortion, and so no {name}")
        return recipe._replace(distortion=recipe.distortion._replace(**{name: value}))
    return recipe._replace(**{name.replace("-", "_"): value})
