"""Download MNIST into the user's cache.

pooch (https://www.fatiando.org/pooch) downloads: to a temporary file that gets its
name only once its digest is right. It is imported when there is something to fetch.
"""

import queue
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# SHA-256 of the four files as the mirrors have them, and of what they hold.
MNIST = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}

_SECONDS_TO_ANSWER = 5.0
_SECONDS_OF_SILENCE = 10.0  # after which a mirror that was sending is given up


class DatasetError(Exception):
    """Data that is not there, cannot be had, or is not what it should be."""


def _pooch() -> Any:
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise DatasetError(
            "MNIST is looked up in the user's cache, and downloaded, with pooch: install the extra "
            "'app' (pip install -e '.[app]' in the project's directory), or set MNIST_FN_DATA to "
            "a directory with the four files"
        ) from error
    return pooch


def _cache_directory() -> Path:
    return Path(_pooch().os_cache("mnist_fn")) / "mnist"


def cached_mnist() -> list[Path]:
    """Return the files of ``MNIST`` in the cache; what is missing or damaged is downloaded.

    Raises:
        DatasetError: pooch is not installed, no mirror has the files, or the directory
            cannot be written.

    """
    directory = _cache_directory()
    pooch = _pooch()
    import requests  # pooch's own client

    def is_good(file: str) -> bool:
        try:
            return bool(pooch.file_hash(str(directory / file)) == MNIST[file][0])
        except OSError:  # not there, or not to be read
            return False

    wanted = [file for file in MNIST if not is_good(file)]
    mirrors, reasons = _ask(MIRRORS) if wanted else ([], {})
    downloader = pooch.HTTPDownloader(timeout=_SECONDS_OF_SILENCE, progressbar=sys.stderr.isatty())
    for file in wanted:
        for mirror in mirrors:
            if mirror in reasons:
                continue
            try:
                directory.mkdir(parents=True, exist_ok=True)
                digest = f"sha256:{MNIST[file][0]}"
                pooch.retrieve(mirror + file, digest, file, directory, downloader=downloader)
                break
            except (requests.RequestException, ValueError) as error:
                reasons[mirror] = _reason(error)
            except OSError as error:
                raise DatasetError(
                    f"MNIST cannot be stored in {directory}: {error}; put its four files into "
                    "a directory of your choice and set MNIST_FN_DATA to it"
                ) from error
        else:
            why = "; ".join(f"{mirror} {reason}" for mirror, reason in reasons.items())
            raise DatasetError(
                f"MNIST is not at hand and cannot be downloaded: {why}. "
                "Put its four files into a directory and set MNIST_FN_DATA to it."
            )
    return [directory / file for file in MNIST]


def _ask(mirrors: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the mirrors, the first to answer first, and why some of them cannot be reached.

    The time-out of a connection covers neither the look-up of the name nor more than
    one of its addresses, so each mirror is asked in a thread that can be left behind.
    """
    import requests

    answers: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def ask(mirror: str) -> None:
        try:
            requests.head(mirror, timeout=_SECONDS_TO_ANSWER)
            answers.put((mirror, ""))
        except requests.RequestException as error:
            answers.put((mirror, _reason(error)))

    for mirror in mirrors:
        threading.Thread(target=ask, args=(mirror,), daemon=True).start()
    reasons: dict[str, str] = {}
    deadline = time.monotonic() + _SECONDS_TO_ANSWER
    while len(reasons) < len(mirrors):
        try:
            mirror, reason = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            late = f"does not answer within {_SECONDS_TO_ANSWER:g} seconds"
            return list(mirrors), {mirror: reasons.get(mirror, late) for mirror in mirrors}
        if not reason:
            return sorted(mirrors, key=lambda other: other != mirror), reasons
        reasons[mirror] = reason
    return list(mirrors), reasons


def _reason(error: Exception) -> str:
    """Return in a few words what requests and pooch say in several lines."""
    import requests

    match error:
        case requests.HTTPError():
            return f"answers with status {error.response.status_code}"
        case requests.TooManyRedirects():
            return "redirects endlessly"
        case requests.Timeout():
            return "does not answer in time"
        case requests.ConnectionError() | requests.exceptions.ChunkedEncodingError():
            return "cannot be reached, or breaks off"
        case _:
            return f"sends something else ({error})"
