from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

import mnist_fn as mf

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
