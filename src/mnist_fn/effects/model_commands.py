"""The commands that use a model file: ``evaluate``, ``predict``, ``report`` and ``page``."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..batches import Dataset
from ..committees import image_pixels
from ..evaluation import class_scores
from ..page import page as page_of
from .files import replacing
from .models import Model, load_model
from .newest import newest_model
from .predicting import Answer, answers, check_pixels, json_of, line_of, shown
from .sessions import check_can_write, load_data
from .terminal import CommandError, DataOption, clear_errors, new_console, percent, say
from .validation import evaluate_members

PREDICT_EXAMPLES = (
    "Examples: mnist-fn predict 7.png; mnist-fn predict model.npz drawings/ '*.jpg' --json; "
    "scan | mnist-fn predict - --show"
)
_ModelArgument = Annotated[
    Path | None,
    typer.Argument(help="A model file.", show_default="the newest that train wrote"),
]


def _report_format(name: str | None) -> str | None:
    if name not in (None, "html", "png"):
        raise typer.BadParameter(f"{name!r} is not html or png.")
    return name


def evaluate(
    model: _ModelArgument = None,
    data: DataOption = None,
) -> None:
    """Report how well a network does on the test images of a data set.

    Without --data it is the data set that the network was trained on.
    """
    console = new_console()
    with clear_errors():
        _, loaded, dataset = _model_and_data(model, data, console)
        result = evaluate_members(loaded.members, dataset.X_test, dataset.Y_test, loaded.g)
        say(console, f"data set {dataset.name}, {len(dataset.Y_test):,} test images")
        say(console, f"test accuracy {percent(result.accuracy)}, loss {result.loss:.4f}")
        say(console, "\ndigit  precision   recall")
        scores = class_scores(result.confusion)
        for digit, (precision, recall) in enumerate(zip(*scores, strict=True)):
            say(console, f"{digit:>5}  {percent(precision):>9}  {percent(recall):>7}")


def predict(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL.npz] FILE...",
            help="A model file, by default the newest that train wrote; then pictures of one "
            "digit each, folders of them, patterns such as '*.png', or - for standard input.",
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an array of objects, for programs.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Show the 28 x 28 image that a picture becomes.")
    ] = False,
) -> None:
    """Tell which digits pictures show: the digit, its probability, and the next two."""
    if as_json and show:
        raise typer.BadParameter("--show and --json exclude each other.")
    console = new_console()
    with clear_errors():
        model, names = _split_model(files)
        loaded = load_model(model)
        check_pixels(loaded, str(model))
        failed = False
        found: Iterable[Answer] = answers(loaded, names)
        if as_json:
            found = list(found)
            typer.echo(json_of(found))
        for answer in found:
            failed |= bool(answer.error)
            if answer.error:
                typer.echo(f"mnist-fn: {line_of(answer)}", err=True)
            elif not as_json:
                say(console, line_of(answer))
                if show and answer.image is not None:
                    say(console, shown(answer.image))
        if failed:
            raise typer.Exit(1)


def _split_model(files: list[str]) -> tuple[Path, list[str]]:
    """Return the model file, and the rest."""
    if not files[0].endswith(".npz") and not zipfile.is_zipfile(files[0]):
        return newest_model(), files
    if not files[1:]:
        raise CommandError(f"name one picture or more after {files[0]}, or - for standard input")
    return Path(files[0]), files[1:]


def report(
    model: _ModelArgument = None,
    data: DataOption = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="html|png",
            callback=_report_format,
            help="Its kind.",
            show_default="by the name of the file, else html",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The file to write.", show_default="report.html or report.png"),
    ] = None,
) -> None:
    """Write how good a network is: curves, confusions, mistakes, weights, calibration.

    It is one file that needs nothing else, for any browser.
    """
    console = new_console()
    with clear_errors():
        if output_format is None:
            output_format = "png" if output and output.suffix.lower() == ".png" else "html"
        output = output or Path(f"report.{output_format}")
        check_can_write(output)
        try:
            from .reports import html_report, png_report
        except ModuleNotFoundError as error:
            raise CommandError(
                f"a report needs {error.name}, which is not installed; install the extra 'app'"
            ) from error
        name, loaded, dataset = _model_and_data(model, data, console)
        arguments = loaded.members, loaded.g, dataset, loaded.history, loaded.settings
        if output_format == "html":
            content = html_report(*arguments).encode()
        else:
            content = png_report(*arguments)
        _write(output, content)
        say(console, f"the report on {name} is in {output}")


def page(
    model: _ModelArgument = None,
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("page.html"),
) -> None:
    """Write a web page on which one draws digits, and sees what the network makes of them.

    It is one file that needs no server and no network: open it in any browser.
    """
    console = new_console()
    with clear_errors():
        check_can_write(output)
        name = model or newest_model()
        loaded = load_model(name)
        check_pixels(loaded, str(name))
        _write(output, page_of(loaded.members, loaded.g).encode())
        say(console, f"the page for {name} is in {output}; open it in a browser")


def _write(path: Path, content: bytes) -> None:
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written: {error.strerror}; make room, or name a file elsewhere "
            "with --output"
        ) from error


def _model_and_data(
    model: Path | None, data: str | None, console: Console
) -> tuple[Path, Model, Dataset]:
    """Return the model file, what it holds, and the data set to measure it on."""
    name = model or newest_model()
    loaded = load_model(name)
    trained_on = loaded.trained_on
    if not (data or trained_on):
        raise CommandError(
            f"{name} does not say what it was trained on; name a data set with --data"
        )
    if not data and trained_on not in ("mnist", "digits") and not Path(trained_on).is_dir():
        raise CommandError(
            f"{name} was trained on the data in {trained_on}, which is not there; "
            "name where it is now with --data"
        )
    dataset = load_data(data or trained_on, console)
    classes = len(loaded.members[0].params.W2)
    if classes != 10:
        raise CommandError(f"{name} tells {classes} classes apart, but digits are of ten")
    pixels, expected = len(dataset.X_test), image_pixels(loaded.members[0])
    if pixels != expected:
        raise CommandError(
            f"{name} is for images of {expected} pixels, but those of {dataset.name} have "
            f"{pixels}; name the data set that it was trained on with --data"
        )
    return name, loaded, dataset
