import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnist_fn as mf


def numbered(m: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three pixels that tell which they are, and labels that agree with them."""
    i = np.arange(m)
    return np.stack([i % 256, i // 256, np.full(m, 255)]).astype(np.uint8), i.astype(np.int32)


def order_of(batches: list[mf.Batch]) -> list[int]:
    for X, Y in batches:
        low, high, _ = np.rint(X * 255).astype(int)
        np.testing.assert_array_equal(low + 256 * high, Y)
    return [int(y) for batch in batches for y in batch.Y]


@given(st.integers(0, 600), st.integers(1, 200), st.integers(0, 50))
def test_an_epoch_has_every_sample_once_with_its_own_label(
    m: int, batch_size: int, epoch: int
) -> None:
    batches = list(mf.epoch_batches(mf.key(0), epoch, *numbered(m), batch_size))
    assert sorted(order_of(batches)) == list(range(m))
    sizes = [len(batch.Y) for batch in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert len(sizes) == -(-m // batch_size)


def test_the_order_depends_on_key_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return order_of(list(mf.epoch_batches(mf.key(seed), epoch, *numbered(300), 64)))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("batch_size", [50, 51, 1000])
def test_a_batch_of_all_keeps_the_order(batch_size: int) -> None:
    (batch,) = mf.epoch_batches(mf.key(0), 0, *numbered(50), batch_size)
    assert order_of([batch]) == list(range(50))


@given(st.integers(0, 300), st.integers(1, 100))
def test_ordered_batches_are_in_order(m: int, batch_size: int) -> None:
    assert order_of(list(mf.ordered_batches(*numbered(m), batch_size))) == list(range(m))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scale_divides_by_255(dtype: type[np.float32] | type[np.float64]) -> None:
    X = np.arange(256, dtype=np.uint8).reshape(2, 128)
    scaled = mf.scale(X, dtype)
    assert scaled.dtype == dtype
    np.testing.assert_allclose(scaled, X.astype(np.float64) / 255, rtol=1e-7)
    assert scaled.min() == 0
    assert scaled.max() == 1


def test_images_lie_in_memory_one_after_the_other(digits: mf.Dataset) -> None:
    batch = next(iter(mf.epoch_batches(mf.key(0), 0, digits.X_train, digits.Y_train)))
    assert batch.X.T.flags.c_contiguous


def test_batches_keep_nothing_of_what_they_were_made_of() -> None:
    X, Y = numbered(10)
    for batches in (mf.ordered_batches(X, Y), mf.epoch_batches(mf.key(0), 0, X, Y, 4)):
        for batch in batches:
            assert not np.shares_memory(batch.X, X)
            assert not np.shares_memory(batch.Y, Y)


def test_hold_out_takes_the_last_samples() -> None:
    X, Y = numbered(10)
    dataset = mf.hold_out(X, Y, n=3)
    assert dataset.Y_train.tolist() == list(range(7))
    assert dataset.Y_test.tolist() == [7, 8, 9]
    np.testing.assert_array_equal(np.hstack([dataset.X_train, dataset.X_test]), X)


def test_hold_out_does_not_change_with_what_it_was_made_of() -> None:
    X, Y = numbered(10)
    dataset = mf.hold_out(X, Y, n=3)
    X[...] = 0
    Y[...] = 0
    assert dataset.Y_test.tolist() == [7, 8, 9]
    assert dataset.X_test[0].tolist() == [7, 8, 9]


def test_epochs_are_counted_from_0() -> None:
    for batch_size in (2, 99):
        with pytest.raises(
            ValueError, match="epoch_batches: epoch is -1, but it must be 0 or more"
        ):
            mf.epoch_batches(mf.key(0), -1, *numbered(3), batch_size)


@pytest.mark.parametrize("n", [1, 9])
def test_hold_out_may_leave_one_sample_on_a_side(n: int) -> None:
    dataset = mf.hold_out(*numbered(10), n=n)
    assert (len(dataset.Y_train), len(dataset.Y_test)) == (10 - n, n)


@pytest.mark.parametrize("n", [-1, 0, 10, 11])
def test_hold_out_leaves_samples_on_each_side(n: int) -> None:
    with pytest.raises(ValueError, match=f"hold_out: n is {n}, but of 10 samples"):
        mf.hold_out(*numbered(10), n=n)


def test_batches_of_none_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 0, but it must be 1 or more"):
        mf.ordered_batches(*numbered(3), 0)
    with pytest.raises(ValueError, match="batch_size is 0, but it must be 1 or more"):
        mf.epoch_batches(mf.key(0), 0, *numbered(3), 0)


@given(st.integers(0, 40), st.integers(0, 2**32))
def test_live_pixels_are_all_that_are_ever_set_and_fill_up_rows_of_16(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    X = np.zeros((40, 7), np.uint8)
    set_somewhere = random.permutation(40)[:n]
    X[set_somewhere, random.integers(0, 7, n)] = random.integers(1, 256, n)
    live = mf.live_pixels(X)
    assert set(set_somewhere) <= set(live)
    assert (np.diff(live) > 0).all()
    assert len(live) == min(-(-n // 16) * 16, 40)


def test_mnist_has_67_pixels_that_are_never_set(mnist: mf.Dataset) -> None:
    assert np.count_nonzero(~mnist.X_train.any(axis=1)) == 67
    assert len(mf.live_pixels(mnist.X_train)) == 720


def test_sizes_are_as_the_signatures_say_if_nothing_else_is_said() -> None:
    X, Y = np.zeros((1, 10_002), np.uint8), np.zeros(10_002, np.uint8)
    assert [len(batch.Y) for batch in mf.ordered_batches(X, Y)] == [*[1000] * 10, 2]
    assert {len(batch.Y) for batch in mf.epoch_batches(mf.key(0), 0, X, Y)} == {128, 10_002 % 128}
    assert len(mf.hold_out(X, Y).Y_test) == 10_000


@pytest.mark.parametrize("batch_size", [10, 64, 128])
@pytest.mark.parametrize("blocks", [63, 64, 65, 128])
def test_windows_of_blocks_leave_nothing_over(blocks: int, batch_size: int) -> None:
    m = 3 * blocks
    batches = list(mf.epoch_batches(mf.key(0), 0, *numbered(m), batch_size, block=3))
    assert sorted(order_of(batches)) == list(range(m))
    sizes = [len(batch.Y) for batch in batches]
    assert sizes == [min(batch_size, m - i) for i in range(0, m, batch_size)]
