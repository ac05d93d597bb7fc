import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mnist_fn as mf
from mnist_fn import Distortion, augment

NONE = Distortion(0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
ALL = Distortion(displacement=5.0, smoothing=2.0, scaling=0.2, shear=0.3, shift=3.0)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def X(digits: mf.Dataset) -> np.ndarray:
    return mf.scale(digits.X_train[:, :30])


def grid(side: int) -> np.ndarray:
    return np.array([[y, x] for y in range(side) for x in range(side)], float).T


class Affine(NamedTuple):
    angle: float
    scale_y: float
    scale_x: float
    shear: float
    shift_y: float
    shift_x: float


UNMOVED = Affine(0, 1, 1, 0, 0, 0)
MOVED = {
    "rotation": ("angle",),
    "scaling": ("scale_y", "scale_x"),
    "shear": ("shear",),
    "shift": ("shift_y", "shift_x"),
}


def affine_of(seed: int, distortion: Distortion) -> Affine:
    """Take an affine map of 3 x 3 pixels apart: a rotation of a shear of a change of scale."""
    positions = mf.random_positions(mf.key(seed), 3, distortion).reshape(2, 3, 3)
    assert np.abs(np.diff(positions, 2, axis=1)).max() < 1e-12
    assert np.abs(np.diff(positions, 2, axis=2)).max() < 1e-12
    centre = positions[:, 1, 1]
    (y_down, x_down), (y_right, x_right) = positions[:, 2, 1] - centre, positions[:, 1, 2] - centre
    angle = math.atan2(x_down, y_down)
    cos, sin = math.cos(angle), math.sin(angle)
    scale_x = cos * x_right - sin * y_right
    shear = (cos * y_right + sin * x_right) / scale_x
    return Affine(angle, math.hypot(y_down, x_down), scale_x, shear, *(centre - 1).tolist())


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
@given(side=st.integers(1, 7), m=st.integers(0, 3), seed=seeds)
def test_resample_weighs_every_pixel_by_its_distance(
    dtype: type[np.float32] | type[np.float64], tolerance: float, side: int, m: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    images = random.random((side**2, m)).astype(dtype)
    positions = random.uniform(-2, side + 1, (2, side**2))
    special = [-np.inf, -1e300, -1, -0.5, 0, side - 1, side - 0.5, side, 1e9, np.inf]
    rare = random.random(positions.shape) < 0.3
    positions[rare] = random.choice(special, np.count_nonzero(rare))
    expected = np.zeros((side**2, m))
    for at, (y, x) in enumerate(positions.T.tolist()):
        for pixel, (row, column) in enumerate(grid(side).T.tolist()):
            weight = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
            for j in range(m if weight else 0):
                expected[at, j] += weight * images[pixel, j]
    values = mf.resample(images, positions)
    assert values.dtype == dtype
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (1, 0), (0, -3), (-2, 5), (28, 0)])
def test_whole_pixels_are_moved_and_zeros_moved_in(X: np.ndarray, dy: int, dx: int) -> None:
    padded = np.pad(X.reshape(28, 28, -1), ((28, 28), (28, 28), (0, 0)))
    expected = padded[28 + dy : 56 + dy, 28 + dx : 56 + dx].reshape(784, -1)
    values = mf.resample(X, grid(28) + np.array([[dy], [dx]]))
    np.testing.assert_array_equal(values, expected)


@given(side=st.integers(1, 12), seed=seeds, smoothing=st.floats(0.1, 9))
def test_no_distortion_is_the_identity(side: int, seed: int, smoothing: float) -> None:
    images = np.random.default_rng(seed).random((side**2, 2), dtype=np.float32)
    none = NONE._replace(smoothing=smoothing)
    np.testing.assert_array_equal(mf.random_positions(mf.key(seed), side, none), grid(side))
    assert mf.distort(mf.key(seed), images, none).tobytes() == images.tobytes()


