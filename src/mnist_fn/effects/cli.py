"""The command line: ``mnist-fn train`` and ``mnist-fn evaluate``."""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..batches import Batch, Dataset, ordered_batches
from ..evaluation import Evaluation, class_scores, evaluate
from ..idx import IdxError
from ..keys import key
from ..network import ActivationFunction, Params
from ..recipes import RECIPES, Recipe, Run, prepare
from ..training import TrainState, train_epochs
from .checkpoints import ModelError, check_replaceable, load_model, save_params
from .datasets import DatasetError, load_digits, load_idx_dataset, load_mnist

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train and use a two-layer network for handwritten digits.",
)

_MOST_LINES = 20  # of progress: a run of 500 epochs is not 500 lines
_SAMPLE = 10_000  # training images that the loss and accuracy of an epoch are taken on


class CommandError(Exception):
    """What a user can put right; the text is the whole message."""


def _recipe_name(name: str | None) -> str | None:
    if name is not None and name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(RECIPES)}.")
    return name


_Data = Annotated[
    str | None,
    typer.Option(metavar="mnist|digits|DIRECTORY", help="The data set.", show_default=False),
]


@app.command("train")
def train_command(
    data: _Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(RECIPES),
            callback=_recipe_name,
            help="The settings to start from: quick, or digits for the built-in digits.",
            show_default=False,
        ),
    ] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="The number of hidden units.")] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="How many times to go through the images.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per step.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="The learning rate at the start.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same network.")] = 0,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.npz"),
) -> None:
    """Train a network and write it to a file.

    Without --data it learns MNIST, or the built-in digits where MNIST cannot be had.
    Ctrl-C ends the training and keeps what was reached.
    """
    console = _console()
    with _clear_errors():
        _check_can_write(output)
        dataset = _load(data, console)
        settings = RECIPES[recipe or ("digits" if dataset.name == "digits" else "quick")]
        settings = settings._replace(
            hidden=hidden or settings.hidden,
            epochs=epochs or settings.epochs,
            batch_size=batch_size or settings.batch_size,
            learning_rate=settings.learning_rate if learning_rate is None else learning_rate,
        )
        run = prepare(settings, key(seed), dataset.X_train, dataset.Y_train)
        console.print(_headline(settings, dataset, seed))
        trained = _train(run, settings, dataset, console)
        save_params(output, trained.params, g=settings.g, trained_on=dataset.name)
        if trained.interrupted:
            raise CommandError(f"interrupted; what was reached is in {output}")
        result = _evaluate(trained.params, dataset.X_test, dataset.Y_test, settings.g)
        console.print(
            f"test accuracy {_percent(result.accuracy)} after {trained.seconds:.1f} s of training, "
            f"saved in {output}"
        )


@app.command("evaluate")
def evaluate_command(
    model: Annotated[Path, typer.Argument(help="A file that train wrote.")],
    data: _Data = None,
) -> None:
    """Report how well a network does on the test images of a data set.

    Without --data it is the data set that the network was trained on.
    """
    console = _console()
    with _clear_errors():
        params, g, trained_on = load_model(model)
        dataset = _load(data or trained_on or "mnist", console)
        pixels, expected = len(dataset.X_test), params.W1.shape[1]
        if pixels != expected:
            raise CommandError(
                f"{model} is for images of {expected} pixels, but those of {dataset.name} have "
                f"{pixels}; name the data set that it was trained on with --data"
            )
        result = _evaluate(params, dataset.X_test, dataset.Y_test, g)
        console.print(f"data set {dataset.name}, {len(dataset.Y_test):,} test images")
        console.print(f"test accuracy {_percent(result.accuracy)}, loss {result.loss:.4f}")
        console.print("\ndigit  precision   recall")
        scores = class_scores(result.confusion)
        for digit, (precision, recall) in enumerate(zip(*scores, strict=True)):
            console.print(f"{digit:>5}  {_percent(precision):>9}  {_percent(recall):>7}")


