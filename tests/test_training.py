import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from memory import memory_below
from test_optimizers import OPTIMIZERS as MAKERS

import mnist_fn as mf
from mnist_fn import Batch, TrainState, recipes
from mnist_fn.optimizers import consuming

OPTIMIZERS: dict[str, mf.Optimizer[Any]] = {
    "sgd": mf.sgd(0.1),
    "momentum with a cosine": mf.momentum(mf.cosine(0.1, 20)),
}


def some_batches(seed: int, n: int) -> list[Batch]:
    random = np.random.default_rng(seed)
    return [
        Batch(random.random((6, m), dtype=np.float32), random.integers(0, 3, m))
        for m in random.integers(1, 9, n)
    ]


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from arrays_in(item)


def start(optimizer: mf.Optimizer[Any]) -> TrainState[Any]:
    return mf.init_state(optimizer, mf.init_params(mf.key(0), pixels=6, hidden=5, classes=3))


def bits(value: Any) -> Any:
    """All that a state holds, in a form that compares bit for bit."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return tuple(map(bits, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=50)
@given(seed=st.integers(0, 99), a=st.integers(0, 5), b=st.integers(0, 5))
def test_training_on_a_then_b_is_training_on_a_and_b(name: str, seed: int, a: int, b: int) -> None:
    optimizer = MAKERS[name](mf.cosine(0.1, 20), float)
    step, batches = mf.make_step(optimizer), some_batches(seed, a + b)
    halfway = mf.train(step, start(optimizer), batches[:a])
    at_once = mf.train(step, start(optimizer), batches)
    assert bits(mf.train(step, halfway, batches[a:])) == bits(at_once)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_history_is_itertools_accumulate(name: str) -> None:
    optimizer = OPTIMIZERS[name]
    step, batches = mf.make_step(optimizer), some_batches(0, 6)
    history = list(itertools.accumulate(batches, step, initial=start(optimizer)))
    snapshots = [bits(state) for state in history]
    for n, state in enumerate(snapshots):
        assert state == bits(mf.train(step, start(optimizer), batches[:n]))
    # What was kept of earlier steps is not changed by later ones.
    assert [bits(state) for state in history] == snapshots


def test_training_from_python_lists_or_a_stream_is_the_same() -> None:
    optimizer = mf.sgd(0.1)
    step, batches = mf.make_step(optimizer), some_batches(0, 4)
    from_list = mf.train(step, start(optimizer), batches)
    from_tuple = mf.train(step, start(optimizer), tuple(batches))
    from_stream = mf.train(step, start(optimizer), iter(batches))
    assert bits(from_list) == bits(from_tuple) == bits(from_stream)


def test_epochs_are_lazy_and_can_be_taken_up_again(digits: mf.Dataset) -> None:
    run = mf.prepare(
        recipes.quick._replace(hidden=8, epochs=4), mf.key(0), digits.X_train, digits.Y_train
    )
    asked_for = []

    def batches(epoch: int) -> Iterator[Batch]:
        asked_for.append(epoch)
        return iter(run.batches(epoch))

    stream = mf.train_epochs(*run._replace(batches=batches))
    assert asked_for == []
    second = list(itertools.islice(stream, 2))[-1]
    assert asked_for == [0, 1]
    assert second.epoch == 2
    rest = list(stream)
    resumed = list(mf.train_epochs(*run._replace(state=second)))
    assert [state.epoch for state in rest] == [3, 4]
    assert [bits(state) for state in resumed] == [bits(state) for state in rest]


@pytest.mark.parametrize("name", OPTIMIZERS)
@given(seed=st.integers(0, 99), hidden=st.integers(1, 12))
def test_training_without_dead_pixels_is_training_with_them(
    name: str, seed: int, hidden: int
) -> None:
    random = np.random.default_rng(seed)
    live = np.flatnonzero(random.random(9) < 0.6)
    X = np.zeros((9, 20))
    X[live] = random.random((len(live), 20))
    Y = random.integers(0, 3, 20)
    optimizer = OPTIMIZERS[name]
    params = mf.init_params(mf.key(seed), pixels=9, hidden=hidden, classes=3, dtype=np.float64)
    step, state = mf.make_step(optimizer), mf.init_state(optimizer, params)

    def batches(pixels: np.ndarray) -> list[Batch]:
        return [Batch(X[pixels][:, i : i + 6], Y[i : i + 6]) for i in range(0, 20, 6)]

    *_, on_all = mf.train_epochs(step, state, lambda epoch: batches(np.arange(9)), 2)
    *_, on_live = mf.train_epochs(step, state, lambda epoch: batches(live), 2, live)
    dead = np.delete(np.arange(9), live)
    assert bits(on_live.params.W1[:, dead]) == bits(state.params.W1[:, dead])
    assert on_live.epoch == on_all.epoch == 2
    for a, b in zip(arrays_in(on_live), arrays_in(on_all), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_an_optimizer_may_keep_anything_while_some_pixels_are_left_out() -> None:
    class Counted(NamedTuple):
        anything: Any

    def update(
        params: mf.Params, gradients: mf.Gradients, state: Counted
    ) -> tuple[mf.Params, Counted]:
        (count, (velocity, name)), average = state.anything[:2], state.anything[2]
        assert velocity.dW1.shape == average.W1.shape == params.W1.shape == (5, 2)
        return params, Counted((count + 1, (gradients, name), params))

    def init(params: mf.Params) -> Counted:
        return Counted((0, (mf.Gradients(*params), "name"), params))

    optimizer = mf.Optimizer(init, update)
    state = mf.init_state(optimizer, start(mf.sgd(0.1)).params)
    batch = Batch(np.ones((2, 4), np.float32), np.array([0, 1, 2, 0]))
    pixels = np.array([1, 4])
    stream = mf.train_epochs(mf.make_step(optimizer), state, lambda epoch: [batch], 3, pixels)
    *_, last = stream
    count, (velocity, name), average = last.optimizer_state.anything
    assert (count, name) == (3, "name")
    assert bits(average) == bits(state.params)
    assert bits(velocity.dW1[:, 0]) == bits(state.params.W1[:, 0])
    assert bits(velocity.dW1[:, 1]) != bits(state.params.W1[:, 1])


@pytest.mark.parametrize("later", [(), (1, 2), mf.SgdState(1)], ids=repr)
def test_an_optimizers_state_keeps_its_form_while_some_pixels_are_left_out(later: Any) -> None:
    optimizer = mf.Optimizer(lambda params: None, lambda params, gradients, state: (params, later))
    state = mf.init_state(optimizer, start(mf.sgd(0.1)).params)
    batch = Batch(np.ones((2, 4), np.float32), np.array([0, 1, 2, 0]))
    pixels = np.array([1, 4])
    stream = mf.train_epochs(mf.make_step(optimizer), state, lambda epoch: [batch], 1, pixels)
    with pytest.raises(
        ValueError, match=r"keeps must keep its form, but NoneType became \w+; leave"
    ):
        next(stream)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ((1, 2), (1,)),
        ((1, 2), (1, 2, 3)),
        (mf.SgdState(1), (1,)),
        ((1,), mf.SgdState(1)),
        ((1,), 1),
    ],
    ids=repr,
)
def test_a_tuple_that_an_optimizer_keeps_stays_one_of_its_kind_and_length(
    first: Any, later: Any
) -> None:
    optimizer = mf.Optimizer(lambda params: first, lambda params, gradients, state: (params, later))
    state = mf.init_state(optimizer, start(mf.sgd(0.1)).params)
    batch = Batch(np.ones((2, 4), np.float32), np.array([0, 1, 2, 0]))
    step, pixels = mf.make_step(optimizer), np.array([1, 4])
    became = f"{type(first).__name__} became {type(later).__name__}; leave `pixels` out"
    with pytest.raises(ValueError, match=f"^train_epochs: .* must keep its form, but {became}$"):
        next(mf.train_epochs(step, state, lambda epoch: [batch], 1, pixels))


@pytest.mark.parametrize("pixels", [[3, 3], [4, 1], [-1, 2], [0, 6], [0, 7]], ids=repr)
def test_pixels_out_of_order_or_range_are_refused(pixels: list[int]) -> None:
    optimizer = mf.sgd(0.1)
    message = "pixels must be numbers from 0 to 5, each once and in order; `live_pixels` returns"
    with pytest.raises(ValueError, match=message):
        mf.train_epochs(
            mf.make_step(optimizer), start(optimizer), lambda epoch: [], 1, np.array(pixels)
        )


def test_pixels_that_are_changed_later_change_nothing() -> None:
    optimizer = mf.sgd(0.1)
    pixels = np.array([1, 4])
    batch = Batch(np.ones((2, 4), np.float32), np.array([0, 1, 2, 0]))
    stream = mf.train_epochs(
        mf.make_step(optimizer), start(optimizer), lambda epoch: [batch], 1, pixels
    )
    pixels[:] = 0, 2
    (last,) = stream
    moved = last.params.W1 - start(optimizer).params.W1
    assert np.flatnonzero(moved.any(axis=0)).tolist() == [1, 4]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_makes_no_more_large_arrays_than_it_needs(name: str) -> None:
    hidden, pixels, m = 400, 40, 1000
    optimizer = OPTIMIZERS[name]
    params = mf.init_params(mf.key(0), pixels=pixels, hidden=hidden)
    batch = Batch(np.ones((pixels, m), np.float32), np.zeros(m, np.uint8))
    step, state = mf.make_step(optimizer), mf.init_state(optimizer, params)
    step(state, batch)
    # Z1 (over which A1 is written), dZ1, and the mask of a byte each; the rest is small.
    with memory_below(1.1 * (2 * 4 + 1) * hidden * m):
        step(state, batch)


@pytest.mark.parametrize("hidden", [20, 40])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_lays_its_arrays_as_matrix_products_like_them(name: str, hidden: int) -> None:
    optimizer = OPTIMIZERS[name]
    params = mf.init_params(mf.key(0), pixels=30, hidden=hidden)
    batch = Batch(np.ones((30, 7), np.float32), np.zeros(7, np.uint8))
    X, Y = batch
    activations = mf.forward(params, X)
    gradients = mf.backward(params, activations, X, Y)
    state = mf.make_step(optimizer)(mf.init_state(optimizer, params), batch)
    for array in (activations.Z1, activations.A1, gradients.dW1, state.params.W1):
        assert (array.flags.c_contiguous, array.flags.f_contiguous) == (hidden > 30, hidden < 30)
    assert gradients.dW2.flags.f_contiguous
    every = np.arange(30)
    stream = mf.train_epochs(mf.make_step(optimizer), state, lambda epoch: [], 2, every)
    assert next(stream).params.W1.flags.f_contiguous == (hidden < 30)


def test_the_memory_of_the_gradients_is_used_for_the_parameters() -> None:
    params = mf.init_params(mf.key(0), pixels=6, hidden=5)
    for optimizer in OPTIMIZERS.values():
        gradients = mf.Gradients(*(np.ones_like(p) for p in params))
        moved, _ = consuming(optimizer)(params, gradients, optimizer.init(params))
        assert moved.W1 is gradients.dW1
        # An update that was replaced is the one that is used.
        stays = optimizer._replace(update=lambda params, gradients, state: (params, state))
        moved, _ = consuming(stays)(params, gradients, optimizer.init(params))
        assert moved is params


def test_batches_must_hold_the_pixels_that_are_named() -> None:
    optimizer = mf.sgd(0.1)
    stream = mf.train_epochs(
        mf.make_step(optimizer), start(optimizer), lambda epoch: some_batches(0, 1), 1, np.arange(4)
    )
    with pytest.raises(TypeCheckError, match=r"pixels = 4 \(from state.params.W1\)"):
        next(stream)


def test_a_recipe_trains_on_the_live_pixels(digits: mf.Dataset) -> None:
    run = mf.prepare(recipes.quick._replace(epochs=1), mf.key(0), digits.X_train, digits.Y_train)
    assert bits(run.pixels) == bits(mf.live_pixels(digits.X_train))
    assert {len(batch.X) for batch in run.batches(0)} == {len(run.pixels)}
    assert len(run.pixels) < len(digits.X_train)


def test_a_step_uses_its_activation_function() -> None:
    optimizer = mf.sgd(0.1)
    (batch,) = some_batches(0, 1)
    state = start(optimizer)
    for g in (mf.relu, mf.tanh, mf.sigmoid):
        gradients = mf.backward(
            state.params, mf.forward(state.params, batch.X, g), batch.X, batch.Y, g
        )
        after = mf.make_step(optimizer, g)(state, batch)
        assert bits(after.params) == bits(mf.update(state.params, gradients, 0.1))


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_the_same_key_gives_the_same_run_and_another_key_another(
    recipe: mf.Recipe, digits: mf.Dataset
) -> None:
    def final(seed: int) -> Any:
        alone, key = mf.members_of(recipe._replace(epochs=2), mf.key(seed))[0]
        run = mf.prepare(alone, key, digits.X_train[:, :300], digits.Y_train[:300])
        return bits(list(mf.train_epochs(*run))[-1])

    assert final(1) == final(1)
    assert final(1) != final(2)


@pytest.mark.parametrize(("hidden", "order"), [(8, "C_CONTIGUOUS"), (3, "F_CONTIGUOUS")])
def test_all_that_a_step_adds_up_lies_alike_in_memory(
    hidden: int, order: Literal["C_CONTIGUOUS", "F_CONTIGUOUS"]
) -> None:
    X, Y = np.random.default_rng(0).random((7, 5), dtype=np.float32), np.array([0, 1, 0, 1, 1])
    pixels = np.array([0, 2, 3, 4, 6])
    optimizer = mf.momentum(0.1)
    step = mf.make_step(optimizer)

    def watched(state: Any, batch: Batch) -> Any:
        gradients = mf.backward(state.params, mf.forward(state.params, X[pixels]), X[pixels], Y)
        for array in (state.params.W1, state.optimizer_state.velocity.dW1, gradients.dW1):
            assert array.flags[order]
        return step(state, batch)

    first = mf.init_state(optimizer, mf.init_params(mf.key(0), pixels=7, hidden=hidden, classes=2))
    batches = [Batch(X[pixels], Y)] * 2
    assert len(list(mf.train_epochs(watched, first, lambda epoch: batches, 2, pixels))) == 2


def test_weights_and_order_are_drawn_from_different_keys() -> None:
    X, Y = np.zeros((784, 50), np.uint8), np.arange(50, dtype=np.uint8) % 10
    run = mf.prepare(recipes.quick, mf.key(0), X, Y)
    weights, _ = mf.split(mf.key(0))
    assert bits(run.state.params) == bits(mf.init_params(weights, hidden=recipes.quick.hidden))
    run = mf.prepare(recipes.quick._replace(batch_size=7), mf.key(0), X, Y)
    of_weights = mf.epoch_batches(weights, 0, X, Y, 7)
    assert bits(next(iter(run.batches(0)))) != bits(next(iter(of_weights)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hidden": 0}, "prepare: hidden is 0, but it must be 1 or more"),
        ({"batch_size": 0}, "prepare: batch_size is 0, but it must be 1 or more"),
        ({"epochs": -1}, "prepare: epochs is -1, but it must be 0 or more"),
    ],
)
@pytest.mark.parametrize("recipe", [recipes.quick, recipes.seed], ids=lambda recipe: recipe.name)
def test_a_recipe_out_of_range_is_refused(
    recipe: mf.Recipe, setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mf.prepare(
            recipe._replace(**setting), mf.key(0), np.zeros((4, 3), np.uint8), np.zeros(3, np.uint8)
        )


def test_a_state_does_not_hang_on_arrays_that_can_be_written_to() -> None:
    params = mf.Params(*(p.copy() for p in start(mf.sgd(0.1)).params))
    state = mf.init_state(mf.sgd(0.1), params)
    before = bits(state)
    params.W1[...] = 7
    assert bits(state) == before


def test_the_recipe_of_the_seed_starts_as_it_says() -> None:
    X, Y = np.zeros((784, 50), np.uint8), np.zeros(50, np.uint8)
    run = mf.prepare(recipes.seed, mf.key(0), X, Y)
    params = run.state.params
    assert [p.shape for p in params] == [(10, 784), (10, 1), (10, 10), (10, 1)]
    for p in params:
        assert p.min() >= -0.5
        assert p.max() < 0.5
        assert len(np.unique(p)) > p.size / 2
    assert params.W1.mean() == pytest.approx(0, abs=0.02)
    assert params.W1.std() == pytest.approx(np.sqrt(1 / 12), rel=0.02)
    assert run.epochs == 500
    assert [len(batch.Y) for batch in run.batches(0)] == [50]


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 100))
def test_the_cosine_of_a_recipe_ends_with_the_run(epochs: int, batch_size: int) -> None:
    m = 100
    X, Y = np.ones((9, m), np.uint8), np.zeros(m, np.uint8)
    recipe = recipes.quick._replace(hidden=2, epochs=epochs, batch_size=batch_size, momentum=0.0)
    run = mf.prepare(recipe, mf.key(0), X, Y)
    *_, last = mf.train_epochs(*run)
    total = epochs * -(-m // batch_size)
    assert last.optimizer_state.step == total
    # One more step is at the end of the schedule, and moves nothing.
    after = run.step(last, next(iter(run.batches(0))))
    assert bits(after.params) == bits(last.params)


def test_quick_learns_the_built_in_digits(digits: mf.Dataset) -> None:
    run = mf.prepare(recipes.digits, mf.key(0), digits.X_train, digits.Y_train)
    *_, last = mf.train_epochs(*run)
    assert mf.accuracy(last.params, mf.scale(digits.X_test), digits.Y_test) >= 0.95


@pytest.mark.slow
def test_quick_learns_mnist(mnist: mf.Dataset) -> None:
    run = mf.prepare(recipes.quick, mf.key(0), mnist.X_train, mnist.Y_train)
    *_, last = mf.train_epochs(*run)
    assert mf.accuracy(last.params, mf.scale(mnist.X_test), mnist.Y_test) >= 0.975


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, math.inf, math.nan]), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_stopping_early_returns_the_first_least_loss_before_patience_ends(
    losses: list[float], patience: int
) -> None:
    taken: list[int] = []

    def states() -> Iterator[int]:
        for i in range(len(losses)):
            taken.append(i)
            yield i

    def is_record(i: int) -> bool:
        before = (loss for loss in losses[:i] if not math.isnan(loss))
        return losses[i] < min(before, default=math.inf)

    records = [i for i in range(len(losses)) if is_record(i)]
    # It must stop once so many states in a row, from a record or the start on, are no records.
    since = [max((r for r in records if r <= i), default=-1) for i in range(len(losses))]
    end = min((i for i, r in enumerate(since) if i - r == patience), default=len(losses) - 1)
    seen = [i for i in records if i <= end]
    if not seen:
        with pytest.raises(ValueError, match=r"^stop_early: no state has a loss that is a number"):
            mf.stop_early(states(), losses.__getitem__, patience)
    else:
        assert mf.stop_early(states(), losses.__getitem__, patience) == seen[-1]
    assert taken == list(range(end + 1))


def test_five_states_without_a_lesser_loss_are_enough_if_nothing_else_is_said() -> None:
    losses = iter([3.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 0.5])
    assert mf.stop_early(losses, float) == 1.0
    assert list(losses) == [0.5]


def test_losses_that_are_never_a_number_are_waited_for_as_long_as_others() -> None:
    losses = iter([math.nan, math.inf, 1.0])
    with pytest.raises(ValueError, match=r"^stop_early: no state has a loss"):
        mf.stop_early(losses, float, patience=2)
    assert list(losses) == [1.0]


def test_stopping_early_needs_patience_and_a_state() -> None:
    with pytest.raises(ValueError, match=r"^stop_early: patience is 0, but it must be 1 or more$"):
        mf.stop_early([1.0], float, 0)
    with pytest.raises(ValueError, match=r"^stop_early: no state has a loss"):
        mf.stop_early([], float)


def test_an_epoch_that_was_begun_is_begun_anew() -> None:
    X, Y = np.random.default_rng(0).random((7, 5), dtype=np.float32), np.array([0, 1, 0, 1, 1])
    optimizer = mf.sgd(0.1)
    step = mf.make_step(optimizer, dropout=mf.Dropout(mf.key(1), hidden=0.5))
    first = mf.init_state(optimizer, mf.init_params(mf.key(0), pixels=7, hidden=9, classes=2))
    begun = first._replace(batch=3)
    for state in (first, begun):
        (after,) = mf.train_epochs(step, state, lambda epoch: [Batch(X, Y)] * 2, 1)
        assert bits(after) == bits(
            step(step(first, Batch(X, Y)), Batch(X, Y))._replace(epoch=1, batch=0)
        )


def test_a_state_counts_the_batches_of_its_epoch() -> None:
    optimizer = mf.sgd(0.1)
    step, batches = mf.make_step(optimizer), some_batches(0, 3)
    states = itertools.accumulate(batches, step, initial=start(optimizer))
    assert [(state.epoch, state.batch) for state in states] == [(0, 0), (0, 1), (0, 2), (0, 3)]
    ends = mf.train_epochs(step, start(optimizer), lambda epoch: batches, epochs=2)
    assert [(state.epoch, state.batch) for state in ends] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("name", ["a", "relu", "z"])
def test_an_activation_function_is_taken_as_it_is_whatever_its_name(name: str) -> None:
    step = mf.make_step(mf.sgd(0.1), mf.tanh._replace(name=name))
    expected = mf.make_step(mf.sgd(0.1), mf.tanh)
    (batch,) = some_batches(0, 1)
    first = start(mf.sgd(0.1))
    assert bits(step(first, batch)) == bits(expected(first, batch))
