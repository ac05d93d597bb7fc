import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mnist_fn as mf
from mnist_fn import Gradients, Params
from mnist_fn.contracts import unchecked
from mnist_fn.optimizers import consuming

Rate = float | mf.Schedule
Real = Callable[[float], float]


def averaged_momentum(rate: Rate, n: Real) -> mf.Optimizer[Any]:
    return mf.average_params(mf.decay_weights(mf.momentum(rate, n(0.8)), n(0.1)), n(0.4))


# From a rate, and from a type for all other numbers that are not left to the defaults.
OPTIMIZERS: dict[str, Callable[[Rate, Real], mf.Optimizer[Any]]] = {
    "sgd": lambda r, n: mf.sgd(r),
    "momentum": lambda r, n: mf.momentum(r),
    "nesterov": lambda r, n: mf.momentum(r, n(0.8), nesterov=True),
    "rmsprop": lambda r, n: mf.rmsprop(r),
    "adam": lambda r, n: mf.adam(r),
    "adam with weight decay": lambda r, n: mf.adam(r, n(0.4), n(0.45), n(1e-3), n(0.1)),
    "decayed sgd": lambda r, n: mf.decay_weights(mf.sgd(r), n(0.1)),
    "decayed adam": lambda r, n: mf.decay_weights(mf.adam(r), n(0.1)),
    "averaged, decayed momentum": averaged_momentum,
    "averaged rmsprop": lambda r, n: mf.average_params(mf.rmsprop(r, n(0.3), n(1e-3)), n(0.7)),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)

RANDOM = np.random.default_rng(1)
PARAMS = Params(*(RANDOM.normal(size=shape) for shape in [(3, 4), (3, 1), (2, 3), (2, 1)]))
GRADIENTS = [Gradients(*(RANDOM.normal(size=p.shape) for p in PARAMS)) for _ in range(10)]
BATCH = mf.Batch(RANDOM.random((4, 5)), np.array([0, 1, 1, 0, 1]))


def made(name: str, rate: Rate = 0.02, real: Real = float) -> mf.Optimizer[Any]:
    return OPTIMIZERS[name](rate, real)


def leaves(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in leaves(item)]
    return [np.asarray(value)]


def bits(value: Any) -> Any:
    return [(leaf.dtype, leaf.shape, leaf.tobytes()) for leaf in leaves(value)]


def equal(got: Any, expected: Any) -> bool:
    """Tell whether the numbers are, to which -0.0 is 0.0."""
    return all(map(np.array_equal, leaves(got), leaves(expected)))


def assert_close(got: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-15) -> None:
    for a, b in zip(leaves(got), leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def trajectory(
    optimizer: mf.Optimizer[Any], gradients: list[Gradients] = GRADIENTS, params: Params = PARAMS
) -> list[tuple[Params, Any]]:
    states: list[tuple[Params, Any]] = [(params, optimizer.init(params))]
    for of_step in gradients:
        params, state = states[-1]
        states.append(optimizer.update(params, of_step, state))
    return states


def path(
    optimizer: mf.Optimizer[Any], gradients: list[Gradients] = GRADIENTS, params: Params = PARAMS
) -> list[Params]:
    return [params for params, _ in trajectory(optimizer, gradients, params)]


@every_optimizer
def test_both_functions_of_an_optimizer_are_held_to_a_contract(name: str) -> None:
    for function in made(name)[:2]:
        assert unchecked(function) is not function


@every_optimizer
def test_an_average_changes_nothing_else(name: str) -> None:
    averaged = trajectory(mf.average_params(made(name)))
    assert bits(averaged[0][1].average) == bits(PARAMS)
    without = [(params, state.inside) for params, state in averaged]
    assert bits(without) == bits(trajectory(made(name)))


@pytest.mark.parametrize("real", [float, np.float64])
@every_optimizer
def test_float32_stays_float32(name: str, real: Real) -> None:
    params = Params(*(p.astype(np.float32) for p in PARAMS))
    gradients = [Gradients(*(dp.astype(np.float32) for dp in of_step)) for of_step in GRADIENTS]
    expected = trajectory(made(name, 0.05), gradients, params)
    for rate in (real(0.05), lambda step: real(0.05)):
        got = trajectory(made(name, rate, real), gradients, params)
        assert {leaf.dtype for leaf in leaves(got) if leaf.ndim} == {np.dtype(np.float32)}
        assert bits(got) == bits(expected)


def test_the_defaults_that_optax_does_not_have() -> None:
    assert bits(trajectory(mf.adam())) == bits(trajectory(mf.adam(0.001)))
    # That of torch.optim.swa_utils.get_ema_multi_avg_fn in PyTorch 2.13.
    of_pytorch = mf.average_params(mf.sgd(0.1), 0.999)
    assert bits(trajectory(mf.average_params(mf.sgd(0.1)))) == bits(trajectory(of_pytorch))


# The gradients of a bowl, and of a valley along no axis, with walls far steeper than its floor.
SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bowl": lambda d: d * np.linspace(1, 10, d.size).reshape(d.shape),
    "valley": lambda d: d + 9 * d.mean(),
}


