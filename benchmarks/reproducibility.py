"""What another thread count or kernel changes: ``python benchmarks/reproducibility.py``.

``mnist-fn train`` with the same options, each time in a process of its own: again as it was,
with another number of BLAS threads, with other kernels of OpenBLAS. A sum in another order is
rounded in another way, and training goes on from there. The largest difference of a parameter is
relative to the largest magnitude in its array; predictions are those of all the test images.
What is trained again is compared with the first time, all else with one thread of the first kernel.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded; ``--quick`` takes the built-in
digits alone, and writes no file.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import print_machine, save

import mnist_fn as mf
from mnist_fn import Dataset, Params
from mnist_fn.effects.blas import numpys_blas

KERNELS = ["SkylakeX", "Haswell", "Sandybridge", "Nehalem"]


class Circumstances(NamedTuple):
    """What OpenBLAS is told."""

    threads: int
    kernel: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that tell it."""
        return {"OPENBLAS_NUM_THREADS": str(self.threads), "OPENBLAS_CORETYPE": self.kernel}


def trained(data: str, epochs: int, circumstances: Circumstances) -> tuple[bytes, Params]:
    """Train, and return the bytes of the model file and the parameters in it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "model.npz")
        command = [sys.executable, "-m", "mnist_fn", "train", "--data", data, "--quiet"]
        command += ["--epochs", str(epochs), "--output", str(path)]
        environment = os.environ | circumstances.environment | {"XDG_STATE_HOME": directory}
        subprocess.run(command, env=environment, check=True)
        return path.read_bytes(), mf.load_params(path)


def has_kernel(kernel: str) -> bool:
    """Tell whether this processor runs it: OpenBLAS takes another one if not."""
    program = "from mnist_fn.effects.blas import numpys_blas; print(numpys_blas().kernel)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OPENBLAS_CORETYPE": kernel},
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() == kernel


def difference(one: Params, other: Params) -> float:
    """Return the largest difference of a parameter, relative to the largest in its array."""
    return max(
        float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(one, other, strict=True)
    )


def rows(data: str, dataset: Dataset, epochs: int, kernels: list[str]) -> Iterator[dict[str, Any]]:
    """Yield how circumstances differ from one thread with the first kernel, or from themselves."""
    X, Y = mf.scale(dataset.X_test), dataset.Y_test
    first, second = (Circumstances(threads, kernels[0]) for threads in (1, 2))
    known = {first: trained(data, epochs, first)}
    others = [first, second, second, *(Circumstances(2, kernel) for kernel in kernels[1:2])]
    others += [Circumstances(1, kernel) for kernel in kernels[1:]]
    for other in others:
        again = other in known
        content, params = known[other if again else first]
        other_content, other_params = trained(data, epochs, other)
        known[other] = other_content, other_params
        labels, other_labels = mf.predict(params, X), mf.predict(other_params, X)
        yield {
            "data": data,
            "epochs": epochs,
            "threads": other.threads,
            "kernel": other.kernel,
            "again": again,
            "same bytes": other_content == content,
            "largest difference": float(f"{difference(params, other_params):.1e}"),
            "predictions that differ": int(np.count_nonzero(labels != other_labels)),
            "of": len(Y),
            "accuracy, %": round(100 * float(np.mean(other_labels == Y)), 2),
        }


def main() -> None:
    """Measure, print the table, and write the file."""
    parser = argparse.ArgumentParser(description="What threads and kernels change.")
    parser.add_argument("--quick", action="store_true", help="the digits alone, and no file")
    quick = parser.parse_args().quick
    print_machine()
    blas = numpys_blas()
    if blas is None or blas.name != "openblas":
        sys.exit("NumPy does not run on OpenBLAS, whose kernels and threads this compares")
    kernels = [kernel for kernel in KERNELS if has_kernel(kernel)]
    runs = [("digits", mf.load_digits(), 1), ("digits", mf.load_digits(), 100)]
    if not quick:
        runs.append(("mnist", mf.load_mnist(), 1))
    print("| data, epochs | kernel, threads | largest difference | predictions |")
    print("|---|---|---|---|")
    results = []
    for data, dataset, epochs in runs:
        for row in rows(data, dataset, epochs, kernels):
            results.append(row)
            print(
                f"| {data}, {epochs} | "
                f"{row['kernel']}, {row['threads']}{', again' if row['again'] else ''} | "
                f"{'the same bytes' if row['same bytes'] else row['largest difference']} | "
                f"{row['predictions that differ']} of {row['of']:,} differ, "
                f"{row['accuracy, %']:.2f} % right |",
                flush=True,
            )
    if not quick:
        save(__file__, results)


if __name__ == "__main__":
    main()
