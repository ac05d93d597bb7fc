"""The published table, and ours: ``python benchmarks/paper_table.py [--quick]``.

Trains ``plain``, ``best`` and ``committee`` over five seeds on all 60,000 training
images, opens the test set once for each, and prints the errors beside those that were
published for networks with one hidden layer. ``elastic`` is the first member of each
committee, which has the key that ``elastic`` alone would have. Writes
``paper_table.json`` after each training, and the picture ``paper_table.png``.

With ``--quick`` it trains one seed for one epoch, to see that all of it works.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from measuring import COLOURS, print_machine, save, save_picture, subplots

import mnist_fn as mf
from mnist_fn import Dataset, Params, Recipe, recipes


class Published(NamedTuple):
    """A row of the literature: the error on the 10,000 test images, in percent."""

    network: str
    error: float
    source: str


class Ours(NamedTuple):
    """The same of one recipe, for each seed."""

    recipe: str
    errors: list[float]
    seconds: list[float]


LECUN = "LeCun et al. 1998"
SIMARD = "Simard et al. 2003"
MEIER = "Meier et al. 2011"

# What is published, with the recipe that stands against it.
TABLE = [
    (Published("300 hidden units", 4.7, LECUN), "quick"),
    (Published("800 hidden units, cross-entropy", 1.6, SIMARD), "plain"),
    (Published("800 hidden units, affine distortions", 1.1, SIMARD), "elastic"),
    (Published("800 hidden units, elastic distortions", 0.7, SIMARD), "elastic"),
    (Published("the best with one hidden layer", 0.7, SIMARD), "best"),
    (Published("committee of 25", 0.39, MEIER), "committee"),
]


def error_of(members: Sequence[Params], dataset: Dataset) -> float:
    """Return the share of the test images that a committee gets wrong, in percent."""
    batches = mf.ordered_batches(dataset.X_test, dataset.Y_test)
    return 100 * (1 - mf.evaluate(members, batches).accuracy)


def trained(recipe: Recipe, seed: int, dataset: Dataset) -> Iterator[tuple[str, float, float]]:
    """Train a recipe, and yield its name, its error and the seconds of training.

    Of a committee, yield the same for its first member before.
    """
    seconds, finished = 0.0, 0
    start = time.perf_counter()
    for members, _ in mf.train_members(
        mf.prepare_members(recipe, mf.key(seed), dataset.X_train, dataset.Y_train)
    ):
        seconds += time.perf_counter() - start
        if len(members) > finished:
            finished = len(members)
            if finished == recipe.members:
                yield recipe.name, error_of(members, dataset), seconds
            elif finished == 1:
                yield recipes.elastic.name, error_of(members, dataset), seconds
        start = time.perf_counter()


def text_of(ours: Ours) -> tuple[str, str]:
    """Return the mean and the deviation of the errors, and the seconds."""
    if len(ours.errors) == 1:
        return f"{ours.errors[0]:.2f} %", f"{ours.seconds[0]:.0f}"
    mean, deviation = statistics.mean(ours.errors), statistics.stdev(ours.errors)
    seconds = statistics.mean(ours.seconds), statistics.stdev(ours.seconds)
    return f"{mean:.3f} +- {deviation:.3f} %", f"{seconds[0]:.0f} +- {seconds[1]:.0f}"


def print_table(results: dict[str, Ours]) -> None:
    """Print each published row beside ours."""
    print(f"\n{'published':<60} {'error':>7}  ours       {'error':<18} seconds")
    for published, name in TABLE:
        error, seconds = text_of(results[name])
        what = f"{published.network} ({published.source})"
        print(f"{what:<60} {published.error:>5.2f} %  {name:<10} {error:<18} {seconds}")


def draw(results: dict[str, Ours]) -> None:
    """Draw the published errors and ours, one below the other."""
    figure, axes = subplots(figsize=(8, 4.6), layout="constrained")
    rows = np.arange(len(TABLE))
    published = [row.error for row, _ in TABLE]
    ours = [results[name] for _, name in TABLE]
    means = [statistics.mean(row.errors) for row in ours]
    spreads = [np.std(row.errors) for row in ours]
    axes.barh(rows - 0.2, published, 0.38, color=COLOURS[2], label="published")
    axes.barh(rows + 0.2, means, 0.38, xerr=spreads, color=COLOURS[0], label="mnist_fn")
    for row, (theirs, mean) in enumerate(zip(published, means, strict=True)):
        axes.annotate(f" {theirs:.2f} %", (theirs, row - 0.2), va="center")
        axes.annotate(f"  {mean:.2f} %  ({ours[row].recipe})", (mean, row + 0.2), va="center")
    axes.set_yticks(rows, [f"{row.network}\n{row.source}" for row, _ in TABLE])
    axes.invert_yaxis()
    axes.set_xlim(0, 5.2)
    axes.set_xlabel("error on the 10,000 test images, in percent (less is better)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False)
    save_picture(__file__, figure)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="The published table, and ours.")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch")
    quick = parser.parse_args().quick
    print_machine()
    dataset = mf.load_mnist()
    results: dict[str, Ours] = {}
    for recipe in (recipes.quick, recipes.plain, recipes.best, recipes.committee):
        if quick:
            recipe = recipe._replace(epochs=1, warm_up=0, members=min(recipe.members, 2))
        for seed in range(1 if quick else 5):
            for name, error, seconds in trained(recipe, seed, dataset):
                print(f"{name:<10} seed {seed}: {error:.2f} % in {seconds:.0f} s", flush=True)
                row = results.setdefault(name, Ours(name, [], []))
                row.errors.append(error)
                row.seconds.append(seconds)
                if not quick:  # at once: what took minutes is not lost
                    save(__file__, [row._asdict() for row in results.values()])
    print_table(results)
    if not quick:
        draw(results)


if __name__ == "__main__":
    main()
