"""Do the tests notice when the code is wrong? ``python benchmarks/mutants.py [--sample N]``.

A mutant is the pure part with one small change that cosmic-ray makes, such as ``<`` for ``<=``.
It is killed if a test of its room fails, and so is one that takes too long. The sample is random
and stratified: of each room and each kind of change it has the same share. A smaller sample is
part of a larger one with the same seed, and what ``mutants.json`` tells of a room whose source
and tests are still the same is taken from there: a run that was broken off goes on.

What is no mutant, and why, is in ``pyproject.toml``. Survivors that change nothing that a test
should see are in ``mutants.toml``, with the reason; they count as not killed.

Each mutant is tested in a copy of the project, in a process that is forked from one that has the
libraries loaded. The tests that read MNIST find it in ``$MNIST_FN_DATA``, or are left out.
"""

import argparse
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it comes without types
import pytest
from mutated import (
    CONFIG,
    PROJECT,
    ROOMS,
    Mutant,
    change_of,
    diff_of,
    mutants_of,
    path_of,
    sample_of,
    source_of,
)
from threadpoolctl import threadpool_limits

RESULTS = Path(__file__).resolve().with_suffix(".json")
REASONS = RESULTS.with_suffix(".toml")
# What the tests of a room are, if it is not its file: those of the rooms that are made of it.
TESTS = {
    "activation_functions": ["network", "training", "page"],
    "adaptive": ["optimizers", "oracles"],
    "arrays": ["network", "views", "batches", "augment"],
    "augment": ["augment", "runs"],
    "batches": ["batches", "large_data"],
    "hints": ["contracts"],
    "misfits": ["contracts"],
    "network": ["network", "dropout"],
    "optimizers": ["optimizers", "oracles"],
    "ranges": ["network", "dropout", "optimizers"],
    "recipes": ["runs", "training"],
    "runs": ["runs", "training", "large_data"],
    "shards": ["large_data"],
    "softmax": ["network", "evaluation", "dropout"],
    "training": ["training", "dropout"],
}
# What goes over all rooms.
LAWS = ["tests/test_documentation.py", "tests/test_shapes.py", "tests/test_house.py"]

# They take longer to load than a room's tests take.
LIBRARIES = ["hypothesis.extra.numpy", "jaxtyping", "beartype.door", "optax", "sklearn.datasets"]
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:xdist"]
OPTIONS += ["-p", "no:cov", "--hypothesis-profile=mutants"]
OPTIONS += ["-k", "not torch"]  # it takes the longest to load, and JAX is asked the same
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # they are loaded already
MOST_MEMORY = 8 << 30  # a mutant can ask for any
WORKERS = 2


def tests_of(room: str) -> list[str]:
    """Return the room, whose examples are tests, and the files with its tests."""
    names = TESTS.get(room, [room])
    return [str(path_of(room)), *(f"tests/test_{name}.py" for name in names)]


def digest_of(room: str) -> str:
    """Return a short text that is another one if the room or its tests are."""
    files = [*tests_of(room), *LAWS, "tests/conftest.py", "tests/calls.py"]
    content = b"".join(Path(file).read_bytes() for file in files)
    return hashlib.sha256(content).hexdigest()[:16]


def run_tests(tree: Path, room: str) -> None:
    """Run the tests of a room in a copy of the project, and end the process."""
    os.setpgrp()
    output = os.open(tree / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CONFIG["timeout"], CONFIG["timeout"]))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    os.chdir(tree)
    sys.path.insert(0, str(tree / "src"))
    os.environ["PYTHONPATH"] = str(tree / "src")
    # Most are killed by the first, and need not wait until the laws are collected.
    code = pytest.main([*OPTIONS, *tests_of(room)]) or pytest.main([*OPTIONS, *LAWS])
    sys.stdout.flush()
    os._exit(code)


def is_idle(group: int | None) -> bool:
    """Tell whether all processes of a group wait; those that get no processor do not."""
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            waits = process.info["status"] not in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
            if os.getpgid(process.pid) == group and not waits:
                return False
    return True


def outcome_in(tree: Path, room: str) -> str:
    """Return what becomes of a copy of the project: ``survived``, ``killed`` or ``timeout``."""
    child = multiprocessing.get_context("fork").Process(target=run_tests, args=(tree, room))
    child.start()
    idle = 0
    while child.is_alive() and idle < CONFIG["timeout"]:  # it may also wait, and never end
        child.join(5)
        idle = idle + 5 if is_idle(child.pid) else 0
    late = child.is_alive()
    if child.pid is not None:  # with all that it has started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.join()
    if late or child.exitcode == -signal.SIGXCPU:
        return "timeout"
    return "killed" if child.exitcode else "survived"


def outcome_of(mutant: Mutant) -> str:
    """Return the outcome of a mutant."""
    try:
        _, mutated = source_of(mutant)
        compile(mutated, mutant.room, "exec")
    except (SyntaxError, AttributeError):  # cosmic-ray stumbles over `except (zlib.error, ...)`
        return "no mutant"
    with copy_of(Path()) as tree:
        (tree / mutant.path()).write_text(mutated)
        return outcome_in(tree, mutant.room)


