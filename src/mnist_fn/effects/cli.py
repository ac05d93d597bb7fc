"""The command line: ``mnist-fn train``, ``evaluate`` and ``doctor``."""

import math
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console

from ..activation_functions import ActivationFunction
from ..batches import Batch, Dataset, ordered_batches
from ..committees import Member, join
from ..evaluation import Evaluation, class_scores, evaluate
from ..idx import IdxError
from ..keys import Key, key
from ..recipes import RECIPES, Recipe, members_of, prepare
from ..training import Step, TrainState, train_epochs
from . import blas
from .checkpoints import check_replaceable, load_model, save_params
from .datasets import DatasetError, load_digits, load_idx_dataset, load_mnist
from .terminal import CommandError, clear_errors, new_console, percent, progress_bar, say

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train and use a two-layer network for handwritten digits.",
)

_MOST_LINES = 20  # of progress: a run of 500 epochs is not 500 lines
_SAMPLE = 10_000  # training images that the loss and accuracy of an epoch are taken on


def _finite(number: float | None) -> float | None:
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number.")
    return number


def _recipe_name(name: str | None) -> str | None:
    if name == "list":
        for recipe in RECIPES.values():
            typer.echo(f"{recipe.name:<10} {recipe.about}")
        raise typer.Exit
    if name is not None and name not in RECIPES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(RECIPES)}.")
    return name


_OWN = "the recipe's own"

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
            metavar="NAME",
            callback=_recipe_name,
            help="The settings to start from; 'list' tells which there are. By default it is "
            "quick, or digits for the built-in digits.",
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
        trained = _train(settings, key(seed), dataset, console)
        if not trained.members:
            raise CommandError("interrupted in the first epoch; nothing was written")
        save_params(output, trained.members, g=settings.g, trained_on=dataset.name)
        if trained.interrupted_after:
            raise CommandError(
                f"interrupted after {trained.interrupted_after}; what was reached is in {output}"
            )
        result = _evaluate(trained.members, dataset.X_test, dataset.Y_test, settings.g)
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
        members, g, trained_on = load_model(model)
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
        pixels, expected = len(dataset.X_test), members[0].params.W1.shape[1]
        if pixels != expected:
            raise CommandError(
                f"{model} is for images of {expected} pixels, but those of {dataset.name} have "
                f"{pixels}; name the data set that it was trained on with --data"
            )
        result = _evaluate(members, dataset.X_test, dataset.Y_test, g)
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


class _Trained(NamedTuple):
    members: Sequence[Member]
    seconds: float
    interrupted_after: str


def _train(settings: Recipe, key: Key, dataset: Dataset, console: Console) -> _Trained:
    """Consume the stream of epochs of each member, and show how it goes."""
    m = len(dataset.Y_train)
    steps = math.ceil(m / (settings.batch_size or m))
    in_all = len(settings.views) * settings.epochs
    every = -(-in_all // _MOST_LINES)
    finished: list[Member] = []
    reached: Sequence[Member] = ()
    seconds, epoch, where = 0.0, 0, ""
    # Numbers that overflow are found out by the loss, and reported in words.
    with progress_bar(console) as progress, np.errstate(over="ignore", invalid="ignore"):
        bar = progress.add_task("training", total=in_all * steps)

        def shown(step: Step[Any]) -> Step[Any]:
            def shown_step(state: TrainState[Any], batch: Batch) -> TrainState[Any]:
                after: TrainState[Any] = step(state, batch)
                progress.advance(bar)
                return after

            return shown_step

        try:
            start = time.perf_counter()
            for alone, member_key in members_of(settings, key):
                run = prepare(alone, member_key, dataset.X_train, dataset.Y_train)
                for state in train_epochs(*run._replace(step=shown(run.step))):
                    seconds += time.perf_counter() - start
                    epoch += 1
                    where = _where(settings, epoch)
                    member = Member(state.params, *alone.views)
                    if state.epoch == run.epochs:
                        finished.append(member)
                    # A member that is not finished would make a committee worse.
                    reached = finished or [member]
                    if epoch % every == 0 or epoch == in_all:
                        loss = _report(member, where, settings, dataset, console)
                        if not math.isfinite(loss):
                            raise CommandError(
                                f"the loss is {loss} after {where}; "
                                f"try a --learning-rate below {settings.learning_rate:g}"
                            )
                    start = time.perf_counter()
        except KeyboardInterrupt:
            # What was reached is saved now; pressing again must not get in between.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return _Trained(reached, seconds, interrupted_after=where)
    if settings.joined:
        finished = [Member(join([member.params for member in finished]), settings.views[0])]
    return _Trained(finished, seconds, interrupted_after="")


def _report(
    member: Member, where: str, settings: Recipe, dataset: Dataset, console: Console
) -> float:
    """Print how a member does on images that it is trained on, and return its loss."""
    X, Y = dataset.X_train[:, :_SAMPLE], dataset.Y_train[:_SAMPLE]
    result = _evaluate([member], X, Y, settings.g)
    width = len(_where(settings, len(settings.views) * settings.epochs))
    say(
        console,
        f"{where:<{width}}  training loss {result.loss:.4f}  accuracy {percent(result.accuracy)}",
    )
    return result.loss


def _where(settings: Recipe, epoch: int) -> str:
    """Name the epoch, of all that the members are trained for."""
    member, epoch = divmod(epoch - 1, settings.epochs)
    text = f"epoch {epoch + 1}/{settings.epochs}"
    members = len(settings.views)
    return text if members == 1 else f"member {member + 1}/{members}  {text}"


def _evaluate(
    members: Sequence[Member], X: np.ndarray, Y: np.ndarray, g: ActivationFunction
) -> Evaluation:
    dtype = members[0].params.W1.dtype.type
    return evaluate(members, ordered_batches(X, Y, dtype=dtype), g)


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
