"""What annotations demand of values, and of what is reached through them."""

import collections.abc
import functools
import reprlib
import types
import typing
from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from beartype import BeartypeConf
from beartype.door import is_bearable
from jaxtyping import AbstractArray, AbstractDtype, jaxtyped

if TYPE_CHECKING:
    from typing import Annotated as SameFloat
else:

    class SameFloat(AbstractDtype):
        """float32 or float64, and the same one throughout a ``checked`` call."""

        dtypes = ("float32", "float64")


__all__ = [
    "Leaf",
    "Map",
    "SameFloat",
    "alternatives",
    "first_misfit",
    "hints_of",
    "is_array_hint",
    "is_plain",
    "is_same_float",
    "text_of",
]

Map: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or what stands in for it: it returns the results themselves, in order."""

_UNIONS = (typing.Union, types.UnionType)
_CONTAINERS = (tuple, list, dict)

# `float` takes an int as well, as it does for mypy and pyright.
_LIKE_STATIC_TYPES = BeartypeConf(is_pep484_tower=True)

R = TypeVar("R")


class Leaf(NamedTuple):
    """One value with the annotation that it must fit, and where in the call it stands."""

    path: str
    hint: Any
    value: Any


def first_misfit(leaf: Leaf, fitting: list[Leaf]) -> Leaf | None:
    """Check a value, and all that its annotation and its fields say of what is in it.

    It must be called in a scope of ``jaxtyped``, in which axis names get bound.

    Args:
        leaf: the value.
        fitting: what was checked before in this scope; what fits is appended.

    Returns:
        The first leaf that does not fit, or None.

    """
    hint = _alternative(leaf, fitting)
    if _is_container(hint):
        if not _has_form(hint, leaf.value):
            return leaf
        inside = _items(leaf._replace(hint=hint))
    else:
        if not _fits(leaf.value, hint) or not _has_same_precision(leaf, fitting):
            return leaf
        inside = _fields(leaf)
    fitting.append(leaf)
    misfits = (first_misfit(item, fitting) for item in inside)
    return next((misfit for misfit in misfits if misfit is not None), None)


def _alternative(leaf: Leaf, fitting: list[Leaf]) -> Any:
    """Return the one container of a union that the value is, if any, else all of the union."""
    hints = [
        hint
        for hint in alternatives(leaf.hint)
        if _is_container(hint) and _has_form(hint, leaf.value)
    ]
    if len(hints) > 1:
        return next((hint for hint in hints if _would_fit(leaf, hint, fitting)), hints[0])
    return next(iter(hints), leaf.hint)


def _would_fit(leaf: Leaf, hint: Any, fitting: list[Leaf]) -> bool:
    """Try an alternative in a scope of its own, so that it binds nothing if it fails."""
    with jaxtyped("context"):
        bound = all(_fits(before.value, before.hint) for before in fitting if _is_array(before))
        return bound and first_misfit(leaf._replace(hint=hint), list(fitting)) is None


def _fits(value: Any, hint: Any) -> bool:
    def fits(alternative: Any) -> bool:
        origin = typing.get_origin(alternative) or alternative
        if hasattr(origin, "_fields"):  # beartype refuses generic NamedTuples
            return isinstance(value, origin)
        return is_bearable(value, alternative, conf=_LIKE_STATIC_TYPES)

    return any(fits(hint) for hint in alternatives(hint) if not _is_container(hint))


def _has_same_precision(leaf: Leaf, fitting: list[Leaf]) -> bool:
    first = next(filter(is_same_float, fitting), leaf) if is_same_float(leaf) else leaf
    return first is leaf or first.value.dtype.type is leaf.value.dtype.type


def _items(leaf: Leaf) -> Iterator[Leaf]:
    """Yield the items of a value that has the form of ``tuple[...]``, ``list[A]`` ..."""
    path, hint, value = leaf
    *_, last = arguments = typing.get_args(hint) or (Any,)
    if isinstance(value, dict):
        for key, item in value.items():
            yield Leaf(f"{path}[{text_of(key)}]", last, item)
    else:
        every = arguments[0] if isinstance(value, list) or last is ... else None
        for i, item in enumerate(value):
            yield Leaf(f"{path}[{i}]", every or arguments[i], item)


def _fields(leaf: Leaf) -> Iterator[Leaf]:
    """Yield the fields of a NamedTuple; other values have none."""
    path, hint, value = leaf
    names = getattr(value, "_fields", ()) if isinstance(value, tuple) else ()
    if not names:
        return
    hints = _field_hints(type(value))
    filled = {}  # Box[int] says what T is in the fields of Box
    for alternative in alternatives(hint):
        if parameters := getattr(typing.get_origin(alternative), "__parameters__", ()):
            filled = dict(zip(parameters, typing.get_args(alternative), strict=False))
    for name, item in zip(names, value, strict=True):
        field = hints.get(name, Any)
        yield Leaf(f"{path}.{name}", filled.get(field, field) if filled else field, item)


def _cached(function: Callable[[Any], R]) -> Callable[[Any], R]:
    """Remember what a function says of an annotation, if it can be remembered."""
    remembering = functools.lru_cache(maxsize=1024)(function)

    @functools.wraps(function)
    def cached(hint: Any) -> R:
        try:
            return remembering(hint)
        except TypeError:  # it cannot be hashed
            return function(hint)

    return cached


def hints_of(annotated: Any) -> dict[str, Any]:
    """Return the annotations of a function or of a NamedTuple's fields."""
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except NameError as error:
        raise NameError(
            f"checked: cannot resolve the annotations of {annotated.__qualname__}: {error}. "
            "Define the name at the top level of the module, before the first call."
        ) from error


