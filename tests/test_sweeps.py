"""Sweeps: every recipe with every key, and the command that keeps a line of each run."""

import csv
import itertools
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it comes without types
import pytest
from filelock import FileLock
from patience import PATIENCE, until
from rich.text import Text
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn.effects import cli, sweep_command
from mnist_fn.effects.grids import GridError, settings_of
from mnist_fn.effects.sweeps import trials_of
from mnist_fn.effects.workers import WorkerError
from mnist_fn.views import as_they_are, deslanted

SMALL = mf.recipes.digits._replace(hidden=8, epochs=2)
TINY = ["--data", "digits", "--epochs", "1", "--workers", "1"]
GRID = ["--grid", "hidden=4,32", "--grid", "learning-rate=0.05,0.1", "--seeds", "2"]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sweep(*options: str) -> Any:
    return CliRunner().invoke(cli.app, ["sweep", *options])


def lines_of(result: Any) -> list[str]:
    assert (result.exit_code, result.stderr) == (0, ""), result
    lines: list[str] = result.stdout.splitlines()
    return lines


def error_of(result: Any) -> str:
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)  # and no other, so there is no traceback
    text: str = result.stderr
    assert text.startswith("mnist-fn: ")
    return text.removeprefix("mnist-fn: ").rstrip("\n")


def usage_error_of(result: Any) -> str:
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(Text.from_ansi(result.stderr).plain.replace("│", " ").split())


def rows(path: str = "sweep.csv") -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(some_rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in some_rows]


def test_every_recipe_meets_every_key_in_order_on_what_is_not_held_back(digits: mf.Dataset) -> None:
    recipes, keys = [SMALL, SMALL._replace(hidden=9, g=mf.tanh)], mf.split(mf.key(3), 2)
    nothing = np.zeros((784, 0), np.uint8), np.zeros(0, np.uint8)
    blind = digits._replace(X_test=nothing[0], Y_test=nothing[1])  # it must not be looked at
    trials = list(mf.sweep(recipes, keys, blind, held_back=200))
    assert [trial[:2] for trial in trials] == [(recipe, key) for key in keys for recipe in recipes]
    parts = mf.hold_out(digits.X_train, digits.Y_train, 200)
    for recipe, key, ((params, view),), history, accuracy, seconds in trials:
        states = list(mf.train_epochs(*mf.prepare(recipe, key, parts.X_train, parts.Y_train)))
        np.testing.assert_allclose(params.W1, states[-1].params.W1, rtol=1e-3, atol=1e-5)
        assert view == as_they_are
        right = mf.accuracy(params, mf.scale(parts.X_test), parts.Y_test, recipe.g)
        assert accuracy == history[-1].validation_accuracy == pytest.approx(right, abs=0.011)
        assert [(record.member, record.epoch) for record in history] == [(0, 1), (0, 2)]
        assert seconds == sum(record.seconds for record in history) > 0


def test_a_committee_is_judged_as_one(digits: mf.Dataset) -> None:
    recipe = SMALL._replace(views=(as_they_are, deslanted))
    joined = recipe._replace(views=(deslanted, deslanted), joined=True)
    parts = mf.hold_out(digits.X_train, digits.Y_train, 300)
    for trial in mf.sweep([recipe, joined], [mf.key(1)], digits, held_back=300):
        assert [record.member for record in trial.history] == [0, 0, 1, 1]
        assert len(trial.members) == (1 if trial.recipe.joined else 2)
        predicted = mf.predict_committee(trial.members, mf.scale(parts.X_test))
        right = float(np.mean(predicted == parts.Y_test))
        assert trial.validation_accuracy == pytest.approx(right, abs=0.005)


def test_a_sweep_is_lazy(digits: mf.Dataset) -> None:
    asked = []

    def asking(function: Callable[[Any], Any], jobs: Any) -> Iterator[Any]:
        for job in jobs:
            asked.append(job.recipe.hidden)
            yield function(job)

    recipes = [SMALL._replace(hidden=n, epochs=1) for n in (2, 3, 4)]
    trials = mf.sweep(recipes, [mf.key(0)], lambda: digits, map=asking)
    assert asked == []
    next(trials)
    assert asked == [2]


