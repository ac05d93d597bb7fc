"""Training beside others: ``python benchmarks/peers.py [--quick] [--rounds N]``.

Images per second over whole epochs, shuffling and batching included, of this library,
scikit-learn, PyTorch and JAX: the same network, batch size, learning rate, precision and
data (see ``contenders.py``). Each runs in its own process; in each round each trains one
epoch, in a new random order, and the ratios to this library are taken round by round.
Imports, compilation and a first epoch are left out. Then: seconds of training until
98 % of the test images are right, over several seeds (compilation left out, too).

It prints tables, and writes ``peers.json`` and ``peers.png`` beside itself. What is not
installed is left out, and said so.
"""

import argparse
import random
import statistics
import subprocess
import time
from typing import Any

import contenders
import numpy as np
from measuring import COLOURS, Spread, print_machine, save, save_picture, spread, subplots

import mnist_fn as mf

SIZES = [(10, 128), (128, 32), (128, 128), (128, 512), (800, 128), (800, 512)]
QUICK_SIZES = [(128, 32), (128, 128)]
LEARNING_RATE = 0.1
OURS = "mnist_fn"
AIM = 0.98
AIM_TASK = {"hidden": 128, "batch_size": 32, "learning_rate": LEARNING_RATE}
MOST_EPOCHS = 40

Processes = dict[str, subprocess.Popen[str]]


def start_all(leave_out: tuple[str, ...] = ()) -> Processes:
    """Start every contender that is installed, and say which are not."""
    processes = {}
    for name in contenders.CONTENDERS:
        if name in leave_out:
            continue
        try:
            processes[name] = contenders.start(name)
        except contenders.ContenderError as why:
            print(f"{name} is left out: {why}")
    return processes


def ask_all(processes: Processes, do: str, **request: object) -> dict[str, Any]:
    """Ask one after the other, in a random order; drop those that fail, and say why."""
    answers = {}
    for name in random.sample(list(processes), len(processes)):
        time.sleep(0.1)  # until the threads of the one before have gone to sleep
        try:
            answers[name] = contenders.ask(processes[name], do, **request)
        except contenders.ContenderError as why:
            print(f"{name} is left out from here on: {why}")
            processes.pop(name).kill()
            if name == OURS:
                raise SystemExit("there is nothing to compare with") from why
    return {name: answers[name] for name in processes}


def compare(processes: Processes, hidden: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Print and return how fast each of them trains one network."""
    task = {"hidden": hidden, "batch_size": batch_size, "learning_rate": LEARNING_RATE}
    ask_all(processes, "start", seed=0, **task)
    ask_all(processes, "epoch")
    seconds = [ask_all(processes, "epoch") for _ in range(rounds)]
    accuracies = ask_all(processes, "accuracy")
    print(f"{hidden} hidden, batches of {batch_size}: after {rounds + 1} epochs")
    print("                     images/s   its time over ours      test accuracy")
    rows = {}
    for name, accuracy in accuracies.items():
        of_one = [of_all[name] for of_all in seconds]
        ratio = spread([of_all[name] / of_all[OURS] for of_all in seconds])
        speed = 60_000 / statistics.median(of_one)
        print(f"{name:<20} {speed:>9,.0f}   {ratio.text():<22}  {100 * accuracy:.2f} %", flush=True)
        rows[name] = {"seconds": of_one, "ratio": ratio, "accuracy": accuracy}
    print()
    return {"hidden": hidden, "batch_size": batch_size, "rows": rows}


def seconds_to_aim(processes: Processes, seeds: int) -> dict[str, list[float]]:
    """Print and return how long each of them trains until it is right often enough."""
    print(f"seconds of training to {AIM:.0%} test accuracy, {AIM_TASK}, {seeds} seeds")
    seconds: dict[str, list[float]] = {name: [] for name in processes}
    for seed in range(seeds):
        ask_all(processes, "start", seed=seed, **AIM_TASK)
        running = dict(processes)
        epochs: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(MOST_EPOCHS):
            for name, epoch in ask_all(running, "epoch").items():
                epochs[name].append(epoch)
            for name, accuracy in ask_all(running, "accuracy").items():
                if accuracy >= AIM:
                    # The first epoch compiles; it counts as one like the others.
                    seconds[name].append(len(epochs[name]) * statistics.median(epochs[name]))
                    del running[name]
    for name, values in seconds.items():
        each = ", ".join(f"{value:.2f}" for value in values) or "-"
        missed = "" if len(values) == seeds else f", in {seeds - len(values)} not reached"
        print(f"{name:<20} {each} s{missed}", flush=True)
    return seconds


def geometric_means(tables: list[dict[str, Any]]) -> dict[str, float]:
    """Print and return each contender's ratio over all sizes."""
    print(f"\nits time over ours, geometric mean over {len(tables)} sizes")
    names = set.intersection(*(set(table["rows"]) for table in tables))
    means = {}
    for name in filter(names.__contains__, contenders.CONTENDERS):
        ratios: list[Spread] = [table["rows"][name]["ratio"] for table in tables]
        means[name] = statistics.geometric_mean(ratio.median for ratio in ratios)
        print(f"{name:<20} {means[name]:.2f}")
    return means


def draw(tables: list[dict[str, Any]]) -> None:
    """Draw the speeds relative to this library's."""
    names = [name for name in contenders.CONTENDERS if name in tables[0]["rows"] and name != OURS]
    figure, axes = subplots(figsize=(9, 4), layout="constrained")
    width = 0.85 / len(names)
    places = np.arange(len(tables))
    for i, name in enumerate(names):
        spreads = [
            table["rows"][name]["ratio"] if name in table["rows"] else Spread(*[np.nan] * 3)
            for table in tables
        ]
        median, low, high = (1 / np.array(values) for values in zip(*spreads, strict=True))
        axes.bar(
            places + (i - (len(names) - 1) / 2) * width,
            median,
            width,
            yerr=(median - high, low - median),
            label=name,
            color=COLOURS[i + 1],
            error_kw={"elinewidth": 0.8, "ecolor": "#777777"},
        )
    axes.axhline(1, color=COLOURS[0], linewidth=2, label=f"{OURS} = 1")
    axes.set_xticks(places, [f"{t['hidden']} hidden\nbatch {t['batch_size']}" for t in tables])
    axes.set_ylabel("images per second, mnist_fn = 1")
    axes.set_title(
        "Training speed on two layers of MNIST (medians and quartiles; higher is faster)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    save_picture(__file__, figure)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="Training beside others.")
    parser.add_argument("--quick", action="store_true", help="two sizes, and no files")
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each at each size")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else max(arguments.rounds, 2)
    print_machine()
    mf.load_mnist()  # once, before each of them looks for it
    processes = start_all()
    sizes = QUICK_SIZES if arguments.quick else SIZES
    tables = [compare(processes, *size, rounds) for size in sizes]
    seconds = {} if arguments.quick else seconds_to_aim(processes, seeds=3)
    means = geometric_means(tables)
    versions = ask_all(processes, "version")
    contenders.stop(processes)
    if not arguments.quick:
        save(
            __file__,
            {
                "contenders": versions,
                "sizes": tables,
                "seconds to aim": seconds,
                "geometric means": means,
            },
        )
        draw(tables)


if __name__ == "__main__":
    main()
