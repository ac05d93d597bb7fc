"""The command line: ``mnist-fn`` and its commands."""

from typing import Annotated

import typer

from . import blas
from .enlarge_command import enlarge
from .model_commands import PREDICT_EXAMPLES, evaluate, page, predict, report
from .sweep_command import SWEEP_EPILOG, sweep
from .terminal import clear_errors, new_console, say
from .terminal import version as package_version
from .train_command import EPILOG, train

_EXAMPLES = """
Begin with:

  mnist-fn train                    learn MNIST: some ten seconds

  mnist-fn predict my_digit.png     what is it? (needs a trained network)

  mnist-fn page                     a web page to draw digits on

  mnist-fn report                   how good the network is, in pictures
"""

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train and use a two-layer network for handwritten digits.",
    epilog=_EXAMPLES,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnist-fn {package_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take what comes before a command."""


app.command(epilog=EPILOG)(train)
app.command(epilog=SWEEP_EPILOG)(sweep)
app.command()(evaluate)
app.command(epilog=PREDICT_EXAMPLES)(predict)
app.command()(report)
app.command()(page)
app.command()(enlarge)


@app.command()
def doctor() -> None:
    """Tell which matrix library NumPy runs on, how fast, and whether it could be faster."""
    console = new_console()
    with clear_errors():
        for line in blas.report():
            say(console, line)
