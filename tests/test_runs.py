"""Recipes: what they make of the pieces."""

from typing import Any

import numpy as np
import pytest

import mnist_fn as mf
from mnist_fn import Recipe, recipes
from mnist_fn.runs import learning_rates
from mnist_fn.views import (
    View,
    as_they_are,
    both_edges,
    deslanted,
    deslanted_edges,
    standardized,
    standardized_edges,
)

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


@pytest.mark.parametrize("view", [as_they_are, deslanted, standardized])
def test_each_batch_is_distorted_by_a_key_of_its_own_and_then_seen(
    X: np.ndarray, Y: np.ndarray, view: View
) -> None:
    run = mf.prepare(RANDOM._replace(views=(view,)), KEY, X, Y)
    _, order_key, distortion_key, _ = mf.split(KEY, 4)
    for epoch in (0, 2):
        plain = mf.epoch_batches(order_key, epoch, X, Y, 100)
        for i, (before, after) in enumerate(zip(plain, run.batches(epoch), strict=True)):
            key = mf.fold_in(mf.fold_in(distortion_key, epoch), i)
            expected = view.function(mf.distort(key, before.X, mf.Distortion()))[run.pixels]
            np.testing.assert_array_equal(after.X, expected)
            assert not after.X.flags.writeable
            np.testing.assert_array_equal(after.Y, before.Y)


def test_the_distortion_falls_evenly_to_its_end(X: np.ndarray, Y: np.ndarray) -> None:
    most = mf.Distortion(8, 3, 20, 0.4, 0.2, 2)
    recipe = SMALL._replace(distortion=most, distortion_end=0.5)
    run = mf.prepare(recipe, KEY, X, Y)
    _, order_key, distortion_key, _ = mf.split(KEY, 4)
    expected = [most, mf.Distortion(6, 3, 15, 0.3, 0.15, 1.5), mf.Distortion(4, 3, 10, 0.2, 0.1, 1)]
    for epoch, distortion in enumerate(expected):
        before = next(iter(mf.epoch_batches(order_key, epoch, X, Y, 100)))
        after = next(iter(run.batches(epoch)))
        key = mf.fold_in(mf.fold_in(distortion_key, epoch), 0)
        distorted = mf.distort(key, before.X, distortion)[run.pixels]
        np.testing.assert_allclose(after.X, distorted, atol=1e-6)


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
        *_, state = mf.train_epochs(*mf.prepare(recipe, KEY, X, Y))
        return state.params

    assert not same(final(RANDOM), final(RANDOM._replace(**{field: getattr(SMALL, field)})))
    assert not same(final(SMALL), final(SMALL._replace(**{field: getattr(RANDOM, field)})))


def test_the_members_of_a_committee_are_trained_alone() -> None:
    views = (as_they_are, deslanted, as_they_are)
    first, second, third = mf.members_of(SMALL._replace(views=views), KEY)
    assert first == mf.members_of(SMALL, KEY)[0] == (SMALL, KEY)
    assert second[0].views == (deslanted,)
    assert third[0] == SMALL
    assert len({first[1], second[1], third[1]}) == 3


def test_members_that_are_joined_are_one_network_with_their_view(X: np.ndarray) -> None:
    members = [mf.Member(mf.init_params(k, hidden=3), deslanted) for k in mf.split(KEY, 3)]
    recipe = SMALL._replace(views=(deslanted,) * 3, joined=True)
    (one,) = mf.assemble(recipe, members)
    assert one.view == deslanted
    logits = [mf.forward(member.params, mf.deslant(mf.scale(X))).Z2 for member in members]
    joined = mf.forward(one.params, mf.deslant(mf.scale(X))).Z2
    np.testing.assert_allclose(joined, np.mean(logits, axis=0), atol=1e-5)
    assert same(mf.assemble(recipe._replace(joined=False), members), tuple(members))


def test_members_with_two_views_are_one_network_that_sees_by_both(X: np.ndarray) -> None:
    views = (deslanted_edges, standardized_edges, deslanted_edges)
    members = [
        mf.Member(mf.init_params(key, hidden=3), view)
        for key, view in zip(mf.split(KEY, 3), views, strict=True)
    ]
    (one,) = mf.assemble(SMALL._replace(views=views, joined=True), members)
    assert one.params.W1.shape == (9, 1568)
    assert one.view == both_edges
    x = mf.scale(X)
    logits = [mf.forward(params, view.function(x)).Z2 for params, view in members]
    np.testing.assert_allclose(
        mf.forward(one.params, one.view.function(x)).Z2, np.mean(logits, axis=0), atol=1e-5
    )


