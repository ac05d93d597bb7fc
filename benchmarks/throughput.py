"""How near a training step comes to the machine's limit: ``python benchmarks/throughput.py``.

For each size of the network and of the batch: the GFLOP/s of the five matrix products of
``forward`` and ``backward`` by themselves, of the two functions, of a whole step (contracts,
batch and update included) and of an epoch (its shuffling, too), each also as a share of the
best that NumPy reaches in float32 in the same run: on large squares, and at the same
shapes, the better of the two memory orders. Only the products count as work; the pixels
that are 0 in the whole training set are left out, as in training.

Then for some sizes: where the time of a step goes, how many page faults it makes once it
has settled, and how much memory it has in use at most besides its arguments.

The kinds of call take turns within each round; the figures are medians over the rounds.
It writes ``throughput.json`` and ``throughput.png`` beside itself. ``--quick`` takes two
sizes and fewer rounds, and writes nothing.
"""

import argparse
import functools
import itertools
import resource
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from measuring import COLOURS, print_machine, save, save_picture, subplots

import mnist_fn as mf
from mnist_fn.activation_functions import relu_in_place
from mnist_fn.contracts import unchecked
from mnist_fn.optimizers import consuming

HIDDEN = (10, 128, 800, 2048)
BATCH = (1, 32, 128, 512, 4096, 60_000)
DETAILED = [(10, 128), (128, 32), (128, 128), (128, 512), (800, 128), (800, 512)]
SQUARE = 2048
SECONDS = 0.05  # about so long is each kind of call measured in a round
MOST_EPOCH_SECONDS = 1.0

Calls = dict[str, Callable[[], object]]


