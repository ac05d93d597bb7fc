from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import mnist_fn as mf
from mnist_fn.evaluation import calibration, mistakes

PARAMS = mf.init_params(mf.key(0), pixels=6, hidden=5, classes=3)


@pytest.mark.parametrize("g", [mf.relu, mf.tanh, mf.sigmoid], ids=str)
@given(m=st.integers(1, 60), batch_size=st.integers(1, 60), seed=st.integers(0, 99))
def test_an_evaluation_is_that_of_the_whole_however_it_is_cut(
    g: mf.ActivationFunction, m: int, batch_size: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    X = random.integers(0, 256, (6, m), dtype=np.uint8)
    Y = random.integers(0, 3, m)
    result = mf.evaluate(PARAMS, mf.ordered_batches(X, Y, batch_size), g)
    whole = mf.scale(X)
    assert result.accuracy == pytest.approx(mf.accuracy(PARAMS, whole, Y, g))
    assert result.loss == pytest.approx(mf.loss(PARAMS, whole, Y, g), rel=1e-5)
    expected = confusion_matrix(Y, mf.predict(PARAMS, whole, g), labels=range(3))
    np.testing.assert_array_equal(result.confusion, expected)


@given(st.integers(0, 99))
def test_precision_and_recall_are_those_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    Y, predicted = random.integers(0, 5, (2, 40))
    scikit_learn: Any = precision_recall_fscore_support  # its types do not know of NaN
    expected = scikit_learn(Y, predicted, labels=range(5), zero_division=np.nan)
    scores = mf.class_scores(confusion_matrix(Y, predicted, labels=range(5)))
    np.testing.assert_allclose(scores.precision, expected[0])
    np.testing.assert_allclose(scores.recall, expected[1])


def test_a_class_that_is_never_seen_nor_predicted_has_no_scores() -> None:
    precision, recall = mf.class_scores(np.array([[2, 0], [0, 0]]))
    np.testing.assert_array_equal(precision, [1, np.nan])
    np.testing.assert_array_equal(recall, [1, np.nan])


def test_an_evaluation_on_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="evaluate: there are no samples, and a mean needs one"):
        mf.evaluate(PARAMS, [])
    with pytest.raises(ValueError, match="evaluate: there are no samples, and a mean needs one"):
        mf.evaluate([], [])


