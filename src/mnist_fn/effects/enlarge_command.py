"""``mnist-fn enlarge``."""

from pathlib import Path
from typing import Annotated

import typer

from ..keys import key
from .enlarging import enlarge as write_enlarged
from .sessions import load_data
from .terminal import DataOption, clear_errors, new_console, progress_bar, say


def enlarge(
    output: Annotated[
        Path,
        typer.Argument(metavar="OUTPUT_DIRECTORY", help="A directory that is not there yet."),
    ],
    data: DataOption = None,
    times: Annotated[
        int, typer.Option(min=1, help="How many times as many images to train with.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same images.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write a larger data set: the images as they are, then distorted copies of them.

    mnist-fn train --data OUTPUT_DIRECTORY trains on it, however large it is. The test images
    stay as they are. The directory is there whole or not at all.
    """
    console = new_console(quiet)
    with clear_errors():
        dataset = load_data(data, console)
        images = times * len(dataset.Y_train)
        with progress_bar(console) as progress:
            bar = progress.add_task("enlarging", total=images)
            write_enlarged(dataset, times, key(seed), output, lambda n: progress.advance(bar, n))
        megabytes = images * len(dataset.X_train) / 1e6
        say(
            console,
            f"{output}: {images:,} images to train with ({megabytes:,.0f} MB), "
            f"{len(dataset.Y_test):,} to test on",
        )
