import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnist_fn as mf

RATES = st.floats(1e-6, 10)
STEPS = st.integers(1, 300)
SHARES = st.floats(0, 1)
RISES = st.floats(0, 1, exclude_min=True, exclude_max=True)
ROUNDING = 1e-14


def assert_like_optax(ours: mf.Schedule, theirs: Callable[[Any], Any]) -> None:
    with jax.enable_x64(True):
        expected = np.asarray(jax.jit(jax.vmap(theirs))(np.arange(25)))
    got = [ours(step) for step in range(25)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-16)


@given(st.floats(-10, 10), st.integers(0, 10**9))
def test_a_constant_is_the_same_at_every_step(rate: float, step: int) -> None:
    assert mf.constant(rate)(step) == rate


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_the_cosine_is_that_of_optax(steps: int) -> None:
    assert_like_optax(mf.cosine(0.3, steps), optax.cosine_decay_schedule(0.3, steps))


@given(RATES, st.integers(1, 1000), st.integers(0, 2000))
def test_the_cosine_falls_from_the_rate_to_0(rate: float, steps: int, step: int) -> None:
    schedule = mf.cosine(rate, steps)
    assert schedule(0) == rate
    assert schedule(steps) == 0
    assert 0 <= schedule(step + 1) <= schedule(step) <= rate
    # Point symmetry: what is lost at the start is left at the end.
    if step <= steps:
        assert schedule(step) + schedule(steps - step) == pytest.approx(rate)


@pytest.mark.parametrize(("steps", "top"), [(8, 1), (20, 4), (12, 10)])
def test_one_cycle_is_that_of_optax(steps: int, top: int) -> None:
    # Its top is at int(pct_start * transition_steps), its end at transition_steps.
    theirs = optax.cosine_onecycle_schedule(steps - 1, 0.3, (top + 0.5) / (steps - 1), 5, 40)
    ours = mf.one_cycle(0.3, steps, rise=(top + 1) / steps, start=1 / 5, end=1 / 200)
    assert_like_optax(ours, theirs)


# From torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=len(rates)) of PyTorch 2.13,
# get_last_lr() before each step; the third with pct_start=0.5, div_factor=10, final_div_factor=100.
@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [0.004, 0.09504846320, 0.06112620219, 0.0188258346, 4e-7]),
        ({}, [0.08117456540, 4e-7]),
        (
            {"rise": 0.5, "start": 0.1, "end": 1e-3},
            [0.01, 0.0775, 0.09046039887, 0.03461460113, 1e-4],
        ),
    ],
)
def test_one_cycle_is_that_of_pytorch(settings: dict[str, float], rates: list[float]) -> None:
    schedule = mf.one_cycle(0.1, len(rates), **settings)
    assert [schedule(step) for step in range(len(rates))] == pytest.approx(rates, rel=1e-9)


@given(RATES, STEPS, RISES, SHARES, SHARES)
def test_one_cycle_rises_and_falls(
    rate: float, steps: int, rise: float, start: float, end: float
) -> None:
    schedule = mf.one_cycle(rate, steps, rise, start, end)
    shares = [schedule(step) / rate for step in range(steps)]
    assert min(start, end) - ROUNDING <= min(shares) <= max(shares) <= 1 + ROUNDING
    top = rise * steps - 1
    assert all(b >= a - ROUNDING for a, b in pairwise(shares[: max(math.floor(top) + 1, 0)]))
    assert all(b <= a + ROUNDING for a, b in pairwise(shares[max(math.ceil(top), 0) :]))
    if top > 0:
        assert shares[0] == pytest.approx(start, abs=ROUNDING)
    assert shares[-1] == pytest.approx(end, abs=ROUNDING)
    assert {schedule(steps - 1 + later) for later in (0, 1, 2, 1000)} == {schedule(steps - 1)}


@given(RATES, STEPS, st.integers(0, 300))
def test_one_cycle_reaches_the_rate_where_the_top_is_a_step(
    rate: float, rest: int, top: int
) -> None:
    steps = top + 1 + rest
    assert mf.one_cycle(rate, steps, (top + 1) / steps)(top) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("warm", [2, 5])
def test_a_warm_up_is_that_of_optax(warm: int) -> None:
    rise = optax.linear_schedule(0.3 / warm, 0.3, warm - 1)
    theirs = optax.join_schedules([rise, optax.cosine_decay_schedule(0.3, 6)], [warm])
    assert_like_optax(mf.warm_up(mf.cosine(0.3, 6), warm), theirs)


@given(RATES, STEPS, STEPS, st.booleans())
def test_a_warm_up_rises_straight_to_the_beginning(
    rate: float, steps: int, warm: int, cycle: bool
) -> None:
    schedule = mf.one_cycle(rate, steps) if cycle else mf.cosine(rate, steps)
    warmed, cold = mf.warm_up(schedule, warm), mf.warm_up(schedule, 0)
    rises = np.diff([0.0, *map(warmed, range(warm))])
    np.testing.assert_allclose(rises, schedule(0) / warm, rtol=1e-9)
    # Its last step is at the beginning, where the schedule then begins.
    assert warmed(warm - 1) == pytest.approx(schedule(0), rel=ROUNDING)
    for step in range(9):
        assert warmed(warm + step) == cold(step) == schedule(step)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_refused(number: float) -> None:
    calls: list[tuple[str, Callable[[], mf.Schedule]]] = [
        ("constant: learning_rate", lambda: mf.constant(number)),
        ("cosine: learning_rate", lambda: mf.cosine(number, 9)),
        ("one_cycle: learning_rate", lambda: mf.one_cycle(number, 9)),
        ("one_cycle: start", lambda: mf.one_cycle(0.1, 9, start=number)),
        ("one_cycle: end", lambda: mf.one_cycle(0.1, 9, end=number)),
    ]
    for name, call in calls:
        with pytest.raises(ValueError, match=f"^{name} is {number}, but it must be finite$"):
            call()


@pytest.mark.parametrize("rise", [0, 1, -0.1, 1.1, math.inf, -math.inf, math.nan])
def test_a_rise_that_is_no_part_is_refused(rise: float) -> None:
    with pytest.raises(ValueError, match=f"^one_cycle: rise is {rise}, but it must be between 0 a"):
        mf.one_cycle(0.1, 9, rise)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mf.cosine(0.1, 0), "cosine: steps is 0, but it must be 1 or more"),
        (lambda: mf.one_cycle(0.1, 0), "one_cycle: steps is 0, but it must be 1 or more"),
        (lambda: mf.one_cycle(0.1, -3), "one_cycle: steps is -3, but it must be 1 or more"),
        (lambda: mf.warm_up(mf.constant(1), -1), "warm_up: steps is -1, but it must be 0 or more"),
    ],
)
def test_too_few_steps_are_refused(make: Callable[[], mf.Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