def _console() -> Console:
    """Print text as it is: a file may be called ``[red].npz``."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


class _Trained(NamedTuple):
    params: Params
    seconds: float
    interrupted: bool


def _train(run: Run, settings: Recipe, dataset: Dataset, console: Console) -> _Trained:
    """Consume the stream of epochs, and show how it goes."""
    m = len(dataset.Y_train)
    steps = math.ceil(m / (settings.batch_size or m))
    every = math.ceil(run.epochs / _MOST_LINES)
    reached = run.state
    seconds = 0.0
    # Numbers that overflow are found out by the loss, and reported in words.
    with _progress(console) as progress, np.errstate(over="ignore", invalid="ignore"):
        bar = progress.add_task("training", total=run.epochs * steps)

        def step(state: TrainState[Any], batch: Batch) -> TrainState[Any]:
            nonlocal reached
            reached = run.step(state, batch)
            progress.advance(bar)
            return reached

        stream = train_epochs(step, run.state, run.batches, run.epochs)
        try:
            start = time.perf_counter()
            for state in stream:
                seconds += time.perf_counter() - start
                if state.epoch % every == 0 or state.epoch == run.epochs:
                    X, Y = dataset.X_train[:, :_SAMPLE], dataset.Y_train[:_SAMPLE]
                    result = _evaluate(state.params, X, Y, settings.g)
                    console.print(
                        f"epoch {state.epoch:>{len(str(run.epochs))}}/{run.epochs}  "
                        f"training loss {result.loss:.4f}  accuracy {_percent(result.accuracy)}"
                    )
                    if not math.isfinite(result.loss):
                        raise CommandError(
                            f"the loss is {result.loss} after epoch {state.epoch}; "
                            f"try a --learning-rate below {settings.learning_rate:g}"
                        )
                start = time.perf_counter()
        except KeyboardInterrupt:
            return _Trained(reached.params, seconds, interrupted=True)
    return _Trained(reached.params, seconds, interrupted=False)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _evaluate(params: Params, X: np.ndarray, Y: np.ndarray, g: ActivationFunction) -> Evaluation:
    return evaluate(params, ordered_batches(X, Y, dtype=params.W1.dtype.type), g)


def _load(data: str | None, console: Console) -> Dataset:
    match data:
        case "mnist":
            return load_mnist()
        case "digits":
            return load_digits()
        case None:
            try:
                return load_mnist()
            except (DatasetError, IdxError, OSError) as error:
                console.print(f"{error}\nTraining on the built-in digits instead.")
                return load_digits()
        case directory:
            return load_idx_dataset(directory)._replace(name=os.path.abspath(directory))


def _headline(settings: Recipe, dataset: Dataset, seed: int) -> str:
    pixels, m = dataset.X_train.shape
    return (
        f"recipe {settings.name} on {m:,} images of {dataset.name}: "
        f"{pixels}-{settings.hidden}-10, epochs {settings.epochs}, "
        f"batch size {settings.batch_size or m:,}, "
        f"learning rate {settings.learning_rate:g}, seed {seed}"
    )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.2f} %"


def _check_can_write(path: Path) -> None:
    """Refuse before the training, not after it."""
    try:
        check_replaceable(path)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}; name a file with --output"
        ) from error
    directory = path.absolute().parent
    if not directory.is_dir():
        raise CommandError(f"there is no directory {directory}; make it, or name another --output")
    if not os.access(directory, os.W_OK):
        raise CommandError(f"{directory} cannot be written to; name another --output")


@contextlib.contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except (CommandError, DatasetError, IdxError, ModelError, OSError, ValueError) as error:
        typer.echo(f"mnist-fn: {error}", err=True)
        raise typer.Exit(1) from error
    except MemoryError as error:
        typer.echo(f"mnist-fn: there is not enough memory; {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("mnist-fn: interrupted; nothing was written", err=True)
        raise typer.Exit(1) from None
