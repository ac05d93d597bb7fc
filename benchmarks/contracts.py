"""What a contract costs: ``python benchmarks/contracts.py [--quick]``.

The same call unchecked, checked and remembered, checked with shapes that are new, and
under plain ``jaxtyped(typechecker=beartype)``, which does not look into NamedTuples.
The batch has one column and the network few units, so that little but the check is
measured; the last rows set it beside a whole training step.

The kinds of call take turns within each round, and each round gives a difference, so
that what else the machine does falls on all of them alike.
"""

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
from beartype import beartype
from jaxtyping import config, jaxtyped

import mnist_fn as mf
from mnist_fn.contracts import unchecked


def microseconds(call: Callable[[], object], repeat: int) -> float:
    """Return the time of one call, as the mean of many."""
    start = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - start) / repeat * 1e6


def spread(values: list[float], unit: str = "") -> str:
    """Return the median and the quartiles, for people."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:7.2f} ({low:.2f} to {high:.2f}){unit}"


def compare(rounds: int, repeat: int) -> None:
    """Print what each kind of call costs."""
    params = mf.init_params(mf.key(0), pixels=2, hidden=2, classes=2)
    X = np.ones((2, 1), np.float32)
    bare = unchecked(mf.forward)
    plain = jaxtyped(bare, typechecker=beartype)
    # More shapes than a function remembers, so that each is new when its turn comes.
    new = itertools.cycle([np.ones((2, m), np.float32) for m in range(1, 1001)])
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "unchecked": (lambda: bare(params, X), repeat),
        "remembered": (lambda: mf.forward(params, X), repeat),
        "first call": (lambda: mf.forward(params, next(new)), repeat // 10),
        "plain jaxtyped": (lambda: plain(params, X), repeat // 10),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, times_over) in calls.items():
            times[name].append(microseconds(call, times_over))
    print("forward, 2-2-2, one column   microseconds: median (quartiles)")
    for name, values in times.items():
        extra = [value - bare for value, bare in zip(values, times["unchecked"], strict=True)]
        print(f"  {name:<16} {spread(values):<28} over unchecked {spread(extra)}")


def compare_steps(hidden: int, batch_size: int, rounds: int, steps: int) -> None:
    """Print what the contracts add to a training step."""
    dataset = mf.load_digits()
    recipe = mf.recipes.quick
    optimizer = mf.momentum(recipe.learning_rate, recipe.momentum)
    state = mf.init_state(optimizer, mf.init_params(mf.key(0), hidden=hidden))
    X, Y = dataset.X_train, dataset.Y_train
    batch = next(iter(mf.epoch_batches(mf.key(1), 0, X, Y, batch_size)))
    make_step = mf.make_step(optimizer)
    # From its first step on, a state lies in memory as training lays it.
    step = functools.partial(make_step, make_step(state, batch), batch)
    shares = []
    for _ in range(rounds):
        config.update("jaxtyping_disable", True)
        without = microseconds(step, steps)
        config.update("jaxtyping_disable", False)
        shares.append(100 * (microseconds(step, steps) / without - 1))
    print(f"  {hidden:>4} hidden, batch {batch_size:<5} {spread(shares, ' % of the step')}")


def main() -> None:
    """Run the comparisons."""
    parser = argparse.ArgumentParser(description="What a contract costs.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    quick = parser.parse_args().quick
    compare(rounds=11 if quick else 51, repeat=1000 if quick else 4000)
    print("\nwhat contracts add to a training step (median, quartiles)")
    for hidden, batch_size in ((128, 32), (128, 128), (800, 512)):
        compare_steps(hidden, batch_size, rounds=11 if quick else 51, steps=20 if quick else 50)


if __name__ == "__main__":
    main()
