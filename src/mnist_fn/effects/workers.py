"""What the workers of a sweep share: one thread of BLAS, the training images, their versions.

A worker is a process of this machine, one of Dask, or a thread. The images reach it once,
not with every run, and every run has one thread of BLAS: with another number, sums are taken
in another order, so that a run would depend on where it is done.
"""

import builtins
import contextlib
import ctypes
import functools
import hashlib
import importlib.metadata
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..arrays import frozen
from ..batches import Dataset
from ..hints import Map
from .datasets import DatasetError
from .validation import digest_of

# Of glibc's malloc.h, and to where these thresholds rise by themselves.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST_KEPT = 64 * 2**20


class WorkerError(Exception):
    """Workers that are lost, or one that cannot give the results that others give."""


class Source(NamedTuple):
    """Training images by where they are, for workers: a pickled one is short."""

    load: Callable[[], Dataset]
    digest: str


_lock = threading.Lock()
_images: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # by digest; of one data set at most


@contextlib.contextmanager
def source_of(dataset: Dataset | Callable[[], Dataset] | Source, map: Map) -> Iterator[Source]:
    """Say where workers find the training images, while they need them.

    Those of a ``Dataset`` are in a file, which all processes of a machine map into memory.
    Other machines call a function, once in each worker.
    """
    import tempfile

    with contextlib.ExitStack() as stack:
        if isinstance(dataset, Source):
            source = dataset
        elif not isinstance(dataset, Dataset):
            loaded = dataset()
            source = Source(dataset, digest_of(loaded.X_train, loaded.Y_train))
        else:
            load = functools.partial(_itself, dataset)
            if map is not builtins.map:
                directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="mnist-fn-"))
                np.save(Path(directory, "X.npy"), dataset.X_train.T)
                np.save(Path(directory, "Y.npy"), dataset.Y_train)
                load = functools.partial(_saved, directory)
            source = Source(load, digest_of(dataset.X_train, dataset.Y_train))
        stack.callback(_images.pop, source.digest, None)
        yield source


def _itself(dataset: Dataset) -> Dataset:
    return dataset


def _saved(directory: str) -> Dataset:
    if not Path(directory).is_dir():
        raise DatasetError(
            f"the training images are not in {directory}: a Dataset reaches the processes of one "
            "machine; for workers elsewhere give sweep a function that returns it, such as "
            "load_mnist"
        )
    rows, Y = (
        np.asarray(np.load(Path(directory, name), mmap_mode="r", allow_pickle=False))
        for name in ("X.npy", "Y.npy")
    )
    return Dataset("", rows.T, Y, rows[:0].T, Y[:0])


def training_images(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of a source, which are loaded when they are first needed.

    Raises:
        DatasetError: there are others, or none.

    """
    with _lock:
        if source.digest not in _images:
            dataset = source.load()
            X, Y = frozen(dataset.X_train), frozen(dataset.Y_train)
            if digest_of(X, Y) != source.digest:
                raise DatasetError(
                    f"the training images of {dataset.name or 'the sweep'} on "
                    f"{platform.node()} are others than where the sweep was started; "
                    "put the same files there"
                )
            _images.clear()
            _images[source.digest] = X, Y
        return _images[source.digest]


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one, as it does if it is left alone.

    Dask sets ``MALLOC_TRIM_THRESHOLD_`` for its workers. With it, each step gets its memory from
    the system, page by page, and takes twice the time.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        return
    with contextlib.suppress(AttributeError, OSError):  # it is not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MOST_KEPT // 2)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)


@functools.cache
def versions() -> dict[str, str]:
    """Return what a run's bits depend on, besides its settings: what runs it here."""
    from .blas import numpys_blas

    package = Path(__file__).parents[1]
    sources = (path.read_bytes() for path in sorted(package.rglob("*.py")))
    try:
        version = importlib.metadata.version("mnist-fn")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    blas = numpys_blas()
    return {
        "mnist_fn": version,
        "mnist_fn's files": hashlib.sha256(b"".join(sources)).hexdigest()[:8],
        "NumPy": np.__version__,
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "BLAS": f"{blas.name} {blas.version} {blas.kernel}" if blas else "unknown",
    }


def cores() -> int:
    """Return how many processes can run here at a time."""
    affinity = getattr(os, "sched_getaffinity", None)  # not everywhere
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextlib.contextmanager
def processes(workers: int) -> Iterator[Map]:
    """Return the ``map`` of so many new processes, which end with the block.

    They end at once if it is left by an exception, or if this process is killed.
    """
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    end, lifeline = context.Pipe(duplex=False)
    with end, lifeline, ProcessPoolExecutor(workers, context, _end_with, (end,)) as pool:

        def map_in_processes(
            function: Callable[[Any], Any], arguments: Iterable[Any]
        ) -> Iterator[Any]:
            with _uninterrupted():
                results = pool.map(function, arguments)
            try:
                yield from results
            except BrokenProcessPool as error:
                raise WorkerError(
                    "a worker process was killed, perhaps for want of memory, of which fewer "
                    "workers need less"
                ) from error

        try:
            yield map_in_processes
        except BaseException:
            lifeline.close()
            pool.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: their end is up to this one."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(end: Any) -> None:
    """End this process when the other end of a pipe is closed, as it is if its owner is killed."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            end.poll(None)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