def test_in_which_order_two_views_are_joined_makes_no_difference(X: np.ndarray) -> None:
    members = [
        mf.Member(mf.init_params(key, hidden=3), view)
        for key, view in zip(mf.split(KEY), (standardized_edges, deslanted_edges), strict=True)
    ]
    recipe = SMALL._replace(views=(standardized_edges, deslanted_edges), joined=True)
    (one,), (other,) = (mf.assemble(recipe, part) for part in (members, members[::-1]))
    assert one.view == other.view == both_edges
    seen = both_edges.function(mf.scale(X))
    np.testing.assert_allclose(
        mf.forward(one.params, seen).A2, mf.forward(other.params, seen).A2, atol=1e-6
    )


@pytest.mark.parametrize(
    ("views", "names"),
    [
        ((standardized, deslanted), "standardized and deslanted"),
        (
            (deslanted_edges, standardized_edges, deslanted),
            "deslanted edges and standardized edges and deslanted",
        ),
    ],
)
def test_members_with_views_that_no_view_joins_stay_a_committee(
    views: tuple[View, ...], names: str
) -> None:
    members = [mf.Member(mf.init_params(KEY, hidden=3), view) for view in views]
    says = (
        f"^assemble: networks that are shown images {names} cannot be joined; "
        "leave them a committee, or set all views to one, or to deslanted edges and standardized "
        "edges$"
    )
    with pytest.raises(ValueError, match=says):
        mf.assemble(SMALL._replace(views=views, joined=True), members)
    with pytest.raises(ValueError, match=r"^assemble: there is no network; train those of members"):
        mf.assemble(SMALL._replace(views=views, joined=True), [])


@pytest.mark.parametrize("joined", [False, True])
def test_one_network_is_not_trained_on_two_images_at_a_time(
    X: np.ndarray, Y: np.ndarray, joined: bool
) -> None:
    says = (
        "^prepare: deslanted and standardized edges are 2 images in place of one, which networks "
        "are not trained on; train one on each, and join them$"
    )
    recipe = SMALL._replace(views=(both_edges,), joined=joined)
    with pytest.raises(ValueError, match=says):
        mf.prepare(recipe, KEY, X, Y)
    with pytest.raises(ValueError, match=says):
        mf.members_of(recipe, KEY)


def test_what_a_view_of_ones_own_makes_of_distorted_images_is_checked(
    X: np.ndarray, Y: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_fn.runs._LARGE", 0)  # else it is checked before
    own = View("dark", lambda X: -X)
    run = mf.prepare(RANDOM._replace(views=(own,)), KEY, X, Y)
    with pytest.raises(ValueError, match=r"^prepare: the view 'dark' made images of shape"):
        next(iter(run.batches(0)))


def test_a_network_is_trained_on_its_view_of_the_images(X: np.ndarray, Y: np.ndarray) -> None:
    seen = mf.deslant(mf.scale(X))
    run = mf.prepare(SMALL._replace(views=(deslanted,)), KEY, X, Y)
    expected = mf.prepare(SMALL, KEY, np.rint(255 * seen).astype(np.uint8), Y)
    assert same(run.pixels, expected.pixels)
    for batch, other in zip(run.batches(1), expected.batches(1), strict=True):
        assert same(batch, other)


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
        ({"views": ()}, "prepare: views is empty, but a recipe is for one network or more"),
        (
            {"views": (deslanted,) * 2},
            "prepare: the recipe digits is for 2 networks; prepare",
        ),
        ({"distortion": mf.Distortion(smoothing=0)}, "distortion: smoothing is 0, but it must be"),
        (
            {"views": (as_they_are, deslanted), "joined": True},
            "prepare: networks that are shown images as they are and deslanted cannot be joined; ",
        ),
        ({"distortion_end": 1.5}, "prepare: distortion_end is 1.5, but it must be from 0 to 1"),
        ({"distortion_end": -0.5}, "prepare: distortion_end is -0.5, but it must be from 0 to 1"),
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
        mf.prepare(SMALL._replace(**settings), KEY, X, Y)


@pytest.mark.parametrize(
    ("schedule", "after_the_rise"),
    [("constant", [0.6, 0.6, 0.6, 0.6]), ("cosine", [0.6, 0.45, 0.15, 0])],
)
def test_the_rise_of_the_learning_rate_is_counted_in_epochs(
    schedule: Any, after_the_rise: list[float]
) -> None:
    recipe = Recipe("", 4, 3, None, 0.6, warm_up=2, schedule=schedule)
    rates = learning_rates(recipe, steps_per_epoch=3)
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, *after_the_rise]
    assert [rates(step) for step in range(10)] == pytest.approx(expected)


