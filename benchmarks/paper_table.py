"""The published table, and ours: ``python benchmarks/paper_table.py [--quick]``.

Trains ``quick``, ``plain`` and the members of ``committee`` over five seeds on all 60,000
training images, as many at a time as there are cores, each on one of them. Prints the errors on
the test images beside those that were published for networks with one hidden layer. The first
member of the committee is an ``elastic``, and both joined are a ``best``: these rows are of the
same networks. Writes ``paper_table.json`` after each seed, and the picture ``paper_table.png``.

Networks are kept in the directory ``paper_table.networks``: when it was broken off, it goes on
from there. What is in it is of these settings, but maybe not of this code; remove it to train
all of them anew.

With ``--quick`` it trains one seed for one epoch, or reads what came of that before, to see that
all of it works.

MNIST is read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import functools
import hashlib
import itertools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy is imported, here and in the workers

import numpy as np
from measuring import COLOURS, print_machine, save, save_picture, subplots

import mnist_fn as mf
from mnist_fn import Key, Member, Recipe, recipes
from mnist_fn.effects.workers import cores, processes


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


NETWORKS = Path(__file__).with_suffix(".networks")

LECUN = "LeCun et al. 1998"
SIMARD = "Simard et al. 2003"
MEIER = "Meier et al. 2011"

# What is published, with what stands against it.
TABLE = [
    (Published("300 hidden units", 4.7, LECUN), "quick", "256, distorted"),
    (Published("800 units, cross-entropy", 1.6, SIMARD), "plain", "800, deslanted, dropout"),
    (Published("800 units, affine distortions", 1.1, SIMARD), "elastic", "800, edges, distorted"),
    (Published("800 units, elastic distortions", 0.7, SIMARD), "elastic", "800, edges, distorted"),
    (Published("800 units, elastic distortions", 0.7, SIMARD), "best", "1600: two joined"),
    (Published("committee of 25", 0.39, MEIER), "committee", "two, two views"),
]


class Job(NamedTuple):
    """One network to train."""

    recipe: Recipe
    key: Key


class Trained(NamedTuple):
    """What came of a job: a network, the view that it has, and the seconds."""

    member: Member
    seconds: float


mnist = functools.cache(mf.load_mnist)


def file_of(job: Job) -> Path:
    """Return where the network of a job is kept: another file for other settings."""
    # A view's text is its name, where a function's is another one each time.
    settings = {name: str(value) for name, value in job.recipe._asdict().items() if name != "about"}
    settings["g"] = job.recipe.g.name
    digest = hashlib.sha256(f"{settings} {job.key}".encode()).hexdigest()[:16]
    return NETWORKS / f"{job.recipe.name}-{digest}.npz"


def train(job: Job) -> Trained:
    """Do a job, or read what came of it."""
    kept = file_of(job)
    if kept.exists():
        model = mf.load_model(kept)
        return Trained(model.members[0], float(model.settings["seconds"]))
    dataset = mnist()
    start = time.perf_counter()
    run = mf.prepare(job.recipe, job.key, dataset.X_train, dataset.Y_train)
    *_, last = mf.train_epochs(*run)
    seconds = time.perf_counter() - start
    member = Member(last.params, *job.recipe.views)
    NETWORKS.mkdir(exist_ok=True)
    mf.save_params(kept, [member], g=job.recipe.g, settings={"seconds": str(seconds)})
    return Trained(member, seconds)


def jobs(seed: int, quick: bool) -> Iterator[Job]:
    """Yield the networks to be trained from a seed: alone, then the committee's members."""
    for recipe in (recipes.quick, recipes.plain, recipes.committee):
        short = recipe._replace(epochs=1) if quick else recipe
        yield from itertools.starmap(Job, mf.members_of(short, mf.key(seed)))


def rows(trained: Sequence[Trained]) -> Iterator[tuple[str, float, float]]:
    """Yield the rows of the table for one seed: the recipe, its error and its seconds."""
    X, Y = mnist().X_test, mnist().Y_test
    quick, plain, *members = trained
    parts = {"quick": [quick], "plain": [plain], "elastic": members[:1]}
    parts |= {"best": members, "committee": members}
    for name, part in parts.items():
        networks = [one.member for one in part]
        if name == "best":
            networks = list(mf.assemble(recipes.best, networks))
        result = mf.evaluate(networks, mf.ordered_batches(X, Y))
        yield name, 100 * (1 - result.accuracy), sum(one.seconds for one in part)


def text_of(ours: Ours) -> tuple[str, str]:
    """Return the mean and the deviation of the errors, and the seconds."""
    if len(ours.errors) == 1:
        return f"{ours.errors[0]:.2f} %", f"{ours.seconds[0]:.0f}"
    mean, deviation = statistics.mean(ours.errors), statistics.stdev(ours.errors)
    seconds = statistics.mean(ours.seconds), statistics.stdev(ours.seconds)
    return f"{mean:.3f} +- {deviation:.3f} %", f"{seconds[0]:.0f} +- {seconds[1]:.0f}"


def print_table(results: dict[str, Ours]) -> None:
    """Print each published row beside ours."""
    print(f"\n{'published':<52} {'error':>7}  {'ours':<36} {'error':<18} seconds on one core")
    for published, name, what in TABLE:
        error, seconds = text_of(results[name])
        theirs = f"{published.network} ({published.source})"
        ours = f"{name}: {what}"
        print(f"{theirs:<52} {published.error:>5.2f} %  {ours:<36} {error:<18} {seconds}")


def draw(results: dict[str, Ours]) -> None:
    """Draw the published errors and ours, one below the other."""
    figure, axes = subplots(figsize=(8, 4.8), layout="constrained")
    at = np.arange(len(TABLE))
    published = [row.error for row, _, _ in TABLE]
    ours = [results[name] for _, name, _ in TABLE]
    means = [statistics.mean(row.errors) for row in ours]
    spreads = [statistics.stdev(row.errors) for row in ours]
    axes.barh(at - 0.2, published, 0.38, color=COLOURS[2], label="published")
    axes.barh(at + 0.2, means, 0.38, xerr=spreads, color=COLOURS[0], label="mnist_fn")
    for i, (_, name, what) in enumerate(TABLE):
        axes.annotate(f" {published[i]:.2f} %", (published[i], i - 0.2), va="center")
        text = f" {means[i]:.2f} %  {name}: {what}"
        axes.annotate(text, (means[i] + spreads[i], i + 0.2), va="center")
    axes.set_yticks(at, [f"{row.network}\n{row.source}" for row, _, _ in TABLE])
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
    results: dict[str, Ours] = {}
    seeds = range(1 if quick else 5)
    by_seed = [list(jobs(seed, quick)) for seed in seeds]
    with processes(cores()) as map:
        trained = iter(map(train, itertools.chain.from_iterable(by_seed)))
        for seed, of_seed in zip(seeds, by_seed, strict=True):
            for name, error, seconds in rows(list(itertools.islice(trained, len(of_seed)))):
                print(f"seed {seed}  {name:<10} {error:.2f} % in {seconds:.0f} s", flush=True)
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
