from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import mnist_fn as mf
from mnist_fn.views import (
    VIEWS,
    as_they_are,
    both_edges,
    deslanted,
    deslanted_edges,
    standardized,
    standardized_edges,
)


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
        "deslanted edges": deslanted_edges,
        "standardized edges": standardized_edges,
        "deslanted and standardized edges": both_edges,
    } == VIEWS
    X = np.random.default_rng(0).random((784, 2))
    assert as_they_are.function(X) is X
    np.testing.assert_array_equal(deslanted.function(X), mf.deslant(X))
    np.testing.assert_array_equal(deslanted_edges.function(X), mf.edges(mf.deslant(X)))
    np.testing.assert_array_equal(standardized_edges.function(X), mf.edges(mf.standardize(X)))
    parts = [deslanted_edges.function(X), standardized_edges.function(X)]
    np.testing.assert_array_equal(both_edges.function(X), np.concatenate(parts))


def moments(image: np.ndarray) -> tuple[float, ...]:
    """The centre, both deviations and the slant of an image."""
    side = int(np.sqrt(image.size))
    ink = image.reshape(side, side) / image.sum()
    y, x = np.mgrid[:side, :side]
    row, column = (ink * y).sum(), (ink * x).sum()
    y, x = y - row, x - column
    height, width = np.sqrt((ink * y * y).sum()), np.sqrt((ink * x * x).sum())
    return row, column, height, width, slant_of(image)


def test_standardized_digits_have_their_moments_alike(mnist: mf.Dataset) -> None:
    X = mf.scale(mnist.X_train[:, :300], np.float64)
    before, after = ([moments(x) for x in images.T] for images in (X, mf.standardize(X)))
    for (_, _, tall, wide, slant), (row, column, height, width, slant_after) in zip(
        before, after, strict=True
    ):
        assert (row, column) == pytest.approx((13.5, 13.5), abs=0.35)
        assert abs(slant_after) < 0.08
        assert height == pytest.approx(5.8, rel=0.1)
        upright = np.sqrt(max(wide**2 - (slant * tall) ** 2, 0))
        expected = 5.8 * np.sqrt(np.sin(np.pi / 2 * min(upright / tall, 1)))
        # A stroke as thin as a one's is too few pixels for its width to be exact.
        assert width == pytest.approx(expected, rel=0.1 if upright > 2.5 else 0.3)


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_standardizing_takes_no_notice_of_the_place(down: int, right: int) -> None:
    image = np.pad(np.random.default_rng(0).random((9, 7)), ((9, 10), (10, 11)))
    moved = np.roll(image, (down, right), (0, 1))
    np.testing.assert_allclose(
        mf.standardize(moved.reshape(-1, 1)), mf.standardize(image.reshape(-1, 1)), atol=1e-9
    )


def test_standardizing_takes_little_notice_of_the_size() -> None:
    y, x = np.mgrid[:56, :56] - 27.5
    ring = np.clip(3 - np.abs(np.hypot(y, 1.5 * x) - 18), 0, 1)
    half = ring.reshape(28, 2, 28, 2).mean(axis=(1, 3))
    large = mf.standardize(ring.reshape(-1, 1)).reshape(28, 2, 28, 2).mean(axis=(1, 3))
    small = mf.standardize(half.reshape(-1, 1)).reshape(28, 28)
    assert np.abs(large - small).mean() < 0.02
    assert np.abs(half - small).mean() > 0.1


