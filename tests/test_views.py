import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnist_fn as mf
from mnist_fn.views import VIEWS, as_they_are, deslanted, standardized


def slanted_stroke(side: int, slant: float, thick: float) -> np.ndarray:
    """A straight stroke that leans, with soft edges, as one column."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    ink: np.ndarray = np.clip(thick - np.abs(x - slant * y), 0, 1) * (np.abs(y) < side / 4)
    return ink.reshape(-1, 1)


def slant_of(image: np.ndarray) -> float:
    side = int(np.sqrt(image.size))
    ink = image.reshape(side, side)
    y, x = np.mgrid[:side, :side]
    y, x = y - (ink * y).sum() / ink.sum(), x - (ink * x).sum() / ink.sum()
    return float((ink * x * y).sum() / (ink * y * y).sum())


def looped(image: np.ndarray) -> np.ndarray:
    """``deslant`` of one image, pixel by pixel."""
    side = int(np.sqrt(image.size))
    ink = image.reshape(side, side).tolist()
    pixels = [(i, j) for i in range(side) for j in range(side)]
    total = sum(ink[i][j] for i, j in pixels)
    moved = np.zeros((side, side))
    if total == 0:
        return moved.reshape(-1)
    row = sum(ink[i][j] * i for i, j in pixels) / total
    column = sum(ink[i][j] * j for i, j in pixels) / total
    covariance = sum(ink[i][j] * (i - row) * (j - column) for i, j in pixels)
    variance = sum(ink[i][j] * (i - row) ** 2 for i, j in pixels)
    slant = max(-1.0, min(1.0, covariance / variance)) if variance else 0.0
    for i, j in pixels:
        at = j + slant * (i - row)
        left = int(np.floor(at))
        for column_near, weight in ((left, left + 1 - at), (left + 1, at - left)):
            if 0 <= column_near < side:
                moved[i, j] += weight * ink[i][column_near]
    return moved.reshape(-1)


@given(st.integers(1, 7), st.integers(0, 4), st.integers(0, 2**32), st.floats(0, 0.9))
def test_it_is_what_loops_over_pixels_make(side: int, m: int, seed: int, blank: float) -> None:
    random = np.random.default_rng(seed)
    X = random.random((side * side, m)) * (random.random((side * side, m)) > blank)
    expected = np.empty_like(X)
    for i in range(m):
        expected[:, i] = looped(X[:, i])
    np.testing.assert_allclose(mf.deslant(X), expected, atol=1e-9)
    single = mf.deslant(X.astype(np.float32))
    assert single.dtype == np.float32


@pytest.mark.parametrize("slant", [-0.9, -0.4, -0.1, 0.2, 0.7])
def test_a_stroke_that_leans_stands_upright(slant: float) -> None:
    image = slanted_stroke(29, slant, thick=2)
    assert slant_of(image) == pytest.approx(slant, abs=0.05)
    straight = mf.deslant(image)
    assert abs(slant_of(straight)) < 0.01
    np.testing.assert_allclose(straight, slanted_stroke(29, 0, thick=2), atol=0.3)
    assert straight.sum() == pytest.approx(image.sum(), rel=0.02)


def test_what_stands_upright_or_is_blank_stays_as_it_is() -> None:
    upright = slanted_stroke(29, 0, thick=3)
    np.testing.assert_allclose(mf.deslant(upright), upright, atol=1e-12)
    blank = np.zeros((784, 3), np.float32)
    np.testing.assert_array_equal(mf.deslant(blank), blank)
    one = np.zeros((784, 1))
    one[400] = 1
    np.testing.assert_array_equal(mf.deslant(one), one)


def test_real_digits_stand_upright_afterwards(digits: mf.Dataset) -> None:
    X = mf.scale(digits.X_test, np.float64)
    before = np.array([slant_of(x) for x in X.T])
    after = np.array([slant_of(x) for x in mf.deslant(X).T])
    assert np.abs(after).mean() < np.abs(before).mean() / 10
    seen = mf.deslant(X)
    assert seen.min() >= 0
    assert seen.max() <= 1 + 1e-12
    order = np.random.default_rng(0).permutation(X.shape[1])
    np.testing.assert_array_equal(mf.deslant(X[:, order]), seen[:, order])
    np.testing.assert_allclose(mf.deslant(X.astype(np.float32)), seen, atol=1e-4)


def test_images_that_are_not_square_have_no_slant() -> None:
    for pixels in (12, 0):
        says = f"^deslant: images of {pixels} pixels are not square$"
        with pytest.raises(ValueError, match=says):
            mf.deslant(np.ones((pixels, 2)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_grey_values_that_are_not_finite_are_refused(wrong: float) -> None:
    X = np.ones((9, 2))
    X[4, 1] = wrong
    with pytest.raises(ValueError, match=r"^deslant: a grey value is not a finite number$"):
        mf.deslant(X)


def test_every_view_has_its_name() -> None:
    assert {
        "as they are": as_they_are,
        "deslanted": deslanted,
        "standardized": standardized,
    } == VIEWS
    X = np.random.default_rng(0).random((784, 2))
    assert as_they_are.function(X) is X
    np.testing.assert_array_equal(deslanted.function(X), mf.deslant(X))


def test_a_row_moves_by_no_more_than_its_distance_from_the_centre() -> None:
    image = np.zeros((5, 5))
    image[[1, 2, 3], [0, 2, 4]] = 1  # it leans by two columns a row
    straight = mf.deslant(image.reshape(25, 1)).reshape(5, 5)
    np.testing.assert_allclose(straight, np.diag([0, 1, 1, 1, 0]))
