"""The file of a sweep: a line for each run, whole or not at all, as CSV or as JSON Lines."""

import contextlib
import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from .sessions import check_can_write
from .sweeps import Trial
from .terminal import CommandError, printable

FORMATS = (".csv", ".jsonl")
_ACCURACY, _SECONDS, _HISTORY = "validation accuracy", "seconds", "history"

Told: TypeAlias = Mapping[str, object]
"""What a run was told, as ``told_of`` returns it."""

Identity: TypeAlias = tuple[str, ...]
"""The same in words, which tell the runs of a file apart."""


def identity_of(told: Told) -> Identity:
    """Return what tells a run from others in words.

    >>> identity_of({"hidden": 64, "batch size": None})
    ('64', 'None')
    """
    return tuple(printable(str(value)) for value in told.values())


@contextlib.contextmanager
def own_file(path: Path, begun: bool) -> Iterator[None]:
    """Make the file, or see that it is there if the sweep was begun; keep other sweeps out."""
    if begun and not path.is_file():
        raise CommandError(f"{path} is not there to go on with; leave --resume out")
    check_can_write(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CommandError(
            f"{path} is in use by another sweep; wait for its end, or name another file with "
            "--output"
        ) from error
    try:
        if begun:
            yield
        else:
            with _new(path):
                yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _new(path: Path) -> Iterator[None]:
    """Make a file that is not there yet, and leave none if nothing came into it."""
    try:
        with path.open("xb"):
            pass
    except FileExistsError as error:
        raise CommandError(
            f"{path} is there already; go on with --resume, or name another file with --output"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == 0:
                path.unlink()


def append(path: Path, told: Told, trial: Trial) -> None:
    """Add a run to the file; when this returns, its line is on disk."""
    row: dict[str, object] = {**told, _ACCURACY: trial.validation_accuracy, _SECONDS: trial.seconds}
    if path.suffix == ".csv":
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        if path.stat().st_size == 0:
            writer.writerow(row)
        writer.writerow([*identity_of(told), row[_ACCURACY], row[_SECONDS]])
        text = lines.getvalue()
    else:
        row[_HISTORY] = [record._asdict() for record in trial.history]
        text = json.dumps(_plain(row), allow_nan=False) + "\n"
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            content = memoryview(text.encode())
            while content:
                content = content[file.write(content) :]
            os.fsync(file.fileno())
        except OSError as error:
            file.truncate(before)
            raise CommandError(
                f"{path} cannot be written: {error.strerror}; once it can, go on with --resume"
            ) from error


def _plain(value: object) -> object:
    """Return a value of those that JSON has; what is not a number is null."""
    match value:
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case bool() | int() | float() | None:
            return value
        case _:
            return printable(str(value))


def mend(path: Path, told: Sequence[str]) -> bool:
    """Cut off what a killed sweep has left of a line, and tell if there was any.

    The whole lines must be known to be a sweep's. Where there is none, the part must be of one.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return False
    head = ",".join([*told, _ACCURACY, _SECONDS]) if path.suffix == ".csv" else '{"recipe": "'
    length = min(len(head), len(content))
    if whole == 0 and content[:length] != head.encode()[:length]:
        raise _misfit(path, 1)
    with path.open("r+b") as file:
        file.truncate(whole)
        os.fsync(file.fileno())
    return True


def runs_in(path: Path, told: Sequence[str], digest: str) -> dict[Identity, tuple[float, float]]:
    """Return the validation accuracy and the seconds of each run in a file.

    Args:
        path: the file.
        told: the names of what a run is told.
        digest: of the training images, which all of its runs must be on.

    """
    runs = {}
    for number, row in _rows(path, [*told, _ACCURACY, _SECONDS]):
        try:
            identity = identity_of({name: row[name] for name in told})
            accuracy, seconds = (
                math.nan if row[name] is None else float(str(row[name]))
                for name in (_ACCURACY, _SECONDS)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _misfit(path, number) from error
        if row["training data"] != digest:
            raise CommandError(
                f"{path} is of a sweep on other data, {row['data']}; name that with --data, or "
                "another file with --output"
            )
        runs[identity] = accuracy, seconds
    return runs


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield the number of each line, and what is in it."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise _misfit(path, 1) from error
    for number, line in enumerate(lines, 1):
        if path.suffix == ".csv":
            cells = next(csv.reader([line]), [])
            if len(cells) != len(columns) or (number == 1 and cells != list(columns)):
                raise _misfit(path, number)
            if number > 1:
                yield number, dict(zip(columns, cells, strict=True))
        else:
            try:
                row = json.loads(line)
            except ValueError as error:
                raise _misfit(path, number) from error
            yield number, row


def _misfit(path: Path, number: int) -> CommandError:
    return CommandError(
        f"{path}: line {number} is not one that this version's sweep writes; name another file "
        "with --output"
    )
