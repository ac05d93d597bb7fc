"""The same command gives the same bytes; what runs beside it, and when, makes no difference."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import mnist_fn as mf
from mnist_fn.recipes import digits as digits_recipe
from mnist_fn.recipes import elastic, plain, quick


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MNIST_FN_BLAS", "keep")


def trained(output: str, *options: str, **environment: str) -> Path:
    """Train in a process of its own, and return the model file."""
    command = [sys.executable, "-m", "mnist_fn", "train", "--data", "digits", "--epochs", "4"]
    # Where text has an order that differs from process to process, the bytes would differ, too.
    command += [*options, "--output", output, "--quiet"]
    subprocess.run(command, env=os.environ | environment, check=True)
    return Path(output)


# Here two threads of OpenBLAS make other parameters than one: by default, and with batches of 512,
# only the losses in the history are others.
LARGE = ["--hidden", "800", "--batch-size", "500"]


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("options", [[], LARGE], ids=["small", "large"])
def test_the_same_command_writes_the_same_bytes(options: list[str], threads: str) -> None:
    files = [
        trained(f"{seed}.npz", *options, OPENBLAS_NUM_THREADS=threads, PYTHONHASHSEED=seed)
        for seed in "12"
    ]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_where_the_command_runs_does_not_show_in_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained("m.npz").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert trained("n.npz", TZ="Asia/Tokyo", LC_ALL="C").read_bytes() == first


# Kernels that any x86-64 processor runs; elsewhere OpenBLAS does not know the names, and takes
# its own. A sum in another order is rounded in another way, and training goes on from there.
@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"OPENBLAS_NUM_THREADS": "2"},
        {"OPENBLAS_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Nehalem"},
    ],
)
def test_other_threads_and_kernels_make_networks_that_predict_the_same(
    digits: mf.Dataset, other: dict[str, str]
) -> None:
    X = mf.scale(digits.X_test)
    one, another = (
        mf.predict(mf.load_params(path), X)
        for path in (trained("1.npz", OPENBLAS_NUM_THREADS="1"), trained("2.npz", **other))
    )
    assert np.mean(one == another) >= 0.99


# With distortions, dropout, deslanted images and every kind of state.
RECIPES = [
    recipe._replace(hidden=hidden, epochs=2, batch_size=100)
    for recipe, hidden in ((digits_recipe, 16), (quick, 300), (plain, 40), (elastic, 20))
]


def states(recipe: mf.recipes.Recipe, seed: int, dataset: mf.Dataset) -> Iterator[bytes]:
    """Yield all the bits of the parameters after each epoch."""
    run = mf.prepare(recipe, mf.key(seed), dataset.X_train, dataset.Y_train)
    for state in mf.train_epochs(*run):
        yield b"".join(array.tobytes() for array in state.params)


def test_trainings_in_threads_side_by_side_give_the_bits_that_they_give_alone(
    digits: mf.Dataset,
) -> None:
    some = digits._replace(X_train=digits.X_train[:, :400], Y_train=digits.Y_train[:400])
    jobs = [(recipe, seed) for seed in (0, 1) for recipe in RECIPES]

    def train(job: tuple[mf.recipes.Recipe, int]) -> list[bytes]:
        return list(states(*job, some))

    with threadpool_limits(2, "blas"):  # so that BLAS has threads of its own, too
        alone = list(map(train, jobs))
        assert len(set(map(tuple, alone))) == len(jobs)
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(train, jobs)) == alone
