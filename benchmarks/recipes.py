"""What the recipes reach: ``python benchmarks/recipes.py [--quick | --times | --choose NAME]``.

Trains the fast recipes over five seeds and prints the test accuracy and the seconds of
training, as mean and standard deviation. With ``--times`` it does so, over three seeds,
for settings that take longer and longer. With ``--choose`` it trains the
variations that a recipe was chosen from, on 50,000 images, and prints their accuracy on
the 10,000 that were held back; the test set is left alone. As many of them are trained at a
time as there are cores, each on one. The slow recipes, over five seeds, are in
``paper_table.py``.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import mnist_fn as mf
from mnist_fn import Dataset, Recipe, recipes, views
from mnist_fn.effects.sweeps import trials_of
from mnist_fn.effects.workers import cores, processes


def train_and_test(recipe: Recipe, seed: int, dataset: Dataset) -> tuple[float, float]:
    """Return the accuracy on the test part, and the seconds that the training took."""
    run = mf.prepare(recipe, mf.key(seed), dataset.X_train, dataset.Y_train)
    start = time.perf_counter()
    *_, last = mf.train_epochs(*run)
    seconds = time.perf_counter() - start
    batches = mf.ordered_batches(dataset.X_test, dataset.Y_test)
    network = mf.Member(last.params, *recipe.views)
    return mf.evaluate([network], batches, recipe.g).accuracy, seconds


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, or 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


Result: TypeAlias = tuple[float, float]
"""The accuracy, and the seconds of training."""


def table(
    rows: Iterable[tuple[Recipe, Dataset]], results_of: Iterator[Result], seeds: int
) -> list[dict[str, object]]:
    """Take the results of each recipe, as many as seeds, print a row, and return all figures."""
    print(
        "recipe            hidden epochs batch  rate dropout  distortion              data"
        "         accuracy           seconds"
    )
    results: list[dict[str, object]] = []
    for recipe, dataset in rows:
        runs = itertools.islice(results_of, seeds)
        accuracies, seconds = zip(*runs, strict=True)
        mean, spread = statistics.mean(accuracies), deviation(accuracies)
        distortion = tuple(recipe.distortion or ())
        print(
            f"{recipe.name:<17} {recipe.hidden:>6} {recipe.epochs:>6} "
            f"{recipe.batch_size or 'all':>5} {recipe.learning_rate:>5g} "
            f"{recipe.pixel_dropout:g}, {recipe.hidden_dropout:g}".ljust(52)
            + f"{', '.join(f'{number:g}' for number in distortion):<24} {dataset.name:<10} "
            f"{100 * mean:6.2f} % +- {100 * spread:.2f}   "
            f"{statistics.mean(seconds):6.1f} +- {deviation(seconds):.1f}",
            flush=True,
        )
        settings = {name: str(value) for name, value in recipe._asdict().items()}
        results.append(
            {"recipe": settings, "data": dataset.name, "accuracy": accuracies, "seconds": seconds}
        )
    return results


# With few epochs, a distortion need not fall; and the images are as they are.
_WIDE = recipes.elastic._replace(views=(views.as_they_are,), distortion_end=1.0)
TIMES = [
    recipes.quick._replace(name="quick, 3", epochs=3),
    recipes.quick,
    _WIDE._replace(name="wide, 16", epochs=16, distortion=mf.Distortion(displacement=12)),
    _WIDE._replace(name="wide, 36", epochs=36, distortion=mf.Distortion()),
]


def candidates(name: str) -> Iterable[Recipe]:
    """Yield the variations that a recipe was chosen from, the slow ones with fewer epochs."""
    distortion = mf.Distortion()
    if name == "quick":
        for hidden, displacement in itertools.product((128, 192, 256), (5.0, 10.0, 20.0)):
            yield recipes.quick._replace(
                hidden=hidden, distortion=distortion._replace(displacement=displacement)
            )
    if name == "plain":
        for dropout, rate in itertools.product(((0.0, 0.0), (0.2, 0.5), (0.3, 0.5)), (0.05, 0.1)):
            yield recipes.plain._replace(
                epochs=40, learning_rate=rate, pixel_dropout=dropout[0], hidden_dropout=dropout[1]
            )
    if name == "elastic":
        wide = distortion._replace(rotation=15, scaling=0.15, shear=0.15)
        for ranges, displacement in itertools.product((distortion, wide), (16.0, 20.0, 24.0)):
            yield recipes.elastic._replace(
                epochs=40, distortion=ranges._replace(displacement=displacement)
            )
        alone = [view for view in views.VIEWS.values() if view.images == 1]
        for view, end in itertools.product(alone, (1.0, 0.4)):
            yield recipes.elastic._replace(
                name=f"{view.name}, {end:g}", epochs=40, views=(view,), distortion_end=end
            )


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="What the recipes reach.")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true", help="one seed, and not the slow recipe")
    what.add_argument("--times", action="store_true", help="settings that take longer and longer")
    what.add_argument(
        "--choose", choices=("quick", "plain", "elastic"), help="compare on the validation part"
    )
    arguments = parser.parse_args()
    mnist = mf.load_mnist()
    seeds, part = 5, "recipes"
    if arguments.choose:
        part = f"recipes-{arguments.choose}"
        rows = [
            (recipe, mnist._replace(name="validation")) for recipe in candidates(arguments.choose)
        ]
        seeds = 3 if arguments.choose == "quick" else 1
    elif arguments.times:
        seeds, part = 3, "recipes-times"
        rows = [(recipe, mnist) for recipe in TIMES]
    else:
        rows = [(recipes.quick, mnist), (recipes.digits, mf.load_digits())]
        rows += [] if arguments.quick else [(recipes.seed, mnist)]
        seeds = 1 if arguments.quick else 5
    with contextlib.ExitStack() as stack:
        runs = [(recipe, seed, dataset) for recipe, dataset in rows for seed in range(seeds)]
        results_of: Iterator[Result] = itertools.starmap(train_and_test, runs)
        if arguments.choose:
            map_ = stack.enter_context(processes(cores()))
            pairs = [(recipe, mf.key(seed)) for recipe, seed, _ in runs]
            trials = trials_of(pairs, mf.load_mnist, 10_000, map_)
            results_of = ((trial.validation_accuracy, trial.seconds) for trial in trials)
        results = table(rows, results_of, seeds)
    Path(__file__).with_name(f"{part}.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