def answers(seed: int, m: int, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of few digits, so that many are alike or on the edge of a bin."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(4, 0.5), m).T.round(digits)
    return probabilities, random.integers(0, 4, m)


@given(seed=st.integers(0, 999), m=st.integers(1, 50), bins=st.sampled_from([1, 2, 3, 10, 20]))
def test_a_calibration_is_that_of_a_slow_loop(seed: int, m: int, bins: int) -> None:
    probabilities, Y = answers(seed, m)
    result = calibration(probabilities, Y, bins)
    error = 0.0
    for i in range(bins):
        inside = []
        for column, label in zip(probabilities.T.tolist(), Y, strict=True):
            certain = max(column)
            if i / bins < certain <= (i + 1) / bins:
                inside.append((certain, column.index(certain) == label))
        assert result.samples[i] == len(inside)
        if inside:
            confidence, accuracy = np.mean(inside, axis=0)
            assert result.confidence[i] == pytest.approx(confidence)
            assert result.accuracy[i] == pytest.approx(accuracy)
            error += len(inside) / m * abs(confidence - accuracy)
        else:
            assert np.isnan([result.confidence[i], result.accuracy[i]]).all()
    assert result.expected_error == pytest.approx(error)


@pytest.mark.parametrize(
    ("of_right_class", "samples", "expected_error"),
    [
        ([1, 1, 1, 1], [0, 0, 0, 0, 4], 0),  # certain and right
        ([0, 0, 0, 0], [0, 0, 0, 0, 4], 1),  # certain and wrong
        ([0.75, 0.75, 0.75, 0.25], [0, 0, 0, 4, 0], 0),  # as certain as it is often right
        ([0.875, 0.875, 1, 0.625], [0, 0, 0, 1, 3], (3 / 8 + 1 / 4) / 4),
    ],
)
def test_calibrations_worked_out_by_hand(
    of_right_class: list[float], samples: list[int], expected_error: float
) -> None:
    right = np.array(of_right_class, float)
    result = calibration(np.stack([right, 1 - right]), np.zeros(4, int), bins=5)
    assert result.samples.tolist() == samples
    assert result.expected_error == pytest.approx(expected_error)


@pytest.mark.parametrize("bins", range(1, 30))
def test_a_confidence_on_the_edge_is_in_the_bin_below(bins: int) -> None:
    edges = np.arange(1, bins + 1) / bins
    result = calibration(np.stack([edges, np.zeros(bins)]), np.zeros(bins, int), bins)
    np.testing.assert_array_equal(result.samples, 1)
    np.testing.assert_array_equal(result.confidence, edges)


@given(seed=st.integers(0, 999), m=st.integers(1, 50), most=st.integers(1, 60))
def test_mistakes_are_those_sorted_by_hand(seed: int, m: int, most: int) -> None:
    probabilities, Y = answers(seed, m, digits=1)
    columns = probabilities.T.tolist()
    wrong = [i for i in range(m) if columns[i].index(max(columns[i])) != Y[i]]
    expected = sorted(wrong, key=lambda i: (-max(columns[i]), i))[:most]
    assert mistakes(probabilities, Y, most).tolist() == expected


def test_there_are_25_mistakes_at_most_if_nothing_else_is_said() -> None:
    assert mistakes(np.full((2, 40), 0.5), np.ones(40, int)).tolist() == list(range(25))


@pytest.mark.parametrize("function", [calibration, mistakes])
@pytest.mark.parametrize(
    ("probabilities", "Y", "message"),
    [
        ([[0.5], [0.5]], [2], "the label 2, but the 2 classes are numbered 0 to 1"),
        ([[0.5], [0.5]], [-1], "the label -1"),
        ([[], []], [], "the batch is empty"),
        ([[3.5], [-2.0]], [0], "s are from -2 to 3.5, but must be from 0 to 1; give it A2, not Z2"),
        ([[1.01], [0.0]], [0], "from 0 to 1.01, but must be from 0 to 1"),
        ([[-3.0], [-2.0]], [0], "from -3 to -2, but must be from 0 to 1"),
        ([[-0.6], [-0.5]], [0], "from -0.6 to -0.5, but must be from 0 to 1"),
        ([[0.5, 1 + 2e-6], [0.5, 0.0]], [0, 0], "from 0 to 1.000002, but must be from 0 to 1"),
        ([[0.5, 1.0], [0.5, -2e-6]], [0, 0], "from -2e-06 to 1, but must be from 0 to 1"),
        ([[0.9], [-5.0]], [0], "from -5 to 0.9, but must be from 0 to 1"),
        ([[0.9], [-np.inf]], [0], "from -inf to 0.9, but must be from 0 to 1"),
        ([[0.9], [np.nan]], [0], "sample 0 .counted from 0. are NaN"),
        ([[0.5, 0.5, np.nan], [0.5, np.nan, 0.5]], [0] * 3, "sample 1 .counted from 0. are NaN"),
        ([[np.inf], [0.5]], [0], "from 0.5 to inf, but must be from 0 to 1"),
    ],
)
def test_what_are_no_probabilities_or_labels_is_refused(
    function: Any, probabilities: list[list[float]], Y: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{function.__name__}: .*{message}"):
        function(np.array(probabilities), np.array(Y, int))


def test_a_softmax_that_rounds_up_is_accepted() -> None:
    above = np.nextafter(np.array([[1], [0]], np.float32), np.float32(2))
    assert calibration(above, np.array([0])).samples[-1] == 1
    assert calibration(np.array([[1 + 1e-6], [-1e-6]]), np.array([0])).samples[-1] == 1


def test_a_confidence_of_0_is_counted_in_the_first_bin() -> None:
    assert calibration(np.zeros((2, 3)), np.array([0, 1, 1])).samples.tolist() == [3, *[0] * 9]


def test_no_bins_and_no_mistakes_are_refused() -> None:
    A2, Y = np.full((2, 1), 0.5), np.array([0])
    with pytest.raises(ValueError, match="calibration: bins is 0, but it must be 1 or more"):
        calibration(A2, Y, bins=0)
    with pytest.raises(ValueError, match="mistakes: most is 0, but it must be 1 or more"):
        mistakes(A2, Y, most=0)


def test_calibrations_and_mistakes_are_read_only() -> None:
    A2, Y = np.full((2, 3), 0.5), np.array([0, 1, 1])
    for array in (*calibration(A2, Y)[:3], mistakes(A2, Y)):
        assert not array.flags.writeable


@pytest.mark.parametrize("n", [2, 3])
def test_a_committee_is_evaluated_by_the_mean_of_its_probabilities(n: int) -> None:
    random = np.random.default_rng(0)
    X, Y = random.integers(0, 256, (6, 40), dtype=np.uint8), random.integers(0, 3, 40)
    params = [
        mf.init_params(mf.key(i), pixels=6, hidden=5, classes=3, dtype=np.float64) for i in range(n)
    ]
    members = [mf.Member(p) for p in params]
    result = mf.evaluate(members, mf.ordered_batches(X, Y, 7, np.float64))
    A2 = np.mean([mf.forward(p, mf.scale(X, np.float64)).A2 for p in params], axis=0)
    assert result.loss == pytest.approx(-np.log(A2[Y, np.arange(40)]).mean())
    expected = confusion_matrix(Y, A2.argmax(axis=0), labels=range(3))
    np.testing.assert_array_equal(result.confusion, expected)
    assert result.accuracy == pytest.approx(np.mean(A2.argmax(axis=0) == Y))


def test_a_sample_without_probabilities_is_named_by_its_number_among_all() -> None:
    X = np.ones((6, 9), np.float32)
    X[0, 5] = np.nan
    batches = [mf.Batch(X[:, i : i + 2], np.zeros(2, int)) for i in range(0, 8, 2)]
    message = r"^evaluate: the probabilities of sample 5 \(counted from 0\) are NaN"
    with pytest.raises(ValueError, match=message):
        mf.evaluate(PARAMS, batches)
