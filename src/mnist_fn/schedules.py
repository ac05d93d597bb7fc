"""Learning-rate schedules: functions from the number of a step to its learning rate."""

import math
from collections.abc import Callable
from typing import TypeAlias

from .contracts import checked

Schedule: TypeAlias = Callable[[int], float]
"""From the number of a step, counted from 0, to its learning rate."""


@checked
def constant(learning_rate: float) -> Schedule:
    """Return the schedule that is ``learning_rate`` at every step.

    Raises:
        ValueError: ``learning_rate`` is not finite.

    >>> constant(0.1)(1000)
    0.1

    """
    _check_finite("constant", learning_rate)

    def schedule(step: int) -> float:
        return learning_rate

    return schedule


@checked
def cosine(learning_rate: float, steps: int) -> Schedule:
    """Return the schedule that falls from ``learning_rate`` to 0 along half a cosine.

    It reaches 0 at step number ``steps`` and stays there.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm
    Restarts", 2017, equation 5, without restarts.

    Raises:
        ValueError: ``steps`` is less than 1, or ``learning_rate`` is not finite.

    >>> schedule = cosine(0.1, steps=4)
    >>> [round(schedule(step), 4) for step in range(6)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0, 0.0]

    """
    _check_finite("cosine", learning_rate)
    _check_steps("cosine", steps)

    def schedule(step: int) -> float:
        return learning_rate * _half_cosine(step / steps)

    return schedule


@checked
def one_cycle(
    learning_rate: float, steps: int, rise: float = 0.3, start: float = 1 / 25, end: float = 4e-6
) -> Schedule:
    """Return the schedule that rises to ``learning_rate`` and falls again, along cosines.

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks
    Using Large Learning Rates", 2019, in the form that PyTorch gave it, and with its
    defaults.

    Args:
        learning_rate: the highest, between two steps or at one.
        steps: how many steps there are; the last, number ``steps - 1``, is the lowest.
        rise: the share of the steps in which it rises.
        start: the learning rate of step 0, as a share of the highest, if there are steps
            enough to rise in.
        end: that of the last step, as a share of the highest.

    Raises:
        ValueError: ``steps`` is less than 1, ``rise`` is not between 0 and 1, or another
            number is not finite.

    >>> schedule = one_cycle(0.1, steps=11)
    >>> [round(schedule(step), 4) for step in range(0, 11, 2)]
    [0.004, 0.096, 0.0884, 0.0531, 0.0157, 0.0]

    """
    for name, number in (("learning_rate", learning_rate), ("start", start), ("end", end)):
        _check_finite("one_cycle", number, name)
    _check_steps("one_cycle", steps)
    if not 0 < rise < 1:
        raise ValueError(f"one_cycle: rise is {rise}, but it must be between 0 and 1")
    last = steps - 1
    top = rise * steps - 1

    def schedule(step: int) -> float:
        if step < top:
            share = 1 + (start - 1) * _half_cosine(step / top)
        else:
            share = end + (1 - end) * _half_cosine((step - top) / (last - top))
        return learning_rate * share

    return schedule


@checked
def warm_up(schedule: Schedule, steps: int) -> Schedule:
    """Return ``schedule`` after ``steps`` steps that rise to its beginning in a straight line.

    Source: Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour",
    2017, section 2.2.

    Raises:
        ValueError: ``steps`` is negative.

    >>> schedule = warm_up(cosine(0.1, steps=4), steps=2)
    >>> [round(schedule(step), 4) for step in range(5)]
    [0.05, 0.1, 0.1, 0.0854, 0.05]

    """
    if steps < 0:
        raise ValueError(f"warm_up: steps is {steps}, but it must be 0 or more")
    first = schedule(0)

    def warmed_up(step: int) -> float:
        return first * (step + 1) / steps if step < steps else schedule(step - steps)

    return warmed_up


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """Return a schedule as it is, and a number as a constant one.

    >>> as_schedule(0.1)(7)
    0.1
    """
    return learning_rate if callable(learning_rate) else constant(learning_rate)


def _half_cosine(part: float) -> float:
    """Fall from 1 at 0 to 0 at 1, and stay there."""
    return (1 + math.cos(math.pi * min(part, 1))) / 2


def _check_finite(schedule: str, number: float, name: str = "learning_rate") -> None:
    if not math.isfinite(number):
        raise ValueError(f"{schedule}: {name} is {number}, but it must be finite")


def _check_steps(name: str, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"{name}: steps is {steps}, but it must be 1 or more")
