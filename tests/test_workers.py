"""Workers: whoever does the map, a run has the same bits, and nobody is left behind."""

import contextlib
import functools
import json
import os
import pickle
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil  # type: ignore[import-untyped]  # it comes without types
import pytest
from distributed import Client
from memory import traced
from patience import PATIENCE, until
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn.effects import blas, cli, clusters, sweeps, workers
from mnist_fn.effects.blas import numpys_blas, one_thread
from mnist_fn.effects.clusters import dask_workers
from mnist_fn.effects.sweeps import Trial, trials_of
from mnist_fn.effects.terminal import CommandError
from mnist_fn.effects.validation import digest_of
from mnist_fn.effects.workers import Source, WorkerError, processes, training_images
from mnist_fn.views import VIEWS, as_they_are, deslanted

SMALL = mf.recipes.digits._replace(hidden=8, epochs=2)
RECIPES = [
    SMALL,
    SMALL._replace(hidden=32, g=mf.tanh, distortion=mf.Distortion(), hidden_dropout=0.2),
    SMALL._replace(views=(deslanted, as_they_are)),
]
KEYS = mf.split(mf.key(7), 2)
PAIRS = [(recipe, key) for key in KEYS for recipe in RECIPES]
PACKAGE = Path(mf.__file__).parent