@pytest.mark.parametrize("slope", SLOPES)
@every_optimizer
def test_every_optimizer_finds_the_bottom(name: str, slope: str) -> None:
    # Weight decay moves no bottom where the weights are 0, and biases do not decay.
    bottom = [np.full(p.shape, bias) for p, bias in zip(PARAMS, (0, 1, 0, 1), strict=True)]
    optimizer = made(name, mf.cosine(0.05, 600))
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(600):
        gradients = Gradients(*map(SLOPES[slope], map(np.subtract, params, bottom)))
        params, state = optimizer.update(params, gradients, state)
    assert state.step == 600
    averages = [state.average] if isinstance(state, mf.AverageState) else []
    for found in (params, *averages):
        assert_close(found, bottom, rtol=0, atol=0.01)


@every_optimizer
def test_every_optimizer_teaches_a_network_to_make_no_errors(name: str) -> None:
    Y = np.arange(30) % 3
    noise = np.random.default_rng(0).normal(scale=0.1, size=(6, 30))
    X = (np.eye(6, 3)[:, Y] + noise).astype(np.float32)
    optimizer = made(name, 0.05)
    step = mf.make_step(optimizer)
    params = mf.init_params(mf.key(0), pixels=6, hidden=8, classes=3)
    history = [mf.init_state(optimizer, params)]
    kept = [bits(history[0])]
    for _ in range(150):
        history.append(step(history[-1], mf.Batch(X, Y)))
        kept.append(bits(history[-1]))
    assert mf.accuracy(history[0].params, X, Y) < 0.9
    assert mf.accuracy(history[-1].params, X, Y) == 1
    assert [state.optimizer_state.step for state in history] == list(range(151))
    # What was kept of earlier steps is not changed by later ones.
    assert [bits(state) for state in history] == kept


@every_optimizer
def test_the_consuming_update_is_the_update_and_writes_to_gradients_only(name: str) -> None:
    optimizer = made(name)
    states = trajectory(optimizer)
    for (params, state), expected, gradients in zip(states, states[1:], GRADIENTS, strict=False):
        before = bits((params, state))
        memory = Gradients(*(dp.copy() for dp in gradients))
        for dp in memory:
            dp.setflags(write=False)
        after = consuming(optimizer)(params, memory, state)
        assert bits(after) == bits(expected)
        assert bits((params, state)) == before
        assert not any(leaf.flags.writeable for leaf in leaves(after) if leaf.ndim)


@every_optimizer
@given(st.lists(st.just(-0.0) | st.floats(-1e100, 1e100), min_size=4, max_size=4))
def test_a_rate_of_0_stays_and_so_does_the_average(name: str, numbers: list[float]) -> None:
    first = Params(*(np.full_like(p, n) for p, n in zip(PARAMS, numbers, strict=True)))
    averaged = mf.average_params(made(name, 0.0), 0.9)
    for params, state in trajectory(averaged, params=first):
        assert equal(params, first)
        assert_close(state.average, first, rtol=1e-14)
    after = mf.make_step(averaged)(mf.init_state(averaged, first), BATCH)
    assert equal(after.params, first)


