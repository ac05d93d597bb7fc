"""Full disks, read-only disks, bad mirrors, signals: nothing is lost, and it is said what to do.

Each fault is tried ``$MNIST_FN_TRIES`` times, 2 by default. ``benchmarks/faults.py`` runs this
file with more, and makes a table of what is noted of each.
"""

import contextlib
import errno
import functools
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from mirrors import (
    FILES,
    PACKED,
    Mirror,
    Misdeed,
    NewMirror,
    Request,
    answers_with,
    contents_of,
    hangs,
    hangs_half_way,
    is_the_small_set,
    mirrors,
    redirects_endlessly,
    sends_a_byte_too_many,
    sends_a_login_page,
    stops_half_way,
    stops_half_way_and_does_not_say_how_long,
    use,
    use_cache,
)
from patience import PATIENCE, until
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn.effects import (
    checkpoints,
    cli,
    downloads,
    files,
    models,
    newest,
    sessions,
    watching,
)

TRIES = int(os.environ.get("MNIST_FN_TRIES", "2"))
SMALL = ["train", "--data", "digits", "--hidden", "8", "--epochs", "3"]
SWEEP = ["sweep", "--data", "digits", "--grid", "hidden=8", "--epochs", "1"]
OF_EPOCHS = re.compile(r"epoch-\d+\.checkpoint")

Command: TypeAlias = list[str | Path]
Note: TypeAlias = Callable[[str, int, str], None]


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    for name in ("state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    # What cannot be saved where it should be is saved among the temporary files.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    # jaxtyping imports JAX where that is installed, which takes seconds and swallows signals;
    # who has installed the command line alone has none.
    (tmp_path / "without").mkdir()
    (tmp_path / "without/jax.py").write_text("raise ImportError")
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "without"), *path]))
    # The processes and this one must train with the same bits.
    monkeypatch.setenv("MNIST_FN_BLAS", "keep")


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Note:
    """Note for the table: the fault, how often it was tried, what the user is told."""

    def noted(fault: str, tries: int, told: str) -> None:
        for name, value in (("fault", fault), ("tries", tries), ("told", told)):
            record_property(name, value)

    return noted


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert isinstance(result.exception, SystemExit | None), result  # so there is no traceback
    return Result(result.exit_code, result.stdout, result.stderr)


