"""``mnist-fn sweep``."""

import builtins
import contextlib
import functools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from ..batches import Dataset
from ..hints import Map
from ..keys import key
from ..recipes import RECIPES, Recipe
from ..runs import members_of, prepare
from .clusters import dask_workers
from .grids import NAMES, GridError, settings_of
from .sessions import load_data, told_of
from .sweep_files import FORMATS, append, identity_of, mend, own_file, runs_in
from .sweeps import trials_of
from .terminal import (
    CommandError,
    DataOption,
    clear_errors,
    new_console,
    percent,
    progress_bar,
    say,
)
from .train_command import EPILOG, RecipeOption
from .validation import digest_of, hold_back
from .workers import Source, WorkerError, cores, processes

SWEEP_EPILOG = f"""Example: mnist-fn sweep --grid hidden=64,128,256 --grid learning-rate=0.05,0.1

{NAMES}

{EPILOG}"""


class _Run(NamedTuple):
    """One run that was asked for."""

    words: Mapping[str, str]
    recipe: Recipe
    seed: int
    told: Mapping[str, object]


def _output(path: Path) -> Path:
    if path.suffix not in FORMATS:
        raise typer.BadParameter(f"{path} does not end in {' or '.join(FORMATS)}.")
    return path


def sweep(
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="The values of a setting; once for each setting. Every value is tried with "
            "every one of the others.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each setting: seeds 0, 1, ...")] = 3,
    data: DataOption = None,
    recipe: RecipeOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many times to go through the images.", show_default="the recipe's own"
        ),
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many of the training images to hold back, to compare on.",
            show_default="a twelfth of them",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Runs at a time, each on one core.", show_default="the number of cores"
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT",
            help="Leave the runs to the workers of a Dask scheduler (extra 'dask').",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(callback=_output, help="The file to write: .csv or .jsonl.")
    ] = Path("sweep.csv"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave out the runs that the file holds already.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train with many settings and seeds, and compare them on images that were held back.

    A line for each run is written when it is over, so that a sweep can be broken off and
    resumed. Ctrl-C ends it and keeps what was reached. The test images are left alone.
    """
    if workers and scheduler:
        raise typer.BadParameter("--workers and --scheduler exclude each other.")
    if epochs and any(text.startswith("epochs=") for text in grid or []):
        raise typer.BadParameter("--epochs and --grid epochs=... exclude each other.")
    console = new_console(quiet)
    with clear_errors():
        dataset = load_data(data, console)
        base = RECIPES[recipe or ("digits" if dataset.name == "digits" else "quick")]
        base = base._replace(epochs=epochs or base.epochs)
        held_back = len(hold_back(dataset.X_train, dataset.Y_train, validation).Y_test)
        digest = digest_of(dataset.X_train, dataset.Y_train)
        runs = _runs(base, grid or [], seeds, dataset, held_back, digest)
        with own_file(output, begun=resume):
            names = list(runs[0].told)
            done = runs_in(output, names, digest)
            if mend(output, names):
                say(console, f"{output} ended in a part of a line, which is cut off")
            missing = [run for run in runs if identity_of(run.told) not in done]
            say(console, _headline(runs, missing, seeds, dataset, held_back))
            with _mapping(workers, scheduler, dataset, digest, len(missing)) as (map, source):
                _train(missing, runs, source, held_back, map, output, console)
            done = runs_in(output, names, digest)
        for line in _table(runs, done):
            say(console, line)
        say(console, f"all runs are in {output}")


def _runs(
    base: Recipe,
    grid: Sequence[str],
    seeds: int,
    dataset: Dataset,
    held_back: int,
    digest: str,
) -> list[_Run]:
    """Return the runs that are asked for, once it is known that all of them can be prepared."""
    try:
        settings = settings_of(base, grid)
        for _, recipe in settings:
            for alone, own_key in members_of(recipe, key(0)):
                prepare(alone, own_key, dataset.X_train[:, :1], dataset.Y_train[:1])
    except GridError as error:
        raise typer.BadParameter(f"--grid: {error}.") from error
    except ValueError as error:
        message = str(error).removeprefix("prepare: ")
        raise typer.BadParameter(f"--grid: {message}.") from error
    return [
        _Run(words, recipe, seed, told_of(recipe, seed, dataset, held_back, digest))
        for seed in range(seeds)
        for words, recipe in settings
    ]


def _headline(
    runs: Sequence[_Run],
    missing: Sequence[_Run],
    seeds: int,
    dataset: Dataset,
    held_back: int,
) -> str:
    m = len(dataset.Y_train) - held_back
    there = len(runs) - len(missing)
    settings = len(runs) // seeds
    return (
        f"{settings} setting{'s' * (settings > 1)} x {seeds} seed{'s' * (seeds > 1)} on {m:,} "
        f"images of {dataset.name} ({held_back:,} more held back): {len(runs)} runs"
        f"{f', {there} of which are in the file' if there else ''}"
    )


@contextlib.contextmanager
def _mapping(
    workers: int | None, scheduler: str | None, dataset: Dataset, digest: str, runs: int
) -> Iterator[tuple[Map, Dataset | Source]]:
    """Return who does the runs, and what to tell them of the data."""
    source = Source(functools.partial(_dataset, dataset.name), digest)
    workers = min(workers or cores(), runs)
    if not runs:
        yield builtins.map, dataset
    elif scheduler:
        with dask_workers(scheduler, source) as map:
            yield map, source
    elif workers == 1:
        yield builtins.map, dataset
    else:
        with processes(workers) as map:
            yield map, source


def _dataset(name: str) -> Dataset:
    """Load a data set in a worker, which has nobody to talk to."""
    return load_data(name, new_console(quiet=True))


def _train(
    missing: Sequence[_Run],
    runs: Sequence[_Run],
    source: Dataset | Source,
    held_back: int,
    map: Map,
    output: Path,
    console: Console,
) -> None:
    """Do the runs that are missing, and add each to the file."""
    reached = len(runs) - len(missing)
    pairs = [(run.recipe, key(run.seed)) for run in missing]
    try:
        with progress_bar(console) as progress:
            bar = progress.add_task("runs", total=len(runs), completed=reached)
            trials = trials_of(pairs, source, held_back, map)
            for run, trial in zip(missing, trials, strict=True):
                append(output, run.told, trial)
                reached += 1
                progress.advance(bar)
                say(
                    console,
                    f"run {reached}/{len(runs)}  {_name_of(run)}  validation accuracy "
                    f"{_accuracy(trial.validation_accuracy)}  {trial.seconds:.1f} s",
                )
    except KeyboardInterrupt:
        raise CommandError(_ended("interrupted", runs, output)) from None
    except WorkerError as error:
        raise CommandError(_ended(str(error), runs, output)) from error


def _ended(why: str, runs: Sequence[_Run], output: Path) -> str:
    # The file is asked: an interruption can come between a line and its being counted.
    told = runs[0].told
    done = runs_in(output, list(told), str(told["training data"]))
    reached = sum(identity_of(run.told) in done for run in runs)
    return f"{why}; {reached} of {len(runs)} runs are in {output}, go on with --resume"


def _name_of(run: _Run) -> str:
    return ", ".join(f"{name} {value}" for name, value in {**run.words, "seed": run.seed}.items())


def _accuracy(share: float) -> str:
    return "diverged" if math.isnan(share) else percent(share)


def _table(
    runs: Sequence[_Run], done: Mapping[tuple[str, ...], tuple[float, float]]
) -> Iterator[str]:
    """Yield a line for each setting, the best first: mean and spread over the seeds."""
    results: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for run in runs:
        results.setdefault(tuple(run.words.values()), []).append(done[identity_of(run.told)])
    rows = []
    for words, values in results.items():
        accuracies, seconds = zip(*values, strict=True)
        mean = statistics.fmean(accuracies)  # NaN if one of them is
        rows.append((mean, (*words, _spread(accuracies), f"{statistics.fmean(seconds):.1f}")))
    rows.sort(key=lambda row: math.inf if math.isnan(row[0]) else -row[0])
    head = (*runs[0].words, "validation accuracy", "seconds")
    cells = [head, *(texts for _, texts in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield ""
    for row in cells:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _spread(accuracies: Sequence[float]) -> str:
    """Return mean and standard deviation, which there are none of if a training diverged."""
    diverged = sum(map(math.isnan, accuracies))
    if diverged:
        return f"{diverged} of {len(accuracies)} diverged"
    spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    return f"{percent(statistics.fmean(accuracies))} +- {100 * spread:.2f}"