def bits(trials: Iterable[Trial]) -> list[Any]:
    """All that a sweep returns, but for the seconds."""
    return [
        (
            *trial[:2],
            [(view, *(array.tobytes() for array in params)) for params, view in trial.members],
            [record[:-1] for record in trial.history],
            trial.validation_accuracy,
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def expected(digits: mf.Dataset) -> list[Any]:
    return bits(mf.sweep(RECIPES, KEYS, digits))


@pytest.fixture
def source(digits: mf.Dataset) -> Source:
    return Source(mf.load_digits, digest_of(digits.X_train, digits.Y_train))


@pytest.mark.parametrize("value", [*mf.recipes.RECIPES.values(), *VIEWS.values(), mf.key(1)])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_settings_travel_by_name(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    assert pickle.loads(content) == value
    assert len(content) < 2000


def test_a_pickled_activation_function_costs_a_step_no_memory() -> None:
    state = mf.init_state(mf.sgd(0.1), mf.init_params(mf.key(0), hidden=64))
    batch = mf.Batch(np.ones((784, 500), np.float32), np.zeros(500, np.uint8))
    peaks = []
    for g in (mf.relu, pickle.loads(pickle.dumps(mf.relu))):
        step = mf.make_step(mf.sgd(0.1), g)
        step(state, batch)
        with traced() as peak:
            step(state, batch)
            peaks.append(peak())
    assert peaks[1] == pytest.approx(peaks[0], rel=0.05)


def test_threads_give_the_same_bits(digits: mf.Dataset, expected: list[Any]) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert bits(mf.sweep(RECIPES, KEYS, digits, map=pool.map)) == expected


def test_members_are_asked_by_any_map(digits: mf.Dataset) -> None:
    recipe = SMALL._replace(views=(deslanted, as_they_are, deslanted))
    members = [
        mf.Member(mf.init_params(key, hidden=8), *alone.views)
        for alone, key in mf.members_of(recipe, mf.key(0))
    ]
    X, Y = mf.scale(digits.X_test), digits.Y_test
    asked = []

    def asking(function: Callable[[Any], Any], members: Iterable[Any]) -> Iterable[Any]:
        asked.append(len(list(members)))
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(pickle.loads(pickle.dumps(function)), members))

    with one_thread():
        A2 = mf.committee_probabilities(members, X)
        assert mf.committee_probabilities(members, X, map=asking).tobytes() == A2.tobytes()
        assert mf.predict_committee(members, X, map=asking).tolist() == A2.argmax(axis=0).tolist()
        batches = [mf.Batch(X[:, :99], Y[:99]), mf.Batch(X[:, 99:], Y[99:])]
        one, other = mf.evaluate(members, batches), mf.evaluate(members, batches, map=asking)
    assert one[:2] == other[:2]
    np.testing.assert_array_equal(one.confusion, other.confusion)
    assert asked == [3, 3, 3, 3]


def test_each_run_has_one_thread(digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def seeing(*arguments: Any) -> Any:
        seen.append(threads_of_blas())
        return mf.prepare(*arguments)

    monkeypatch.setattr(sweeps, "prepare", seeing)
    list(mf.sweep([SMALL], KEYS, digits))
    assert seen == [1, 1]


def workers_here() -> set[int]:
    children = psutil.Process().children()
    return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


@pytest.mark.slow
def test_processes_give_the_same_bits_and_end(digits: mf.Dataset, expected: list[Any]) -> None:
    for data in (digits, mf.load_digits):
        with processes(2) as map:
            trials = mf.sweep(RECIPES, KEYS, data, map=map)
            first = next(trials)
            pids = workers_here()
            assert bits([first, *trials]) == expected
            assert not first.members[0].params.W1.flags.writeable
        assert len(pids) == 2
        assert not pids & workers_here()


def ignores_ctrl_c(_: object) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.slow
def test_ctrl_c_does_not_reach_the_processes() -> None:
    with processes(1) as map:
        assert list(map(ignores_ctrl_c, [0])) == [True]
    assert not ignores_ctrl_c(0)


def test_where_signals_cannot_be_blocked_processes_are_started_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(signal, "pthread_sigmask")  # as on Windows
    with workers._uninterrupted():
        pass


@pytest.mark.slow
def test_processes_end_at_once_when_their_work_is_broken_off() -> None:
    def broken_off() -> None:
        with processes(2) as map:
            results = iter(map(time.sleep, [0, *[10 * PATIENCE] * 3]))
            next(results)
            raise ZeroDivisionError

    began = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        broken_off()
    assert time.monotonic() - began < 10 * PATIENCE
    assert not workers_here()


def kill_this_worker(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_ends_the_map_in_words() -> None:
    with (
        pytest.raises(WorkerError, match=r"^a worker process was killed, perhaps for want of mem"),
        processes(1) as map,
    ):
        list(map(kill_this_worker, [1]))


def test_blas_has_one_thread_until_the_last_block_is_left() -> None:
    with threadpool_limits(2, "blas"):
        before = threads_of_blas()
    first, second = threading.Event(), threading.Event()
    seen = []

    def block(leave: threading.Event) -> None:
        with one_thread():
            seen.append(threads_of_blas())
            leave.wait(PATIENCE)
            seen.append(threads_of_blas())

    leaves = first, second
    blocks = [threading.Thread(target=block, args=(leave,), daemon=True) for leave in leaves]
    blocks[0].start()
    until(lambda: len(seen) == 1)
    blocks[1].start()
    until(lambda: len(seen) == 2)
    first.set()  # the one that was there first goes first
    blocks[0].join(PATIENCE)
    second.set()
    blocks[1].join(PATIENCE)
    assert seen == [1, 1, 1, 1]
    with threadpool_limits(2, "blas"):
        assert threads_of_blas() == before


def test_the_end_of_a_block_is_over_before_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    open_limits = []

    @contextlib.contextmanager
    def slow_to_end(*limits: Any) -> Iterator[None]:
        with threadpool_limits(*limits):
            open_limits.append(limits)
            yield
            time.sleep(0.1)  # in which what does not wait for the end would go on
        open_limits.pop()

    monkeypatch.setattr(blas, "threadpool_limits", slow_to_end)
    for _ in range(2):
        with one_thread():
            assert threads_of_blas() == 1
            assert len(open_limits) == 2  # that of the block, and that of whoever calls
        assert open_limits == []


def threads_of_blas() -> int:
    found = numpys_blas()
    return found.threads if found else 1


@pytest.mark.skipif(os.cpu_count() == 1, reason="BLAS has one thread on one core in any case")
def test_who_insists_on_more_threads_is_told() -> None:
    with (
        threadpool_limits(2, "blas"),
        pytest.raises(RuntimeError, match=r"^BLAS keeps 2 threads, which another part of this"),
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(one_thread().__enter__).result()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variable is glibc's")
def test_what_a_step_frees_is_kept_for_the_next_one() -> None:
    code = """
import resource
import mnist_fn as mf

recipe = mf.recipes.digits._replace(hidden=256, epochs=3)
before, faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, []
for trial in mf.sweep([recipe] * 3, [mf.key(0)], mf.load_digits()):
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    faults.append(after - before)
    before = after
print(min(faults))  # the system may take pages back meanwhile, for its own reasons
"""
    faults = []
    for threshold in ({}, {"MALLOC_TRIM_THRESHOLD_": "65536"}):
        environment = os.environ | threshold
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
        faults.append(int(done.stdout))
    assert faults[1] < 2 * faults[0] + 1000


def test_training_images_are_loaded_once_and_are_the_right_ones(
    digits: mf.Dataset, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_images", {})
    loaded = []

    def load() -> mf.Dataset:
        loaded.append(1)
        return digits

    with ThreadPoolExecutor(4) as pool:
        for X, Y in pool.map(training_images, [source._replace(load=load)] * 8):
            np.testing.assert_array_equal(X, digits.X_train)
            np.testing.assert_array_equal(Y, digits.Y_train)
    assert len(loaded) == 1
    with pytest.raises(mf.DatasetError, match=r"^the training images of digits on .* are others"):
        training_images(Source(load, "another"))


def test_a_pickled_job_holds_no_images(digits: mf.Dataset) -> None:
    sizes = []

    def sized(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterable[Any]:
        for job in jobs:
            sizes.append(len(pickle.dumps((function, job))))
            yield function(pickle.loads(pickle.dumps(job)))

    for data in (digits, mf.load_digits):
        list(mf.sweep([SMALL], KEYS, data, map=sized))
    assert max(sizes) < 2000


def test_images_on_another_machine_are_missed_in_words(digits: mf.Dataset) -> None:
    with ThreadPoolExecutor(1) as pool, workers.source_of(digits, pool.map) as source:
        pass
    with pytest.raises(mf.DatasetError, match="for workers elsewhere give sweep a function"):
        training_images(source)


class Cluster:
    """A scheduler and workers, each a process of its own on the loopback address."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.started = directory, list[subprocess.Popen[bytes]]()
        file = directory / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
        self._start("scheduler", *options, "--scheduler-file", str(file))
        until(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        self.address: str = json.loads(file.read_text())["address"]

    def _start(self, what: str, *options: str, path: Path | None = None) -> subprocess.Popen[bytes]:
        environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
        environment |= {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{PATIENCE:.0f}s"}
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
        process = subprocess.Popen(
            command, env=environment, cwd=self.directory, stderr=subprocess.DEVNULL
        )
        self.started.append(process)
        return process

    def add_worker(self, path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, whose modules are looked for in a directory first."""
        options = ["--no-nanny", "--no-dashboard", "--nthreads", "2", "--host", "127.0.0.1"]
        process = self._start("worker", self.address, *options, path=path)
        new_client: Callable[..., Any] = Client
        with new_client(self.address, timeout=PATIENCE, set_as_default=False) as client:
            client.wait_for_workers(len(self.started) - 1, timeout=PATIENCE)
        return process

    def end(self) -> None:
        for process in reversed(self.started):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(clusters, "_SECONDS_TO_ANSWER", PATIENCE)
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.end()


@pytest.mark.slow
def test_dask_gives_the_same_bits_and_leaves_nothing_open(
    cluster: Cluster, source: Source, digits: mf.Dataset, expected: list[Any]
) -> None:
    for _ in range(2):
        cluster.add_worker()
    before = len(psutil.Process().net_connections()), threading.active_count()
    with dask_workers(cluster.address, source) as map:
        assert bits(trials_of(PAIRS, source, None, map)) == expected
    with Client(cluster.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]  # distributed's
        its_map = client.get_executor().map
        assert bits(mf.sweep(RECIPES, KEYS, digits, map=its_map)) == expected
        assert bits(mf.sweep(RECIPES, KEYS, mf.load_digits, map=its_map)) == expected
    until(lambda: len(psutil.Process().net_connections()) <= before[0])
    until(lambda: threading.active_count() <= before[1] + 2)  # pools that distributed keeps


@pytest.mark.slow
def test_the_command_leaves_the_runs_to_dask(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    cluster.add_worker()
    options = ["sweep", "--data", "digits", "--epochs", "2", "--grid", "hidden=4,8", "--seeds", "2"]
    for output, who in (
        ("here.csv", ["--workers", "1"]),
        ("there.csv", ["--scheduler", cluster.address]),
    ):
        done = CliRunner().invoke(cli.app, [*options, *who, "--output", output])
        assert (done.exit_code, done.stderr) == (0, "")
        monkeypatch.setattr(sweeps, "train_epochs", None)  # from here on, others must train
    here, there = (
        [line.rpartition(",")[0] for line in Path(name).read_text().splitlines()]
        for name in ("here.csv", "there.csv")
    )
    assert here == there
    assert len(here) == 5


@pytest.mark.slow
def test_a_killed_worker_of_dask_loses_nothing(cluster: Cluster, source: Source) -> None:
    pairs = [(SMALL._replace(epochs=8), key) for key in mf.split(mf.key(1), 8)]
    expected = bits(trials_of(pairs, source, None, map))
    doomed, _ = cluster.add_worker(), cluster.add_worker()
    with dask_workers(cluster.address, source) as map_:
        trials = trials_of(pairs, source, None, map_)
        first = next(trials)
        doomed.kill()
        assert bits([first, *trials]) == expected
    assert doomed.wait() == -signal.SIGKILL


def test_without_a_scheduler_it_says_so_before_any_run(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.Client", None)  # which would try for long
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{bound.getsockname()[1]}"
        for address in (nobody, "tcp://127.0.0.1", "", "not there"):
            with (
                pytest.raises(CommandError, match=f"^no Dask scheduler answers at {address};"),
                dask_workers(address, source),
            ):
                pass


@pytest.mark.slow
def test_a_lost_scheduler_and_no_worker_are_said(
    cluster: Cluster, source: Source, tmp_path: Path
) -> None:
    with (
        pytest.raises(CommandError, match=r"has no workers; start some with: dask worker tcp://"),
        dask_workers(cluster.address, source),
    ):
        pass
    cluster.add_worker()
    begun = tmp_path / "begun"
    code = f"import time; open({str(begun)!r}, 'w').close(); time.sleep({10 * PATIENCE})"

    def lose() -> None:
        until(begun.exists)
        cluster.started[0].kill()

    with dask_workers(cluster.address, source) as map:
        loss = threading.Thread(target=lose)
        loss.start()
        with pytest.raises(WorkerError, match=r"^the connection to the Dask scheduler is lost$"):
            list(map(exec, [code]))
        loss.join()


@pytest.fixture
def _one_failure_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a scheduler give a run up with the first worker that it costs, not with the fourth."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")


@pytest.mark.slow
@pytest.mark.usefixtures("_one_failure_is_enough")
def test_a_run_that_kills_its_workers_ends_the_map_in_words(
    cluster: Cluster, source: Source
) -> None:
    cluster.add_worker()
    with (
        dask_workers(cluster.address, source) as map,
        pytest.raises(WorkerError, match=r"^several workers were killed at the same run, perhaps"),
    ):
        list(map(exec, ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]))


def missing(directory: Path) -> None:
    (directory / "mnist_fn").mkdir()
    text = "raise ModuleNotFoundError('No module named mnist_fn', name='mnist_fn')"
    (directory / "mnist_fn/__init__.py").write_text(text)


def old(directory: Path) -> None:
    (directory / "mnist_fn").mkdir()
    (directory / "mnist_fn/__init__.py").write_text("")


def changed(directory: Path) -> None:
    shutil.copytree(PACKAGE, directory / "mnist_fn")
    with (directory / "mnist_fn/network.py").open("a") as file:
        file.write("# changed\n")


def other_version(directory: Path) -> None:
    shutil.copytree(PACKAGE, directory / "mnist_fn")
    (directory / "mnist_fn-0.0.9.dist-info").mkdir()
    about = "Metadata-Version: 2.1\nName: mnist-fn\nVersion: 0.0.9\n"
    (directory / "mnist_fn-0.0.9.dist-info/METADATA").write_text(about)


def other_python(directory: Path) -> None:
    (directory / "sitecustomize.py").write_text(
        "import platform\nplatform.python_version_tuple = lambda: ('3', '99', '0')\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shadow", "says"),
    [
        (missing, r"lacks mnist_fn \S+, or has another version of it \(.*\); install the version"),
        (old, r"lacks mnist_fn \S+, or has another version of it \(.*\); install the version"),
        (changed, r"has mnist_fn's files \w{8}, but here it is \w{8}, so that results would diff"),
        (other_version, r"has mnist_fn 0\.0\.9, but here it is \S+, so that results would differ"),
        (other_python, r"has Python 3\.99, but here it is 3\.\d+, so that results would differ; "),
    ],
)
def test_a_worker_that_would_give_other_results_is_named_before_any_run(
    cluster: Cluster,
    source: Source,
    tmp_path: Path,
    shadow: Callable[[Path], None],
    says: str,
) -> None:
    directory = tmp_path / "shadow"
    directory.mkdir()
    shadow(directory)
    cluster.add_worker(directory)
    with (
        pytest.raises(CommandError, match=rf"^the worker tcp://127\.0\.0\.1:\d+ {says}"),
        dask_workers(cluster.address, source),
    ):
        pass


@pytest.mark.slow
def test_a_worker_without_the_images_is_named(cluster: Cluster, tmp_path: Path) -> None:
    cluster.add_worker()
    gone = Source(functools.partial(mf.load_idx_dataset, str(tmp_path / "gone")), "")
    with (
        pytest.raises(CommandError, match=r"cannot load the training images: .*gone is not a dir"),
        dask_workers(cluster.address, gone),
    ):
        pass


def test_a_worker_that_comes_later_and_is_another_ends_the_sweep() -> None:
    others = dict(workers.versions()) | {"NumPy": "1.0"}
    with pytest.raises(WorkerError, match=r"^a worker has joined on which results would differ"):
        clusters._as_expected(others, abs, -1)
    assert clusters._as_expected(workers.versions(), abs, -1) == 1


def test_workers_that_differ_from_each_other_are_named() -> None:
    one = {"BLAS": "openblas 0.3.31 Haswell"}
    other = {"BLAS": "openblas 0.3.31 SkylakeX"}
    with pytest.raises(
        CommandError, match=r"has BLAS openblas 0\.3\.31 Haswell, but on a it is op"
    ):
        clusters._check_same("b", one, other, "on a")


def test_without_dask_it_says_what_to_install(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(CommandError, match=r"^--scheduler needs distributed, which is not inst"),
        dask_workers("tcp://127.0.0.1:1", source),
    ):
        pass


@pytest.mark.slow
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from mnist_fn.effects.workers import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes(2) as map:\n"
        "        results = iter(map(time.sleep, [0, 0, 6000, 6000]))\n"
        "        next(results), next(results), print('begun', flush=True), next(results)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == b"begun\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert len(children) >= 2
    with contextlib.suppress(psutil.NoSuchProcess):
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert not alive
