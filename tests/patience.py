"""How long a test waits for what must happen: so long that a busy machine is no reason to fail."""

import time
from collections.abc import Callable

# Seconds, after which it is no longer a busy machine that is waited for, but one that hangs.
PATIENCE = 600.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.02)
