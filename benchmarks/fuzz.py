"""What the readers of files do with damaged ones: ``python benchmarks/fuzz.py [--quick]``.

For each of the readers of IDX data, model files, checkpoints and pictures, atheris (libFuzzer
for Python) makes inputs of a few valid files, and of those inputs that reached new paths
through the code: of ``mnist_fn``, ``gzip``, ``zipfile`` and Pillow's part in Python. Half of
the changes are made behind checksums and compression. Each reader runs in a process of its own,
and ``fuzzed.py`` says what must hold. ``--reader NAME`` is for one of them alone, ``--inputs N``
for another number in all, ``--corpus DIRECTORY`` to keep the inputs and to begin with those of
the last time.

It prints, and writes to ``fuzz.json``: how many inputs there were, how many distinct paths
(libFuzzer's features: edges, and how often they are passed) and inputs worth keeping, how many
different faults, the peak of memory and the time. If there are faults, they are printed, their
inputs are kept, and the status is 1.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from measuring import print_machine, save

# What share of the inputs a reader gets: IDX data takes the least time, a picture the most.
SHARES = {"idx": 0.76, "model": 0.15, "checkpoint": 0.05, "picture": 0.04}
FUZZED = Path(__file__).with_name("fuzzed.py")
PROGRESS = re.compile(r"^#(\d+)\t.* ft: (\d+) corp: (\d+)/.* rss: (\d+)Mb", re.MULTILINE)


class Outcome(NamedTuple):
    """What came of fuzzing one reader."""

    inputs: int
    paths: int
    corpus: int
    faults: int
    peak_megabytes: int
    seconds: float


def fuzz(reader: str, inputs: int, directory: Path) -> Outcome:
    """Give a reader so many inputs; print what it did wrong."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(FUZZED), reader, str(inputs), str(directory)]
    start = time.perf_counter()
    with open(directory / "log", "w+", errors="replace") as log:
        status = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        seconds = time.perf_counter() - start
        log.seek(0)
        lines = log.read()
    faults = sorted((directory / "findings").glob("*.txt"))
    for fault in faults:
        print(f"{reader}, {fault.with_suffix('')}:\n{fault.read_text()}")
    if status:
        print(f"{reader} ended with status {status}:\n{lines[-3000:]}")
    progress = [tuple(map(int, found)) for found in PROGRESS.findall(lines)]
    count, paths, corpus, _ = progress[-1] if progress else (0, 0, 0, 0)
    peak = max((megabytes for *_, megabytes in progress), default=0)
    return Outcome(count, paths, corpus, len(faults) + bool(status), peak, seconds)


def main() -> None:
    """Fuzz one reader after the other."""
    parser = argparse.ArgumentParser(description="What the readers do with damaged files.")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--reader", choices=[*SHARES, "all"], default="all")
    parser.add_argument("--corpus", type=Path, help="a directory to keep; else a temporary one")
    parser.add_argument("--quick", action="store_true", help="2,000 inputs, and no files")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit(
            "atheris is not installed: pip install atheris (it has wheels for Linux on x86-64; "
            "elsewhere, it is built with Clang)"
        )
    shares = SHARES if arguments.reader == "all" else {arguments.reader: 1}
    inputs = 2000 if arguments.quick else arguments.inputs
    print_machine()
    corpus, results = arguments.corpus or Path(tempfile.mkdtemp()), {}
    for reader, share in shares.items():
        outcome = fuzz(reader, max(1, round(inputs * share)), corpus / reader)
        results[reader] = outcome
        print(
            f"{reader:<11} {outcome.inputs:>9,} inputs {outcome.paths:>7,} paths "
            f"{outcome.corpus:>5,} kept {outcome.faults:>3} faults "
            f"{outcome.peak_megabytes:>5,} MB {outcome.seconds:>7.0f} s",
            flush=True,
        )
    faults = sum(outcome.faults for outcome in results.values())
    if not arguments.corpus and not faults:
        shutil.rmtree(corpus)
    if not arguments.quick:
        save(__file__, {reader: outcome._asdict() for reader, outcome in results.items()})
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