def check_as_it_is(room: str) -> None:
    """Stop if the tests of a room fail without a change."""
    with copy_of(Path()) as tree:
        if outcome_in(tree, room) != "survived":
            output = (tree / "output.txt").read_text()
            sys.exit(f"{output}\nThe tests of {room} fail as it is: repair that, then try again.")


@contextlib.contextmanager
def copy_of(project: Path) -> Iterator[Path]:
    """Give a copy of what the tests need, and remove it in the end."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "mnist_fn"
        for name in ("src", "tests"):
            shutil.copytree(project / name, tree / name)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy2(project / name, tree)
        yield tree


def outcomes_of(mutants: list[Mutant], results: Path) -> dict[Mutant, str]:
    """Test those whose outcome is not among the results, and write each to them."""
    saved = json.loads(results.read_text())["outcomes"] if results.exists() else {}
    digests = {room: f"{room} {digest_of(room)}" for room in {mutant.room for mutant in mutants}}
    known = {name: found for name, found in saved.items() if name.split()[0] not in digests}
    known |= {digest: saved.get(digest, {}) for digest in digests.values()}
    names = {m: (digests[m.room], f"{m.operator} {m.occurrence}") for m in mutants}
    new = [m for m, (digest, name) in names.items() if name not in known[digest]]
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")) as pool:
        for _ in pool.map(check_as_it_is, sorted({mutant.room for mutant in new})):
            pass  # an error is raised here
        for done, (mutant, outcome) in enumerate(
            zip(new, pool.map(outcome_of, new), strict=True), 1
        ):
            digest, name = names[mutant]
            known[digest][name] = outcome
            save(results, {"outcomes": known})
            print(f"{done} of {len(new)}: {mutant.room} {name}: {outcome}", flush=True)
    return {mutant: known[digest][name] for mutant, (digest, name) in names.items()}


def save(results: Path, content: dict[str, Any]) -> None:
    """Write the results whole, or leave those that are there."""
    new = results.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(results)


def report(outcomes: dict[Mutant, str]) -> dict[str, Any]:
    """Print the table and the survivors, and return them."""
    outcomes = {m: outcome for m, outcome in outcomes.items() if outcome != "no mutant"}
    table = {room: Counter[str]() for room in sorted({mutant.room for mutant in outcomes})}
    for mutant, outcome in outcomes.items():
        table[mutant.room][outcome] += 1
    table["all"] = sum(table.values(), Counter())
    print(f"{'room':<22}{'mutants':>8}{'killed':>8}{'survived':>10}{'timeout':>9}")
    for room, counts in table.items():
        killed, survived, late = (counts[name] for name in ("killed", "survived", "timeout"))
        print(f"{room:<22}{counts.total():>8}{killed:>8}{survived:>10}{late:>9}")
    share = 1 - table["all"]["survived"] / table["all"].total()
    print(f"{share:.1%} are killed, by a test or by their time")

    explained = {
        (room, change): entry["reason"]
        for room, entries in tomllib.loads(REASONS.read_text()).items()
        for entry in entries
        for change in entry["changes"]
    }
    survivors = []
    for mutant in sorted(m for m, outcome in outcomes.items() if outcome == "survived"):
        reason = explained.get((mutant.room, change_of(mutant)), "")
        print(f"\n{mutant.path()}: {reason or 'no reason given'}", *diff_of(mutant), sep="\n")
        survivors.append({"room": mutant.room, "change": change_of(mutant), "reason": reason})
    return {"killed": share, "rooms": table, "survivors": survivors}


def main() -> None:
    """Test a sample of the mutants."""
    parser = argparse.ArgumentParser(description="Whether the tests notice that the code is wrong.")
    parser.add_argument("--sample", type=int, default=600, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=ROOMS, help="only of these")
    parser.add_argument("--quick", action="store_true", help="two of one room, not saved")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rooms, arguments.sample = ["keys"], 2
    with copy_of(PROJECT) as snapshot:  # what is changed meanwhile changes no result
        os.chdir(snapshot)
        results = snapshot / RESULTS.name if arguments.quick else RESULTS
        every = [mutant for room in arguments.rooms for mutant in mutants_of(room)]
        mutants = sample_of(every, arguments.sample, arguments.seed)
        print(f"{len(mutants)} of {len(every)} mutants")
        for library in LIBRARIES:
            importlib.import_module(library)
        threadpool_limits(1, "blas")  # as many processes as cores
        outcomes = outcomes_of(mutants, results)
        content = {"sample": len(mutants), "of": len(every), "seed": arguments.seed}
        content |= report(outcomes)
        save(results, content | {"outcomes": json.loads(results.read_text())["outcomes"]})
        os.chdir(PROJECT)


if __name__ == "__main__":
    main()
