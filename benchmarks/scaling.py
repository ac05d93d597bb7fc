"""What more data, and more workers, cost and bring: ``python benchmarks/scaling.py [--quick]``.

60 thousand, 600 thousand and 6 million images of the same kind, made as by ``mnist-fn enlarge``
and cut from one file, are learnt as by ``mnist-fn train``: 784-128-10, batches of 128, without
distortions, which is when a step takes least and its data most of the time. Each training is a
process of its own, and the sizes take turns. Images per second of processor time do
not depend on what else the machine does, nor on waiting for a disk. The memory is the largest
that the process had: what is its own alone (``RssAnon``, every 10 milliseconds), and the whole
with the mapped parts of files (``VmHWM``), on Linux only. The files are in a temporary
directory, which takes 5.3 GB; ``$TMPDIR`` says where. They have just been written, so that the
system may still hold them in memory.

Then a sweep trains twelve ``quick`` networks with the built-in ``map``, with processes and with
a Dask cluster on this machine, one thread of BLAS each, in turns: runs per hour, once the
workers have started and have the images. The ideal is as many times those of one as there are
workers. All of them must come to the same accuracies.

It writes ``scaling.json`` and ``scaling.png`` beside itself. ``--quick`` takes small data and
few runs, and writes nothing.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import builtins
import contextlib
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import COLOURS, Spread, print_machine, save, save_picture, spread, subplots

import mnist_fn as mf
from mnist_fn.effects.enlarging import enlarge
from mnist_fn.effects.mapping import released
from mnist_fn.effects.sessions import load_data, training_of
from mnist_fn.effects.sweeps import trials_of
from mnist_fn.effects.terminal import new_console
from mnist_fn.effects.validation import digest_of, evaluate_members
from mnist_fn.effects.workers import Source, processes
from mnist_fn.hints import Map
from mnist_fn.idx import encode_header
from mnist_fn.recipes import digits
from mnist_fn.recipes import quick as quick_recipe

FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
FILES += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
HELD_BACK = 5000
HIDDEN, BATCH = 128, 128
MEGABYTE = 1 << 20
WORKERS = 2
LINK = 1e9 / 8  # bytes per second of a network of 1 Gbit/s, for what is only reckoned


class Training(NamedTuple):
    """What one training measured of itself."""

    images_per_second: float
    images_per_cpu_second: float
    private: float
    """Megabytes that were its own at most."""
    resident: float
    """Megabytes with the parts of files that it had mapped."""


def memory(kind: str) -> float:
    """Return so many megabytes of this process's memory, of a kind that Linux tells apart."""
    found = re.search(rf"{kind}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / MEGABYTE if found else math.nan


def measure_itself(directory: str, epochs: str) -> None:
    """Do in this process what ``mnist-fn train`` does, and print its figures as JSON."""
    most, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], memory("RssAnon"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    settings = digits._replace(hidden=HIDDEN, batch_size=BATCH, epochs=int(epochs))
    training, _ = training_of(settings, 0, load_data(directory, new_console()), HELD_BACK)
    X, Y = training.dataset.X_train, training.dataset.Y_train
    run = mf.prepare(settings, training.key, X, Y)
    start, cpu_start = time.perf_counter(), time.process_time()
    batches = run._replace(batches=lambda epoch: released(run.batches(epoch), X))
    *_, state = mf.train_epochs(*batches)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    member = mf.Member(state.params)
    evaluate_members([member], training.X_validation, training.Y_validation, settings.g)
    over.set()
    watcher.join()
    images = len(Y) * int(epochs)
    figures = Training(images / seconds, images / cpu_seconds, most[0], memory("VmHWM"))
    print(json.dumps(figures._asdict()))


def train(directory: Path, epochs: int) -> Training:
    """Train in a process of its own."""
    command = [sys.executable, __file__, "--child", str(directory), str(epochs)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the training failed: {done.stdout}{done.stderr}")
    return Training(**json.loads(done.stdout))


def cut(whole: Path, target: Path, first: int, m: int) -> Path:
    """Write a data set with ``m`` of the images of another, and its test images."""
    target.mkdir()
    for name, shape in zip(FILES[:2], [(m, 28, 28), (m,)], strict=True):
        size = 784 if len(shape) == 3 else 1
        header = encode_header(np.dtype(np.uint8), shape)
        with open(whole / name, "rb") as source, open(target / name, "wb") as file:
            source.seek(len(header) + first * size)
            file.write(header)
            left = m * size
            while left:
                left -= file.write(source.read(min(left, MEGABYTE)))
    for name in FILES[2:]:
        shutil.copy(whole / name, target / name)
    return target


@contextlib.contextmanager
def data_sets(sizes: list[int]) -> Iterator[dict[int, Path]]:
    """Yield the directories of data sets of these sizes, the largest last, for a while."""
    dataset = mf.load_mnist()
    m = len(dataset.Y_train)
    times = -(-sizes[-1] // m)
    needed = (sum(sizes[:-1]) + times * m) * 785 + 100 * MEGABYTE
    with tempfile.TemporaryDirectory() as name:
        free = shutil.disk_usage(name).free
        if free < needed:
            sys.exit(f"{needed / 1e9:.1f} GB are needed in {name}, but {free / 1e9:.1f} are free")
        start = time.perf_counter()
        whole = Path(name) / "whole"
        enlarge(dataset, times, mf.key(0), whole)
        seconds = time.perf_counter() - start
        print(f"mnist-fn enlarge --times {times}: {times * m / seconds:,.0f} images per second\n")
        # Not the first ones, which are as they are in MNIST, with pixels that are never set.
        parts = {size: cut(whole, Path(name) / str(size), m, size) for size in sizes[:-1]}
        yield parts | {sizes[-1]: whole}


def of_sizes(epochs: dict[int, int], rounds: int) -> dict[int, list[Training]]:
    """Return the measurements of each size in each round."""
    measured: dict[int, list[Training]] = {m: [] for m in epochs}
    with data_sets(list(epochs)) as directories:
        for _ in range(rounds):
            for m, passes in epochs.items():
                measured[m].append(train(directories[m], passes))
    return measured


def print_sizes(measured: dict[int, list[Training]]) -> list[dict[str, Any]]:
    """Print a row for each size, and return its figures."""
    print(
        "| images | on disk | images per second | per second of processor | over the first | "
        "private MB | resident MB |"
    )
    print("|---|---|---|---|---|---|---|")
    baseline = next(iter(measured.values()))
    rows = []
    for m, trainings in measured.items():
        speeds = spread([training.images_per_second for training in trainings])
        pairs = zip(trainings, baseline, strict=True)
        ratios = spread([a.images_per_cpu_second / b.images_per_cpu_second for a, b in pairs])
        per_cpu_second = spread([training.images_per_cpu_second for training in trainings])
        private = spread([training.private for training in trainings])
        resident = spread([training.resident for training in trainings])
        rows.append(
            {
                "images": m,
                "images per second": speeds,
                "images per second of processor": per_cpu_second,
                "over the first": ratios,
                "private MB": private,
                "resident MB": resident,
            }
        )
        print(
            f"| {m:,} | {m * 784 / 1e6:,.0f} MB | {speeds.median:,.0f} ({speeds.low:,.0f} to "
            f"{speeds.high:,.0f}) | {per_cpu_second.median:,.0f} ({per_cpu_second.low:,.0f} to "
            f"{per_cpu_second.high:,.0f}) | {ratios.text()} | {private.text(0)} | "
            f"{resident.text(0)} |"
        )
    print(flush=True)
    return rows


@contextlib.contextmanager
def on_dask(workers: int) -> Iterator[Map]:
    """Yield the ``map`` of a cluster of processes on this machine."""
    dask, distributed = import_module("dask"), import_module("dask.distributed")
    # By default workers give freed memory back to the system at once: training is slower by far.
    dask.config.set({"distributed.nanny.pre-spawn-environ": {}})
    settings = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        yield client.get_executor().map


def of_workers(recipe: mf.Recipe, runs: int, rounds: int) -> dict[str, list[float]]:
    """Return the runs per hour of each arrangement in each round."""
    dataset = mf.load_mnist()
    source = Source(mf.load_mnist, digest_of(dataset.X_train, dataset.Y_train))
    with contextlib.ExitStack() as stack:
        maps: dict[str, Map] = {"built-in map, 1 worker": builtins.map}
        for n in (1, WORKERS):
            plural = "s" * (n > 1)
            maps[f"processes, {n} worker{plural}"] = stack.enter_context(processes(n))
            with contextlib.suppress(ModuleNotFoundError):
                maps[f"Dask, {n} worker{plural}"] = stack.enter_context(on_dask(n))
        per_hour: dict[str, list[float]] = {name: [] for name in maps}
        for i in range(rounds + 1):
            # In the first round, which does not count, workers get their images.
            settings = recipe if i else recipe._replace(epochs=1)
            pairs = [(settings, key) for key in mf.split(mf.key(i), runs)]
            accuracies = set()
            for name, map_ in maps.items():
                start = time.perf_counter()
                trials = trials_of(pairs, source, None, map_)
                accuracies.add(tuple(trial.validation_accuracy for trial in trials))
                if i:
                    per_hour[name].append(3600 * runs / (time.perf_counter() - start))
            if len(accuracies) != 1:
                sys.exit(f"the same runs came to different accuracies: {accuracies}")
    return per_hour


def print_workers(per_hour: dict[str, list[float]]) -> dict[str, dict[str, Spread]]:
    """Print a row for each arrangement, and return its figures."""
    print("| | runs per hour | over the built-in map | time over its time | of the ideal |")
    print("|---|---|---|---|---|")
    baseline = next(iter(per_hour.values()))
    rows = {}
    for name, values in per_hour.items():
        speeds = spread(values)
        ratios = spread([a / b for a, b in zip(values, baseline, strict=True)])
        times = spread([b / a for a, b in zip(values, baseline, strict=True)])
        share = 100 * ratios.median / workers_of(name)
        rows[name] = {"runs per hour": speeds, "over one": ratios, "time": times}
        print(f"| {name} | {speeds.text(0)} | {ratios.text()} | {times.text()} | {share:.0f} % |")
    print(flush=True)
    return rows


def workers_of(name: str) -> int:
    """Return the number of workers that the name of an arrangement tells."""
    return int(name.split(", ")[1].split()[0])


def print_on_paper(images_per_second: float, per_hour: dict[str, dict[str, Spread]]) -> None:
    """Print what another machine like this one would add, as far as figures tell."""
    params = mf.init_params(mf.key(0), hidden=HIDDEN)
    size = sum(p.nbytes for p in params)
    # Parameters go there and gradients come back, while the step itself takes half the time.
    transfer = 2 * size / LINK
    step = BATCH / images_per_second
    breaks_even = 2 * transfer * images_per_second
    most = max(row["runs per hour"].median for row in per_hour.values())
    print("What an extra machine like this one would add, on paper:\n")
    print(
        f"- to many runs: as many again, {most:,.0f} an hour. A run needs nothing of the others; "
        f"it takes some {3600 / most:.1f} s here, and its images reach a machine once."
    )
    print(
        f"- to one run: nothing. A step of {BATCH} images takes {1e3 * step:.1f} ms; its "
        f"parameters and gradients, {size / 1e6:.1f} MB each, take {1e3 * transfer:.1f} ms on "
        f"1 Gbit/s. Two machines are faster than one from {breaks_even:,.0f} images a step on: "
        "gradients over shards are for full batches.\n"
    )


def draw(sizes: list[dict[str, Any]], workers: dict[str, dict[str, Spread]]) -> None:
    """Draw speed and memory over the size, and runs per hour over the workers."""
    figure, (speed, memory, hours) = subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    m = [row["images"] for row in sizes]

    def with_quartiles(axes: Any, of: Callable[[dict[str, Any]], Spread], **style: Any) -> None:
        spreads = [of(row) for row in sizes]
        medians = [s.median for s in spreads]
        low, high = [s.median - s.low for s in spreads], [s.high - s.median for s in spreads]
        axes.errorbar(m, medians, yerr=[low, high], marker="o", capsize=3, **style)

    with_quartiles(speed, lambda row: row["images per second of processor"], color=COLOURS[0])
    speed.set(title="Training", ylabel="images per second of processor")
    speed.set_ylim(0, 1.15 * max(row["images per second of processor"].high for row in sizes))
    with_quartiles(memory, lambda row: row["private MB"], color=COLOURS[0], label="its own")
    with_quartiles(
        memory, lambda row: row["resident MB"], color=COLOURS[3], label="with mapped files"
    )
    memory.plot(m, [784 * n / MEGABYTE for n in m], "--", color=COLOURS[2], label="the images")
    memory.set(title="Most memory", ylabel="MB", yscale="log", ylim=(10, None))
    memory.legend()
    for axes in (speed, memory):
        axes.set(xscale="log", xlabel="training images")
    ideal = next(iter(workers.values()))["runs per hour"].median
    hours.plot([1, WORKERS], [ideal, WORKERS * ideal], "--", color=COLOURS[2], label="ideal")
    for colour, kind in zip((COLOURS[0], COLOURS[4]), ("processes", "Dask"), strict=True):
        found = {workers_of(name): row for name, row in workers.items() if name.startswith(kind)}
        if found:
            spreads = [row["runs per hour"] for row in found.values()]
            low, high = [s.median - s.low for s in spreads], [s.high - s.median for s in spreads]
            medians = [s.median for s in spreads]
            hours.errorbar(
                list(found), medians, yerr=[low, high], marker="o", capsize=3, color=colour,
                label=kind,
            )  # fmt: skip
    hours.set(title="A sweep", xlabel="workers", ylabel="runs per hour", ylim=(0, None))
    hours.set_xticks(range(1, WORKERS + 1))
    hours.legend()
    save_picture(__file__, figure)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description="What more data and more workers cost and bring.")
    parser.add_argument("--quick", action="store_true", help="small data, few runs, and no files")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        measure_itself(*arguments.child)
        return
    quick = arguments.quick
    print_machine()
    epochs = {60_000: 1, 120_000: 1} if quick else {60_000: 20, 600_000: 2, 6_000_000: 1}
    rounds = 2 if quick else max(arguments.rounds, 2)
    sizes = print_sizes(of_sizes(epochs, rounds))
    recipe = quick_recipe._replace(epochs=1, hidden=16) if quick else quick_recipe
    workers = print_workers(of_workers(recipe, runs=2 if quick else 12, rounds=rounds))
    print_on_paper(sizes[0]["images per second of processor"].median, workers)
    if not quick:
        save(__file__, {"sizes": sizes, "workers": workers})
        draw(sizes, workers)


if __name__ == "__main__":
    main()