def test_without_images_held_back_there_is_no_accuracy(digits: mf.Dataset) -> None:
    both = [SMALL, SMALL._replace(views=(as_they_are,) * 2)]
    for trial in mf.sweep(both, [mf.key(0)], digits, held_back=0):
        assert math.isnan(trial.validation_accuracy)
    untrained = mf.sweep([SMALL._replace(epochs=0)], [mf.key(0)], digits)
    assert 0 <= next(untrained).validation_accuracy < 0.5


def test_what_cannot_be_trained_is_refused(digits: mf.Dataset) -> None:
    with pytest.raises(ValueError, match=r"^prepare: hidden is 0, but it must be 1 or more$"):
        mf.sweep([SMALL._replace(hidden=0)], [mf.key(0)], digits)
    with pytest.raises(ValueError, match=r"^1437 images are to be held back .*; name fewer$"):
        next(mf.sweep([SMALL], [mf.key(0)], digits, held_back=1437))


@pytest.mark.filterwarnings("error")
def test_a_training_that_diverges_ends_and_the_sweep_goes_on(digits: mf.Dataset) -> None:
    wild = SMALL._replace(learning_rate=1e30, epochs=5)
    committee = wild._replace(views=(as_they_are, deslanted))
    *both_lost, kept = mf.sweep([wild, committee, SMALL], [mf.key(0)], digits)
    for lost in both_lost:
        assert math.isnan(lost.validation_accuracy)
        assert len(lost.history) < 5 * len(lost.members)
    assert kept.validation_accuracy > 0.1


def test_a_grid_is_every_combination() -> None:
    settings = settings_of(mf.recipes.quick, ["hidden=64, 128", "displacement=5", "view=deslanted"])
    assert [dict(words) for words, _ in settings] == [
        {"hidden": n, "displacement": "5", "view": "deslanted"} for n in ("64", "128")
    ]
    for (_, recipe), hidden in zip(settings, (64, 128), strict=True):
        distortion = mf.recipes.quick.distortion
        assert distortion
        assert recipe == mf.recipes.quick._replace(
            hidden=hidden, distortion=distortion._replace(displacement=5.0), views=(deslanted,)
        )
    ((words, recipe),) = settings_of(mf.recipes.seed, [])
    assert (words, recipe) == ({}, mf.recipes.seed)
    texts = ["batch-size=all,8", "activation=tanh", "nesterov=yes", "schedule=cosine", "init=he"]
    all_of_them, eight = (recipe for _, recipe in settings_of(SMALL, texts))
    assert (all_of_them.batch_size, eight.batch_size) == (None, 8)
    assert eight[6:8] == ("cosine", 0.9)
    assert (eight.g, eight.nesterov, eight.init) == (mf.tanh, True, "he")


WRONG_GRIDS = [
    ("hidden", "'hidden' is not of the form NAME=VALUE,VALUE"),
    ("colour=red", "'colour' is not one of hidden, epochs, batch-size, learning-rate, "),
    ("hidden=many", "hidden is 'many', but it must be a whole number"),
    ("hidden=1.5", "hidden is '1.5', but it must be a whole number"),
    ("hidden=", "hidden is '', but it must be a whole number"),
    ("hidden=-1", "hidden is '-1', but it must be a whole number"),
    ("learning-rate=nan", "learning-rate is 'nan', but it must be a number from 0 on"),
    ("learning-rate=fast", "learning-rate is 'fast', but it must be a number from 0 on"),
    ("learning-rate=1,-1", "learning-rate is '-1', but it must be a number from 0 on"),
    ("learning-rate=0.1,0.10", "learning-rate has the value 0.10 twice"),
    ("nesterov=perhaps", "nesterov is 'perhaps', but it must be yes or no"),
    ("view=upside down", "view is 'upside down', but it must be as they are or deslanted or stan"),
    ("rotation=5", "the recipe digits has no distortion, and so no rotation"),
]


