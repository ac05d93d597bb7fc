"""Recipes: what they make of the pieces."""

from typing import Any

import numpy as np
import pytest

import mnist_fn as mf
from mnist_fn import Recipe, recipes

SMALL = recipes.digits._replace(hidden=6, epochs=3, batch_size=100)
RANDOM = SMALL._replace(distortion=mf.Distortion(), pixel_dropout=0.1, hidden_dropout=0.3)
KEY = mf.key(5)


@pytest.fixture
def X(digits: mf.Dataset) -> np.ndarray:
    return digits.X_train[:, :250]


@pytest.fixture
def Y(digits: mf.Dataset) -> np.ndarray:
    return digits.Y_train[:250]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return bool(a.tobytes() == b.tobytes())
    return all(map(same, a, b)) if isinstance(a, tuple) else bool(a == b)


def test_each_batch_is_distorted_by_a_key_of_its_own(X: np.ndarray, Y: np.ndarray) -> None:
    run = mf.prepare(RANDOM, KEY, X, Y)
    _, order_key, distortion_key, _ = mf.split(KEY, 4)
    for epoch in (0, 2):
        plain = mf.epoch_batches(order_key, epoch, X, Y, 100)
        for i, (before, after) in enumerate(zip(plain, run.batches(epoch), strict=True)):
            key = mf.fold_in(mf.fold_in(distortion_key, epoch), i)
            expected = mf.distort(key, before.X, mf.Distortion())[run.pixels]
            np.testing.assert_array_equal(after.X, expected)
            np.testing.assert_array_equal(after.Y, before.Y)


@pytest.mark.parametrize("epoch", [1, 2])
def test_training_goes_on_from_any_epoch_with_the_same_bits(
    X: np.ndarray, Y: np.ndarray, epoch: int
) -> None:
    run = mf.prepare(RANDOM, KEY, X, Y)
    states = list(mf.train_epochs(*run))
    again = mf.prepare(RANDOM, KEY, X, Y)._replace(state=states[epoch - 1])
    assert same(list(mf.train_epochs(*again))[-1], states[-1])


@pytest.mark.parametrize("field", ["distortion", "pixel_dropout", "hidden_dropout"])
def test_each_kind_of_noise_makes_a_difference(X: np.ndarray, Y: np.ndarray, field: str) -> None:
    def final(recipe: Recipe) -> mf.Params:
        *_, (members, _) = mf.train_members([mf.prepare(recipe, KEY, X, Y)])
        return members[0]

    assert not same(final(RANDOM), final(RANDOM._replace(**{field: getattr(SMALL, field)})))


def test_the_first_member_is_the_network_alone_and_the_others_are_others(
    X: np.ndarray, Y: np.ndarray
) -> None:
    def members_of(n: int) -> tuple[mf.Params, ...]:
        runs = mf.prepare_members(SMALL._replace(members=n), KEY, X, Y)
        *_, (members, _) = mf.train_members(runs)
        return members

    one, three = members_of(1), members_of(3)
    assert len(one) == 1
    assert same(one[0], three[0])
    assert not any(same(three[0].W1, other.W1) for other in three[1:])
    assert not same(three[1].W1, three[2].W1)


def test_the_learning_rate_rises_and_falls_as_the_recipe_says(X: np.ndarray, Y: np.ndarray) -> None:
    recipe = Recipe("", 4, 5, None, 0.2, warm_up=2, schedule="cosine")
    run = mf.prepare(recipe, KEY, X, Y)
    (batch,) = run.batches(0)
    live = run.state.params._replace(W1=run.state.params.W1[:, run.pixels])
    state = run.state._replace(params=live)
    rates = []
    for _ in range(6):
        after = run.step(state, batch)
        params = state.params
        db2 = mf.backward(params, mf.forward(params, batch.X), batch.X, batch.Y).db2
        rates.append(float(np.median((params.b2 - after.params.b2) / db2)))
        state = after
    assert rates == pytest.approx([0.1, 0.2, 0.2, 0.15, 0.05, 0], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"members": 0}, "prepare: members is 0, but it must be 1 or more"),
        ({"hidden": 0}, "prepare: hidden is 0, but it must be 1 or more"),
        ({"warm_up": -1}, "prepare: warm_up is -1, but it must be 0 or more"),
        ({"pixel_dropout": 1.0}, "prepare: pixel_dropout is 1.0, but it must be at least 0 and"),
        ({"hidden_dropout": -0.5}, "prepare: hidden_dropout is -0.5, but it must be at least 0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_the_training(
    X: np.ndarray, Y: np.ndarray, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=f"^{says}"):
        list(mf.prepare_members(SMALL._replace(**settings), KEY, X, Y))


def test_images_that_are_not_square_cannot_be_distorted(Y: np.ndarray) -> None:
    X = np.full((15, 250), 9, np.uint8)
    with pytest.raises(ValueError, match=r"^prepare: images of 15 pixels are not square"):
        mf.prepare(RANDOM, KEY, X, Y)
    mf.prepare(SMALL, KEY, X, Y)