@given(
    hnp.arrays(np.float64, 4, elements=st.just(-0.0) | st.floats()),
    hnp.arrays(np.float64, 4, elements=st.floats(-1e308, 1e308)),
)
def test_an_update_at_a_rate_of_0_changes_the_sign_of_zero_alone(
    numbers: np.ndarray, slopes: np.ndarray
) -> None:
    params = Params(*(np.full_like(p, n) for p, n in zip(PARAMS, numbers, strict=True)))
    gradients = Gradients(*(np.full_like(p, n) for p, n in zip(PARAMS, slopes, strict=True)))
    after = mf.update(params, gradients, 0.0)
    for p, n, slope in zip(after, numbers, slopes, strict=True):
        np.testing.assert_array_equal(p, n)
        was_negative = np.signbit(n) and not (n == 0 and np.signbit(slope))
        assert np.isnan(n) or (np.signbit(p) == was_negative).all()


@every_optimizer
def test_a_decay_of_0_changes_nothing(name: str) -> None:
    optimizer = made(name)
    assert bits(trajectory(mf.decay_weights(optimizer, 0))) == bits(trajectory(optimizer))
    for params, state in trajectory(mf.average_params(optimizer, 0)):
        assert bits(state.average) == bits(params)


@pytest.mark.parametrize("nesterov", [False, True])
@given(
    rate=st.floats(-100, 100),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from([np.float32, np.float64]),
    steps=st.integers(1, 6),
)
def test_momentum_0_is_plain_gradient_descent(
    nesterov: bool, rate: float, seed: int, dtype: Any, steps: int
) -> None:
    random = np.random.default_rng(seed)
    first, *others = (
        [random.normal(size=p.shape).astype(dtype) for p in PARAMS] for _ in range(1 + steps)
    )
    gradients = [Gradients(*of_step) for of_step in others]
    plain, without = mf.sgd(rate), mf.momentum(rate, 0, nesterov)
    of_both = (path(optimizer, gradients, Params(*first)) for optimizer in (plain, without))
    assert bits(next(of_both)) == bits(next(of_both))


@pytest.mark.parametrize("optimizer", [mf.adam(0.05, epsilon=1e-12), mf.rmsprop(0.05, 0.9, 1e-12)])
@given(scale=st.floats(1, 1e6))
def test_the_size_of_all_gradients_is_nothing_to_adam_and_rmsprop(
    optimizer: mf.Optimizer[Any], scale: float
) -> None:
    scaled = [Gradients(*(scale * dp for dp in gradients)) for gradients in GRADIENTS]
    assert_close(path(optimizer, scaled), path(optimizer), rtol=0, atol=1e-8)


@every_optimizer
def test_pixels_left_out_keep_their_weights(name: str) -> None:
    random = np.random.default_rng(2)
    live, dead = np.array([0, 2, 3, 7]), np.array([1, 4, 5, 6, 8])
    X, Y = np.zeros((9, 20)), random.integers(0, 3, 20)
    X[live] = random.random((4, 20))
    optimizer = made(name)
    params = mf.init_params(mf.key(0), pixels=9, hidden=5, classes=3, dtype=np.float64)
    step, state = mf.make_step(optimizer), mf.init_state(optimizer, params)
    *_, whole = mf.train_epochs(step, state, lambda epoch: [mf.Batch(X, Y)] * 3, 2)
    *_, part = mf.train_epochs(step, state, lambda epoch: [mf.Batch(X[live], Y)] * 3, 2, live)
    assert bits(part.params.W1[:, dead]) == bits(params.W1[:, dead])
    if "decay" in name:  # which acts on all weights, also on those that no image reaches
        assert np.all(whole.params.W1[:, dead] != params.W1[:, dead])
    else:
        assert_close(part, whole, rtol=1e-9, atol=1e-12)


