"""The rules of the house: purity, immutability, what an import costs."""

import ast
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import CALLS

import mnist_fn as mf

PACKAGE = Path(mf.__file__).parent

# The pure rooms; each may import those above it.
ROOMS = ["hints", "misfits", "contracts", "arrays", "ranges", "keys", "activation_functions"]
ROOMS += ["softmax", "network", "augment", "views", "dropout", "committees", "schedules"]
ROOMS += ["optimizers", "adaptive", "idx", "batches", "shards", "training", "evaluation"]
ROOMS += ["recipes", "runs", "images", "page_template", "page"]
LIBRARIES = {"numpy", "jaxtyping", "beartype"}
PURE_STANDARD = {
    "abc",
    "base64",
    "collections",
    "functools",
    "gzip",
    "inspect",
    "io",
    "itertools",
    "math",
}
PURE_STANDARD |= {"reprlib", "types", "typing", "weakref", "zlib"}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
IMPURE_CALLS |= {"globals"}
IMPURE_ATTRIBUTES = {"open", "FileIO", "sys", "stdin", "stdout", "stderr"}
IMPURE_NUMPY = {"load", "save", "savez", "savez_compressed", "savetxt", "loadtxt", "genfromtxt"}
IMPURE_NUMPY |= {"fromfile", "tofile", "memmap", "fromregex", "seterr", "setbufsize"}
PURE_RANDOM = {"Generator", "SeedSequence", "PCG64DXSM"}


def impurities(room: str, source: str) -> list[str]:
    """Return what in a room's source touches the world, or reaches below the room."""
    above = ROOMS[: ROOMS.index(room)]
    found = []
    of_generators: list[ast.expr] = []  # a walk comes to an attribute before its owner
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
                allowed = LIBRARIES | PURE_STANDARD | {"collections.abc"}
                found += [m for m in modules if m not in allowed]
            case ast.ImportFrom(level=0, module=str(module), names=names):
                if module.split(".")[0] not in LIBRARIES | PURE_STANDARD:
                    found.append(module)
                impure = IMPURE_NUMPY | IMPURE_ATTRIBUTES | {"random", "default_rng", "seed"}
                found += [alias.name for alias in names if alias.name in impure]
            case ast.ImportFrom(level=level, module=module, names=names):
                modules = [module] if module else [alias.name for alias in names]
                found += [f"{'.' * level}{m}" for m in modules if level > 1 or m not in above]
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                found.append(f"{name}()")
            case ast.Attribute(value=ast.Attribute(attr="random") as owner, attr=name):
                of_generators.append(owner)
                found += [] if name in PURE_RANDOM else [f"random.{name}"]
            case ast.Attribute(value=ast.Name(id="np"), attr="random"):
                found += [] if node in of_generators else ["np.random by another name"]
            case ast.Attribute(attr=name) if name in IMPURE_NUMPY | IMPURE_ATTRIBUTES:
                found.append(name)
            case ast.Global() | ast.Nonlocal():
                found.append(f"state kept in {', '.join(node.names)}")
    return found


def test_no_test_reaches_another_machine() -> None:
    with (
        socket.socket() as one,
        pytest.raises(AssertionError, match=r"^a test connects to 192\.0\.2\.1"),
    ):
        one.connect(("192.0.2.1", 80))  # which nobody has (RFC 5737)


def test_no_line_is_left_out_where_coverage_is_measured() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert "pragma:" not in path.read_text(), path
    settings = (PACKAGE.parents[1] / "pyproject.toml").read_text()
    coverage = tomllib.loads(settings)["tool"]["coverage"]
    names = {name for table in coverage.values() for name in table}
    assert not [name for name in names if name.startswith(("omit", "exclude", "partial"))]


@pytest.mark.parametrize("room", ROOMS)
def test_the_pure_part_touches_nothing(room: str) -> None:
    assert impurities(room, (PACKAGE / f"{room}.py").read_text()) == []


def test_every_module_is_a_pure_room_or_an_effect() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert modules == set(ROOMS) | {"__init__", "__main__"}


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "import numpy, time",
        "from pathlib import Path",
        "from .effects.datasets import load_mnist",
        "from .effects import datasets",
        "from . import recipes",
        "from .training import train",
        "from .. import other",
        "import torch",
        "open('x')",
        "print(1)",
        "np.random.rand(3)",
        "np.random.default_rng()",
        "r = np.random; r.seed(0)",
        "import numpy.random as r; r.rand()",
        "from numpy.random import default_rng",
        "from numpy import load",
        "np.load('x')",
        "gzip.open('x')",
        "io.FileIO('x')",
        "inspect.sys.stdout.write('x')",
        "globals()['x'] = 1",
        "def f():\n    global x",
    ],
)
def test_what_is_not_pure_is_found(line: str) -> None:
    assert impurities("network", line) != []


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from arrays_in(item)


def comparable(value: Any) -> Any:
    """All the bits of a value; functions have none."""
    match value:
        case np.ndarray():
            return value.dtype, value.shape, value.tobytes()
        case tuple() | list():
            return tuple(map(comparable, value))
        case np.random.Generator():
            return str(value.bit_generator.state)
        case _:
            return None if callable(value) else value


def copied(value: Any, *, writable: bool) -> Any:
    if isinstance(value, np.ndarray):
        copy = value.copy(order="K")
        copy.setflags(write=writable)
        return copy
    if isinstance(value, tuple):
        items = [copied(item, writable=writable) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return [copied(item, writable=writable) for item in value] if isinstance(value, list) else value


def result_of(name: str, arguments: dict[str, Any]) -> Any:
    result = CALLS[name].function(**arguments)
    return list(result) if isinstance(result, Iterator) else result


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_the_same_arguments_give_the_same_bits_and_are_not_changed(
    name: str, writable: bool
) -> None:
    arguments = {k: copied(v, writable=writable) for k, v in CALLS[name].arguments.items()}
    before = comparable(list(arguments.values()))
    first = result_of(name, arguments)
    kept = comparable(first)
    second = result_of(name, arguments)
    assert comparable(second) == kept
    assert comparable(first) == kept
    assert comparable(list(arguments.values())) == before
    for array in arrays_in(list(arguments.values())):
        assert array.flags.writeable == writable


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_results_are_read_only_and_share_nothing_that_is_written_to(
    name: str, writable: bool
) -> None:
    arguments = {k: copied(v, writable=writable) for k, v in CALLS[name].arguments.items()}
    first, second = result_of(name, arguments), result_of(name, arguments)
    given = list(arrays_in(list(arguments.values())))
    for array in arrays_in(first):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert not (isinstance(array.base, np.ndarray) and array.base.flags.writeable)
        shared = [other for other in arrays_in(second) if np.shares_memory(array, other)]
        # What two calls share can only be what both were given, and nobody can write to.
        assert all(any(np.shares_memory(s, g) for g in given) for s in shared)
        assert not (shared and writable)


def test_an_import_is_light() -> None:
    heavy = ["PIL", "distributed", "matplotlib", "multiprocessing", "pooch", "requests", "rich"]
    heavy += ["scipy", "sklearn", "torch", "typer"]
    program = f"import sys, mnist_fn; print([m for m in {heavy} if m in sys.modules])"
    # To be measured, too, would not be light.
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=unmeasured, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
