"""``mnist-fn train``."""

import math
from pathlib import Path
from typing import Annotated

import typer

from ..recipes import RECIPES
from .checkpoints import Checkpoint
from .sessions import (
    begin_checkpoints,
    check_can_write,
    headline,
    load_data,
    newest_checkpoint,
    own_directory,
    resumed,
    train_and_save,
    training_of,
)
from .terminal import DataOption, clear_errors, new_console, say


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def _named(name: str | None) -> Path | None:
    if name == "":  # which a Path makes the current directory
        raise typer.BadParameter("the name is empty; give one, or leave the option out.")
    return None if name is None else Path(name)


_RECIPES = [f"{recipe.name}: {recipe.about}." for recipe in RECIPES.values()]
_TIMES = "Recipes, with the time on one core of a Zen 4 server:"


def _recipe_name(name: str | None) -> str | None:
    if name == "list":
        typer.echo("\n".join(_RECIPES))
        raise typer.Exit
    if name is not None and name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(RECIPES)}.")
    return name


RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|list",
        callback=_recipe_name,
        help="The settings to start from: see below. By default quick, or digits for the "
        "built-in digits.",
        show_default=False,
    ),
]

EPILOG = "\n\n".join([_TIMES, *_RECIPES])
_OWN = "the recipe's own"


def train(
    context: typer.Context,
    data: DataOption = None,
    recipe: RecipeOption = None,
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
    validation: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many of the training images to hold back, to watch the training on.",
            show_default="a twelfth of them",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            path_type=str,
            callback=_named,
            help="Save what is reached after every epoch there.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            path_type=str,
            callback=_named,
            help="Go on from the newest checkpoint there, with its settings.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(path_type=str, callback=_named, help="The file to write.")
    ] = Path("model.npz"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Train a network and write it to a file.

    Without --data it learns MNIST, or the built-in digits where MNIST cannot be had.
    Ctrl-C ends the training and keeps what was reached.
    """
    if resume:
        _refuse_settings(context)
    console = new_console(quiet)
    with clear_errors(), own_directory(resume or checkpoint, begun=resume is not None):
        check_can_write(output)
        if resume:
            start = newest_checkpoint(resume, console)
            training = resumed(start, console)
        else:
            dataset = load_data(data, console)
            settings = RECIPES[recipe or ("digits" if dataset.name == "digits" else "quick")]
            settings = settings._replace(
                hidden=hidden or settings.hidden,
                epochs=epochs or settings.epochs,
                batch_size=batch_size or settings.batch_size,
                learning_rate=settings.learning_rate if learning_rate is None else learning_rate,
            )
            training, told = training_of(settings, seed, dataset, validation)
            start = Checkpoint(told)
            if checkpoint:
                begin_checkpoints(checkpoint, start)
        say(console, headline(training, int(start.settings["seed"])))
        if start.history:
            say(console, f"going on after {len(start.history)} epochs")
        train_and_save(training, start, resume or checkpoint, output, console)


def _refuse_settings(context: typer.Context) -> None:
    """Raise a usage error if something is set that a checkpoint has settled."""
    for name in context.params:
        if name in ("resume", "output", "quiet"):
            continue
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(
                f"{option} and --resume exclude each other: a training goes on as it began."
            )