@every_optimizer
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_not_hidden(name: str, number: float) -> None:
    gradients = GRADIENTS[3]._replace(dW1=np.full_like(GRADIENTS[3].dW1, number))
    optimizer = made(name)
    with np.errstate(invalid="ignore"):
        _, (first, _), *others = trajectory(optimizer, [*GRADIENTS[:1], gradients, *GRADIENTS])
    assert np.isfinite(first.W1).all()
    for params, state in others:
        assert not np.isfinite(params.W1).any()
        assert all(np.isfinite(p).all() for p in params[1:])
        kept = [leaf for leaf in leaves(state) if leaf.shape == PARAMS.W1.shape]
        assert not any(np.isfinite(leaf).any() for leaf in kept)


@pytest.mark.parametrize("optimizer", [mf.adam(0.1), mf.rmsprop(0.1)], ids=["adam", "rmsprop"])
def test_where_the_square_of_a_gradient_is_too_large_a_parameter_stays(
    optimizer: mf.Optimizer[Any],
) -> None:
    ones = Params(*[np.ones((1, 1), np.float32)] * 4)
    large = Gradients(*ones)._replace(dW1=np.full((1, 1), 1e20, np.float32))
    with pytest.warns(RuntimeWarning, match="overflow encountered in multiply"):
        params, state = optimizer.update(ones, large, optimizer.init(ones))
    params, _ = optimizer.update(params, Gradients(*ones), state)
    assert params.W1 == 1
    assert all(p < 1 for p in params[1:])


NUMBERS: dict[str, tuple[Callable[[float], object], float, float]] = {
    "momentum: decay": (lambda n: mf.momentum(0.1, n), 0, 1),
    "rmsprop: decay": (lambda n: mf.rmsprop(0.1, n), 0, 1),
    "rmsprop: epsilon": (lambda n: mf.rmsprop(0.1, epsilon=n), 1e-12, 1),
    "adam: beta1": (lambda n: mf.adam(beta1=n), 0, 1),
    "adam: beta2": (lambda n: mf.adam(beta2=n), 0, 1),
    "adam: epsilon": (lambda n: mf.adam(epsilon=n), 1e-12, 1),
    "adam: weight_decay": (lambda n: mf.adam(weight_decay=n), 0, math.inf),
    "decay_weights: weight_decay": (lambda n: mf.decay_weights(mf.sgd(0.1), n), 0, math.inf),
    "average_params: decay": (lambda n: mf.average_params(mf.sgd(0.1), n), 0, 1),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_its_range_is_refused(name: str) -> None:
    make, least, below = NUMBERS[name]
    make(least)
    make(math.nextafter(below, 0))
    for number in (math.nextafter(least, -1), below, -math.inf, math.inf, math.nan):
        message = f"{name} is {number}, but it must be at least {least:g} and less than {below:g}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            make(number)


@pytest.mark.parametrize("rate", [math.nan, math.inf, -math.inf])
@every_optimizer
def test_a_learning_rate_that_is_not_finite_is_refused(name: str, rate: float) -> None:
    with pytest.raises(ValueError, match=f": learning_rate is {rate}, but it must be finite$"):
        made(name, rate)


class Standing:
    """It can be called, but neither be hashed nor weakly referred to."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # what makes it unhashable

    def __call__(self, params: Params, gradients: Gradients, state: int) -> tuple[Params, int]:
        return params, state + 1


def test_any_object_that_can_be_called_is_an_update() -> None:
    optimizer = mf.Optimizer(lambda params: 0, Standing())
    X, Y = np.ones((4, 1)), np.array([1])
    for around in (optimizer, mf.decay_weights(optimizer, 0.1)):
        after = mf.make_step(around)(mf.init_state(around, PARAMS), mf.Batch(X, Y))
        assert after.optimizer_state == 1
    averaged = mf.average_params(optimizer)
    assert mf.make_step(averaged)(mf.init_state(averaged, PARAMS), mf.Batch(X, Y)).epoch == 0
