"""What the measurements share: the machine's name, spreads, the files they write."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnist_fn.effects.blas import better_kernel, numpys_blas, processor

# Colours that colour-blind people can tell apart (Okabe and Ito, 2008).
COLOURS = [
    "#0072B2",
    "#56B4E9",
    "#999999",
    "#E69F00",
    "#D55E00",
    "#CC79A7",
    "#009E73",
    "#F0E442",
    "#000000",
]


class Spread(NamedTuple):
    """The median and the quartiles of some measurements."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """Return them for people."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    blas, (name, flags) = numpys_blas(), processor()
    return {
        "processor": name or platform.machine(),
        "cores": os.cpu_count(),
        "blas": blas._asdict() if blas else None,
        "a better kernel would be": better_kernel(blas, flags),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def print_machine() -> None:
    """Print what the figures depend on."""
    about = machine()
    blas = about["blas"] or {}
    print(
        f"{about['processor']}, {about['cores']} cores; Python {about['python']}, "
        f"NumPy {about['numpy']} on {blas.get('name', 'an unknown BLAS')} "
        f"{blas.get('version', '')}, kernel {blas.get('kernel', '?')}, "
        f"{blas.get('threads', '?')} threads"
    )
    if kernel := about["a better kernel would be"]:
        print(f"(mnist-fn itself would run with OPENBLAS_CORETYPE={kernel}: set it for the same)")
    print(flush=True)


def save(script: str, results: Any) -> None:
    """Write the figures as JSON beside the script that made them."""
    content = json.dumps({"machine": machine(), "results": results}, indent=1)
    Path(script).with_suffix(".json").write_text(content + "\n")


def subplots(*shape: int, **settings: Any) -> tuple[Any, Any]:
    """Return a new figure and its axes, of matplotlib."""
    figure, axes = import_module("matplotlib.pyplot").subplots(*shape, **settings)
    return figure, axes


def save_picture(script: str, figure: Any) -> None:
    """Write a matplotlib figure beside the script that made it."""
    figure.savefig(Path(script).with_suffix(".png"), dpi=160, metadata={"Software": None})
