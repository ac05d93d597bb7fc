import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

import mnist_fn as mf
from mnist_fn import ActivationFunction, Batch, Member, Params, View, relu, sigmoid, tanh
from mnist_fn.views import as_they_are

ACTIVATIONS = (relu, tanh, sigmoid)
VIEWS = (as_they_are, View("upside down", lambda X: X[::-1]))


@st.composite
def committees(draw: st.DrawFn) -> tuple[list[Member], Batch]:
    """Networks of different widths and views, with one batch of data."""
    pixels, classes, m = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    members = []
    for hidden in draw(st.lists(st.integers(1, 6), min_size=1, max_size=5)):
        shapes = (hidden, pixels), (hidden, 1), (classes, hidden), (classes, 1)
        params = Params(*(random.normal(size=shape) for shape in shapes))
        members.append(Member(params, draw(st.sampled_from(VIEWS))))
    return members, Batch(random.random((pixels, m)), random.integers(0, classes, m))


@given(committees(), st.sampled_from(ACTIVATIONS), st.integers(0, 5))
def test_a_committee_answers_by_its_mean_probability_in_any_order(
    committee: tuple[list[Member], Batch], g: ActivationFunction, cut: int
) -> None:
    members, (X, Y) = committee
    answers = [mf.forward(params, view.function(X), g).A2 for params, view in members]
    mean = np.empty_like(answers[0])
    for at in np.ndindex(mean.shape):
        mean[at] = math.fsum(float(A2[at]) for A2 in answers) / len(members)
    for some_order in (members, members[::-1], tuple(members[1:] + members[:1])):
        probabilities = mf.committee_probabilities(some_order, X, g)
        np.testing.assert_allclose(probabilities, mean, rtol=1e-14)
        labels = mf.predict_committee(some_order, X, g)
        assert labels.tolist() == probabilities.argmax(axis=0).tolist()

        parts = [Batch(X[:, part], Y[part]) for part in (slice(cut), slice(cut, None))]
        batches = [part for part in parts if len(part.Y)]
        loss, accuracy, confusion = mf.evaluate(some_order, batches, g)
        losses = [-math.log(mean[y, j]) for j, y in enumerate(Y.tolist())]
        assert loss == pytest.approx(math.fsum(losses) / len(Y), rel=1e-12, abs=1e-14)
        expected = np.zeros_like(confusion)
        for true, taken_for in zip(Y.tolist(), labels.tolist(), strict=True):
            expected[true, taken_for] += 1
        np.testing.assert_array_equal(confusion, expected)
        assert accuracy == np.trace(expected) / len(Y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
def test_a_committee_of_one_is_the_network(
    g: ActivationFunction, dtype: type[np.float32] | type[np.float64], digits: mf.Dataset
) -> None:
    params = mf.init_params(mf.key(0), hidden=20, dtype=dtype)
    X, Y = mf.scale(digits.X_test, dtype), digits.Y_test
    A2 = mf.forward(params, X, g).A2
    probabilities = mf.committee_probabilities([Member(params)], X, g)
    assert (probabilities.dtype, probabilities.tobytes()) == (A2.dtype, A2.tobytes())
    labels = mf.predict_committee((Member(params),), X, g)
    assert labels.tolist() == mf.predict(params, X, g).tolist()
    batches = [Batch(X[:, :100], Y[:100]), Batch(X[:, 100:], Y[100:])]
    alone, committee = mf.evaluate(params, batches, g), mf.evaluate([Member(params)], batches, g)
    assert (alone.loss, alone.accuracy) == (committee.loss, committee.accuracy)
    np.testing.assert_array_equal(alone.confusion, committee.confusion)


def test_the_loss_of_a_probability_that_is_too_small_for_its_precision_is_finite() -> None:
    one = np.ones((1, 1))
    members = [
        Member(Params(one, one - 1, np.array([[0.0], [-z]]), np.zeros((2, 1)))) for z in (2e3, 3e3)
    ]
    loss = mf.evaluate(members, [Batch(one, np.array([1]))]).loss
    assert loss == pytest.approx(2e3 + math.log(2), rel=1e-15)


def test_a_committee_without_members_is_refused() -> None:
    X, Y = np.ones((6, 2), np.float32), np.array([0, 1])
    says = "^committee: it has no member, but must have one or more$"
    with pytest.raises(ValueError, match=says):
        mf.committee_probabilities([], X)
    with pytest.raises(ValueError, match=says):
        mf.predict_committee((), X)
    with pytest.raises(ValueError, match=says):
        mf.evaluate([], [Batch(X, Y)])


def test_a_nan_in_one_member_is_in_the_committee_and_nothing_is_predicted_from_it() -> None:
    X = np.ones((6, 5), np.float32)
    X[0, 3:] = np.nan
    broken = mf.init_params(mf.key(0), pixels=6, classes=3)
    unharmed = View("without the first pixel", lambda X: np.where(np.arange(6)[:, None], X, 0))
    members = [Member(broken, unharmed), Member(broken)]
    assert not np.isnan(mf.committee_probabilities(members[:1], X)).any()
    unknown = np.isnan(mf.committee_probabilities(members, X))
    assert (unknown == [False, False, False, True, True]).all()
    says = r"^predict_committee: the probabilities of sample 3 \(counted from 0\) are NaN, so that"
    with pytest.raises(ValueError, match=says):
        mf.predict_committee(members, X)
    batches = [Batch(X[:, i : i + 2], np.zeros(2, int)) for i in (0, 2)]
    says = r"^evaluate: the probabilities of sample 3 \(counted from 0\) are NaN, so that no class"
    with pytest.raises(ValueError, match=says):
        mf.evaluate(members, batches)


@pytest.mark.parametrize("classes", [(3, 3, 1), (3, 1), (3, 5)])
def test_members_that_answer_different_questions_are_refused(classes: tuple[int, ...]) -> None:
    X, Y = np.ones((6, 2), np.float32), np.array([0, 0])
    members = [Member(mf.init_params(mf.key(0), pixels=6, classes=n)) for n in classes]
    other = len(classes) - 1
    says = f"^committee: member {other} answers with {classes[-1]} classes, but member 0 with 3$"
    with pytest.raises(ValueError, match=says):
        mf.committee_probabilities(members, X)
    with pytest.raises(ValueError, match=says):
        mf.evaluate(members, [Batch(X, Y)])


@given(committees(), st.sampled_from(ACTIVATIONS))
def test_joined_networks_answer_by_the_mean_of_their_logits(
    committee: tuple[list[Member], Batch], g: ActivationFunction
) -> None:
    members, (X, _) = committee
    networks = [member.params for member in members]
    expected = np.mean([mf.forward(params, X, g).Z2 for params in networks], axis=0)
    joined = mf.join(networks)
    np.testing.assert_allclose(mf.forward(joined, X, g).Z2, expected, atol=1e-12)
    assert len(joined.W1) == sum(len(params.W1) for params in networks)


def test_networks_for_other_tasks_cannot_be_joined() -> None:
    one = mf.init_params(mf.key(0), pixels=6, classes=3)
    says = "^join: it takes one network or more, with the same pixels, classes and precision$"
    for other in ({"pixels": 7}, {"classes": 2}, {"dtype": np.float64}):
        sizes: dict[str, Any] = {"pixels": 6, "classes": 3} | other
        with pytest.raises(ValueError, match=says):
            mf.join([one, mf.init_params(mf.key(0), **sizes)])
    with pytest.raises(ValueError, match=says):
        mf.join([])


def test_arrays_that_are_no_network_cannot_be_joined() -> None:
    one = mf.init_params(mf.key(0), pixels=6, hidden=4, classes=3)
    for wrong in (one._replace(b2=one.b2[:1]), one._replace(b1=np.concatenate([one.b1] * 2))):
        with pytest.raises(TypeCheckError, match=r"params\.b\d"):
            mf.join([one, wrong])
