"""What the tests and the examples in the docstrings have in common: the cores of this machine."""

import os

import pytest
from threadpoolctl import threadpool_limits


def pytest_configure(config: pytest.Config) -> None:
    """Give BLAS one thread where there is a process of tests for every core.

    With more, the threads of one process wait on the cores that those of another take, and most
    of the time is spent on waiting.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        threadpool_limits(1, "blas")
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # of what is still to be loaded
            os.environ.setdefault(name, "1")