def succeed(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result
    return result.stdout


def error_of(*arguments: str | Path) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result
    assert re.fullmatch(r"mnist-fn: [^\n]+\n", result.stderr), result
    return result.stderr


def left_in(directory: Path) -> list[str]:
    """What lies in a directory, apart from the lock that no two trainings share."""
    return sorted(path.name for path in directory.iterdir() if path.name != "lock")


class SmallDisk:
    """Files under a directory, which has room for so many bytes more."""

    def __init__(self, directory: Path, room: int) -> None:
        self.directory, self.room = directory, room

    def open(self, path: Path, mode: str) -> Any:
        if not path.is_relative_to(self.directory):
            return open(path, mode)
        disk = self

        class File(io.FileIO):
            def write(self, content: Any, /) -> int:
                part = memoryview(content).cast("B")[: disk.room]
                if not part:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                disk.room -= len(part)
                return super().write(part)

        return io.BufferedWriter(File(path, mode))


def rooms(length: int) -> list[int]:
    """From no room at all to all but one byte of what would be needed."""
    return [round(room) for room in np.linspace(0, length - 1, TRIES)]


def test_a_full_disk_costs_no_model(monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    succeed(*SMALL, "--output", "whole.npz")
    succeed(*SMALL, "--epochs", "1", "--output", "disk.npz")
    Path("disk").mkdir()
    Path("disk.npz").rename("disk/m.npz")
    before = Path("disk/m.npz").read_bytes()
    temporary = Path(tempfile.gettempdir())
    told = "m.npz cannot be written: No space left on device; what was reached is in"
    for room in rooms(Path("whole.npz").stat().st_size):
        disk = SmallDisk(Path("disk").resolve(), room)
        monkeypatch.setattr(files, "open", disk.open, raising=False)
        message = error_of(*SMALL, "--output", "disk/m.npz")
        (saved,) = temporary.iterdir()
        assert message == f"mnist-fn: disk/{told} {saved}\n"
        assert saved.read_bytes() == Path("whole.npz").read_bytes()
        assert left_in(Path("disk")) == ["m.npz"]
        assert Path("disk/m.npz").read_bytes() == before
        saved.unlink()
    note("full disk while the model is written", TRIES, f"{told} a temporary file")


def no_room(path: Path) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("options", "again"), [([], "and the same options"), (["--checkpoint", "c"], "--resume c")]
)
def test_where_there_is_room_for_no_model_it_says_how_to_get_the_same_one_later(
    options: list[str], again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    succeed(*SMALL, "--output", "whole.npz")
    succeed(*SMALL, "--epochs", "1", "--output", "m.npz")
    before = Path("m.npz").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(models, "replacing", no_room)
        assert error_of(*SMALL, *options, "--output", "m.npz") == (
            "mnist-fn: m.npz cannot be written: No space left on device; once it can, use "
            f"mnist-fn train {again}\n"
        )
    assert Path("m.npz").read_bytes() == before
    if options:
        succeed("train", "--resume", "c", "--output", "m.npz")
        assert Path("m.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_a_full_disk_costs_no_checkpoint(monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    succeed(*SMALL, "--checkpoint", "whole", "--output", "whole.npz")
    lengths = [path.stat().st_size for path in sorted(Path("whole").glob("*.checkpoint"))]
    told = "No space left on device; once it can, go on from the one before with mnist-fn train"
    for room in rooms(2 * lengths[0]):  # beyond the one from before the first epoch
        directory = Path(f"c{room}")
        disk = SmallDisk(directory.resolve(), 10_000 + room)
        with monkeypatch.context() as patch:
            patch.setattr(files, "open", disk.open, raising=False)
            message = error_of(*SMALL, "--checkpoint", directory, "--output", "part.npz")
        assert message == (
            f"mnist-fn: a checkpoint cannot be written to {directory}: {told} --resume "
            f"{directory}; what was reached is in part.npz\n"
        )
        assert all(map(OF_EPOCHS.fullmatch, left_in(directory)))
        for path in checkpoints.checkpoints_in(directory):
            checkpoints.load_checkpoint(path)
        succeed("train", "--resume", directory, "--output", "resumed.npz")
        assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()
    note("full disk while a checkpoint is written", TRIES, f"{told} --resume DIR")


def test_a_full_disk_costs_no_page(monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    succeed(*SMALL)
    Path("disk").mkdir()
    page = Path("disk/page.html")
    succeed("page", "--output", page)
    before = page.read_bytes()
    told = "No space left on device; make room, or name a file elsewhere with --output"
    for room in rooms(len(before)):
        disk = SmallDisk(page.parent.resolve(), room)
        monkeypatch.setattr(files, "open", disk.open, raising=False)
        assert error_of("page", "--output", page) == (
            f"mnist-fn: {page} cannot be written: {told}\n"
        )
        assert left_in(page.parent) == ["page.html"]
        assert page.read_bytes() == before
    note("full disk while a page is written", TRIES, told)


def test_a_full_disk_costs_no_note_of_the_newest_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    succeed(*SMALL, "--output", "a.npz")
    disk = SmallDisk(tmp_path / "state", 5)
    monkeypatch.setattr(files, "open", disk.open, raising=False)
    succeed(*SMALL, "--output", "b.npz")  # which can be named
    assert newest.newest_model() == Path("a.npz").resolve()
    assert left_in(tmp_path / "state/mnist_fn") == ["newest-model"]


def mounted(directory: Path, *options: str) -> None:
    directory.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(directory)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a disk of its own needs the command mount, which is not there")
    if done.returncode:
        pytest.skip(f"a disk of its own cannot be mounted: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk, small enough to be filled, which can be made read-only."""
    directory = tmp_path / "disk"
    mounted(directory, "-o", "size=512k")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Write a file that leaves so many bytes."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    filler.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - leave)))
    return filler


def test_a_disk_that_is_really_full_says_what_to_do_and_keeps_what_it_has(
    disk: Path, note: Note
) -> None:
    model, page, c = disk / "m.npz", disk / "page.html", disk / "c"
    succeed(*SMALL, "--output", "whole.npz")
    succeed(*SMALL, "--epochs", "1", "--output", model)
    succeed("page", model, "--output", page)
    before = {path: path.read_bytes() for path in (model, page)}
    for leave in rooms(30_000):  # less than either needs
        filler = fill(disk, leave)
        commands: list[Command] = [
            [*SMALL, "--output", model],
            ["page", "--output", page],
            [*SMALL, "--checkpoint", c, "--output", "part.npz"],
        ]
        for command in commands:
            assert "No space left on device; " in error_of(*command)
            assert {path: path.read_bytes() for path in before} == before
        left = [name for name in left_in(disk) if name != "c"]
        assert left == ["filler", "m.npz", "page.html"]
        filler.unlink()
        # There may not have been room for the first one; now there is.
        how: Command = ["train", "--resume", c] if left_in(c) else [*SMALL, "--checkpoint", c]
        succeed(*how, "--output", "resumed.npz")
        assert Path("resumed.npz").read_bytes() == Path("whole.npz").read_bytes()
        for path in c.iterdir():
            path.unlink()
    note("a real disk of 512 kB, filled", 3 * TRIES, "No space left on device; and as above")


@pytest.mark.slow
def test_a_full_disk_costs_no_report(disk: Path, note: Note) -> None:
    report = disk / "report.html"
    succeed(*SMALL)
    report.write_text("what was there")
    told = "No space left on device; make room, or name a file elsewhere with --output"
    for leave in rooms(100_000)[::5]:
        filler = fill(disk, leave)
        assert error_of("report", "--output", report) == (
            f"mnist-fn: {report} cannot be written: {told}\n"
        )
        filler.unlink()
        assert left_in(disk) == ["report.html"]
        assert report.read_text() == "what was there"
    note("full disk while a report is written", -(-TRIES // 5), told)


def test_a_read_only_disk_is_refused_before_the_work(
    disk: Path, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    model, c = disk / "m.npz", disk / "c"
    succeed(*SMALL, "--output", model, "--checkpoint", c)
    before = {path.name: path.read_bytes() for path in (model, *c.iterdir())}
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    output = "Read-only file system; name a file in a directory that is there and can be written"
    elsewhere = "Read-only file system; name a directory that can be written to"
    commands: list[tuple[Command, str]] = [
        ([*SMALL, "--output", model], output),
        ([*SMALL, "--output", disk / "n.npz"], output),
        (["page", model, "--output", disk / "page.html"], output),
        (["report", model, "--output", disk / "report.html"], output),
        ([*SMALL, "--checkpoint", disk / "d"], elsewhere),
        ([*SMALL, "--checkpoint", c], elsewhere),
        (["train", "--resume", c], elsewhere),
        ([*SWEEP, "--output", disk / "runs.csv"], output),
        (["enlarge", "--data", "digits", "--times", "2", disk / "big"], "name a directory on a"),
    ]
    for command, told in commands:
        result = run(*command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert told in result.stderr
    assert {path.name: path.read_bytes() for path in (model, *c.iterdir())} == before
    # A place for notes and a cache are not worth a training.
    monkeypatch.setenv("XDG_STATE_HOME", str(disk / "state"))
    succeed(*SMALL, "--output", "m.npz")
    assert "test accuracy" in succeed("evaluate", model)
    note("read-only disk", len(commands), output)


@pytest.fixture
def new_mirror() -> Iterator[NewMirror]:
    with mirrors() as new:
        yield new


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, for a MNIST that is the small data set."""
    directory = tmp_path / "cache"
    use_cache(monkeypatch, directory)
    return directory


FAILURES: list[tuple[str, Misdeed, str]] = [
    ("stops half-way", stops_half_way, "breaks off"),
    (
        "stops half-way, having said no length",
        stops_half_way_and_does_not_say_how_long,
        "sends something else",
    ),
    ("sends other bytes", sends_a_login_page, "sends something else"),
    ("sends a byte too many", sends_a_byte_too_many, "sends something else"),
    ("redirects endlessly", redirects_endlessly, "redirects endlessly"),
    ("hangs", hangs, "does not answer in time"),
    ("hangs half-way", hangs_half_way, "breaks off"),
    *(
        (f"answers {status}", answers_with(status), f"answers with status {status}")
        for status in (403, 404, 500, 503)
    ),
]


@pytest.mark.parametrize(("fault", "misdeed", "reason"), FAILURES)
def test_a_bad_mirror_is_named_and_a_good_one_helps(
    cache: Path,
    new_mirror: NewMirror,
    monkeypatch: pytest.MonkeyPatch,
    note: Note,
    fault: str,
    misdeed: Misdeed,
    reason: str,
) -> None:
    def check(bad: Mirror, good: Mirror, patience: float | None) -> None:
        def use_patiently(*mirrors: Mirror) -> None:
            use(monkeypatch, *mirrors)
            if patience is not None:
                monkeypatch.setattr(downloads, "_SECONDS_OF_SILENCE", patience)

        use_patiently(bad)
        with pytest.raises(mf.DatasetError) as refusal:
            mf.load_mnist()
        message = str(refusal.value)
        assert re.fullmatch(
            rf"MNIST is not at hand and cannot be downloaded: {re.escape(bad.url)} [^;]*{reason}.*"
            r"\. Put its four files into a directory and set MNIST_FN_DATA to it\.",
            message,
        )
        # No temporary file, and nothing under a final name but what is right.
        assert contents_of(cache).items() <= PACKED.items()
        use_patiently(bad, good)
        assert is_the_small_set(mf.load_mnist())
        assert contents_of(cache) == PACKED

    # On a busy machine a good mirror, too, can be silent for a moment: then wait for longer.
    *impatient, last = [0.3, 3.0, 30.0] if misdeed in (hangs, hangs_half_way) else [None]
    for i in range(TRIES):
        bad, good = new_mirror(PACKED), new_mirror(PACKED)
        if i % 2:
            bad.misdeeds[f"{FILES[-1]}.gz"] = misdeed  # the last that it is asked for
        else:
            bad.misbehave(misdeed)
        for patience in impatient:
            with contextlib.suppress(AssertionError, mf.DatasetError):
                check(bad, good, patience)
                break
            assert contents_of(cache).items() <= PACKED.items()
            shutil.rmtree(cache, ignore_errors=True)
        else:
            check(bad, good, last)
        shutil.rmtree(cache)
    told = f"{reason}. Put its four files into a directory and set MNIST_FN_DATA to it."
    note(f"a mirror {fault}", TRIES, told)


def test_a_mirror_that_refuses_connections_is_named_and_a_good_one_helps(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        use(monkeypatch, closed)
        with pytest.raises(mf.DatasetError, match=f"{closed} cannot be reached"):
            mf.load_mnist()
        use(monkeypatch, closed, new_mirror(PACKED))
        assert is_the_small_set(mf.load_mnist())


def test_a_mirror_may_send_on_to_another(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, good = new_mirror(PACKED), new_mirror(PACKED)
    front.misbehave(
        lambda request, content: request.answer(302, b"", Location=good.url + request.path[1:])
    )
    use(monkeypatch, front)
    assert is_the_small_set(mf.load_mnist())


def test_a_full_disk_is_named_by_a_download(
    disk: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    use_cache(monkeypatch, disk / "mnist")
    use(monkeypatch, new_mirror(PACKED))
    told = "No space left on device; put its four files into a directory of your choice and set"
    for leave in rooms(8192):  # less than the four take
        filler = fill(disk, leave)
        with pytest.raises(mf.DatasetError) as refusal:
            mf.load_mnist()
        assert f"MNIST cannot be stored in {disk / 'mnist'}: " in str(refusal.value)
        assert told in str(refusal.value).replace("'; ", "; ")
        assert contents_of(disk / "mnist").items() <= PACKED.items()
        filler.unlink()
        assert is_the_small_set(mf.load_mnist())
        for path in (disk / "mnist").iterdir():
            path.unlink()
    note("full disk while MNIST is downloaded", TRIES, f"{told} MNIST_FN_DATA to it")


def test_a_cache_that_is_whole_may_be_read_only(
    disk: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cache(monkeypatch, disk / "mnist")
    use(monkeypatch, new_mirror(PACKED))
    mf.load_mnist()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert is_the_small_set(mf.load_mnist())
    use_cache(monkeypatch, disk / "other")
    with pytest.raises(
        mf.DatasetError, match=r"cannot be stored in .*Read-only file system.*; put"
    ):
        mf.load_mnist()


def test_what_lies_in_the_way_in_a_cache_is_named(
    cache: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, new_mirror(PACKED))
    (cache / f"{FILES[0]}.gz").mkdir(parents=True)  # and cannot be read as a file
    with pytest.raises(mf.DatasetError, match=rf"cannot be stored in {cache}: .*; put its four"):
        mf.load_mnist()


# In a process: MNIST from one mirror, into a cache of its own, and what came of it.
LOAD_MNIST = """
import hashlib, json, os, sys
import mnist_fn as mf
from mnist_fn.effects import downloads
downloads.MIRRORS = (sys.argv[1],)
downloads.MNIST = json.loads(sys.argv[2])
downloads._SECONDS_TO_ANSWER = downloads._SECONDS_OF_SILENCE = float(sys.argv[3])
dataset = mf.load_mnist()
print(hashlib.sha256(b"".join(a.tobytes() for a in dataset[1:])).hexdigest())
"""


@pytest.mark.slow
def test_eight_processes_may_fill_one_cache(
    tmp_path: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    real = Path(os.environ.get("MNIST_FN_DATA", ""))
    contents = {name: (real / name).read_bytes() for name in PACKED if (real / name).is_file()}
    if len(contents) < len(PACKED):
        contents = PACKED
        use_cache(monkeypatch, tmp_path)  # for its digests
    together = threading.Barrier(8)

    def send_when_all_have_asked(request: Request, content: bytes) -> None:
        together.wait(PATIENCE)
        request.answer(200, content)

    mirror = new_mirror(contents)
    mirror.misdeeds[next(iter(contents))] = send_when_all_have_asked
    use(monkeypatch, mirror.url)
    monkeypatch.setenv("MNIST_FN_DATA", "")
    tries = -(-TRIES // 8)
    for i in range(tries):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{i}"))
        about = [mirror.url, json.dumps(downloads.MNIST), str(PATIENCE)]
        command = [sys.executable, "-c", LOAD_MNIST, *about]
        processes = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(8)
        ]
        outputs = [process.communicate() for process in processes]
        assert [process.returncode for process in processes] == [0] * 8, outputs
        assert len({output for output, _ in outputs}) == 1
        assert contents_of(tmp_path / f"cache{i}/mnist_fn/mnist") == contents
    of = "a small MNIST" if contents is PACKED else "MNIST"
    note(f"eight processes fill an empty cache with {of} together", tries, "-")


def asked_or_over(mirror: Mirror, process: subprocess.Popen[bytes]) -> bool:
    return f"{FILES[-1]}.gz" in mirror.log or process.poll() is not None


def test_an_interrupted_download_leaves_nothing_half(
    tmp_path: Path, new_mirror: NewMirror, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    use_cache(monkeypatch, tmp_path)  # for its digests
    monkeypatch.setenv("MNIST_FN_DATA", "")
    main = LOAD_MNIST.partition("dataset =")[0] + (
        "sys.argv[1:] = ['train']; from mnist_fn.__main__ import main; main()"
    )
    for i in range(TRIES):
        mirror = new_mirror(PACKED)
        mirror.misdeeds[f"{FILES[-1]}.gz"] = hangs_half_way
        use(monkeypatch, mirror.url)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache{i}"))
        about = [mirror.url, json.dumps(downloads.MNIST), str(PATIENCE)]
        command = [sys.executable, "-c", main, *about]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            until(functools.partial(asked_or_over, mirror, process))
            process.send_signal(signal.SIGTERM if i % 2 else signal.SIGINT)
            output, errors = process.communicate()
        assert process.returncode == 1
        assert output == b""
        *_, last = errors.splitlines()
        assert last == b"mnist-fn: interrupted; begin again with the same command"
        assert b"Traceback" not in errors
        assert contents_of(tmp_path / f"cache{i}/mnist_fn/mnist") == dict([*PACKED.items()][:3])
        assert not Path("model.npz").exists()
    note("Ctrl-C during a download", TRIES, "interrupted; begin again with the same command")


def test_ctrl_c_after_saving_says_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it is not interrupted")

    monkeypatch.setattr(sessions, "evaluate_members", interrupted)
    assert error_of(*SMALL, "--output", "m.npz") == (
        "mnist-fn: interrupted while testing the network, which is saved in m.npz; "
        "mnist-fn evaluate tests it again\n"
    )
    assert len(mf.load_model("m.npz").history) == 3


def test_pressing_ctrl_c_again_and_again_does_not_cost_what_was_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def prepare_to_be_interrupted(*arguments: Any) -> mf.Run:
        run_ = mf.prepare(*arguments)

        def step(state: mf.TrainState[Any], batch: mf.Batch) -> mf.TrainState[Any]:
            assert not pressed, "it is not interrupted"
            if state.epoch == 2:
                pressed.extend([signal.SIGINT, signal.SIGTERM])
            for number in pressed:
                signal.raise_signal(number)
            return run_.step(state, batch)

        return run_._replace(step=step)

    pressed: list[signal.Signals] = []
    before = signal.getsignal(signal.SIGINT)

    def save_while_it_is_pressed(*arguments: Any, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        mf.save_params(*arguments, **options)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(watching, "prepare", prepare_to_be_interrupted)
    monkeypatch.setattr(sessions, "save_params", save_while_it_is_pressed)
    assert error_of(*SMALL, "--output", "m.npz") == (
        "mnist-fn: interrupted after epoch 2/3; what was reached is in m.npz\n"
    )
    assert len(mf.load_model("m.npz").history) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_signals_that_were_ignored_from_the_start_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def save_and_look(*arguments: Any, **options: Any) -> None:
        seen.append(signal.getsignal(signal.SIGINT))
        mf.save_params(*arguments, **options)

    seen: list[object] = []
    monkeypatch.setattr(sessions, "save_params", save_and_look)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and shell scripts do
    try:
        succeed(*SMALL)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_IGN]


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--help"], SMALL])
def test_a_screen_that_cannot_show_it_is_said(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mnist_fn", *arguments], stdout=full, stderr=subprocess.PIPE
        )
    said = b"mnist-fn: this cannot be shown or written: No space left on device\n"
    assert done.stderr == said
    if arguments == SMALL:
        assert mf.load_model("model.npz").history


def test_before_the_library_is_imported_ctrl_c_ends_the_command_without_a_word() -> None:
    code = """if True:
        import signal, sys
        import mnist_fn_command

        class PressCtrlC:
            def find_spec(self, name, path, target=None):
                print(name, flush=True)
                signal.raise_signal(signal.SIGINT)

        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        sys.meta_path.insert(0, PressCtrlC())
        mnist_fn_command.main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "mnist_fn\n", "")


PACKAGE = f"{Path(mf.__file__).parent}{os.sep}"
LONG = [*SMALL[:3], "--hidden", "32", "--epochs", "40"]

# Resume the trainings in all these directories, importing the library but once.
RESUME = """
import sys
from mnist_fn.effects.cli import app
for directory in sys.argv[1:]:
    try:
        app(["train", "--resume", directory, "--output", f"{directory}/resumed.npz", "--quiet"])
    except SystemExit as end:
        assert not end.code, directory
"""


class Ending(NamedTuple):
    code: int
    stdout: str
    stderr: str


def signalled(directory: Path, after: float, *signals: signal.Signals) -> Ending:
    """Train, with a model file of before in place, and send the signals so many seconds after."""
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_fn_command", *LONG, "--checkpoint", "c"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory,
    ) as process:
        time.sleep(after)
        for number in signals:
            process.send_signal(number)
        stdout, stderr = process.communicate()
    return Ending(process.returncode, stdout, stderr)


ENDINGS = [
    (1, r"mnist-fn: interrupted; begin again with the same command", "before"),
    (
        1,
        r"mnist-fn: interrupted in the first epoch; nothing was written; go on.* --resume c",
        "before",
    ),
    (
        1,
        r"mnist-fn: interrupted after epoch \d+/40; what was reached is in model\.npz; go on.*",
        "new",
    ),
    (
        1,
        r"mnist-fn: interrupted while testing the network, which is saved in model\.npz; .*",
        "whole",
    ),
    (130, r"", "before"),
    (0, r"", "whole"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "signals"),
    [
        ("Ctrl-C", [signal.SIGINT]),
        ("SIGTERM", [signal.SIGTERM]),
        ("Ctrl-C and SIGTERM at once", [signal.SIGINT, signal.SIGTERM]),
        ("SIGKILL", [signal.SIGKILL]),
    ],
)
def test_signals_at_any_moment_leave_every_file_whole(
    monkeypatch: pytest.MonkeyPatch, note: Note, fault: str, signals: list[signal.Signals]
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    # Where coverage is measured, a signal could also hit what writes it at the end.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    for name in ("before", "whole"):
        Path(name).mkdir()
    began = time.monotonic()
    assert signalled(Path("whole"), 0.0).code == 0
    alone = time.monotonic() - began
    whole = Path("whole/model.npz").read_bytes()
    mf.save_params("before.npz", mf.init_params(mf.key(9), hidden=3))
    before = Path("before.npz").read_bytes()
    chance = random.Random(seed := random.SystemRandom().getrandbits(32))
    begun = []
    for i in range(TRIES):
        directory = Path(f"run{i}")
        directory.mkdir()
        model = directory / "model.npz"
        model.write_bytes(before)
        ending = signalled(directory, chance.uniform(0, 1.05 * alone), *signals)
        about = seed, i, ending
        content = model.read_bytes()
        kind = "before" if content == before else "whole" if content == whole else "new"
        if "Traceback" in ending.stderr:  # Python's own, before it comes to us
            assert PACKAGE not in ending.stderr, about
            assert kind == "before", about
        elif ending.code in {-number for number in signals}:
            # Before it had begun, or after its last word; SIGKILL also in between.
            assert ending.stderr == "", about
            assert kind != "new" or signal.SIGKILL in signals, about
        else:
            endings = [e for e in ENDINGS if e[0] == ending.code]
            possible = [e[2] for e in endings if re.fullmatch(e[1] + r"\n?", ending.stderr)]
            assert kind in possible or (kind == "whole" and "new" in possible), about
        assert ("test accuracy" in ending.stdout) <= (kind == "whole"), about
        model_ = mf.load_model(model)
        assert kind == "before" or model_.history, about
        if signal.SIGKILL not in signals:
            assert not [name for name in os.listdir(directory) if name.endswith(".tmp")], about
        if (directory / "c").is_dir() and checkpoints.checkpoints_in(directory / "c"):
            begun.append(directory)
    subprocess.run(
        [sys.executable, "-c", RESUME, *(f"{directory}/c" for directory in begun)], check=True
    )
    for directory in begun:
        assert (directory / "c/resumed.npz").read_bytes() == whole, (seed, directory)
    told = (
        "interrupted after epoch N/40; what was reached is in model.npz; go on with mnist-fn train"
    )
    note(
        f"{fault} at any moment of mnist-fn train",
        TRIES,
        "-" if signal.SIGKILL in signals else f"{told} --resume DIR",
    )