def test_a_batch_that_is_not_full_is_a_step_too(X: np.ndarray, Y: np.ndarray) -> None:
    recipe = Recipe("", 4, 2, 100, 0.2, momentum=0, schedule="cosine")
    run = mf.prepare(recipe, KEY, X, Y)
    of_three_steps = run._replace(step=mf.make_step(mf.sgd(learning_rates(recipe, 3))))
    (*_, last), (*_, expected) = (mf.train_epochs(*each) for each in (run, of_three_steps))
    assert same(last, expected)


def test_without_an_epoch_the_learning_rate_does_not_rise() -> None:
    recipe = Recipe("", 4, 0, None, 0.6, warm_up=2, schedule="cosine")
    rates = learning_rates(recipe, steps_per_epoch=3)
    assert [rates(step) for step in range(3)] == [0.6, 0, 0]


def test_the_last_epoch_is_never_one_of_the_warm_up(X: np.ndarray, Y: np.ndarray) -> None:
    short, none = (
        mf.prepare(SMALL._replace(epochs=1, warm_up=warm_up), KEY, X, Y) for warm_up in (3, 0)
    )
    assert same(next(mf.train_epochs(*short)), next(mf.train_epochs(*none)))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda X: X - X.mean(), r"values from -0.\d+ to 0.\d+"),
        (lambda X: 2 * X, "values from 0 to 2"),
        (lambda X: X[:392], r"images of shape \(392, 250\)"),
        (lambda X: np.concatenate([X, X]), r"images of shape \(1568, 250\)"),
    ],
)
def test_a_view_that_makes_no_images_is_refused(
    X: np.ndarray, Y: np.ndarray, function: Any, says: str
) -> None:
    own = SMALL._replace(views=(mf.View("own", function),))
    with pytest.raises(ValueError, match=f"^prepare: the view 'own' made .*{says}"):
        mf.prepare(own, KEY, X, Y)


def test_a_view_may_exceed_1_by_a_rounding_error(X: np.ndarray, Y: np.ndarray) -> None:
    over = mf.View("over", lambda X: X * np.nextafter(np.float32(1), np.float32(2)))
    run, usual = (
        mf.prepare(SMALL._replace(views=(view,)), KEY, X, Y) for view in (over, as_they_are)
    )
    assert X.max() == 255
    for batch, other in zip(run.batches(0), usual.batches(0), strict=True):
        assert same(batch, other)


def test_a_view_may_have_no_black(X: np.ndarray, Y: np.ndarray) -> None:
    paler = mf.View("paler", lambda X: 1 - X / 2)
    run = mf.prepare(SMALL._replace(views=(paler,)), KEY, X, Y)
    assert next(iter(run.batches(0))).X.min() == pytest.approx(0.5, abs=0.01)


def test_a_training_set_of_nothing_has_no_batches_under_any_view() -> None:
    none = np.zeros((784, 0), np.uint8), np.zeros(0, np.uint8)
    run = mf.prepare(SMALL._replace(views=(deslanted,)), KEY, *none)
    assert list(run.batches(0)) == []


def test_images_that_are_not_square_cannot_be_distorted(Y: np.ndarray) -> None:
    X = np.full((15, 250), 9, np.uint8)
    with pytest.raises(ValueError, match=r"^prepare: images of 15 pixels are not square"):
        mf.prepare(RANDOM, KEY, X, Y)
    mf.prepare(SMALL, KEY, X, Y)


