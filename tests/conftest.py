"""What several test files use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import mnist_fn as mf

# An example's time says something about the machine, not about the code.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

_BESIDE = Path(__file__).parents[2] / "shared/data/mnist"


@pytest.fixture(scope="session")
def mnist() -> mf.Dataset:
    """The real MNIST, where it is at hand; no test downloads it."""
    directory = os.environ.get("MNIST_FN_DATA") or _BESIDE
    try:
        return mf.load_mnist(directory)
    except mf.DatasetError as error:
        pytest.skip(f"the real MNIST files are missing: {error}")


@pytest.fixture(scope="session")
def digits() -> mf.Dataset:
    return mf.load_digits()
