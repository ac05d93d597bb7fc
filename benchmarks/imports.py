"""What ``import mnist_fn`` costs over what it stands on: ``python benchmarks/imports.py``.

Each import in a fresh interpreter, in turns; the time of an interpreter that imports
nothing is taken off in each round.
"""

import argparse
import statistics
import subprocess
import sys
import time

PROGRAMS = {
    "nothing": "pass",
    "numpy, jaxtyping, beartype": "import numpy, jaxtyping, beartype.door",
    "mnist_fn": "import mnist_fn",
}


def milliseconds(program: str) -> float:
    """Return how long a fresh interpreter takes for a program."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="What an import costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 5 if parser.parse_args().quick else 21
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, program in PROGRAMS.items():
            times[name].append(milliseconds(program))
    for name in list(PROGRAMS)[1:]:
        extra = [t - base for t, base in zip(times[name], times["nothing"], strict=True)]
        low, middle, high = statistics.quantiles(extra, n=4)
        print(f"{name:<28} {middle:6.0f} ms ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