def test_standardizing_what_is_blank_leaves_it_so() -> None:
    np.testing.assert_array_equal(mf.standardize(np.zeros((784, 2))), np.zeros((784, 2)))
    dot = np.zeros((784, 1), np.float32)
    dot[100] = 1
    assert np.isfinite(mf.standardize(dot)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_strokes_without_a_width_are_standardized(
    dtype: type[np.float32] | type[np.float64],
) -> None:
    slopes, random = range(-2, 3), np.random.default_rng(0)
    X = np.zeros((28, 28, 500), dtype)
    for i in range(500):
        rows = np.arange(9, 16)
        X[rows, 13 + slopes[i % 5] * (rows - 12), i] = random.random(7)
    assert np.isfinite(mf.standardize(X.reshape(784, 500))).all()


def test_a_stroke_one_pixel_high_is_made_ten_times_as_high() -> None:
    image = np.zeros((28, 28))
    image[9, 4:24] = 1
    made = mf.standardize(image.reshape(784, 1)).reshape(28, 28).max(axis=1)
    # A row 9.5 pixels from the middle is 0.95 from the stroke.
    np.testing.assert_allclose(made, np.maximum(1 - np.abs(np.arange(28) - 13.5) / 10, 0))


@pytest.mark.parametrize("view", [mf.deslant, mf.standardize, mf.edges])
def test_what_is_no_square_image_has_no_view(view: Callable[[np.ndarray], np.ndarray]) -> None:
    name = view.__name__
    with pytest.raises(ValueError, match=f"^{name}: images of 15 pixels are not square"):
        view(np.zeros((15, 1)))
    with pytest.raises(ValueError, match=f"^{name}: a grey value is not a finite number"):
        view(np.full((16, 1), np.nan))


def bilinear(image: np.ndarray, y: float, x: float) -> float:
    """The value between four pixels; outside of the image there is 0."""
    value, (top, left) = 0.0, (int(np.floor(y)), int(np.floor(x)))
    for i, weight_y in ((top, top + 1 - y), (top + 1, y - top)):
        for j, weight_x in ((left, left + 1 - x), (left + 1, x - left)):
            if 0 <= i < len(image) and 0 <= j < len(image):
                value += float(weight_y * weight_x * image[i, j])
    return value


def standardized_by_loops(image: np.ndarray) -> np.ndarray:
    """``standardize`` of one image, pixel by pixel."""
    side = len(image)
    row, column, height, _, slant = moments(image)
    y, x = np.mgrid[:side, :side]
    across = x - column - slant * (y - row)
    width = np.sqrt((image * across**2).sum() / image.sum())
    high = 29 / 140 * side
    wide = high * np.sin(np.pi / 2 * min(width / height, 1)) ** 0.5
    # A straight stroke has no width, and is made as large as anything may be.
    across_by = width / wide if wide else 0.0
    down, right = min(max(height / high, 0.1), 4), min(max(across_by, 0.1), 4)
    made = np.empty((side, side))
    for i in range(side):
        for j in range(side):
            from_row = (i - (side - 1) / 2) * down
            from_column = (j - (side - 1) / 2) * right + slant * from_row
            made[i, j] = bilinear(image, row + from_row, column + from_column)
    return made


@given(st.integers(3, 9), st.integers(0, 2**32), st.floats(0, 0.7), st.booleans())
@example(3, 337, 0.5, False)  # two pixels: a straight stroke
def test_standardizing_is_what_loops_over_pixels_make(
    side: int, seed: int, blank: float, wide: bool
) -> None:
    random = np.random.default_rng(seed)
    image = random.random((side, side)) * (random.random((side, side)) > blank)
    if wide:
        image[1:-1] = 0  # the first and the last row: at the edge, and as high as can be
    assume(np.count_nonzero(image.sum(axis=1)) > 1)
    np.testing.assert_allclose(
        mf.standardize(image.reshape(-1, 1)).reshape(side, side),
        standardized_by_loops(image),
        atol=1e-9,
    )


@pytest.mark.parametrize("lean", [-2, 2])
def test_a_row_moves_by_no_more_than_its_distance_to_either_side(lean: int) -> None:
    image = np.zeros((5, 5))
    image[[1, 2, 3], [2 - lean, 2, 2 + lean]] = 1
    straight = mf.deslant(image.reshape(25, 1)).reshape(5, 5)
    upright = np.diag([0, 1, 1, 1, 0])
    np.testing.assert_allclose(straight, upright if lean > 0 else upright[:, ::-1])


def edges_by_loops(image: np.ndarray) -> np.ndarray:
    """``edges`` of one image, pixel by pixel."""
    side, half = len(image), len(image) // 2
    small = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            right = image[i, j + 1] - image[i, j - 1] if 0 < j < side - 1 else 0
            down = image[i + 1, j] - image[i - 1, j] if 0 < i < side - 1 else 0
            for quarter, rise in enumerate((right, -right, down, -down)):
                at = quarter // 2 * half + i // 2, quarter % 2 * half + j // 2
                small[at] += max(rise, 0) / 4
    return small


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**32))
def test_edges_are_what_loops_over_pixels_make(half: int, m: int, seed: int) -> None:
    side = 2 * half
    X = np.random.default_rng(seed).random((side * side, m))
    expected = np.empty_like(X)
    for i in range(m):
        expected[:, i] = edges_by_loops(X[:, i].reshape(side, side)).ravel()
    np.testing.assert_allclose(mf.edges(X), expected, atol=1e-12)
    assert mf.edges(X.astype(np.float32)).dtype == np.float32


def test_what_rises_in_an_image_falls_in_its_mirror(digits: mf.Dataset) -> None:
    images = mf.scale(digits.X_test).T.reshape(-1, 28, 28)

    def quarters(images: np.ndarray) -> np.ndarray:
        seen = mf.edges(np.ascontiguousarray(images).reshape(-1, 784).T).T
        return seen.reshape(-1, 2, 14, 2, 14).transpose(1, 3, 0, 2, 4)

    (right, left), (down, up) = quarters(images)
    (right_, left_), (down_, up_) = quarters(images[:, :, ::-1])
    np.testing.assert_array_equal(right_, left[:, :, ::-1])
    np.testing.assert_array_equal(left_, right[:, :, ::-1])
    np.testing.assert_allclose(down_, down[:, :, ::-1], atol=1e-7)
    (right_, left_), (down_, up_) = quarters(images.transpose(0, 2, 1))
    for seen, turned in ((right_, down), (left_, up), (down_, right), (up_, left)):
        np.testing.assert_allclose(seen, turned.transpose(0, 2, 1), atol=1e-7)


def test_images_of_an_odd_side_have_no_halves() -> None:
    says = "^edges: the images are 3 x 3 pixels, but the side must be even$"
    with pytest.raises(ValueError, match=says):
        mf.edges(np.zeros((9, 1)))


def test_views_of_digits_are_grey_values(digits: mf.Dataset) -> None:
    X = mf.scale(digits.X_test)
    for view in VIEWS.values():
        seen = view.function(X)
        assert seen.shape == (784 * view.images, 360)
        assert seen.min() >= 0
        assert seen.max() <= 1 + 1e-6
        assert seen.max() > 0.4