@pytest.mark.parametrize(("text", "says"), WRONG_GRIDS)
def test_a_wrong_grid_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(GridError, match=f"^{re.escape(says)}"):
        settings_of(SMALL, [text])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--grid", "colour=red"], "--grid: 'colour' is not one of hidden,"),
        (["--grid", "hidden=1", "--grid", "hidden=2"], "--grid: hidden is there twice; give it"),
        (["--grid", "hidden=0"], "--grid: hidden is 0, but it must be 1 or more"),
        (["--grid", "momentum=1.5"], "momentum: decay is 1.5, but it must be at least 0 and less"),
        (["--grid", "hidden-dropout=1"], "hidden_dropout is 1.0, but it must be at least 0 and"),
        (["--epochs", "1", "--grid", "epochs=2"], "--epochs and --grid epochs=... exclude each"),
        (["--workers", "2", "--scheduler", "tcp://a:1"], "--workers and --scheduler exclude each"),
        (["--output", "sweep.txt"], "sweep.txt does not end in .csv or .jsonl"),
        (["--seeds", "0"], "--seeds"),
        (["--workers", "0"], "--workers"),
        (["--recipe", "worst"], "'worst' is not one of quick, digits, plain"),
    ],
)
def test_usage_errors_exit_with_2_and_write_nothing(options: list[str], says: str) -> None:
    assert says in usage_error_of(sweep("--data", "digits", *options))
    assert os.listdir() == []


def test_a_sweep_says_what_it_does_and_which_setting_was_best() -> None:
    headline, *runs, _, head, first, second, last = lines_of(
        sweep(*TINY, "--grid", "hidden=2,64", "--seeds", "3")
    )
    assert headline == "2 settings x 3 seeds on 1,318 images of digits (119 more held back): 6 runs"
    words = [
        (i, hidden, seed) for i, (seed, hidden) in enumerate(itertools.product("012", (2, 64)))
    ]
    for line, (i, hidden, seed) in zip(runs, words, strict=True):
        assert re.fullmatch(
            rf"run {i + 1}/6  hidden {hidden}, seed {seed}  "
            r"validation accuracy \d+\.\d\d %  \d+\.\d s",
            line,
        )
    assert head.split("  ")[0] == "hidden"
    accuracies = [float(row["validation accuracy"]) for row in rows() if row["hidden"] == "64"]
    mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
    assert first.startswith(f"64      {100 * mean:.2f} % +- {100 * spread:.2f}")
    assert second.startswith("2  ")
    assert last == "all runs are in sweep.csv"
    assert os.listdir() == ["sweep.csv"]


def test_the_lines_say_all_that_a_run_was_told(digits: mf.Dataset) -> None:
    lines_of(sweep(*TINY, *GRID))
    trials = mf.sweep(
        [
            recipe._replace(epochs=1)
            for _, recipe in settings_of(mf.recipes.digits, [GRID[1], GRID[3]])
        ],
        [mf.key(0), mf.key(1)],
        digits,
    )
    for row, trial in zip(rows(), trials, strict=True):
        assert row["hidden"] == str(trial.recipe.hidden)
        assert row["learning rate"] == str(trial.recipe.learning_rate)
        assert mf.key(int(row["seed"])) == trial.key
        assert (row["data"], row["training images"], row["held back"]) == ("digits", "1318", "119")
        assert float(row["validation accuracy"]) == trial.validation_accuracy


def test_json_lines_hold_the_same_and_the_history() -> None:
    lines_of(sweep(*TINY, *GRID))
    lines_of(sweep(*TINY, *GRID, "--output", "sweep.jsonl"))
    parsed = [json.loads(line) for line in Path("sweep.jsonl").read_text().splitlines()]
    as_text = [{n: str(v) for n, v in row.items() if n != "history"} for row in parsed]
    assert without_seconds(as_text) == without_seconds(rows())
    for row in parsed:
        (record,) = row["history"]
        assert record["validation_accuracy"] == row["validation accuracy"]
    assert lines_of(sweep(*TINY, *GRID, "--output", "sweep.jsonl", "--resume"))[0].endswith(
        ": 8 runs, 8 of which are in the file"
    )


@pytest.mark.parametrize("output", ["s.csv", "s.jsonl"])
def test_what_diverges_is_named_and_comes_last(output: str) -> None:
    options = ["--grid", "learning-rate=1e30,0.1", "--seeds", "2", "--output", output]
    *_, best, worst, _ = lines_of(sweep(*TINY, *options))
    assert best.startswith("0.1  ")
    assert re.fullmatch(r"1e30           2 of 2 diverged +\d+\.\d", worst)
    assert lines_of(sweep(*TINY, *options, "--resume"))[-3:-1] == [best, worst]


