"""The command line: ``mnist-fn train``, ``evaluate`` and ``doctor``."""

import math
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..batches import Dataset
from ..committees import Member
from ..evaluation import class_scores
from ..idx import IdxError
from ..keys import key
from ..recipes import RECIPES, Recipe
from . import blas
from .datasets import DatasetError, load_digits, load_idx_dataset, load_mnist
from .files import check_replaceable
from .models import load_model, save_params
from .terminal import CommandError, clear_errors, new_console, percent, say
from .watching import evaluate_members, train_watched

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train and use a two-layer network for handwritten digits.",
)


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


_RECIPES = [f"{recipe.name}: {recipe.about}." for recipe in RECIPES.values()]
_TIMES = "Recipes, with the time on one core of a Zen 4 server:"


def _recipe_name(name: str | None) -> str | None:
    if name == "list":
        typer.echo("\n".join(_RECIPES))
        raise typer.Exit
    if name is not None and name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(RECIPES)}.")
    return name


_OWN = "the recipe's own"

_Data = Annotated[
    str | None,
    typer.Option(metavar="mnist|digits|DIRECTORY", help="The data set.", show_default=False),
]


@app.command("train", epilog="\n\n".join([_TIMES, *_RECIPES]))
def train_command(
    data: _Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|list",
            callback=_recipe_name,
            help="The settings to start from: see below. By default quick, or digits for the "
            "built-in digits.",
            show_default=False,
        ),
    ] = None,
    hidden: Annotated[
        int | None, typer.Option(min=1, help="The number of hidden units.", show_default=_OWN)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="How many times to go through the images.", show_default=_OWN),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per step.", show_default=_OWN)
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            min=0, callback=_finite, help="The learning rate at the start.", show_default=_OWN
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same network.")] = 0,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.npz"),
) -> None:
    """Train a network and write it to a file.

    Without --data it learns MNIST, or the built-in digits where MNIST cannot be had.
    Ctrl-C ends the training and keeps what was reached.
    """
    console = new_console()
    with clear_errors():
        _check_can_write(output)
        dataset = _load(data, console)
        settings = RECIPES[recipe or ("digits" if dataset.name == "digits" else "quick")]
        settings = settings._replace(
            hidden=hidden or settings.hidden,
            epochs=epochs or settings.epochs,
            batch_size=batch_size or settings.batch_size,
            learning_rate=settings.learning_rate if learning_rate is None else learning_rate,
        )
        say(console, _headline(settings, dataset, seed))
        trained = train_watched(settings, key(seed), dataset, console)
        if not trained.members:
            raise CommandError(trained.ended)
        save_params(output, trained.members, g=settings.g, trained_on=dataset.name)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if trained.ended:
            raise CommandError(
                f"{trained.ended}; what was reached{_of(settings, trained.members)} is in {output}"
            )
        result = evaluate_members(trained.members, dataset.X_test, dataset.Y_test, settings.g)
        say(
            console,
            f"test accuracy {percent(result.accuracy)} after {trained.seconds:.1f} s of training, "
            f"saved in {output}",
        )


@app.command("evaluate")
def evaluate_command(
    model: Annotated[Path, typer.Argument(help="A file that train wrote.")],
    data: _Data = None,
) -> None:
    """Report how well a network does on the test images of a data set.

    Without --data it is the data set that the network was trained on.
    """
    console = new_console()
    with clear_errors():
        members, g, trained_on, *_ = load_model(model)
        if not (data or trained_on):
            raise CommandError(
                f"{model} does not say what it was trained on; name a data set with --data"
            )
        if not data and trained_on not in ("mnist", "digits") and not Path(trained_on).is_dir():
            raise CommandError(
                f"{model} was trained on the data in {trained_on}, which is not there; "
                "name where it is now with --data"
            )
        dataset = _load(data or trained_on, console)
        classes = len(members[0].params.W2)
        if classes != 10:
            raise CommandError(f"{model} tells {classes} classes apart, but digits are of ten")
        pixels, expected = len(dataset.X_test), members[0].params.W1.shape[1]
        if pixels != expected:
            raise CommandError(
                f"{model} is for images of {expected} pixels, but those of {dataset.name} have "
                f"{pixels}; name the data set that it was trained on with --data"
            )
        result = evaluate_members(members, dataset.X_test, dataset.Y_test, g)
        say(console, f"data set {dataset.name}, {len(dataset.Y_test):,} test images")
        say(console, f"test accuracy {percent(result.accuracy)}, loss {result.loss:.4f}")
        say(console, "\ndigit  precision   recall")
        scores = class_scores(result.confusion)
        for digit, (precision, recall) in enumerate(zip(*scores, strict=True)):
            say(console, f"{digit:>5}  {percent(precision):>9}  {percent(recall):>7}")


@app.command("doctor")
def doctor_command() -> None:
    """Tell which matrix library NumPy runs on, how fast, and whether it could be faster."""
    console = new_console()
    with clear_errors():
        for line in blas.report():
            say(console, line)


def _load(data: str | None, console: Console) -> Dataset:
    match data:
        case "mnist":
            dataset = load_mnist()
        case "digits":
            dataset = load_digits()
        case None if os.environ.get("MNIST_FN_DATA"):
            dataset = load_mnist()  # where to look was said, so that it must be there
        case None:
            try:
                dataset = load_mnist()
            except (DatasetError, IdxError, OSError) as error:
                say(console, f"{error}\nTraining on the built-in digits instead.")
                dataset = load_digits()
        case directory if Path(directory).is_dir():
            dataset = load_idx_dataset(directory)._replace(name=os.path.abspath(directory))
        case other:
            raise CommandError(f"{other!r} is neither mnist, nor digits, nor a directory with data")
    label = int(max(dataset.Y_train.max(), dataset.Y_test.max()))
    if label > 9:
        raise CommandError(
            f"{dataset.name} has the label {label}, but these networks tell ten classes apart, "
            "0 to 9"
        )
    return dataset


def _of(settings: Recipe, members: Sequence[Member]) -> str:
    in_all = len(settings.views)
    return f", {len(members)} of {in_all} networks," if in_all > 1 else ""


def _headline(settings: Recipe, dataset: Dataset, seed: int) -> str:
    pixels, m = dataset.X_train.shape
    members = f"{len(settings.views)} networks " if len(settings.views) > 1 else ""
    return (
        f"recipe {settings.name} on {m:,} images of {dataset.name}: "
        f"{members}{pixels}-{settings.hidden}-10, epochs {settings.epochs}, "
        f"batch size {settings.batch_size or m:,}, "
        f"learning rate {settings.learning_rate:g}, seed {seed}"
    )


def _check_can_write(path: Path) -> None:
    """Refuse before the training, not after it."""
    try:
        check_replaceable(path)
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}; name a file in a directory that is "
            "there and can be written to, with --output"
        ) from error
