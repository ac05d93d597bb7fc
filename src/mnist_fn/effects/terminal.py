"""What the command line shows: lines, a progress bar, errors."""

import contextlib
import errno
import importlib.metadata
import io
import math
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..idx import IdxError
from .checkpoints import CheckpointError
from .datasets import DatasetError
from .models import ModelError

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="mnist|digits|DIRECTORY", help="The data set.", show_default=False
    ),
]


class CommandError(Exception):
    """What a user can put right; the text is the whole message."""


def new_console(quiet: bool = False) -> Console:
    """Print text as it is: a file may be called ``[red].npz``, or by no letters at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=quiet)


def say(console: Console, text: str) -> None:
    """Print a line; a reader that has gone away (``| head``) must not cost the training."""
    try:
        console.print(text)
    except (OSError, SystemExit) as error:
        console.quiet = True
        if isinstance(error, OSError) and error.errno != errno.EPIPE:
            typer.echo(f"mnist-fn: this cannot be shown or written: {error.strerror}", err=True)


def progress_bar(console: Console) -> Progress:
    """Return a bar for the steps of a training, which shows on a terminal only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def note_interruptions() -> Callable[[], bool]:
    """Only note Ctrl-C and SIGTERM from now on; return what tells whether there was one."""
    came: list[int] = []
    _handle_interruptions(lambda number, frame: came.append(number))
    return lambda: bool(came)


def _handle_interruptions(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shell scripts start it
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C, and SIGTERM like it, raise a ``KeyboardInterrupt`` for a while."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _handle_interruptions(signal.default_int_handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def printable(text: str) -> str:
    """Return text on one line, without what steers a terminal or no page can hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def version() -> str:
    """Return the version of the package, if it was installed as one."""
    try:
        return importlib.metadata.version("mnist-fn")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def percent(share: float) -> str:
    """Return a share as people read it."""
    return "-" if math.isnan(share) else f"{100 * share:.2f} %"


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can put right into a line on stderr and exit status 1."""
    # Numbers that overflow are found out by what comes of them, and reported in words.
    with interruptible(), np.errstate(over="ignore", invalid="ignore"):
        try:
            yield
        except (
            CheckpointError,
            CommandError,
            DatasetError,
            IdxError,
            ModelError,
            OSError,
            ValueError,
        ) as error:
            typer.echo(f"mnist-fn: {error}", err=True)
            raise typer.Exit(1) from error
        except MemoryError as error:
            typer.echo(f"mnist-fn: there is not enough memory; {error}", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            note_interruptions()
            typer.echo("mnist-fn: interrupted; begin again with the same command", err=True)
            raise typer.Exit(1) from None
