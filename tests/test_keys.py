import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mnist_fn as mf

seeds = st.integers(0, 2**130)
numbers = st.integers(0, 1000)


def draws(key: mf.Key) -> list[float]:
    return mf.generator(key).random(4).tolist()  # type: ignore[no-any-return]  # tolist's type is Any


@given(seeds, seeds)
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(a: int, b: int) -> None:
    assume(a != b)
    assert draws(mf.key(a)) == draws(mf.key(a))
    assert draws(mf.key(a)) != draws(mf.key(b))


def test_a_key_is_not_used_up() -> None:
    key = mf.key(0)
    first = draws(key)
    mf.generator(key).random(1000)
    mf.split(key)
    mf.fold_in(key, 1)
    assert draws(key) == first


@given(seeds)
def test_all_derived_keys_differ(seed: int) -> None:
    key = mf.key(seed)
    split = mf.split(key, 10)
    folded = [mf.fold_in(key, i) for i in range(10)]
    below = [mf.fold_in(child, 0) for child in folded] + list(mf.split(split[0], 2))
    assert len({key, *split, *folded, *below}) == 1 + 10 + 10 + 10 + 2


@given(seeds, st.integers(0, 8), st.integers(0, 8))
def test_how_many_keys_are_split_off_does_not_change_them(seed: int, n: int, more: int) -> None:
    key = mf.key(seed)
    assert mf.split(key, n + more)[:n] == mf.split(key, n)


def test_drawing_from_a_key_leaves_the_global_state_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002  # it is the state that must stay
    mf.init_params(mf.key(0))
    after = np.random.get_state(legacy=False)  # noqa: NPY002  # it is the state that must stay
    assert str(before) == str(after)


def test_derived_numbers_look_independent() -> None:
    columns = [mf.generator(mf.fold_in(mf.key(0), i)).standard_normal(4000) for i in range(20)]
    correlations = np.corrcoef(columns) - np.eye(20)
    assert np.abs(correlations).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.key(-1), "key: the seed is -1, but it must be 0 or more"),
        (lambda: mf.split(mf.key(0), -1), "split: n is -1, but it must be 0 or more"),
        (lambda: mf.fold_in(mf.key(0), -1), "fold_in: i is -1, but it must be 0 or more"),
    ],
)
def test_negative_numbers_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_stay_the_same_from_release_to_release() -> None:
    key = mf.key(0)
    assert key.words == (2968811710, 3677149159, 745650761, 2884920346)
    assert mf.split(key, 1)[0].words == (3799814089, 1093772667, 2629204363, 3988487602)
    assert mf.fold_in(key, 1).words == (2452488296, 1533957971, 3288908621, 3144653227)
    assert mf.generator(key).integers(0, 1000, 4).tolist() == [815, 317, 62, 851]
    Y = np.arange(8)
    (batch, *_) = mf.epoch_batches(key, 1, np.zeros((1, 8), np.uint8), Y, batch_size=7)
    assert batch.Y.tolist() == [1, 3, 5, 7, 2, 4, 0]
