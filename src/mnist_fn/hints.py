"""What an annotation demands of a value, and of all that is reached through it."""

import collections.abc
import functools
import types
import typing
from abc import ABCMeta
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from beartype import BeartypeConf
from beartype.door import is_bearable
from jaxtyping import AbstractArray, AbstractDtype

if TYPE_CHECKING:
    from typing import Annotated as SameFloat
else:

    class SameFloat(AbstractDtype):
        """float32 or float64, and the same one throughout a ``checked`` call."""

        dtypes = ("float32", "float64")


__all__ = [
    "Leaf",
    "SameFloat",
    "alternatives",
    "fits",
    "hints_of",
    "is_array_hint",
    "is_plain",
    "is_same_float",
    "leaves",
]

_UNIONS = (typing.Union, types.UnionType)

# `float` takes an int as well, as it does for mypy and pyright.
_LIKE_STATIC_TYPES = BeartypeConf(is_pep484_tower=True)


class Leaf(NamedTuple):
    """One value with the annotation that it must fit, and where in the call it stands."""

    path: str
    hint: Any
    value: Any


def leaves(leaf: Leaf) -> Iterator[Leaf]:
    """Yield a value and, one by one, all that its annotation or its fields speak of."""
    yield leaf
    path, hint, value = leaf
    if isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
        hints = hints_of(type(value))
        for name, item in zip(names, value, strict=True):
            yield from leaves(Leaf(f"{path}.{name}", hints.get(name, Any), item))
        return
    for alternative in alternatives(hint):
        origin, arguments = typing.get_origin(alternative), typing.get_args(alternative)
        if origin is tuple and isinstance(value, tuple):
            # One with more items or fewer is found out before its items are looked at.
            pairs = zip(value, _each(arguments, value), strict=False)
            for i, (item, item_hint) in enumerate(pairs):
                yield from leaves(Leaf(f"{path}[{i}]", item_hint, item))
        elif origin is list and isinstance(value, list):
            for i, item in enumerate(value):
                yield from leaves(Leaf(f"{path}[{i}]", arguments[0], item))
        elif origin is dict and isinstance(value, dict):
            for name, item in value.items():
                yield from leaves(Leaf(f"{path}[{name!r}]", arguments[1], item))


def _each(arguments: tuple[Any, ...], items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the annotation of each item, where a tuple has that of ``tuple[arguments]``."""
    return arguments[:1] * len(items) if arguments[1:] == (...,) else arguments


def fits(value: Any, hint: Any) -> bool:
    """Check a value, and bind the axis names of arrays in the scope of ``jaxtyped``."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in _UNIONS:
        return any(fits(value, alternative) for alternative in arguments)
    if origin is tuple and hint is not tuple:  # beartype would try one item at random
        if not isinstance(value, tuple):
            return False
        each = _each(arguments, value)
        return len(value) == len(each) and all(map(fits, value, each))
    if hasattr(origin, "_fields"):  # beartype refuses generic NamedTuples
        return isinstance(value, origin)
    return is_bearable(value, hint, conf=_LIKE_STATIC_TYPES)


@functools.lru_cache(maxsize=512)
def hints_of(annotated: Any) -> dict[str, Any]:
    """Return the annotations of a function or of a NamedTuple's fields."""
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"checked: cannot resolve the annotations of {annotated.__qualname__}: {error}. "
            "Define the name at the top level of the module, before the first call."
        ) from error


def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself as the only one."""
    return typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)


def is_array_hint(hint: Any) -> bool:
    """Tell whether an annotation is jaxtyping's, such as ``Float[np.ndarray, "n k"]``."""
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def is_same_float(leaf: Leaf) -> bool:
    """Tell whether the value is an array that must have the precision of the call."""
    return (
        isinstance(leaf.value, np.ndarray)
        and leaf.value.dtype.kind == "f"
        and any(is_array_hint(h) and h.dtype is SameFloat for h in alternatives(leaf.hint))
    )


def is_plain(hint: Any) -> bool:
    """Tell whether values with the same ``_signature_of`` always fit alike."""
    if is_array_hint(hint):
        of_numpy = isinstance(hint.array_type, type) and issubclass(hint.array_type, np.ndarray)
        return of_numpy and "{" not in hint.dim_str
    if isinstance(hint, TypeVar):
        return hint.__bound__ is None and not hint.__constraints__
    origin = typing.get_origin(hint) or hint
    if origin is tuple or origin in _UNIONS:
        return all(is_plain(item) for item in typing.get_args(hint) if item is not ...)
    if origin is hint or hasattr(origin, "_fields"):
        # Protocols and the like look at the instance: their metaclass says so.
        asks_only_the_type = (type.__instancecheck__, ABCMeta.__instancecheck__)
        return origin is Any or (
            isinstance(origin, type) and type(origin).__instancecheck__ in asks_only_the_type
        )
    return origin in (collections.abc.Callable, type)
