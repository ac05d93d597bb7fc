"""What a contract says when a value does not fit."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .hints import Leaf, SameFloat, alternatives, is_array_hint, is_same_float, text_of


def misfit_message(
    function: Callable[..., Any], what: str, before: list[Leaf], misfit: Leaf
) -> str:
    """Name what came, what was expected, what was bound by what before, and what to do."""
    sizes: dict[str, tuple[int, str]] = {}
    for leaf in before:
        for axis, size in _sizes(leaf):
            sizes.setdefault(axis, (size, leaf.path))
    precision = next((leaf for leaf in before if is_same_float(leaf)), None)
    name = getattr(function, "__qualname__", repr(function)).rpartition("<locals>.")[2]
    lines = {
        "got": _describe(misfit.value),
        "expected": _name_of(misfit.hint),
        "sizes": ", ".join(
            f"{axis} = {size} (from {path})" for axis, (size, path) in sizes.items()
        ),
        "precision": f"{precision.value.dtype} (from {precision.path})"
        if precision and is_same_float(misfit)
        else "",
        "advice": _advice(misfit, {axis: size for axis, (size, _) in sizes.items()}, precision),
    }
    return f"{name}: {what} `{misfit.path}` does not fit.\n" + "\n".join(
        f"  {label + ':':<11}{text}" for label, text in lines.items() if text
    )


def _sizes(leaf: Leaf) -> Iterator[tuple[str, int]]:
    """Yield the axis names that an array binds, with their sizes."""
    for hint in filter(is_array_hint, alternatives(leaf.hint)):
        if isinstance(leaf.value, np.ndarray):
            axes, shape = hint.dim_str.split(), leaf.value.shape
            many = (i for i, axis in enumerate(axes) if axis.startswith(("*", "...")))
            left = next(many, len(axes))
            yield from (
                (axis, size)
                for axis, size in (
                    *zip(axes[:left], shape, strict=False),
                    *zip(axes[:left:-1], shape[::-1], strict=False),
                )
                if axis.isidentifier() and not axis.startswith("_")
            )


def _advice(misfit: Leaf, sizes: dict[str, int], precision: Leaf | None) -> str:
    path, hint, value = misfit
    if isinstance(value, np.generic) and hint in (int, float):
        return f"convert it: `{hint.__name__}({path})`"
    if not (isinstance(value, np.ndarray) and is_array_hint(hint)):
        return ""
    if hint.dtype is SameFloat and value.dtype == np.uint8:
        return f"grey values from 0 to 255 become floats with `mnist_fn.scale({path})`"
    if hint.dtype is SameFloat and value.dtype.kind == "f":
        known = [precision.value.dtype] if precision else [np.dtype("float32"), np.dtype("float64")]
        if value.dtype not in known:
            return f"convert it: `{path}.astype(np.{known[0]})`"
    axes = hint.dim_str.split()
    wanted = [int(axis) if axis.isdigit() else sizes.get(axis) for axis in axes]

    def fits(shape: tuple[int, ...]) -> bool:
        return len(shape) == len(wanted) and all(
            want in (None, size) for want, size in zip(wanted, shape, strict=True)
        )

    if not fits(value.shape) and fits(value.shape[::-1]):
        return f"its transpose fits: `{path}.T`"
    if value.ndim == 1 and fits((*value.shape, 1)):
        return f"it fits as one column: `{path}[:, np.newaxis]`"
    return ""


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    return f"{text_of(value)} of type {type(value).__qualname__}"


def _name_of(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    meaning = ", float32 or float64" if "SameFloat" in name else ""
    return name.replace("jaxtyping.", "").replace("typing.", "") + meaning