_field_hints = _cached(hints_of)


@_cached
def alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself as the only one."""
    return typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)


@_cached
def _is_container(hint: Any) -> bool:
    """Tell whether it is ``tuple[...]``, ``list[A]`` or ``dict[K, A]``, without ``*``."""
    arguments = typing.get_args(hint)
    spread = any(
        getattr(item, "__unpacked__", False) or typing.get_origin(item) is typing.Unpack
        for item in arguments
    )
    given = bool(arguments) or hint == tuple[()]
    return typing.get_origin(hint) in _CONTAINERS and given and not spread


def _has_form(hint: Any, value: Any) -> bool:
    if not isinstance(value, typing.get_origin(hint)):
        return False
    arguments = typing.get_args(hint)
    return not isinstance(value, tuple) or arguments[1:] == (...,) or len(arguments) == len(value)


@_cached
def is_array_hint(hint: Any) -> bool:
    """Tell whether an annotation is jaxtyping's, such as ``Float[np.ndarray, "n k"]``."""
    return isinstance(hint, type) and issubclass(hint, AbstractArray)


def _is_array(leaf: Leaf) -> bool:
    return any(map(is_array_hint, alternatives(leaf.hint)))


def is_same_float(leaf: Leaf) -> bool:
    """Tell whether the value is an array that must have the precision of the call."""
    return (
        isinstance(leaf.value, np.ndarray)
        and leaf.value.dtype.kind == "f"
        and any(is_array_hint(h) and h.dtype is SameFloat for h in alternatives(leaf.hint))
    )


@_cached
def is_plain(hint: Any) -> bool:
    """Tell whether values of the same types, dtypes and shapes always fit alike."""
    if is_array_hint(hint):
        of_numpy = isinstance(hint.array_type, type) and issubclass(hint.array_type, np.ndarray)
        return of_numpy and "{" not in hint.dim_str
    if isinstance(hint, TypeVar):
        return hint.__bound__ is None and not hint.__constraints__
    origin = typing.get_origin(hint) or hint
    if origin in _UNIONS or (origin is tuple and _is_container(hint)):
        return all(is_plain(item) for item in typing.get_args(hint) if item is not ...)
    if origin is hint or hasattr(origin, "_fields"):
        # Protocols and the like look at the instance: their metaclass says so.
        asks_only_the_type = (type.__instancecheck__, ABCMeta.__instancecheck__)
        return origin is Any or (
            isinstance(origin, type) and type(origin).__instancecheck__ in asks_only_the_type
        )
    return origin in (collections.abc.Callable, type)


def text_of(value: object) -> str:
    """Return a short text for any value, even one that has no good ``repr``."""
    try:
        return reprlib.repr(value)
    except Exception:  # a repr can do anything
        return object.__repr__(value)