@pytest.mark.parametrize("output", ["s.csv", "s.jsonl"])
@pytest.mark.parametrize("keep", [0, 3, 8])
@pytest.mark.parametrize("part", [0, 1, 100])
def test_a_sweep_that_was_broken_off_anywhere_is_completed(
    output: str, keep: int, part: int
) -> None:
    lines_of(sweep(*TINY, *GRID, "--output", output))
    path = Path(output)
    lines = path.read_text().splitlines(keepends=True)
    keep += output == "s.csv" and keep > 0  # the head is written with the first run
    cut = "".join(lines[:keep]) + "".join(lines[keep:])[:part]
    path.write_text(cut)
    said = lines_of(sweep(*TINY, *GRID, "--output", output, "--resume"))
    mended = f"{output} ended in a part of a line, which is cut off"
    assert (said[0] == mended) == (not cut.endswith("\n") and cut != "")
    assert sum(line.startswith("run ") for line in said) == 8 - max(keep - (output == "s.csv"), 0)
    without_times = [re.sub(r"[,:] ?[\d.e-]+(, \"history\".*)?$", "", line) for line in lines]
    again = path.read_text().splitlines(keepends=True)
    assert [re.sub(r"[,:] ?[\d.e-]+(, \"history\".*)?$", "", line) for line in again] == (
        without_times
    )


def test_a_resumed_sweep_may_be_of_more_settings_and_seeds() -> None:
    lines_of(sweep(*TINY, "--grid", "hidden=2,3", "--seeds", "1"))
    before = Path("sweep.csv").read_bytes()
    lines_of(sweep(*TINY, "--grid", "hidden=3,4", "--seeds", "2", "--resume"))
    assert Path("sweep.csv").read_bytes().startswith(before)
    done = [(row["hidden"], row["seed"]) for row in rows()]
    assert done == [("2", "0"), ("3", "0"), ("4", "0"), ("3", "1"), ("4", "1")]


def damaged_line(content: str) -> str:
    return content.replace("digits,digits", "digits", 1)


def other_head(content: str) -> str:
    return content.replace("recipe,", "prescription,", 1)


def no_number(content: str) -> str:
    head, line, *_ = content.splitlines(keepends=True)
    return head + ",".join([*line.split(",")[:-1], "soon\n"])


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (damaged_line, 2),
        (other_head, 1),
        (no_number, 2),
        (lambda _: "x\n", 1),
        (lambda _: "what somebody wrote, without an end", 1),
        (lambda _: "x\nwhat somebody wrote, without an end", 1),
    ],
)
def test_a_file_that_is_no_sweeps_is_left_as_it_is(damage: Callable[[str], str], line: int) -> None:
    lines_of(sweep(*TINY, "--grid", "hidden=2", "--seeds", "1"))
    path = Path("sweep.csv")
    path.write_text(damage(path.read_text()))
    content = path.read_bytes()
    assert error_of(sweep(*TINY, "--resume")) == (
        f"sweep.csv: line {line} is not one that this version's sweep writes; name another file "
        "with --output"
    )
    assert path.read_bytes() == content


@pytest.mark.parametrize("text", ["[1]\n", "{\n", '{"recipe": "digits"}\n', "somebody's"])
def test_json_lines_that_are_no_runs_are_refused(text: str) -> None:
    Path("s.jsonl").write_text(text)
    message = error_of(sweep(*TINY, "--output", "s.jsonl", "--resume"))
    assert message.startswith("s.jsonl: line 1 is not one that this version's sweep writes")
    assert Path("s.jsonl").read_text() == text


def test_a_file_that_is_no_text_is_refused() -> None:
    Path("sweep.csv").write_bytes(b"\xff\xfe\n")
    message = error_of(sweep(*TINY, "--resume"))
    assert message.startswith("sweep.csv: line 1 is not one that this version's sweep writes")
    assert Path("sweep.csv").read_bytes() == b"\xff\xfe\n"


def test_a_file_is_not_overwritten_and_not_mixed_with_other_data(digits: mf.Dataset) -> None:
    assert error_of(sweep(*TINY, "--resume")) == (
        "sweep.csv is not there to go on with; leave --resume out"
    )
    for content in (b"what was there", b""):
        Path("sweep.csv").write_bytes(content)
        assert error_of(sweep(*TINY)) == (
            "sweep.csv is there already; go on with --resume, or name another file with --output"
        )
        assert Path("sweep.csv").read_bytes() == content
    Path("sweep.csv").unlink()
    lines_of(sweep(*TINY, "--grid", "hidden=2", "--seeds", "1"))
    Path("own").mkdir()
    for part in ("train", "t10k"):
        images = mf.idx.encode(digits.X_test.T.reshape(-1, 28, 28))
        Path(f"own/{part}-images-idx3-ubyte").write_bytes(images)
        Path(f"own/{part}-labels-idx1-ubyte").write_bytes(mf.idx.encode(digits.Y_test))
    assert error_of(sweep("--data", "own", "--epochs", "1", "--workers", "1", "--resume")) == (
        "sweep.csv is of a sweep on other data, digits; name that with --data, or another file "
        "with --output"
    )