@pytest.mark.parametrize("smoothing", [0.3, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("side", [1, 2, 7])
def test_displacements_are_smoothed_by_a_gaussian_with_nothing_outside(
    side: int, smoothing: float
) -> None:
    def displacements(d: float, smoothing: float) -> np.ndarray:
        distortions = (
            ALL._replace(displacement=d, smoothing=smoothing),
            ALL._replace(displacement=0),
        )
        moved, unmoved = (mf.random_positions(mf.key(1), side, each) for each in distortions)
        difference: np.ndarray = moved - unmoved
        return difference

    # So narrow a Gaussian is 1 at its own pixel and 0 at all others.
    drawn = displacements(5.0, 0.02)
    reach = np.arange(-400, 401)
    plane = np.exp(-(reach[:, np.newaxis] ** 2 + reach**2) / (2 * smoothing**2)).sum()
    expected = np.zeros_like(drawn)
    for p, (y, x) in enumerate(grid(side).T):
        for q, (v, w) in enumerate(grid(side).T):
            weight = math.exp(-((y - v) ** 2 + (x - w) ** 2) / (2 * smoothing**2)) / plane
            expected[:, p] += weight * drawn[:, q]
    np.testing.assert_allclose(displacements(5.0, smoothing), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(displacements(15.0, smoothing), 3 * expected, rtol=1e-9, atol=1e-12)


def assert_even_and_independent(rows: np.ndarray) -> None:
    """The numbers of each row are uniform in [-1, 1], and no two rows go together."""
    n = rows.shape[1]
    largest = np.abs(rows).max(axis=1)
    assert ((largest > 0.98) & (largest <= 1 + 1e-12)).all()
    for row in rows:
        counts, _ = np.histogram(row, bins=5, range=(-1 - 1e-9, 1 + 1e-9))
        assert (np.abs(counts - n / 5) < 5 * math.sqrt(n / 5)).all()
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 5 / math.sqrt(n)


def test_all_that_is_random_is_drawn_evenly_and_for_itself() -> None:
    raw = mf.random_positions(mf.key(0), 60, NONE._replace(displacement=3.0, smoothing=0.02))
    y, x = (raw - grid(60)) / 3
    assert_even_and_independent(np.array([y[1:], x[1:], y[:-1], x[:-1]]))
    widest = Distortion(0.0, 1.0, rotation=40.0, scaling=0.2, shear=0.3, shift=3.0)
    drawn = np.array([affine_of(seed, widest) for seed in range(1000)]) - UNMOVED
    assert_even_and_independent((drawn / [math.radians(40), 0.2, 0.2, 0.3, 3, 3]).T)


@pytest.mark.parametrize("name", MOVED)
def test_each_number_moves_what_it_says_and_nothing_else(name: str) -> None:
    alone = affine_of(0, NONE._replace(**{name: 0.7}))
    among = affine_of(0, Distortion(0.0, 1.0, 9.0, 0.3, 0.2, 2.0)._replace(**{name: 0.7}))
    for field, number, unmoved, of_all in zip(Affine._fields, alone, UNMOVED, among, strict=True):
        assert number == pytest.approx(of_all if field in MOVED[name] else unmoved, abs=1e-12)
        assert (abs(number - unmoved) > 1e-4) == (field in MOVED[name])


def test_one_distortion_moves_all_images_alike(X: np.ndarray) -> None:
    together = mf.distort(mf.key(0), X, ALL)
    positions = mf.random_positions(mf.key(0), 28, ALL)
    assert together.tobytes() == mf.resample(X, positions).tobytes()
    order = np.random.default_rng(0).permutation(X.shape[1])
    np.testing.assert_array_equal(mf.distort(mf.key(0), X[:, order], ALL), together[:, order])
    for j in range(3):
        np.testing.assert_array_equal(mf.distort(mf.key(0), X[:, [j]], ALL), together[:, [j]])
    seeds = [*range(20), *range(20)]
    assert len({mf.distort(mf.key(seed), X, ALL).tobytes() for seed in seeds}) == 20


def test_neither_memory_order_nor_precision_makes_another_distortion(X: np.ndarray) -> None:
    by_row, by_image = np.ascontiguousarray(X), np.asfortranarray(X)
    assert mf.distort(mf.key(0), by_row).tobytes() == mf.distort(mf.key(0), by_image).tobytes()
    double = mf.distort(mf.key(0), X.astype(np.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(mf.distort(mf.key(0), X), double, rtol=0, atol=1e-6)


def test_grey_values_stay_grey_values_and_ink_is_kept(X: np.ndarray) -> None:
    affine, ink = Distortion(displacement=0.0), X.sum()
    for seed in range(30):
        elastic = mf.distort(mf.key(seed), X)
        assert elastic.min() >= 0
        assert elastic.max() <= 1 + 1e-6  # the weights are rounded
        assert 0.6 < elastic.sum() / ink < 1.6
        _, scale_y, scale_x, *_ = affine_of(seed, affine)
        shrunk = mf.distort(mf.key(seed), X, affine)
        assert shrunk.sum() * scale_y * scale_x == pytest.approx(ink, rel=0.01)


@pytest.mark.parametrize("pixels", [2, 783, 785])
def test_images_that_are_not_square_are_refused(pixels: int) -> None:
    images = np.zeros((pixels, 3))
    with pytest.raises(ValueError, match=f"^distort: images of {pixels} pixels are not square$"):
        mf.distort(mf.key(0), images)
    with pytest.raises(ValueError, match=f"^resample: images of {pixels} pixels are not square$"):
        mf.resample(images, np.zeros((2, pixels)))


def test_positions_that_are_none_are_refused() -> None:
    for at in ((0, 0), (1, 3)):
        positions = np.zeros((2, 4))
        positions[at] = np.nan
        with pytest.raises(ValueError, match=r"^resample: a position is not a number$"):
            mf.resample(np.ones((4, 1)), positions)
    for side in (0, -2):
        says = f"^random_positions: side is {side}, but it must be 1 or more$"
        with pytest.raises(ValueError, match=says):
            mf.random_positions(mf.key(0), side)


REFUSED: list[tuple[str, float, str]] = [
    ("smoothing", 0, "must be 0.01 or more"),
    ("scaling", 1, "must be less than 1"),
    ("scaling", 1.5, "must be less than 1"),
    *((name, -0.1, "must be from 0 to 1000") for name in Distortion._fields),
    *((name, math.nan, "must be from 0 to 1000") for name in Distortion._fields),
    *((name, 1e9, "must be from 0 to 1000") for name in Distortion._fields),
    *((name, math.inf, "must be from 0 to 1000") for name in Distortion._fields),
]


@pytest.mark.parametrize(("name", "number", "message"), REFUSED)
def test_a_distortion_out_of_range_is_refused(name: str, number: float, message: str) -> None:
    wrong = Distortion()._replace(**{name: number})
    says = f"^distortion: {name} is {number}, but it {message}$"
    with pytest.raises(ValueError, match=says):
        mf.random_positions(mf.key(0), 28, wrong)
    with pytest.raises(ValueError, match=says):
        mf.distort(mf.key(0), np.zeros((784, 1)), wrong)


@pytest.mark.parametrize("side", [1, 2, 4, 7, 28])
@pytest.mark.parametrize("seed", range(3))
def test_an_affine_distortion_is_about_the_middle_of_images_of_any_size(
    seed: int, side: int
) -> None:
    distortion = Distortion(0.0, 1.0, rotation=30.0, scaling=0.3, shear=0.2, shift=2.0)
    angle, scale_y, scale_x, shear, shift_y, shift_x = affine_of(seed, distortion)
    cos, sin = math.cos(angle), math.sin(angle)
    middle = (side - 1) / 2
    for (y, x), position in zip(
        grid(side).T.tolist(),
        mf.random_positions(mf.key(seed), side, distortion).T.tolist(),
        strict=True,
    ):
        sheared = scale_y * (y - middle) + shear * scale_x * (x - middle)
        across = scale_x * (x - middle)
        assert position == pytest.approx(
            (
                middle + cos * sheared - sin * across + shift_y,
                middle + sin * sheared + cos * across + shift_x,
            ),
            abs=1e-9,
        )


def test_a_distortion_stays_the_same_from_release_to_release() -> None:
    drawn = affine_of(0, Distortion(0.0, 1.0, rotation=30.0, scaling=0.3, shear=0.2, shift=2.0))
    assert drawn == pytest.approx(
        [-0.1915169634, 1.2111747559, 0.7288153821, 0.1487875094, -1.2635803985, 0.0667149100],
        abs=1e-9,
    )
    raw = mf.random_positions(mf.key(0), 2, NONE._replace(displacement=3.0, smoothing=0.02))
    assert (raw - grid(2)).ravel() == pytest.approx(
        [
            -1.2410770803,
            0.4418527635,
            -0.6858410584,
            -1.5934176932,
            -2.4672457028,
            -0.1465340354,
            1.0141696179,
            2.6813083950,
        ],
        abs=1e-9,
    )


def test_an_image_is_distorted_as_much_as_is_said_if_nothing_else_is() -> None:
    default = Distortion(
        displacement=20.0, smoothing=4.0, rotation=10.0, scaling=0.1, shear=0.1, shift=1.0
    )
    assert Distortion() == default
    images = np.random.default_rng(0).random((784, 2))
    expected = mf.distort(mf.key(0), images, default)
    assert mf.distort(mf.key(0), images).tobytes() == expected.tobytes()
    positions = mf.random_positions(mf.key(0), 28, default)
    assert mf.random_positions(mf.key(0), 28).tobytes() == positions.tobytes()


def test_the_limits_of_a_distortion_are_allowed() -> None:
    widest = Distortion(1000, 1000, 1000, math.nextafter(1, 0), 1000, 1000)
    narrowest = Distortion(0, 0.01, 0, 0, 0, 0)
    for distortion in (widest, narrowest):
        assert np.isfinite(mf.random_positions(mf.key(0), 3, distortion)).all()


def test_what_all_distortions_of_a_size_have_in_common_is_made_once() -> None:
    assert augment._grid(28) is augment._grid(28)
    assert augment._gaussian(28, 4.0) is augment._gaussian(28, 4.0)


def test_images_of_no_pixels_are_not_square() -> None:
    with pytest.raises(ValueError, match=r"^distort: images of 0 pixels are not square$"):
        mf.distort(mf.key(0), np.zeros((0, 3)))
