"""How much memory a test may take."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yield what tells the most bytes that Python and NumPy have taken since the block began."""
    tracemalloc.stop()  # where Python was asked to trace all that it does
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def memory_below(limit: float) -> Iterator[None]:
    """Fail if Python and NumPy take so many bytes or more at any moment."""
    with traced() as peak:
        yield
        most = peak()
    assert most < limit
