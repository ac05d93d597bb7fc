"""What the tests and the examples in the docstrings need of the process that they run in."""

import os
import signal

import pytest
from threadpoolctl import threadpool_limits

# By these, typer and rich choose colours and a width, some of them when they are imported.
_SCREEN = ["COLUMNS", "LINES", "TERMINAL_WIDTH", "NO_COLOR", "FORCE_COLOR", "PY_COLORS"]
_SCREEN += ["GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"]


@pytest.hookimpl(trylast=True)  # when pytest has seen how its own output is to look
def pytest_configure(config: pytest.Config) -> None:
    """Give BLAS one thread where there is a process of tests for every core, and hear Ctrl-C.

    With more threads, those of one process wait on the cores that those of another take, and most
    of the time is spent on waiting. And a shell lets what it starts in the background ignore
    Ctrl-C, which that hands down to the commands that the tests interrupt. On what screen the
    tests are run makes no difference to what they see.
    """
    for name in _SCREEN:
        os.environ.pop(name, None)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        threadpool_limits(1, "blas")
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):  # of what is still to be loaded
            os.environ.setdefault(name, "1")