def test_the_distortion_may_fall_to_nothing(X: np.ndarray, Y: np.ndarray) -> None:
    recipe = SMALL._replace(distortion=mf.Distortion(), distortion_end=0, epochs=2)
    last, plain = (mf.prepare(r, KEY, X, Y).batches(1) for r in (recipe, SMALL))
    for batch, other in zip(last, plain, strict=True):
        np.testing.assert_allclose(batch.X, other.X, atol=1e-6)


@pytest.mark.parametrize(("epochs", "shares"), [(1, [1.0]), (2, [1.0, 0.5])])
def test_a_short_training_begins_with_the_whole_distortion(
    X: np.ndarray, Y: np.ndarray, epochs: int, shares: list[float]
) -> None:
    most = mf.Distortion(0, shift=8)
    recipe = SMALL._replace(epochs=epochs, distortion=most, distortion_end=0.5)
    run = mf.prepare(recipe, KEY, X, Y)
    _, order_key, distortion_key, _ = mf.split(KEY, 4)
    for epoch, share in enumerate(shares):
        before = next(iter(mf.epoch_batches(order_key, epoch, X, Y, 100)))
        key = mf.fold_in(mf.fold_in(distortion_key, epoch), 0)
        less = mf.Distortion(0, 4, share * 10, share * 0.1, share * 0.1, share * 8)
        expected = mf.distort(key, before.X, less)[run.pixels]
        np.testing.assert_allclose(next(iter(run.batches(epoch))).X, expected, atol=1e-6)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("name", ["a", "as they are", "z"])
def test_a_view_is_applied_whatever_its_name(
    X: np.ndarray, Y: np.ndarray, name: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("mnist_fn.runs._LARGE", 0)
    upside_down = mf.View(name, lambda X: X[::-1])
    run = mf.prepare(SMALL._replace(views=(upside_down,)), KEY, X, Y)
    expected = mf.prepare(SMALL, KEY, X[::-1], Y)
    for batch, other in zip(run.batches(0), expected.batches(0), strict=True):
        assert same(batch, other)
    run, plain = (
        mf.prepare(RANDOM._replace(views=(view,)), KEY, X, Y) for view in (upside_down, as_they_are)
    )
    first, distorted = next(iter(run.batches(0))).X, next(iter(plain.batches(0))).X
    whole = np.zeros((784, 100), np.float32)
    whole[plain.pixels] = distorted
    np.testing.assert_array_equal(first, whole[::-1][run.pixels])


def test_the_published_figures_are_of_these_settings() -> None:
    """Whoever changes one of them measures anew: benchmarks/recipes.py and paper_table.py."""

    def settings(recipe: Recipe) -> dict[str, Any]:
        usual = Recipe("", 0, 0, None, 0.1, momentum=0.9, schedule="cosine")._asdict()
        told = ("name", "about")
        return {k: v for k, v in recipe._asdict().items() if k not in told and v != usual[k]}

    sgd: dict[str, Any] = {"momentum": 0.0, "schedule": "constant"}
    wide = {"hidden": 800, "batch_size": 128, "nesterov": True, "warm_up": 1, "views": (deslanted,)}
    bent = mf.Distortion(24, 4, 12, 0.12, 0.12, 1.2)
    two = (deslanted_edges, standardized_edges)
    elastic = wide | {
        "epochs": 100,
        "distortion": bent,
        "distortion_end": 0.4,
        "views": (deslanted_edges,),
    }
    assert {name: settings(recipe) for name, recipe in recipes.RECIPES.items()} == {
        "quick": {
            "hidden": 256,
            "epochs": 8,
            "batch_size": 64,
            "distortion": mf.Distortion(10, 4, 10, 0.1, 0.1, 1),
        },
        "digits": {"hidden": 128, "epochs": 100, "batch_size": 64},
        "plain": wide | {"epochs": 100, "pixel_dropout": 0.2, "hidden_dropout": 0.5},
        "elastic": elastic,
        "best": elastic | {"views": two, "joined": True},
        "committee": elastic | {"views": two},
        "seed": sgd | {"hidden": 10, "epochs": 500, "init": "uniform"},
    }
    assert mf.Distortion() == (20, 4, 10, 0.1, 0.1, 1)


def test_the_whole_of_nothing_is_no_batch() -> None:
    none = np.zeros((784, 0), np.uint8), np.zeros(0, np.uint8)
    run = mf.prepare(SMALL._replace(batch_size=None), KEY, *none)
    assert list(run.batches(0)) == []
