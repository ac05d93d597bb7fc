"""What several test files use."""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

import mnist_fn as mf

# An example's time says something about the machine, not about the code.
settings.register_profile("default", deadline=None)
# Of a wrong program (benchmarks/mutants.py) it is enough to know that it is wrong.
settings.register_profile(
    "mutants",
    deadline=None,
    max_examples=20,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile("default")


def _stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to connect to others: no test depends on a network."""
    if event == "socket.connect":
        at, address = arguments
        if at.family in (socket.AF_INET, socket.AF_INET6) and at.type == socket.SOCK_STREAM:
            host, *_ = address
            assert host in ("127.0.0.1", "::1", "localhost"), f"a test connects to {host}"


sys.addaudithook(_stay_on_this_machine)

_BESIDE = Path(__file__).parents[2] / "shared/data/mnist"


def _mnist_directory() -> Path:
    return Path(os.environ.get("MNIST_FN_DATA") or _BESIDE)


@pytest.fixture(scope="session")
def mnist() -> mf.Dataset:
    """The real MNIST, where it is at hand; no test downloads it."""
    directory = _mnist_directory()
    try:
        return mf.load_mnist(directory)
    except mf.DatasetError as error:
        pytest.skip(f"the real MNIST files are missing: {error}")


@pytest.fixture(scope="session")
def drawings() -> dict[Path, int]:
    """Digits that people drew in paint programs, where they are at hand, and which they are."""
    named = os.environ.get("MNIST_FN_DRAWINGS")
    labels = Path(named or _mnist_directory().parent / "drawings") / "labels.tsv"
    if not labels.exists():
        pytest.skip(f"the drawings are missing: there is no {labels}")
    lines = labels.read_text().splitlines()
    return {labels.parent / name: int(digit) for name, digit in map(str.split, lines)}


@pytest.fixture(scope="session")
def digits() -> mf.Dataset:
    return mf.load_digits()
