"""The workers of a Dask cluster, asked what they are before they are given work."""

import contextlib
import functools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from typing import Any

from ..hints import Map
from .terminal import CommandError
from .workers import Source, WorkerError, training_images, versions

_SECONDS_TO_ANSWER = 10.0  # of the scheduler
_OURS = ("mnist_fn", "mnist_fn's files", "NumPy", "Python")  # what must be as it is here


@contextlib.contextmanager
def dask_workers(address: str, source: Source) -> Iterator[Map]:
    """Return the ``map`` of the workers of a scheduler, which have loaded the training images.

    Raises:
        CommandError: there is no scheduler or no worker, or a worker cannot give the results
            that others give.

    """
    try:
        from distributed import Client, KilledWorker
        from distributed.comm.addressing import get_address_host_port
        from distributed.comm.core import CommClosedError
    except ModuleNotFoundError as error:
        raise CommandError(
            f"--scheduler needs {error.name}, which is not installed; install the extra 'dask' "
            "with: pip install -e '.[dask]' in the project's directory"
        ) from error
    try:
        # The client itself would try for long, and leave threads behind.
        host, port = get_address_host_port(address)
        socket.create_connection((host, port), _SECONDS_TO_ANSWER).close()
        new_client: Callable[..., Any] = Client
        client = new_client(address, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"no Dask scheduler answers at {address}; start one with: dask scheduler, and workers "
            "with: dask worker ADDRESS, and name it as tcp://HOST:8786, or leave --scheduler out"
        ) from error
    with client:
        expected = _asked(client, address, source)
        executor = client.get_executor()

        def map_on_cluster(
            function: Callable[[Any], Any], arguments: Iterable[Any]
        ) -> Iterator[Any]:
            same = functools.partial(_as_expected, expected, function)
            try:
                yield from executor.map(same, list(arguments))
            except KilledWorker as error:
                raise WorkerError(
                    "several workers were killed at the same run, perhaps for want of memory"
                ) from error
            except (CancelledError, CommClosedError) as error:
                raise WorkerError("the connection to the Dask scheduler is lost") from error

        yield map_on_cluster


def _asked(client: Any, address: str, source: Source) -> Mapping[str, str]:
    """Return what runs on all the workers, once it is seen to be the same."""
    # Not as tasks: they would wait for a worker that is gone, or has other work to do.
    about = client.run(versions, on_error="return")
    if not about:
        raise CommandError(
            f"the Dask scheduler at {address} has no workers; start some with: "
            f"dask worker {address}"
        )
    ours = versions()
    first = min(about)
    for worker, theirs in sorted(about.items()):
        if isinstance(theirs, Exception):
            raise CommandError(
                f"the worker {worker} lacks mnist_fn {ours['mnist_fn']}, or has another version "
                f"of it ({theirs}); install the version that is here on all workers, and start "
                "them again"
            )
        _check_same(worker, theirs, {name: ours[name] for name in _OURS}, "here")
        # Which BLAS there is here makes no difference: nothing is trained here.
        _check_same(worker, theirs, about[first], f"on {first}")
    for worker, error in client.run(_load, source, on_error="return").items():
        if isinstance(error, Exception):
            raise CommandError(
                f"the worker {worker} cannot load the training images: {error}; see to it that "
                "they can be read there under the same name"
            )
    expected: Mapping[str, str] = about[first]
    return expected


def _load(source: Source) -> None:
    training_images(source)


def _check_same(
    worker: str, theirs: Mapping[str, str], expected: Mapping[str, str], where: str
) -> None:
    for name, value in expected.items():
        if theirs.get(name) != value:
            raise CommandError(
                f"the worker {worker} has {name} {theirs.get(name)}, but {where} it is {value}, "
                "so that results would differ; make them the same, and start the workers again"
            )


def _as_expected(expected: Mapping[str, str], function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function on a worker, which may be one that came after all were asked."""
    if versions() != expected:
        raise WorkerError(
            f"a worker has joined on which results would differ: it has {dict(versions())}, and "
            f"the others {dict(expected)}; end it, and go on"
        )
    return function(argument)
