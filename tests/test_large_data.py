"""Data larger than memory: shards, blocks, mapped files, and how much of them is held."""

import gzip
import itertools
import os
import pickle
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from memory import memory_below

import mnist_fn as mf
from mnist_fn import DatasetError, IdxError, batches, recipes, runs
from mnist_fn.effects import datasets, mapping, validation
from mnist_fn.effects.blas import one_thread
from mnist_fn.idx import encode, encode_header
from mnist_fn.views import deslanted, standardized

MEGABYTE = 1 << 20
FILES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
FILES += ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
KEY = mf.key(3)


def sample(m: int, dtype: type = np.float64) -> mf.Batch:
    random = np.random.default_rng(m)
    return mf.Batch(random.random((m, 20)).astype(dtype).T, random.integers(0, 4, m))


def network(dtype: type[np.float32] | type[np.float64] = np.float64) -> mf.Params:
    return mf.init_params(KEY, pixels=20, hidden=7, classes=4, dtype=dtype)


def parts_of(batch: mf.Batch, cuts: Iterable[int]) -> list[mf.Batch]:
    edges = [0, *sorted(cuts), len(batch.Y)]
    return [mf.Batch(batch.X[:, a:b], batch.Y[a:b]) for a, b in itertools.pairwise(edges)]


def same_bits(one: mf.Gradients, other: mf.Gradients) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def pickled(function: Callable[[Any], Any], values: Iterable[Any]) -> Iterable[Any]:
    """A ``map`` by way of bytes, as other processes and machines do it."""
    content = pickle.dumps(function)
    for value in values:
        result = pickle.loads(content)(pickle.loads(pickle.dumps(value)))
        yield pickle.loads(pickle.dumps(result))


@given(
    st.integers(1, 60).flatmap(
        lambda m: st.tuples(st.just(m), st.lists(st.integers(0, m), max_size=8))
    ),
    st.sampled_from([mf.relu, mf.tanh, mf.sigmoid]),
    st.sampled_from([0.0, 0.3]),
)
def test_shards_have_the_gradient_of_the_whole(
    split: tuple[int, list[int]], g: mf.ActivationFunction, label_smoothing: float
) -> None:
    whole, params = sample(split[0]), network()
    X, Y = whole
    expected = mf.backward(params, mf.forward(params, X, g), X, Y, g, label_smoothing)
    shards = parts_of(whole, split[1])
    for given_shards in (shards, iter(shards)):
        gradients = mf.sharded_gradients(params, given_shards, g, label_smoothing)
        for dp, wanted in zip(gradients, expected, strict=True):
            assert np.abs(dp - wanted).max() <= 1e-12 * max(np.abs(wanted).max(), 1)


def test_many_small_shards_lose_nothing_in_float32() -> None:
    whole, params = sample(6000, np.float32), network(np.float32)
    X, Y = (whole.X.astype(np.float64), whole.Y)
    exact = mf.Params(*(p.astype(np.float64) for p in params))
    expected = mf.backward(exact, mf.forward(exact, X), X, Y)
    gradients = mf.sharded_gradients(params, parts_of(whole, range(2, 6000, 2)))
    for dp, wanted in zip(gradients, expected, strict=True):
        assert dp.dtype == np.float32
        assert np.abs(dp - wanted).max() < 2 * np.finfo(np.float32).eps * np.abs(wanted).max()


@pytest.mark.parametrize("g", [mf.relu, mf.tanh, mf.sigmoid])
def test_what_travels_pickles_and_comes_back_with_the_same_bits(g: mf.ActivationFunction) -> None:
    params, whole = network(np.float32), sample(200, np.float32)
    strided = mf.Batch(whole.X[:, ::3], whole.Y[::3])
    in_columns = np.asfortranarray(np.repeat(params.W1, 2, axis=0))
    for W1 in (params.W1, np.asfortranarray(params.W1), in_columns[::2], in_columns[:7]):
        params_ = params._replace(W1=W1)
        shards = [strided, *parts_of(whole, [3, 90])]
        here = mf.sharded_gradients(params_, shards, g)
        assert same_bits(here, mf.sharded_gradients(params_, shards, g, map=pickled))