def test_a_file_belongs_to_one_sweep_at_a_time() -> None:
    with FileLock(".sweep.csv.lock"):
        assert error_of(sweep(*TINY)).startswith("sweep.csv is in use by another sweep; wait for")
    assert error_of(sweep(*TINY, "--output", "no/s.csv")).startswith("no/s.csv cannot be written:")
    assert not Path("no").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_whole_lines() -> None:
    # For the command alone: what measures coverage writes a file after it.
    code = """
import resource, signal
from mnist_fn.effects.cli import app

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
try:
    app()
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", *TINY, *GRID], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "mnist-fn: sweep.csv cannot be written: File too large; once it can, go on with --resume\n"
    )
    content = Path("sweep.csv").read_bytes()
    assert content.endswith(b"\n")
    assert len(rows()) >= 1
    lines_of(sweep(*TINY, *GRID, "--resume"))
    assert Path("sweep.csv").read_bytes().startswith(content)
    assert len(rows()) == 8


@pytest.mark.parametrize(
    ("error", "why"),
    [(KeyboardInterrupt(), "interrupted"), (WorkerError("a worker is lost"), "a worker is lost")],
)
def test_what_ends_a_sweep_early_keeps_what_was_reached(
    error: BaseException, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:

    def interrupted(*arguments: Any) -> Iterator[mf.Trial]:
        yield from itertools.islice(trials_of(*arguments), 3)
        raise error

    monkeypatch.setattr(sweep_command, "trials_of", interrupted)
    assert error_of(sweep(*TINY, *GRID)) == (
        f"{why}; 3 of 8 runs are in sweep.csv, go on with --resume"
    )
    assert len(rows()) == 3


def test_a_sweep_that_does_not_begin_leaves_no_file() -> None:
    options = ["--data", "digits", "--scheduler", "tcp://127.0.0.1:1"]
    assert error_of(sweep(*options)).startswith("no Dask scheduler answers at tcp://127.0.0.1:1; ")
    assert os.listdir() == []


PROCESSES = ["--data", "digits", "--epochs", "10", "--workers", "2", *GRID]


def begun(**options: Any) -> subprocess.Popen[str]:
    """Start a sweep with two processes, and wait for its first two runs; a third is not noted."""
    code = f"""
import itertools, time
from mnist_fn.effects import sweep_command

append, numbers = sweep_command.append, itertools.count()
def append_two(*run):
    if next(numbers) == 2:
        time.sleep({PATIENCE})
    append(*run)
sweep_command.append = append_two
from mnist_fn.__main__ import main
main()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, "sweep", *PROCESSES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("run 2/"):
            break
    return process


def alive(session: int) -> list[psutil.Process]:
    """The processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.slow
def test_a_sweep_that_is_killed_half_way_runs_each_setting_exactly_once() -> None:
    lines_of(sweep(*PROCESSES[:4], "--workers", "1", *GRID, "--output", "whole.csv"))
    process = begun()
    assert len(alive(process.pid)) >= 3
    process.kill()
    process.communicate()
    until(lambda: not alive(process.pid))
    there = Path("sweep.csv").read_bytes()
    before = len(there[: there.rfind(b"\n")].splitlines()) - 1
    assert before == 2
    said = lines_of(sweep(*PROCESSES, "--resume"))
    assert sum(line.startswith("run ") for line in said) == 8 - before
    assert without_seconds(rows()) == without_seconds(rows("whole.csv"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_leaves_no_process_behind(number: int) -> None:
    process = begun()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert errors == "mnist-fn: interrupted; 2 of 8 runs are in sweep.csv, go on with --resume\n"
    assert len(rows()) == 2
    until(lambda: not alive(process.pid))
    assert os.listdir() == ["sweep.csv"]