def timed(call: Callable[[], object], repeat: int) -> float:
    """Return the seconds of one call, as the mean of several."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat


def in_turns(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each call in each of the rounds."""
    repeats = {name: max(1, round(SECONDS / timed(call, 2))) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            seconds[name].append(timed(call, repeats[name]))
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the median over the rounds for each call."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def product(A: np.ndarray, B: np.ndarray) -> Callable[[], object]:
    """Return a call of ``A @ B`` into memory that is there already."""
    return functools.partial(np.matmul, A, B, out=np.empty((len(A), B.shape[1]), A.dtype))


def best_products(shapes: list[tuple[int, int, int]]) -> Calls:
    """Return calls of products of such sizes (rows, inner, columns), in both memory orders."""
    random = np.random.default_rng(0)

    def some(rows: int, columns: int) -> np.ndarray:
        return random.random((rows, columns), dtype=np.float32)

    calls: Calls = {}
    for i, (rows, inner, columns) in enumerate(shapes):
        calls[f"{i} rows"] = product(some(rows, inner), some(inner, columns))
        calls[f"{i} columns"] = product(some(columns, inner), some(inner, rows))
    return calls


class Case:
    """A network, a batch, and the calls that make up a step."""

    def __init__(self, dataset: mf.Dataset, hidden: int, batch_size: int) -> None:
        """Prepare them, on a training set as the recipes do."""
        recipe = mf.Recipe("", hidden, epochs=0, batch_size=batch_size, learning_rate=0.01)
        self.run = mf.prepare(recipe, mf.key(0), dataset.X_train, dataset.Y_train)
        self.hidden, self.batch_size = hidden, batch_size
        optimizer = mf.sgd(0.01)
        params = mf.init_params(mf.key(0), pixels=len(self.run.pixels), hidden=hidden)
        first = mf.Batch(*next(iter(self.run.batches(0))))
        # From its first step on, the state lies in memory as training lays it.
        self.state = self.run.step(mf.init_state(optimizer, params), first)
        self.bare_step = unchecked(self.run.step)
        self.batches = self.endless()
        self.batch = first
        X, Y = first
        params = self.state.params
        forward, backward = unchecked(mf.forward), unchecked(mf.backward)
        activations = forward(params, X, relu_in_place)  # as in a step
        gradients = backward(params, activations, X, Y)
        dZ2, dZ1 = activations.A2, activations.A1
        pixels, m = X.shape
        self.shapes = [(hidden, pixels, m), (10, hidden, m), (10, m, hidden), (hidden, 10, m)]
        self.shapes += [(hidden, m, pixels)]
        self.flop = sum(2 * rows * inner * columns for rows, inner, columns in self.shapes)
        order: Any = "F" if gradients.dW1.flags.f_contiguous else "C"
        self.products: list[Callable[[], object]] = [
            lambda: np.matmul(params.W1, X, order=order),
            lambda: params.W2 @ activations.A1,
            lambda: np.matmul(dZ2, activations.A1.T, order="F"),
            lambda: np.matmul(params.W2.T, dZ2, order=order),
            lambda: np.matmul(dZ1, X.T, order=order),
        ]
        self.forward = functools.partial(forward, params, X, relu_in_place)
        self.backward = functools.partial(backward, params, activations, X, Y)
        # It writes over the gradients; that their values change from call to call costs nothing.
        self.update = functools.partial(
            consuming(optimizer), params, gradients, self.state.optimizer_state
        )

    def endless(self) -> Iterator[mf.Batch]:
        """Yield the batches of one epoch after the other."""
        for epoch in itertools.count():
            yield from self.run.batches(epoch)

    def step(self) -> None:
        """Go on by one step, its batch included."""
        self.state = self.run.step(self.state, next(self.batches))

    def unchecked_step(self) -> None:
        """Go on by one step without its contract."""
        self.state = self.bare_step(self.state, next(self.batches))

    def epoch(self) -> float:
        """Return the seconds per full batch in an epoch, or in as much of it as time allows."""
        start = time.perf_counter()
        state, m = self.state, 0
        for batch in self.run.batches(1):
            state = self.run.step(state, batch)
            m += len(batch.Y)
            if time.perf_counter() - start > MOST_EPOCH_SECONDS:
                break
        return (time.perf_counter() - start) * self.batch_size / m


def gflops(dataset: mf.Dataset, hidden: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Print and return the throughput at one size."""
    case = Case(dataset, hidden, batch_size)
    squares = np.random.default_rng(0).random((2, SQUARE, SQUARE), dtype=np.float32)
    best = best_products(case.shapes)
    calls: Calls = {f"product {i}": call for i, call in enumerate(case.products)}
    calls |= {"forward": case.forward, "backward": case.backward, "step": case.step}
    calls |= {"square": product(*squares), **best}
    seconds = medians(in_turns(calls, rounds))
    limit = 2 * SQUARE**3 / seconds["square"] / 1e9
    same = sum(min(seconds[f"{i} rows"], seconds[f"{i} columns"]) for i in range(len(case.shapes)))
    parts = {
        "products": sum(seconds[f"product {i}"] for i in range(len(case.products))),
        "forward + backward": seconds["forward"] + seconds["backward"],
        "step": seconds["step"],
        "epoch": statistics.median(case.epoch() for _ in range(min(rounds, 3))),
    }
    speeds = {name: case.flop / time / 1e9 for name, time in parts.items()}
    shapes = case.flop / same / 1e9
    print(
        f"{hidden:>6} {batch_size:>6} {limit:>7.0f} {shapes:>7.0f}  "
        + "  ".join(
            f"{speed:>5.0f} {100 * speed / limit:>3.0f} % {100 * speed / shapes:>3.0f} %"
            for speed in speeds.values()
        ),
        flush=True,
    )
    return {"hidden": hidden, "batch_size": batch_size, "square": limit, "shapes": shapes, **speeds}


def smallest() -> Callable[[], object]:
    """Return a call of ``forward`` and ``backward`` for the smallest network there is."""
    params = mf.init_params(mf.key(0), pixels=1, hidden=1)
    X, Y = np.zeros((1, 1), np.float32), np.zeros(1, np.uint8)
    forward, backward = unchecked(mf.forward), unchecked(mf.backward)
    return lambda: backward(params, forward(params, X, relu_in_place), X, Y)


def details(dataset: mf.Dataset, hidden: int, batch_size: int, rounds: int) -> dict[str, Any]:
    """Print and return where the time of a step goes, its page faults and its memory."""
    case = Case(dataset, hidden, batch_size)
    by_round = in_turns(
        {f"product {i}": call for i, call in enumerate(case.products)}
        | {
            "forward": case.forward,
            "backward": case.backward,
            "update": case.update,
            "batch": lambda: next(case.batches),
            "step": case.step,
            "unchecked": case.unchecked_step,
            "interpreter": smallest(),
        },
        rounds,
    )
    seconds = medians(by_round)
    products = sum(seconds[f"product {i}"] for i in range(len(case.products)))
    pairs = zip(by_round["step"], by_round["unchecked"], strict=True)
    interpreter = seconds["interpreter"]
    parts = {
        "batch": seconds["batch"],
        "products": products,
        "element-wise": seconds["forward"] + seconds["backward"] - products - interpreter,
        "update": seconds["update"],
        "contracts": max(0.0, statistics.median(step - without for step, without in pairs)),
        "interpreter": interpreter,
    }
    # What is left: memory that is cold in the caches of a real step, and warm in these.
    parts["the rest"] = seconds["step"] - sum(parts.values())
    for _ in range(20):
        case.step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    n = 200
    for _ in range(n):
        case.step()
    faults = (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / n
    tracemalloc.start()
    case.step()
    start = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    case.step()
    peak = tracemalloc.get_traced_memory()[1] - start
    tracemalloc.stop()
    largest = max(a.nbytes for a in (*case.batch, *case.state.params, *case.forward()))
    microseconds = {name: 1e6 * part for name, part in parts.items()}
    print(
        f"{hidden:>6} {batch_size:>6} {1e6 * seconds['step']:>7.0f}  "
        + " ".join(f"{value:>12.0f}" for value in microseconds.values())
        + f"   {faults:>6.2f} {peak / 1e6:>9.1f} {largest / 1e6:>8.1f}",
        flush=True,
    )
    return {
        "hidden": hidden,
        "batch_size": batch_size,
        "step": 1e6 * seconds["step"],
        **microseconds,
        "page faults": faults,
        "peak bytes": peak,
        "largest array": largest,
    }


def draw(rows: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """Draw the share of the limit over batch sizes, and where the time of a step goes."""
    figure, (left, right) = subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for colour, hidden in zip(
        (COLOURS[3], COLOURS[0], COLOURS[6], COLOURS[4]), HIDDEN, strict=True
    ):
        of_one = [row for row in rows if row["hidden"] == hidden]
        left.plot(
            [row["batch_size"] for row in of_one],
            [100 * row["step"] / row["square"] for row in of_one],
            marker="o",
            color=colour,
            label=f"{hidden} hidden",
        )
    left.set_xscale("log")
    left.set_xticks(BATCH, [f"{size:,}" for size in BATCH], fontsize=8)
    left.minorticks_off()
    left.set_ylim(0, 100)
    left.set_xlabel("batch size")
    left.set_ylabel("% of the fastest matrix product")
    left.set_title("A whole training step", fontsize=10)
    left.legend(fontsize=8)
    names = ["products", "element-wise", "batch", "update", "interpreter", "contracts", "the rest"]
    places = np.arange(len(parts))
    bottom = np.zeros(len(parts))
    for colour, name in zip(COLOURS, names, strict=False):
        share = np.array([100 * max(part[name], 0) / part["step"] for part in parts])
        share = np.minimum(share, 100 - bottom)
        right.bar(places, share, 0.7, bottom=bottom, color=colour, label=name)
        bottom += share
    right.set_xticks(places, [f"{p['hidden']}\n{p['batch_size']}" for p in parts])
    right.set_xlabel("hidden units, batch size")
    right.set_ylabel("% of the step")
    right.set_title("Where the time goes", fontsize=10)
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_picture(__file__, figure)


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(description="How near a step comes to the machine's limit.")
    parser.add_argument("--quick", action="store_true", help="two sizes, and no files")
    quick = parser.parse_args().quick
    dataset = mf.load_mnist()
    rounds = 3 if quick else 9
    print_machine()
    detailed = [(128, 128), (800, 512)] if quick else DETAILED
    print("GFLOP/s; % of square products; % of products of the same shapes")
    print(
        "hidden  batch  square  shapes       products  forward+backward          step         epoch"
    )
    sizes = detailed if quick else list(itertools.product(HIDDEN, BATCH))
    rows = [gflops(dataset, *size, rounds) for size in sizes]
    print("\nmicroseconds of a step, where they go; page faults; megabytes")
    print(
        "hidden  batch    step         batch     products element-wise       update    contracts "
        " interpreter     the rest   faults      peak  largest"
    )
    parts = [details(dataset, *size, rounds) for size in detailed]
    if not quick:
        save(__file__, {"throughput": rows, "steps": parts})
        draw(rows, parts)


if __name__ == "__main__":
    main()
