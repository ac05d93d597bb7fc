import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import agree, numerical_gradients
from hypothesis import assume, given
from hypothesis import strategies as st

import mnist_fn as mf
from mnist_fn import ActivationFunction, Batch, Dropout, Params, TrainState, relu, sigmoid, tanh
from mnist_fn import dropout as room

ACTIVATIONS = (relu, tanh, sigmoid)
MOMENTUM = mf.momentum(0.1)
START = mf.init_state(MOMENTUM, mf.init_params(mf.key(0), pixels=6, hidden=5, classes=3))
seeds = st.integers(0, 2**32)
sizes = st.integers(1, 4)


def bits(value: Any) -> Any:
    """All that a value holds, in a form that compares bit for bit."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return tuple(map(bits, value)) if isinstance(value, tuple | list) else value


@st.composite
def networks(draw: st.DrawFn) -> tuple[Params, Batch]:
    pixels, hidden, classes, m = (draw(sizes) for _ in range(4))
    random = np.random.default_rng(draw(seeds))
    shapes = (hidden, pixels), (hidden, 1), (classes, hidden), (classes, 1)
    params = Params(*(random.normal(size=shape) for shape in shapes))
    return params, Batch(random.random((pixels, m)), random.integers(0, classes, m))


def some_batches(n: int, seed: int = 0) -> list[Batch]:
    random = np.random.default_rng(seed)
    return [
        Batch(random.random((6, m), dtype=np.float32), random.integers(0, 3, m))
        for m in random.integers(1, 9, n)
    ]


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@given(networks(), seeds, st.sampled_from([0.0, 0.2, 0.5]), st.sampled_from([0.0, 0.1, 0.9]))
def test_gradients_are_the_derivatives_of_the_loss(
    g: ActivationFunction, network: tuple[Params, Batch], seed: int, rate: float, smoothing: float
) -> None:
    params, (X, Y) = network
    if g is relu:
        assume(np.abs(mf.forward(params, X, g).Z1).min() > 0.01)  # away from its kink
    h = mf.dropped(mf.key(seed), g, rate)
    gradients = mf.backward(params, mf.forward(params, X, h), X, Y, h, smoothing)
    assert agree(gradients, numerical_gradients(lambda p: mf.loss(p, X, Y, h, smoothing), params))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.9])
def test_a_share_of_the_entries_is_dropped_and_the_others_scaled_up(
    rate: float, dtype: type[np.float32] | type[np.float64]
) -> None:
    strong = np.float64(rate)  # a float to a type checker, but it would promote float32
    Z = np.ones((200, 300), dtype)
    by_g = mf.dropped(mf.key(1), tanh, strong).function(Z) / dtype(math.tanh(1))
    for values in (mf.drop(mf.key(0), Z, strong), by_g):
        assert values.dtype == dtype
        kept = values != 0
        rounded = round(rate * 65536) / 65536
        np.testing.assert_allclose(values[kept], 1 / (1 - rounded), rtol=1e-6)
        both = kept[1:] & kept[:-1]
        shares = [
            (kept.mean(axis=0), 1 - rate, 200),
            (kept.mean(axis=1), 1 - rate, 300),
            (kept.mean(), 1 - rate, kept.size),
            (both.mean(), (1 - rate) ** 2, kept.size / 3),
        ]
        for share, chance, n in shares:
            assert (np.abs(share - chance) < 5 * math.sqrt(chance * (1 - chance) / n)).all()


def test_a_rate_just_below_1_keeps_the_least_share_that_there_is() -> None:
    ones = np.ones((1000, 1000))
    kept = mf.drop(mf.key(0), ones, 1 - 1e-9)
    assert set(np.unique(kept)) == {0, 65536}
    assert kept.mean() == pytest.approx(1, abs=5 / math.sqrt(ones.size / 65536))


def test_a_derivative_that_divides_by_what_was_dropped_sees_what_it_was() -> None:
    root = mf.ActivationFunction("root", lambda Z: np.sqrt(Z * Z + 1), lambda Z, A: Z / A)
    X, Y = np.random.default_rng(0).random((6, 4)), np.array([0, 2, 1, 2])
    params = mf.init_params(mf.key(0), pixels=6, hidden=5, classes=3, dtype=np.float64)
    h = mf.dropped(mf.key(1), root, 0.5)
    gradients = mf.backward(params, mf.forward(params, X, h), X, Y, h)
    assert agree(gradients, numerical_gradients(lambda p: mf.loss(p, X, Y, h), params))


@pytest.mark.parametrize("hidden", [3, 300])
def test_dropping_nothing_is_the_network_to_the_bit(hidden: int) -> None:
    params = mf.init_params(mf.key(0), pixels=100, hidden=hidden)
    X = np.random.default_rng(0).random((64, 100), dtype=np.float32).T
    nothing = mf.forward(params, mf.drop(mf.key(2), X, 0), mf.dropped(mf.key(1), mf.relu, 0))
    for got, expected in zip(nothing, mf.forward(params, X), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_mean_over_many_masks_is_what_is_not_dropped() -> None:
    Z = np.random.default_rng(0).normal(size=(3, 4))
    keys = mf.split(mf.key(0), 2000)
    of_X = np.mean([mf.drop(key, Z, 0.5) for key in keys], axis=0)
    of_A = np.mean([mf.dropped(key, sigmoid, 0.5).function(Z) for key in keys], axis=0)
    for mean, whole in ((of_X, Z), (of_A, sigmoid.function(Z))):
        assert (np.abs(mean - whole) < 5 * np.abs(whole) / math.sqrt(2000)).all()


@given(network=networks(), seed=seeds, g=st.sampled_from(ACTIVATIONS))
def test_dropping_and_smoothing_nothing_changes_nothing(
    network: tuple[Params, Batch], seed: int, g: ActivationFunction
) -> None:
    params, (X, Y) = network
    assert bits(mf.drop(mf.key(seed), X, 0)) == bits(X)
    h = mf.dropped(mf.key(seed), g, 0)
    activations = mf.forward(params, X, g)
    Z1, A1, *_ = activations
    assert bits(h.function(Z1)) == bits(A1)
    assert bits(h.derivative(Z1, A1)) == bits(g.derivative(Z1, A1) * 1.0)
    gradients = mf.backward(params, activations, X, Y, g)
    assert bits(mf.backward(params, activations, X, Y, g, 0)) == bits(gradients)
    assert mf.loss(params, X, Y, g, 0) == mf.loss(params, X, Y, g)


@pytest.mark.parametrize("g", [tanh, sigmoid], ids=lambda g: g.name)
def test_function_and_derivative_drop_the_same(g: ActivationFunction) -> None:
    Z = np.random.default_rng(0).normal(size=(6, 50))
    h = mf.dropped(mf.key(0), g, 0.5)
    A = h.function(Z)
    h.function(Z[:, :3])  # another batch in between
    kept = A != 0
    np.testing.assert_allclose(A, np.where(kept, 2 * g.function(Z), 0), rtol=1e-12)
    slope = np.where(kept, 2 * g.derivative(Z, g.function(Z)), 0)
    np.testing.assert_allclose(h.derivative(Z, A), slope, rtol=1e-12)


def test_the_same_key_drops_the_same_and_another_key_another() -> None:
    Z, seeds = np.ones((8, 9), np.float32), [*range(20), *range(20)]
    assert len({bits(mf.drop(mf.key(i), Z, 0.5)) for i in seeds}) == 20
    assert len({bits(mf.dropped(mf.key(i), relu, 0.5).function(Z)) for i in seeds}) == 20


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@pytest.mark.parametrize(("pixels", "hidden"), [(0.2, 0.5), (0.0, 0.5), (0.4, 0.0)])
def test_a_step_is_its_parts(g: ActivationFunction, pixels: float, hidden: float) -> None:
    dropout = Dropout(mf.key(7), pixels, hidden)
    step = mf.make_step(MOMENTUM, g, dropout=dropout, label_smoothing=0.1)
    for (epoch, batch), (X, Y) in zip([(0, 0), (2, 3), (3, 2)], some_batches(3), strict=True):
        state = START._replace(epoch=epoch, batch=batch)
        of_pixels, of_hidden = mf.split(mf.fold_in(mf.fold_in(mf.key(7), epoch), batch))
        X_left, h = mf.drop(of_pixels, X, pixels), mf.dropped(of_hidden, g, hidden)
        activations = mf.forward(state.params, X_left, h)
        gradients = mf.backward(state.params, activations, X_left, Y, h, 0.1)
        moved = MOMENTUM.update(state.params, gradients, state.optimizer_state)
        assert bits(step(state, Batch(X, Y))) == bits(TrainState(*moved, epoch, batch + 1))


@pytest.mark.parametrize("shares", [(0.3, 0.0), (0.0, 0.3)])
def test_a_mask_depends_on_the_key_the_epoch_and_the_number_of_the_batch(
    shares: tuple[float, float],
) -> None:
    batch = Batch(np.ones((6, 8), np.float32), np.arange(8) % 3)
    results = set()
    for seed, epoch, index in itertools.product(range(3), repeat=3):
        step = mf.make_step(MOMENTUM, dropout=Dropout(mf.key(seed), *shares))
        results.add(bits(step(START._replace(epoch=epoch, batch=index), batch).params))
    assert len(results) == 27


@given(a=st.integers(0, 4), b=st.integers(0, 4))
def test_training_on_a_then_b_is_training_on_a_and_b(a: int, b: int) -> None:
    step, batches = mf.make_step(MOMENTUM, dropout=Dropout(mf.key(1))), some_batches(a + b)
    halfway = mf.train(step, START, batches[:a])
    at_once = mf.train(step, START, batches)
    assert bits(mf.train(step, halfway, batches[a:])) == bits(at_once)


def test_a_run_goes_on_from_any_of_its_states_with_the_same_bits() -> None:
    def stream(state: TrainState[mf.MomentumState]) -> list[Any]:
        step = mf.make_step(MOMENTUM, tanh, dropout=Dropout(mf.key(1)), label_smoothing=0.1)
        return list(mf.train_epochs(step, state, lambda epoch: some_batches(3, epoch), 4))

    whole = stream(START)
    assert [(state.epoch, state.batch) for state in whole] == [(n, 0) for n in (1, 2, 3, 4)]
    for n, state in enumerate(whole, start=1):
        assert bits(stream(state)) == bits(whole[n:])


@given(network=networks(), smoothing=st.floats(0, 1, exclude_max=True))
def test_smoothed_labels_are_a_share_of_every_class(
    network: tuple[Params, Batch], smoothing: float
) -> None:
    params, (X, Y) = network
    total = 0.0
    for column, y in zip(mf.forward(params, X).A2.T.tolist(), Y.tolist(), strict=True):
        for k, probability in enumerate(column):
            share = smoothing / len(column) + (1 - smoothing) * (k == y)
            total -= share * math.log(probability) / len(Y)
    loss = mf.loss(params, X, Y, label_smoothing=smoothing)
    assert loss == pytest.approx(total, rel=1e-12, abs=1e-14)


def test_smoothing_keeps_the_precision() -> None:
    (X, Y), strong = some_batches(1)[0], np.float64(0.1)
    activations = mf.forward(START.params, X)
    gradients = mf.backward(START.params, activations, X, Y, label_smoothing=strong)
    assert {dp.dtype for dp in gradients} == {np.dtype(np.float32)}


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan, math.inf])
def test_a_share_out_of_range_is_refused(rate: float) -> None:
    (batch,) = some_batches(1)
    of_pixels = mf.make_step(MOMENTUM, dropout=Dropout(mf.key(0), pixels=rate))
    of_hidden = mf.make_step(MOMENTUM, dropout=Dropout(mf.key(0), hidden=rate))
    calls: list[tuple[str, Callable[[], object]]] = [
        ("drop", lambda: mf.drop(mf.key(0), batch.X, rate)),
        ("dropped", lambda: mf.dropped(mf.key(0), relu, rate)),
        ("drop", lambda: of_pixels(START, batch)),
        ("dropped", lambda: of_hidden(START, batch)),
    ]
    for name, call in calls:
        says = f"^{name}: rate is {rate}, but it must be at least 0 and less than 1$"
        with pytest.raises(ValueError, match=says):
            call()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_a_smoothing_out_of_range_is_refused(wrong: float) -> None:
    (X, Y), params = some_batches(1)[0], START.params
    activations = mf.forward(params, X)
    step = mf.make_step(MOMENTUM, label_smoothing=wrong)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("loss", lambda: mf.loss(params, X, Y, label_smoothing=wrong)),
        ("backward", lambda: mf.backward(params, activations, X, Y, label_smoothing=wrong)),
        ("backward", lambda: step(START, Batch(X, Y))),
    ]
    for name, call in calls:
        says = f"^{name}: label_smoothing is {wrong}, but it must be at least 0 and less than 1$"
        with pytest.raises(ValueError, match=says):
            call()


def test_a_mask_is_drawn_once_for_both_ways_and_one_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[int, ...]] = []
    draw = room._mask

    def counted(key: mf.Key, shape: tuple[int, ...], dtype: Any, rate: float) -> np.ndarray:
        drawn.append(shape)
        return draw(key, shape, dtype, rate)

    monkeypatch.setattr(room, "_mask", counted)
    h, Z = mf.dropped(mf.key(0), tanh, 0.5), np.ones((3, 4))
    for columns in (4, 2, 4):
        h.derivative(Z[:, :columns], h.function(Z[:, :columns]))
    assert drawn == [(3, 4), (3, 2), (3, 4)]
