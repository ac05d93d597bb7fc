import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnist_fn as mf
from mnist_fn import Gradients, Params

PARAMS = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2, dtype=np.float64)


def gradient_sequence(steps: int) -> list[Gradients]:
    random = np.random.default_rng(1)
    return [Gradients(*(random.normal(size=p.shape) for p in PARAMS)) for _ in range(steps)]


def trajectory(optimizer: mf.Optimizer[mf.SgdState] | mf.Optimizer[mf.MomentumState]) -> Params:
    init, update = optimizer
    params, state = PARAMS, init(PARAMS)
    for gradients in gradient_sequence(5):
        params, state = update(params, gradients, state)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # each with its own state
    return params


def test_sgd_is_update_at_the_rate_of_the_schedule() -> None:
    schedule = mf.cosine(0.3, 5)
    params = PARAMS
    for step, gradients in enumerate(gradient_sequence(5)):
        params = mf.update(params, gradients, schedule(step))
    for expected, got in zip(params, trajectory(mf.sgd(schedule)), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_momentum_is_the_sum_of_the_decayed_gradients() -> None:
    decay, rate = 0.7, mf.cosine(0.2, 9)
    sequence = gradient_sequence(5)
    for field, p in enumerate(PARAMS):
        # The gradient of step s acts at each later step t with weight decay^(t - s).
        moved = sum(
            rate(t) * decay ** (t - s) * sequence[s][field] for t in range(5) for s in range(t + 1)
        )
        got = trajectory(mf.momentum(rate, decay))[field]
        np.testing.assert_allclose(got, p - moved, rtol=1e-12)


def test_momentum_0_is_plain_gradient_descent() -> None:
    for plain, without in zip(
        trajectory(mf.sgd(0.1)), trajectory(mf.momentum(0.1, decay=0)), strict=True
    ):
        np.testing.assert_array_equal(without, plain)


def test_a_learning_rate_of_0_stays_where_it_is() -> None:
    for optimizer in (mf.sgd(0.0), mf.momentum(0.0)):
        for p, after in zip(PARAMS, trajectory(optimizer), strict=True):
            np.testing.assert_array_equal(after, p)


def test_a_number_is_a_constant_schedule() -> None:
    for number, schedule in zip(
        trajectory(mf.sgd(0.1)), trajectory(mf.sgd(mf.constant(0.1))), strict=True
    ):
        np.testing.assert_array_equal(number, schedule)


def quadratic(params: Params) -> Gradients:
    """The gradient of half the squared distance to 1, stretched up to tenfold by direction."""
    return Gradients(*((p - 1) * np.linspace(1, 10, p.size).reshape(p.shape) for p in params))


@pytest.mark.parametrize(
    "optimizer",
    [mf.sgd(0.1), mf.sgd(mf.cosine(0.15, 300)), mf.momentum(0.05), mf.momentum(0.1, 0.5)],
    ids=["sgd", "sgd with a cosine", "momentum", "less momentum"],
)
def test_every_optimizer_finds_the_bottom_of_a_bowl(
    optimizer: mf.Optimizer[mf.SgdState],
) -> None:
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(300):
        params, state = optimizer.update(params, quadratic(params), state)
    for p in params:
        np.testing.assert_allclose(p, 1, atol=1e-5)
    assert state.step == 300


@given(st.floats(1e-6, 10), st.integers(1, 1000), st.integers(0, 2000))
def test_the_cosine_falls_from_the_rate_to_0(rate: float, steps: int, step: int) -> None:
    schedule = mf.cosine(rate, steps)
    assert schedule(0) == rate
    assert schedule(steps) == 0
    assert 0 <= schedule(step + 1) <= schedule(step) <= rate
    # Point symmetry: what is lost at the start is left at the end.
    if step <= steps:
        assert schedule(step) + schedule(steps - step) == pytest.approx(rate)


def test_the_cosine_is_a_cosine() -> None:
    schedule = mf.cosine(2.0, 12)
    assert schedule(4) == pytest.approx(1 + math.cos(math.pi / 3))


@pytest.mark.parametrize("decay", [-0.1, 1.0, math.nan])
def test_a_velocity_that_never_decays_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=f"momentum: decay is {decay}, but it must be at least 0"):
        mf.momentum(0.1, decay)


@pytest.mark.parametrize("rate", [math.nan, math.inf])
def test_a_learning_rate_that_is_not_finite_is_refused(rate: float) -> None:
    for make in (mf.constant, mf.sgd, mf.momentum, lambda rate: mf.cosine(rate, 9)):
        with pytest.raises(ValueError, match=f"learning_rate is {rate}, but it must be finite"):
            make(rate)


def test_a_cosine_over_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="cosine: steps is 0, but it must be 1 or more"):
        mf.cosine(0.1, 0)