@pytest.mark.slow
def test_threads_processes_and_dask_give_the_same_bits(
    digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = import_module("dask.distributed")
    # One thread of BLAS, as Dask's workers have it: with more, sums are taken in another order.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    params = mf.init_params(KEY)
    shards = list(mf.ordered_batches(digits.X_train, digits.Y_train, batch_size=200))
    with one_thread():
        expected = mf.sharded_gradients(params, shards)
        executors: list[Executor] = [ThreadPoolExecutor(2)]
        executors.append(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
        for executor in executors:
            with executor:
                assert same_bits(expected, mf.sharded_gradients(params, shards, map=executor.map))
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        through_dask = mf.sharded_gradients(params, shards, map=client.get_executor().map)
    assert same_bits(expected, through_dask)


def test_shards_are_held_one_at_a_time() -> None:
    held: list[weakref.ref[np.ndarray]] = []

    def shards() -> Iterator[mf.Batch]:
        for i in range(8):
            assert sum(X() is not None for X in held) <= 1
            batch = sample(10 + i)
            held.append(weakref.ref(batch.X))
            yield batch
            del batch

    mf.sharded_gradients(network(), shards())
    assert len(held) == 8


@pytest.mark.parametrize("shards", [[], [sample(0)], [sample(0), sample(0)], iter(())])
def test_the_mean_of_no_shards_is_refused(shards: Iterable[mf.Batch]) -> None:
    message = (
        "sharded_gradients: there is no sample, and a mean needs one; an iterator of shards can "
        "be gone through only once"
    )
    with pytest.raises(ValueError, match=message):
        mf.sharded_gradients(network(), shards)


def test_a_map_that_returns_promises_is_refused() -> None:
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(TypeError, match=r"map returned a Future, .* client\.get_executor\(\)\.map"),
    ):
        mf.sharded_gradients(
            network(), [sample(5)], map=lambda f, values: [executor.submit(f, v) for v in values]
        )


@pytest.mark.parametrize("result", [(5,), (5, None, None), [5, None]])
def test_a_map_that_returns_something_else_is_refused(result: object) -> None:
    with pytest.raises(TypeError, match=rf"map returned a {type(result).__name__}, but it must"):
        mf.sharded_gradients(network(), [sample(5)], map=lambda f, values: [result for _ in values])


def test_a_shard_is_held_to_the_contract() -> None:
    X, Y = sample(5)
    for wrong in (mf.Batch(X, Y[:0]), mf.Batch(X[:, :0], Y), mf.Batch(X[:9], Y)):
        with pytest.raises(TypeCheckError, match="gradients_of_shard"):
            mf.sharded_gradients(network(), [sample(3), wrong])


def numbered(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three pixels that tell which they are, and labels that agree with them."""
    i = np.arange(m)
    return np.stack([i % 256, i // 256, np.full(m, 255)]).astype(np.uint8), i.astype(np.int32)


def order_of(batches: Iterable[mf.Batch]) -> list[int]:
    order = []
    for X, Y in batches:
        low, high, _ = np.rint(X * 255).astype(int)
        np.testing.assert_array_equal(low + 256 * high, Y)
        order += Y.tolist()
    return order


@given(st.integers(0, 700), st.integers(1, 300), st.integers(1, 8), st.integers(0, 50))
def test_an_epoch_in_blocks_has_every_sample_once_with_its_own_label(
    m: int, batch_size: int, block: int, epoch: int
) -> None:
    epoch_batches = list(mf.epoch_batches(KEY, epoch, *numbered(m), batch_size, block=block))
    assert sorted(order_of(epoch_batches)) == list(range(m))
    sizes = [len(batch.Y) for batch in epoch_batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert len(sizes) == -(-m // batch_size)


def test_the_order_of_blocks_depends_on_key_and_epoch_only() -> None:
    def stream(seed: int, epoch: int) -> Iterator[mf.Batch]:
        return mf.epoch_batches(mf.key(seed), epoch, *numbered(900), 64, block=4)

    alone = order_of(stream(0, 0))
    in_turns = list(zip(stream(0, 0), stream(0, 1), stream(0, 0), strict=True))
    assert order_of(a for a, _, _ in in_turns) == alone
    assert order_of(c for _, _, c in in_turns) == alone
    assert len({tuple(order_of(stream(seed, epoch))) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_samples_of_64_blocks_are_mixed_and_the_blocks_are_others_in_every_epoch() -> None:
    block, window = 10, 640
    windows = []
    for epoch in (0, 1):
        order = order_of(mf.epoch_batches(KEY, epoch, *numbered(6400), 64, block=block))
        blocks = np.array(order) // block
        for batch in blocks.reshape(-1, 64):
            # 64 of 640 samples in 64 blocks: 41 different blocks in the mean, deviation 3.
            assert len(set(batch)) > 25
        # Neighbours in the file are neighbours no more often than chance has it.
        assert np.count_nonzero(np.diff(order) == 1) < 40
        windows += [frozenset(part) for part in blocks.reshape(-1, window)]
        assert all(len(part) == 64 for part in windows)
        assert np.abs(np.diff([min(part) for part in windows])).max() > 1
    assert len(set(windows)) == 20


def test_few_blocks_come_in_every_order() -> None:
    orders = {
        tuple(order_of(mf.epoch_batches(KEY, epoch, *numbered(4), 1, block=2)))
        for epoch in range(300)
    }
    assert len(orders) == 24


def zeros(m: int) -> tuple[np.ndarray, np.ndarray]:
    """So many images, that take no memory before they are written to."""
    return np.zeros((m, 784), np.uint8).T, np.zeros(m, np.uint8)


def test_blocks_are_read_64_at_a_time() -> None:
    X, Y = zeros(50_000)  # 37 MB, were they read
    in_window = 64 * 32 * 784 / MEGABYTE
    with memory_below(2.5 * in_window * MEGABYTE):
        for _ in mf.epoch_batches(KEY, 0, X, Y, block=32):
            pass


@pytest.mark.parametrize("block", [0, -1])
def test_blocks_of_none_are_refused(block: int) -> None:
    message = f"epoch_batches: block is {block}, but it must be 1 or more"
    with pytest.raises(ValueError, match=message):
        mf.epoch_batches(KEY, 0, *numbered(3), block=block)


@pytest.mark.parametrize(("m", "pixels"), [(1 << 18, 0), ((1 << 18) + 1, 1 << 10)])
def test_more_than_256_megabytes_are_trained_on_with_all_pixels(m: int, pixels: int) -> None:
    X = np.broadcast_to(np.zeros((1 << 10, 1), np.uint8), (1 << 10, m))
    assert len(mf.prepare(recipes.digits, KEY, X, np.zeros(m, np.uint8)).pixels) == pixels


def test_a_large_training_set_is_not_copied() -> None:
    X, Y = zeros(2 * runs._LARGE // 784)
    for recipe in (recipes.digits, recipes.elastic):
        with memory_below(30 * MEGABYTE):  # the parameters, and what the optimizer keeps of them
            run = mf.prepare(recipe, KEY, X, Y)
        with memory_below(2.5 * 64 * 1024 * 784):
            next(iter(run.batches(0)))


@pytest.mark.parametrize("view", [deslanted, standardized])
def test_a_large_training_set_is_seen_as_a_small_one(
    digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch, view: mf.View
) -> None:
    X, Y = digits.X_train[:, :300], digits.Y_train[:300]
    recipe = recipes.digits._replace(batch_size=50, views=(view,))
    small = mf.prepare(recipe, KEY, X, Y)
    monkeypatch.setattr(runs, "_LARGE", 0)
    large = mf.prepare(recipe, KEY, X, Y)
    assert large.pixels.tolist() == list(range(784))
    seen = []
    for run in (small, large):
        whole = np.zeros((784, 300), np.float32)
        whole[run.pixels] = np.hstack([batch.X for batch in run.batches(0)])
        labels = np.hstack([batch.Y for batch in run.batches(0)])
        seen.append(sorted((int(y), x.tobytes()) for x, y in zip(whole.T, labels, strict=True)))
    assert seen[0] == seen[1]


def test_a_large_training_set_is_read_in_blocks_of_1024(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_LARGE", 0)
    m = 70_000  # more than 64 blocks, which are read in one go
    X = np.arange(m, dtype=np.uint32)[:, np.newaxis].view(np.uint8).T
    Y = np.zeros(m, np.uint8)
    run = mf.prepare(recipes.digits._replace(batch_size=700), KEY, X, Y)
    expected = mf.epoch_batches(mf.split(KEY, 4)[1], 0, X, Y, 700, block=1024)
    for batch, other in zip(run.batches(0), expected, strict=True):
        np.testing.assert_array_equal(batch.X, other.X)


def test_a_large_training_set_is_distorted_in_blocks_all_the_same(
    digits: mf.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_LARGE", 0)
    X, Y = digits.X_train, digits.Y_train
    run = mf.prepare(recipes.quick, KEY, X, Y)
    _, order_key, distortion_key, _ = mf.split(KEY, 4)
    plain = mf.epoch_batches(order_key, 1, X, Y, 64, block=1024)
    for i, (before, after) in enumerate(zip(plain, run.batches(1), strict=True)):
        key = mf.fold_in(mf.fold_in(distortion_key, 1), i)
        np.testing.assert_array_equal(
            after.X, mf.distort(key, before.X, mf.Distortion(displacement=10))
        )
        np.testing.assert_array_equal(after.Y, before.Y)


@pytest.fixture
def directory(digits: mf.Dataset, tmp_path: Path) -> Path:
    """A data set in plain files."""
    arrays = [digits.X_train.T[:90].reshape(-1, 28, 28), digits.Y_train[:90].astype(np.uint8)]
    arrays += [digits.X_test.T[:20].reshape(-1, 28, 28), digits.Y_test[:20].astype(np.int32)]
    for name, array in zip(FILES, arrays, strict=True):
        (tmp_path / name).write_bytes(encode(array))
    return tmp_path


def is_mapped(array: np.ndarray) -> bool:
    return mapping.mapping_of(array) is not None


def test_mapped_files_hold_what_read_ones_hold(directory: Path) -> None:
    read = mf.load_idx_dataset(directory)
    mapped = mf.load_idx_dataset(directory, mmap=True)
    for array, other in zip(mapped[1:], read[1:], strict=True):
        np.testing.assert_array_equal(array, other, strict=True)
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        mapped.X_train.setflags(write=True)
    assert [is_mapped(array) for array in mapped[1:4]] == [True] * 3
    assert not any(map(is_mapped, read[1:]))
    assert mapped.X_train.T.flags.c_contiguous
    mapping.release(mapped.X_train)
    mapping.release(read.X_train)
    np.testing.assert_array_equal(mapped.X_train, read.X_train)


def test_parts_of_a_mapped_file_are_views(directory: Path) -> None:
    mapped = mf.load_idx_dataset(directory, mmap=True)
    parts = mf.hold_out(mapped.X_train, mapped.Y_train, 10)
    assert is_mapped(parts.X_train)
    assert is_mapped(parts.X_test)


def test_large_plain_files_are_mapped_if_nothing_else_is_said(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (directory / FILES[0]).stat().st_size
    monkeypatch.setattr(datasets, "_LARGE", size - 1)
    dataset = mf.load_idx_dataset(directory)
    assert is_mapped(dataset.X_train)
    assert not is_mapped(dataset.X_test)
    assert not is_mapped(mf.load_idx_dataset(directory, mmap=False).X_train)
    plain = directory / FILES[0]
    plain.with_suffix(".gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    monkeypatch.setattr(datasets, "_LARGE", 0)
    unpacked = mf.load_idx_dataset(directory)
    np.testing.assert_array_equal(unpacked.X_train, dataset.X_train)


def test_a_compressed_file_cannot_be_mapped(directory: Path) -> None:
    packed = directory / f"{FILES[2]}.gz"
    packed.write_bytes(gzip.compress((directory / FILES[2]).read_bytes()))
    (directory / FILES[2]).unlink()
    with pytest.raises(DatasetError) as caught:
        mf.load_idx_dataset(directory, mmap=True)
    assert str(caught.value) == (
        f"{packed} is compressed and cannot be mapped; unpack it with `gunzip {packed}`, or read "
        "it, with mmap=False"
    )


@pytest.mark.parametrize("size", [0, 3, 15, 16, 1000, -1])
def test_a_damaged_file_that_is_mapped_is_refused(directory: Path, size: int) -> None:
    path = directory / FILES[0]
    content = path.read_bytes()
    path.write_bytes(content[:size] if size >= 0 else content + b"\0")
    with pytest.raises(IdxError) as mapped:
        mf.load_idx_dataset(directory, mmap=True)
    with pytest.raises(IdxError) as read:
        mf.load_idx_dataset(directory, mmap=False)
    assert str(mapped.value) == str(read.value)
    assert str(mapped.value).startswith(f"{path}: offset ")


def test_images_on_their_side_are_put_upright_from_a_mapped_file(directory: Path) -> None:
    read = mf.load_idx_dataset(directory)
    for name in FILES:
        (directory / name).rename(directory / f"emnist-{name}")
    upright = mf.load_idx_dataset(directory, mmap=True).X_train
    expected = read.X_train.T.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784)
    np.testing.assert_array_equal(upright.T, expected)


def test_the_digest_is_that_of_all_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (25, 6), np.uint8)
    Y = random.integers(0, 10, 25)
    whole = validation.digest_of(rows.T, Y)
    monkeypatch.setattr(validation, "_PART", 7)
    strided = np.repeat(rows, 2, axis=0)[::2].T
    in_columns = np.ascontiguousarray(rows.T)
    for X in (rows.T, strided, in_columns):
        assert validation.digest_of(X, Y) == whole
    for i in range(25):
        changed = rows.copy()
        changed[i, 2] ^= 1
        assert validation.digest_of(changed.T, Y) != whole
        assert validation.digest_of(rows.T, np.where(np.arange(25) == i, 10, Y)) != whole


def memory_of_files() -> float:
    """Return the megabytes of files that count as this process's memory."""
    lines = map(str.split, Path("/proc/self/status").read_text().splitlines())
    kinds = "RssFile:", "RssShmem:"  # the latter where the file is on a disk in memory
    return sum(int(line[1]) for line in lines if line[:1] and line[0] in kinds) * 1024 / MEGABYTE


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 300 MB of zeros, of which a file system stores none."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells how much memory a mapped file takes")
    directory = tmp_path_factory.mktemp("large")
    m = 300 * MEGABYTE // 784
    for name, shape in zip(FILES, [(m, 28, 28), (m,), (5, 28, 28), (5,)], strict=True):
        header = encode_header(np.dtype(np.uint8), shape)
        (directory / name).write_bytes(header)
        os.truncate(directory / name, len(header) + int(np.prod(shape)))
    return directory


def test_a_large_file_is_looked_at_without_being_held(large: Path) -> None:
    before = memory_of_files()
    most = 0.0
    # A batch of 5,000 in float32 takes 15, and so does the next one.
    with memory_below(60 * MEGABYTE):
        X, Y = mf.load_idx_dataset(large)[1:3]
        validation.digest_of(X, Y)
        for _ in mapping.released(mf.ordered_batches(X, Y, batch_size=5000), X):
            most = max(most, memory_of_files() - before)
    assert most < 120


@pytest.mark.slow
def test_training_on_a_large_file_holds_a_window_of_it(large: Path) -> None:
    dataset = mf.load_idx_dataset(large)
    before = memory_of_files()
    parts = validation.hold_back(dataset.X_train, dataset.Y_train, 20_000)
    recipe = recipes.digits._replace(hidden=8, epochs=1)
    run = mf.prepare(recipe, KEY, parts.X_train, parts.Y_train)
    most = 0.0

    def watched(epoch: int) -> Iterator[mf.Batch]:
        nonlocal most
        for i, batch in enumerate(mapping.released(run.batches(epoch), parts.X_train)):
            yield batch
            most = max(most, memory_of_files() - before) if i % 50 == 0 else most

    window = batches._WINDOW * runs._BLOCK * 784 / MEGABYTE
    with memory_below(2.5 * window * MEGABYTE):
        (state,) = mf.train_epochs(*run._replace(batches=watched))
        validation.record_of(
            mf.Member(state.params), mf.relu, parts, index=0, epoch=1, learning_rate=0.1, seconds=0
        )
    assert most < 5 * window
