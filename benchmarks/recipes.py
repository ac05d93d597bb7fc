"""What the recipes reach: ``python benchmarks/recipes.py [--quick] [--choose]``.

Trains each recipe over five seeds and prints the test accuracy and the seconds of
training, as mean and standard deviation. With ``--choose`` it trains the variations
that ``quick`` was chosen from, on 50,000 images, and prints their accuracy on the
10,000 that were held back; the test set is left alone.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import mnist_fn as mf
from mnist_fn import Dataset, Recipe, recipes


def train_and_test(recipe: Recipe, seed: int, dataset: Dataset) -> tuple[float, float]:
    """Return the accuracy on the test part, and the seconds that the training took."""
    run = mf.prepare(recipe, mf.key(seed), dataset.X_train, dataset.Y_train)
    start = time.perf_counter()
    *_, last = mf.train_epochs(*run)
    seconds = time.perf_counter() - start
    batches = mf.ordered_batches(dataset.X_test, dataset.Y_test)
    return mf.evaluate(last.params, batches, recipe.g).accuracy, seconds


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, or 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def table(rows: Iterable[tuple[Recipe, Dataset]], seeds: int) -> list[dict[str, object]]:
    """Train, print a row for each recipe, and return all the figures."""
    print("recipe   hidden  epochs  batch   rate  data        accuracy            seconds")
    results: list[dict[str, object]] = []
    for recipe, dataset in rows:
        runs = [train_and_test(recipe, seed, dataset) for seed in range(seeds)]
        accuracies, seconds = zip(*runs, strict=True)
        mean, spread = statistics.mean(accuracies), deviation(accuracies)
        print(
            f"{recipe.name:<8} {recipe.hidden:>6} {recipe.epochs:>7} "
            f"{recipe.batch_size or 'all':>6} {recipe.learning_rate:>6}  {dataset.name:<10} "
            f"{100 * mean:6.2f} % +- {100 * spread:.2f}   "
            f"{statistics.mean(seconds):6.1f} +- {deviation(seconds):.1f}",
            flush=True,
        )
        settings = {name: value for name, value in recipe._asdict().items() if name != "g"}
        results.append(
            {"recipe": settings, "data": dataset.name, "accuracy": accuracies, "seconds": seconds}
        )
    return results


def candidates() -> Iterable[Recipe]:
    """Yield the variations that ``quick`` was chosen from."""
    for hidden, batch_size, rate in itertools.product((128, 192), (64, 128), (0.05, 0.1, 0.2)):
        yield recipes.quick._replace(hidden=hidden, batch_size=batch_size, learning_rate=rate)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description="What the recipes reach.")
    parser.add_argument("--quick", action="store_true", help="one seed, and not the slow recipe")
    parser.add_argument("--choose", action="store_true", help="compare on the validation part")
    arguments = parser.parse_args()
    mnist = mf.load_mnist()
    if arguments.choose:
        validation = mf.hold_out(mnist.X_train, mnist.Y_train)
        rows = [(recipe, validation) for recipe in candidates()]
    else:
        rows = [(recipes.quick, mnist), (recipes.digits, mf.load_digits())]
        rows += [] if arguments.quick else [(recipes.seed, mnist)]
    results = table(rows, seeds=1 if arguments.quick else 5)
    name = "recipes-choice.json" if arguments.choose else "recipes.json"
    Path(__file__).with_name(name).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
