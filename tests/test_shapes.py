"""Every public function refuses every wrong array: rank, size, precision, kind, transposed."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from calls import CALLS, OTHERS, public_functions
from jaxtyping import TypeCheckError, config


class Wrong(NamedTuple):
    """A call with one array replaced by one that does not fit."""

    name: str
    what: str
    path: str
    arguments: dict[str, Any]


def arrays(path: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        for i, item in enumerate(value):
            yield from arrays(f"{path}.{names[i]}" if names else f"{path}[{i}]", item)


def replaced(value: Any, path: list[str], array: np.ndarray) -> Any:
    if not path:
        return array
    return value._replace(**{path[0]: replaced(getattr(value, path[0]), path[1:], array)})


def distortions(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "one axis more", array[np.newaxis]
    yield "one axis less", array[0]
    yield "another kind", array.astype(int if array.dtype.kind == "f" else float)
    if array.dtype.kind == "f":
        yield "another precision", array.astype(np.float64)
    if array.ndim == 2 and array.shape[0] != array.shape[1]:
        yield "transposed", np.ascontiguousarray(array.T)
    for axis in range(array.ndim):
        yield f"axis {axis} longer", np.concatenate([array, array.take([0], axis)], axis)
        yield f"axis {axis} empty", array.take([], axis)


# An axis of one array alone is free, and an array of any shape is asked for at times.
FREE = {
    "forward": ["X axis 1"],
    "predict": ["X axis 1"],
    "scale": ["X axis 0", "X axis 1", "X transposed"],
    "live_pixels": ["X axis 0", "X axis 1", "X transposed"],
    "ordered_batches": ["X axis 0"],
    "epoch_batches": ["X axis 0"],
    "epoch_batches.block": ["X axis 0"],
    "hold_out": ["X axis 0"],
    "sgd.init": ["params.W1 axis 1"],
    "momentum.init": ["params.W1 axis 1"],
    "rmsprop.init": ["params.W1 axis 1"],
    "adam.init": ["params.W1 axis 1"],
    "average_params.init": ["params.W1 axis 1"],
    "decay_weights.init": ["params.W1 axis 1"],
    # That images are square is not said by their shape: a ValueError of its own.
    "distort": ["X another precision", "X transposed", "X axis"],
    "resample": ["X another", "X transposed", "X axis", "positions another", "positions axis 1"],
    "deslant": ["X another precision", "X transposed", "X axis"],
    "standardize": ["X another precision", "X transposed", "X axis"],
    "edges": ["X another precision", "X transposed", "X axis"],
    "frame": ["picture one axis less", "picture transposed", "picture axis"],
    "calibration": ["probabilities another precision", "probabilities axis 0"],
    "mistakes": ["probabilities another precision", "probabilities axis 0"],
    # A page is for 784 pixels and ten classes: a ValueError of its own.
    "page": ["params.W1 axis 1"],
    "drop": ["X another precision", "X transposed", "X axis"],
    "committee_probabilities": ["X axis 1"],
    "predict_committee": ["X axis 1"],
    "init_state": ["params.W1 axis 1"],
    "train_epochs.pixels": ["pixels axis 0"],
    "prepare": ["X axis 0"],
    "idx.encode": ["array"],
}


def wrong_calls() -> Iterator[Wrong]:
    for name, (_, arguments) in CALLS.items():
        for argument, value in arguments.items():
            for path, array in arrays(argument, value):
                for what, distorted in distortions(array):
                    if any(f"{path} {what}".startswith(free) for free in FREE.get(name, [])):
                        continue
                    wrong = replaced(value, path.split(".")[1:], distorted)
                    yield Wrong(name, what, path, arguments | {argument: wrong})


WRONG = [pytest.param(call, id=f"{call.name}-{call.path}-{call.what}") for call in wrong_calls()]


def test_the_table_has_every_public_function() -> None:
    assert set(public_functions()) == {name for name in CALLS if "." not in name} | set(OTHERS)


@pytest.mark.parametrize("name", CALLS)
def test_right_arguments_are_accepted(name: str) -> None:
    function, arguments = CALLS[name]
    function(**arguments)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_array_is_refused_by_name(wrong: Wrong) -> None:
    with pytest.raises(TypeCheckError) as caught:
        CALLS[wrong.name].function(**wrong.arguments)
    message = str(caught.value)
    named = re.search(r"argument `([\w.\[\]]+)` does not fit", message)
    assert named, message
    if wrong.what.startswith(("one axis", "another kind")):
        assert named[1].endswith(wrong.path.split(".")[-1])
        assert "got: " in message
        assert "expected: " in message
    else:
        # Of two arrays that disagree, the second is named, with the size from the first.
        assert re.search(rf"\b{wrong.path.split('.')[-1]}\b", message)


@pytest.mark.parametrize("wrong", WRONG)
def test_without_the_contract_nothing_refuses_by_name(
    wrong: Wrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    raised: Exception | None = None
    try:
        CALLS[wrong.name].function(**wrong.arguments)
    except Exception as error:
        raised = error
    assert not isinstance(raised, TypeCheckError)
