"""What distorting images costs, and looks like: ``python benchmarks/distortion.py [--quick]``.

A batch of 128 is distorted, and a training step at 800 hidden units taken on one, in
turns: what counts is the ratio of their times. Draws ``distortion.png``: digits as they
are, and under distortions of the recipe ``elastic``.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from measuring import Spread, print_machine, save, save_picture, spread, subplots

import mnist_fn as mf
from mnist_fn import Dataset
from mnist_fn.recipes import elastic


def seconds(call: Callable[[], object], repeat: int) -> float:
    """Return the time of one call, as the mean of some."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def measure(dataset: Dataset, rounds: int, repeat: int) -> dict[str, Spread]:
    """Return the milliseconds of both, and their ratio, as median and quartiles."""
    X, Y = dataset.X_train, dataset.Y_train
    run = mf.prepare(elastic, mf.key(0), X, Y)
    distorted = next(iter(run.batches(0)))
    optimizer = mf.momentum(elastic.learning_rate, elastic.momentum, elastic.nesterov)
    params = mf.init_params(mf.key(0), pixels=len(run.pixels), hidden=elastic.hidden)
    step = mf.make_step(optimizer)
    state = step(mf.init_state(optimizer, params), distorted)
    plain = next(mf.epoch_batches(mf.key(0), 0, X, Y, elastic.batch_size or len(Y)))
    distortion = elastic.distortion or mf.Distortion()
    rows = []
    for _ in range(rounds):
        of_step = seconds(lambda: step(state, distorted), repeat)
        of_distortion = seconds(lambda: mf.distort(mf.key(1), plain.X, distortion), repeat)
        rows.append((1e3 * of_distortion, 1e3 * of_step, of_distortion / of_step))
    names = ("distortion, ms", "step, ms", "distortion over step")
    return {
        name: spread(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def draw(dataset: Dataset, columns: int = 12, rows: int = 5) -> None:
    """Draw some digits as they are in the first row, and distorted below."""
    X = mf.scale(dataset.X_train[:, :columns])
    images = [X, *(mf.distort(mf.key(seed), X) for seed in range(1, rows))]
    figure, axes = subplots(figsize=(columns * 0.6, rows * 0.62), layout="constrained")
    page = np.concatenate([row.T.reshape(-1, 28, 28) for row in images])
    page = page.reshape(rows, columns, 28, 28).transpose(0, 2, 1, 3).reshape(rows * 28, -1)
    axes.imshow(page, cmap="gray_r", vmin=0, vmax=1)
    axes.set_yticks([28 * row + 14 for row in range(rows)], ["MNIST", *["distorted"] * (rows - 1)])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.axhline(27.5, color="black", linewidth=0.8)
    save_picture(__file__, figure)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="What distorting images costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no files")
    quick = parser.parse_args().quick
    print_machine()
    dataset = mf.load_mnist()
    results = measure(dataset, rounds=11 if quick else 51, repeat=10 if quick else 40)
    for name, value in results.items():
        print(f"{name:<22} {value.text(3)}")
    if not quick:
        save(__file__, results)
        draw(dataset)


if __name__ == "__main__":
    main()
