"""Which BLAS NumPy really runs on, with which kernel and how many threads.

The OpenBLAS in NumPy's wheels carries a few kernels only, and on processors newer than
itself it can take one that leaves their widest instructions unused
(https://github.com/numpy/numpy/pull/27147, https://github.com/OpenMathLib/OpenBLAS/issues/6029).
``OPENBLAS_CORETYPE``, set before NumPy is loaded, names another.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

_KERNEL_VARIABLE = "OPENBLAS_CORETYPE"

# Kernels for AVX2, and the instructions that the one for AVX-512 needs.
_AVX2_KERNELS = {"Haswell", "Zen"}
_AVX512_KERNEL = "SkylakeX"
_AVX512_FLAGS = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}

_ROUNDS = 3
_MEASUREMENT = """
import time
import numpy as np
A = np.random.default_rng(0).random((1536, 1536), dtype=np.float32)
product = A @ A
seconds = []
for _ in range(20):
    start = time.perf_counter()
    np.matmul(A, A, out=product)
    seconds.append(time.perf_counter() - start)
print(2 * 1536**3 / sorted(seconds)[len(seconds) // 2] / 1e9)
"""


# For `one_thread`: for each block that is in it, what ends the limit that they share.
_lock = threading.Lock()
_blocks: list[Callable[[], None]] = []


class Blas(NamedTuple):
    """The library behind NumPy's matrix products."""

    name: str
    version: str
    kernel: str
    threads: int


class Processor(NamedTuple):
    """What the system says of the processor; empty where it does not say."""

    name: str
    flags: frozenset[str]


def numpys_blas() -> Blas | None:
    """Return the BLAS that NumPy has loaded, or None if it cannot be told."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # Other packages, such as SciPy, may have brought their own; a wheel's lies in numpy.libs.
    pools.sort(key=lambda pool: "numpy" not in Path(pool["filepath"]).parent.name)
    for pool in pools:
        return Blas(
            name=str(pool["internal_api"]),
            version=str(pool["version"] or ""),
            kernel=str(pool.get("architecture") or ""),
            threads=int(pool["num_threads"]),
        )
    return None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Give BLAS one thread, for all in this process, until the last of such blocks is left.

    Raises:
        RuntimeError: another part of the program insists on more.

    >>> with one_thread():
    ...     blas = numpys_blas()
    >>> blas is None or blas.threads
    1

    """
    with _lock:
        _blocks.append(_blocks[0] if _blocks else _begin_limit())
    try:
        # Some libraries count threads for each calling thread.
        with threadpool_limits(1, "blas"):
            if (blas := numpys_blas()) and blas.threads != 1:
                raise RuntimeError(
                    f"BLAS keeps {blas.threads} threads, which another part of this program "
                    "has set with threadpoolctl; leave its block, or set it to 1"
                )
            yield
    finally:
        with _lock:
            end = _blocks.pop()
            if not _blocks:
                end()


def _begin_limit() -> Callable[[], None]:
    """Limit BLAS to one thread until what is returned is called.

    threadpoolctl lets one thread alone set and restore a limit for the whole process. One that
    is in a block may be gone before the others are.
    """
    begun, over = threading.Event(), threading.Event()

    def hold() -> None:
        with threadpool_limits(1, "blas"):
            begun.set()
            over.wait()

    def end() -> None:
        over.set()
        holder.join()

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    begun.wait()
    return end


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Processor:
    """Return the name and the instruction sets of the processor, where Linux tells them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return Processor("", frozenset())
    pairs = [line.split(":", 1) for line in reversed(lines) if ":" in line]
    fields = {name.strip(): value.strip() for name, value in pairs}
    return Processor(fields.get("model name", ""), frozenset(fields.get("flags", "").split()))


def better_kernel(blas: Blas | None, flags: frozenset[str]) -> str | None:
    """Return the kernel that uses more of the processor than the present one, if any.

    >>> zen5 = frozenset("avx2 avx512f avx512cd avx512bw avx512dq avx512vl".split())
    >>> better_kernel(Blas("openblas", "0.3.30", "Haswell", 2), zen5)
    'SkylakeX'
    >>> better_kernel(Blas("openblas", "0.3.30", "Haswell", 2), frozenset(["avx2"])) is None
    True
    """
    if blas is None or blas.name != "openblas" or blas.kernel not in _AVX2_KERNELS:
        return None
    return _AVX512_KERNEL if flags >= _AVX512_FLAGS else None


def restart_with_better_kernel() -> None:
    """Start the command line again with a better kernel, if there is one and none was chosen.

    The kernel is chosen when NumPy is loaded, which has happened by now. Nothing is done
    where ``OPENBLAS_CORETYPE`` is set, as it is in the new process, or ``MNIST_FN_BLAS``
    is ``keep``.
    """
    if _KERNEL_VARIABLE in os.environ or os.environ.get("MNIST_FN_BLAS") == "keep":
        return
    if kernel := better_kernel(numpys_blas(), processor().flags):
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, os.environ | {_KERNEL_VARIABLE: kernel})


def measure(kernel: str) -> float:
    """Return the GFLOP/s of float32 matrix products in a process with that kernel.

    An empty name is the kernel that OpenBLAS takes by itself.
    """
    environment = {name: value for name, value in os.environ.items() if name != _KERNEL_VARIABLE}
    if kernel:
        environment[_KERNEL_VARIABLE] = kernel
    command = [sys.executable, "-c", _MEASUREMENT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def report() -> Iterator[str]:
    """Yield what NumPy runs on, how fast, and what to set if it could be faster."""
    blas, (name, flags) = numpys_blas(), processor()
    yield f"processor  {name or 'unknown'}"
    if blas is None:
        yield f"NumPy      {np.__version__} on a BLAS that threadpoolctl does not know"
        return
    yield (
        f"NumPy      {np.__version__} on {blas.name} {blas.version}, kernel {blas.kernel}, "
        f"{blas.threads} threads"
    )
    if blas.name != "openblas":
        return
    chosen = os.environ.get(_KERNEL_VARIABLE) or better_kernel(blas, flags)
    # In turns, as the machine may be faster at one time than at another.
    speeds: dict[str, list[float]] = {kernel: [] for kernel in ("", chosen) if kernel is not None}
    for _ in range(_ROUNDS):
        for kernel, values in speeds.items():
            values.append(measure(kernel))
    without, *with_it = (statistics.median(values) for values in speeds.values())
    yield f"products   {without:.0f} GFLOP/s with the kernel that OpenBLAS takes by itself"
    for speed in with_it:
        yield f"           {speed:.0f} GFLOP/s with {_KERNEL_VARIABLE}={chosen}"
    if with_it and with_it[0] > 1.05 * without:
        yield f"advice     set it before Python starts: export {_KERNEL_VARIABLE}={chosen}"
        yield "           (mnist-fn does so for itself, unless MNIST_FN_BLAS=keep)"
    else:
        yield "advice     leave it as it is"
