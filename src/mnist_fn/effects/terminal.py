"""What the command line shows: lines, a progress bar, errors."""

import contextlib
import importlib.metadata
import io
import math
import signal
import sys
from collections.abc import Iterator
from typing import Annotated

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
    except (OSError, SystemExit):
        console.quiet = True


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


def heed_interruptions() -> None:
    """Let Ctrl-C, and SIGTERM like it, raise a ``KeyboardInterrupt``."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def ignore_interruptions() -> None:
    """Let nothing but SIGKILL come between what was reached and its file."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


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
        typer.echo("mnist-fn: interrupted", err=True)
        raise typer.Exit(1) from None
