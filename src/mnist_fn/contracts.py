"""The run-time contract of a function: types, dtypes and array shapes.

``checked`` is ``jaxtyped(typechecker=beartype)`` plus what those two leave out:
the fields of NamedTuples, one floating-point precision per call, and a memory
of the verdicts, so that a call whose shapes were seen before costs microseconds.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import TypeCheckError, config, jaxtyped

from .hints import Leaf, fits, hints_of, is_plain, is_same_float, leaves
from .misfits import misfit_message

F = TypeVar("F", bound=Callable[..., Any])

# How many signatures one function remembers before it starts again from none.
_MOST_REMEMBERED = 512


def checked(function: F) -> F:
    """Check a function's arguments and result against its annotations, at each call.

    An axis name such as ``hidden`` stands for one size throughout a call: in the
    arguments, in the fields of the NamedTuples among them (nested ones, too, and those
    in a ``tuple[...]``, ``list[...]`` or ``dict[...]``) and in the result. Arrays
    annotated with ``SameFloat`` must all have one precision. ``float`` accepts an
    ``int``, as for static type checkers. What an array holds is never looked at.

    A verdict is remembered by the types, dtypes and shapes of the call. Where it
    depends on more than those (``Literal``, ``list[int]``, a shape such as
    ``"{n}"``), the call is checked in full each time.

    ``JAXTYPING_DISABLE=1`` (or ``jaxtyping.config``) turns the checks off.

    Args:
        function: any function with annotations. Parameters without one are free,
            except that the fields of a NamedTuple are checked wherever it stands.

    Returns:
        A function with the same signature, ``__wrapped__`` and static type.

    Raises:
        jaxtyping.TypeCheckError: (by the returned function) a ``TypeError`` that
            names the argument or field, what came, what was expected, and which
            sizes were bound by what.

    >>> import numpy as np
    >>> from jaxtyping import Float
    >>> @checked
    ... def product(A: Float[np.ndarray, "n k"], B: Float[np.ndarray, "k m"]):
    ...     return A @ B
    >>> product(np.ones((2, 3)), np.ones((3, 4))).shape
    (2, 4)
    >>> product(np.ones((2, 3)), np.ones((4, 3)))
    Traceback (most recent call last):
    jaxtyping.TypeCheckError: product: argument `B` does not fit.
      got:       float64 array of shape (4, 3)
      expected:  Float[ndarray, 'k m']
      sizes:     n = 2 (from A), k = 3 (from A)
      advice:    its transpose fits: `B.T`

    """
    signature = inspect.signature(function)
    remembered: dict[tuple[object, ...], set[tuple[object, ...]]] = {}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if config.jaxtyping_disable:
            return function(*args, **kwargs)
        given = _signature_of(args)
        if kwargs:
            given += (*kwargs, *_signature_of(kwargs.values()))
        results = remembered.get(given)
        if results is None:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # Python's own message is the clearest
            if _check(function, bound):
                results = _room_in(remembered).setdefault(given, set())
        result = function(*args, **kwargs)
        returned = _signature_of((result,))
        if results is None or returned not in results:
            bound = signature.bind(*args, **kwargs)
            if _check(function, bound, result) and results is not None:
                _room_in(results).add(returned)
        return result

    return cast(F, wrapper)


def unchecked(function: F) -> F:
    """Return a function without its contract, for use inside one that has seen its arguments.

    >>> @checked
    ... def half(x: float) -> float:
    ...     return x / 2
    >>> unchecked(half) is half.__wrapped__
    True
    """
    return cast(F, inspect.unwrap(function))


C = TypeVar("C", dict[Any, Any], set[Any])


def _room_in(remembered: C) -> C:
    if len(remembered) >= _MOST_REMEMBERED:
        remembered.clear()
    return remembered


def _signature_of(values: Iterable[Any]) -> tuple[object, ...]:
    """Return all that a rememberable verdict depends on: types, dtypes and shapes."""
    signature: list[object] = []
    for value in values:
        kind = type(value)
        if kind is np.ndarray:
            signature += value.shape, value.dtype
        elif isinstance(value, tuple):
            signature += kind, _signature_of(value)
        elif isinstance(value, np.ndarray):
            signature += kind, value.shape, value.dtype
        elif isinstance(value, type):
            signature += kind, value
        else:
            signature.append(kind)
    return tuple(signature)


def _arguments(bound: inspect.BoundArguments, hints: Mapping[str, Any]) -> Iterator[Leaf]:
    bound.apply_defaults()
    for name, value in bound.arguments.items():
        hint = hints.get(name, Any)
        match bound.signature.parameters[name].kind:
            case inspect.Parameter.VAR_POSITIONAL:
                yield from (Leaf(f"{name}[{i}]", hint, item) for i, item in enumerate(value))
            case inspect.Parameter.VAR_KEYWORD:
                yield from (Leaf(keyword, hint, item) for keyword, item in value.items())
            case _:
                yield Leaf(name, hint, value)


_NO_RESULT = object()


def _check(
    function: Callable[..., Any],
    bound: inspect.BoundArguments,
    result: object = _NO_RESULT,
) -> bool:
    """Check a call in full; return whether the verdict may be remembered."""
    hints = hints_of(function)
    parts = [part for leaf in _arguments(bound, hints) for part in leaves(leaf)]
    arguments = len(parts)
    if result is not _NO_RESULT:
        parts += leaves(Leaf("result", hints.get("return", Any), result))

    def first_misfit(*args: object, **kwargs: object) -> int | None:
        dtypes = []
        for i, leaf in enumerate(parts):
            if not fits(leaf.value, leaf.hint):
                return i
            if is_same_float(leaf):
                dtypes.append(leaf.value.dtype.type)
                if dtypes[0] is not dtypes[-1]:
                    return i
        return None

    # `jaxtyped` opens the scope in which axis names are bound, and reads the
    # signature to know what `n` is in a shape such as "{n}".
    cast(Any, first_misfit).__signature__ = bound.signature
    misfit = jaxtyped(first_misfit, typechecker=None)(*bound.args, **bound.kwargs)
    if misfit is not None:
        what = "argument" if misfit < arguments else "the returned"
        raise TypeCheckError(misfit_message(function, what, parts[:misfit], parts[misfit]))
    return all(is_plain(leaf.hint) for leaf in parts)
