"""The run-time contract of a function: types, dtypes and array shapes.

``checked`` is ``jaxtyped(typechecker=beartype)`` plus what those two leave out:
the fields of NamedTuples, one floating-point precision per call, and a memory
of the verdicts, so that a call whose shapes were seen before costs microseconds.
"""

import functools
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import TypeCheckError, config, jaxtyped

from .hints import Leaf, first_misfit, hints_of, is_plain, text_of
from .misfits import misfit_message

F = TypeVar("F", bound=Callable[..., Any])

# How many signatures one function remembers before it starts again from none, and how
# many signatures of results for each of them.
_MOST_REMEMBERED = 512
_MOST_RESULTS = 16

# The function inside each contract. Other wrappers copy attributes; this they cannot.
_BARE: weakref.WeakKeyDictionary[Callable[..., Any], Callable[..., Any]] = (
    weakref.WeakKeyDictionary()
)


def checked(function: F) -> F:
    """Check a function's arguments and result against its annotations, at each call.

    An axis name such as ``hidden`` stands for one size throughout a call: in the
    arguments, in the fields of the NamedTuples among them (nested ones, too, and those
    in a ``tuple[...]``, ``list[...]`` or ``dict[...]``) and in the result. Arrays
    annotated with ``SameFloat`` must all have one precision. ``float`` accepts an
    ``int``, as for static type checkers. What an array holds is never looked at.
    What else annotations can say (``Sequence[A]``, dataclasses) is left to beartype.
    The names are not bound in the body: it runs after the check of its arguments.

    A verdict is remembered by the types, dtypes and shapes of the call. Where it
    depends on more than those (``Literal``, ``list[int]``, a shape such as
    ``"{n}"``), the call is checked in full each time.

    ``JAXTYPING_DISABLE=1`` (or ``jaxtyping.config``) turns the checks off.

    Args:
        function: any function with annotations that is not ``async``. Parameters without
            one are free, except that the fields of a NamedTuple are checked all the same.

    Returns:
        A function with the same signature, ``__wrapped__`` and static type.

    Raises:
        TypeError: it is not a function.
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
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise TypeError(
            f"checked: {text_of(function)} is not a plain function; put @checked directly above "
            "a def, under @classmethod and the like, and not on an async one"
        )
    signature = inspect.signature(function)
    hints = functools.cache(lambda: hints_of(function))
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
                function(*args, **kwargs)  # Python's own message is the clearest
                raise
            if _check(function, hints(), bound):
                results = _room_in(remembered, _MOST_REMEMBERED).setdefault(given, set())
        result = function(*args, **kwargs)
        returned = _signature_of((result,))
        if results is None or returned not in results:
            bound = signature.bind(*args, **kwargs)
            if _check(function, hints(), bound, result) and results is not None:
                _room_in(results, _MOST_RESULTS).add(returned)
        return result

    _BARE[wrapper] = function
    return cast(F, wrapper)


def unchecked(function: F) -> F:
    """Return a function without its contract, for use inside one that has seen its arguments.

    >>> def half(x: float) -> float:
    ...     return x / 2
    >>> unchecked(checked(half)) is half
    True
    """
    # What can be called is not always hashable; what `checked` returns is a function.
    return cast(F, _BARE.get(function, function)) if inspect.isfunction(function) else function


C = TypeVar("C", dict[Any, Any], set[Any])


def _room_in(remembered: C, most: int) -> C:
    if len(remembered) >= most:
        remembered.clear()
    return remembered


def _signature_of(values: Iterable[Any]) -> tuple[object, ...]:
    """Return all that a rememberable verdict depends on: types, dtypes and shapes."""
    signature: list[object] = []
    for value in values:
        kind = type(value)
        if kind is np.ndarray:  # by far the most frequent, and the fastest so
            signature.append(value.shape)
            signature.append(value.dtype)
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
    hints: Mapping[str, Any],
    bound: inspect.BoundArguments,
    result: object = _NO_RESULT,
) -> bool:
    """Check a call in full; return whether the verdict may be remembered."""
    leaves = list(_arguments(bound, hints))
    if result is not _NO_RESULT:
        leaves.append(Leaf("result", hints.get("return", Any), result))
    fitting: list[Leaf] = []

    def misfit_in_scope(*args: object, **kwargs: object) -> tuple[Leaf, Leaf] | None:
        for leaf in leaves:
            if misfit := first_misfit(leaf, fitting):
                return leaf, misfit
        return None

    # `jaxtyped` opens the scope in which axis names are bound, and reads the
    # signature to know what `n` is in a shape such as "{n}".
    cast(Any, misfit_in_scope).__signature__ = bound.signature
    if found := jaxtyped(misfit_in_scope, typechecker=None)(*bound.args, **bound.kwargs):
        leaf, misfit = found
        is_result = result is not _NO_RESULT and leaf is leaves[-1]
        what = "the returned" if is_result else "argument"
        raise TypeCheckError(misfit_message(function, what, fitting, misfit))
    # What pretends to be of another class can do so in one call and not in the next.
    return all(is_plain(leaf.hint) and _is_itself(leaf.value) for leaf in fitting)


def _is_itself(value: Any) -> bool:
    return value.__class__ is type(value)
