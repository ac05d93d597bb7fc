"""Predicting beside others: ``python benchmarks/predict.py [--quick]``.

How long one image takes, from a NumPy array of fractions of grey to its digit in a NumPy
array (median and 99th percentile), and how many images per second of 10,000 at once, for
this library, scikit-learn, PyTorch and JAX. Each runs in its own process, and they take
turns; imports, compilation and first calls are left out.

It prints a table, and writes ``predict.json`` and ``predict.png`` beside itself.
"""

import argparse
import statistics
from typing import Any

import contenders
import numpy as np
from measuring import COLOURS, print_machine, save, save_picture, spread, subplots
from peers import OURS, Processes, ask_all, start_all

import mnist_fn as mf

HIDDEN = (128, 800)
AT_ONCE = 10_000
# They differ from others in training only.
ALIKE = ("mnist_fn all pixels", "JAX scan")


def compare(processes: Processes, hidden: int, rounds: int, n: int) -> dict[str, Any]:
    """Print and return how fast each of them predicts."""
    ask_all(processes, "start", hidden=hidden, batch_size=128, learning_rate=0.1, seed=0)
    ask_all(processes, "epoch")
    ask_all(processes, "predict one by one", n=n)
    ask_all(processes, "predict all")
    singles = [ask_all(processes, "predict one by one", n=n) for _ in range(rounds)]
    at_once = [ask_all(processes, "predict all") for _ in range(rounds)]
    print(f"{hidden} hidden     one image, microseconds        10,000 images at once")
    print("                 median    99 %   ratio to ours      images/s   ratio to ours")
    rows = {}
    for name in processes:
        one = 1e6 * np.array([of_all[name] for of_all in singles])
        median, late = np.percentile(one, [50, 99])
        ours = [np.median(of_all[OURS]) for of_all in singles]
        one_ratio = spread(list(1e-6 * np.median(one, axis=1) / ours))
        all_ratio = spread([of_all[name] / of_all[OURS] for of_all in at_once])
        speed = AT_ONCE / statistics.median(of_all[name] for of_all in at_once)
        print(
            f"{name:<19} {median:>4.0f}  {late:>6.0f}   {one_ratio.text(1):<19} "
            f"{speed:>9,.0f}  {all_ratio.text():<19}",
            flush=True,
        )
        rows[name] = {
            "median": median,
            "99 %": late,
            "ratio of one": one_ratio,
            "images per second": speed,
            "ratio of all": all_ratio,
        }
    print()
    return {"hidden": hidden, "rows": rows}


def draw(tables: list[dict[str, Any]]) -> None:
    """Draw latency and throughput side by side."""
    figure, all_axes = subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    names = list(tables[0]["rows"])[::-1]
    places = np.arange(len(names))
    for axes, value, title in (
        (all_axes[0], "median", "one image: microseconds, lower is better (line: to 99 %)"),
        (
            all_axes[1],
            "images per second",
            "10,000 at once: images per second, higher is better",
        ),
    ):
        for i, table in enumerate(tables):
            values = [table["rows"][name][value] for name in names]
            line = [table["rows"][name]["99 %"] - v for name, v in zip(names, values, strict=True)]
            axes.barh(
                places + 0.2 - 0.4 * i,
                values,
                0.38,
                xerr=([0] * len(names), line) if value == "median" else None,
                color=COLOURS[3 * i],
                label=f"{table['hidden']} hidden",
                error_kw={"elinewidth": 0.8, "ecolor": "#777777"},
            )
        axes.set_title(title, fontsize=9)
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_yticks(places, names)
    all_axes[0].legend(fontsize=8)
    save_picture(__file__, figure)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description="Predicting beside others.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and no files")
    quick = parser.parse_args().quick
    print_machine()
    mf.load_mnist()  # once, before each of them looks for it
    processes = start_all(leave_out=ALIKE)
    tables = [
        compare(processes, hidden, 3 if quick else 9, 200 if quick else 2000) for hidden in HIDDEN
    ]
    contenders.stop(processes)
    if not quick:
        save(__file__, tables)
        draw(tables)


if __name__ == "__main__":
    main()
