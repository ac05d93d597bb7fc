"""Any picture of a digit becomes the MNIST frame: laws, and each step beside a slower one."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from memory import memory_below

import mnist_fn as mf
from mnist_fn import images
from mnist_fn.images import frame

PAPER, PEN = 250, 20
seeds = st.integers(0, 2**32)
few = settings(max_examples=12, deadline=None)


def zigzag(seed: int, height: int = 40, width: int = 32, pen: float = 5.0) -> np.ndarray:
    """The ink, from 0 to 1, of a line of several corners, drawn with a round pen."""
    random = np.random.default_rng(seed)
    inset = pen / 2 + 0.5
    corners = random.uniform([inset, inset], [height - inset, width - inset], (5, 2))
    # It is as long as the picture is high, so that what is drawn is always a digit's size.
    corners[0, 0], corners[-1, 0] = inset, height - inset
    y, x = np.mgrid[:height, :width] + 0.5
    ink = np.zeros((height, width))
    for (y0, x0), (y1, x1) in itertools.pairwise(corners):
        along = ((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / ((y1 - y0) ** 2 + (x1 - x0) ** 2)
        along = along.clip(0, 1)
        distance = np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0))
        ink = np.maximum(ink, np.clip(pen / 2 + 0.5 - distance, 0, 1))
    return ink


def ring(outer: float, pen: float) -> np.ndarray:
    """The ink of a circle whose outer diameter and stroke are so many pixels wide."""
    side = math.ceil(outer) + 20
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    ink: np.ndarray = np.clip(pen / 2 + 0.5 - np.abs(np.hypot(y, x) - (outer - pen) / 2), 0, 1)
    return ink


def drawn(ink: np.ndarray, paper: float = PAPER, pen: float = PEN) -> np.ndarray:
    """A picture of it, 8 bits a pixel."""
    return np.rint(paper + (pen - paper) * ink).astype(np.uint8)


def placed_on(shape: tuple[int, int], ink: np.ndarray, top: int, left: int) -> np.ndarray:
    """The ink on larger paper."""
    page = np.zeros(shape)
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return page


def centre(image: np.ndarray) -> tuple[float, float]:
    """The centre of mass, from the frame's upper left corner."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    total = image.sum(dtype=float)
    return float((image * y).sum() / total), float((image * x).sum() / total)


def box(image: np.ndarray) -> tuple[int, int]:
    """How high and how wide what is not 0 is."""
    y, x = np.nonzero(image)
    return int(np.ptp(y)) + 1, int(np.ptp(x)) + 1


def apart(image: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two frames, of which one may be a pixel beside the other.

    Digits are put in the middle by whole pixels: the least change may move them by one.
    """
    padded = np.pad(other, 1)
    moved = (padded[y : y + 28, x : x + 28] for y in range(3) for x in range(3))
    return float(min(np.abs(image - each).mean() for each in moved))


def assert_frame(image: np.ndarray) -> None:
    assert image.shape == (28, 28)
    assert image.dtype == np.float32
    assert not image.flags.writeable
    assert image.min() >= 0
    assert image.max() <= 1


PIXELS: list[Any] = [np.uint8, np.uint16]


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    channels=st.sampled_from([0, 1, 2, 3, 4]),
    dtype=st.sampled_from(PIXELS),
    filled=st.floats(0, 1),
    grey=st.booleans(),
    seed=seeds,
)
def test_whatever_the_pixels_there_is_a_frame_or_a_value_error(
    height: int, width: int, channels: int, dtype: Any, filled: float, grey: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    most = np.iinfo(dtype).max
    values = random.integers(0, most + 1, shape) if grey else most * (random.random(shape) < filled)
    picture = values.astype(dtype)
    before = picture.copy()
    try:
        image = frame(picture)
    except ValueError as error:
        message = str(error)
    else:
        message = "frame: "
        assert_frame(image)
        assert image.max() > 0
        assert frame(picture).tobytes() == image.tobytes()
    assert message.startswith("frame: ")
    np.testing.assert_array_equal(picture, before)


def test_a_wide_picture_is_not_made_floating_point_numbers_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = np.full((64, 1 << 16), PAPER, np.uint8)
    picture[:, 30_000:34_000] = PEN
    with memory_below(8 * picture.size):  # in one part, it would be 40 bytes a pixel
        image = frame(picture)
    monkeypatch.setattr(images, "_AT_ONCE", 1 << 30)
    np.testing.assert_array_equal(image, frame(picture))


def test_one_row_of_any_length_is_looked_at() -> None:
    row = np.full((1, images._MOST_SIDE), PAPER, np.uint8)
    row[:, 100:300] = PEN
    longer = np.repeat(row, 1200, axis=1)  # so that one block is more than a part
    np.testing.assert_allclose(frame(longer), frame(row), atol=1e-6)


@pytest.mark.parametrize(("side", "size"), [(8, 1), (8, 8), (300, 8)])
def test_a_dot_is_a_frame_too(side: int, size: int) -> None:
    picture = np.full((side, side), PAPER, np.uint8)
    top = (side - size) // 2
    picture[top : top + size, top : top + size] = PEN
    if size == side:
        with pytest.raises(ValueError, match=r"^frame: there is no digit to be seen"):
            frame(picture)
    else:
        assert_frame(frame(picture))
        assert frame(picture).max() > 0


@pytest.mark.parametrize("side", [9, 60])
def test_a_square_of_ink_is_half_as_large_as_the_frame(side: int) -> None:
    picture = np.full((100, 100), PAPER, np.uint8)
    picture[20 : 20 + side, 20 : 20 + side] = PEN
    assert box(frame(picture)) == (14, 14)


@few
@given(seed=seeds, top=st.integers(0, 38), left=st.integers(0, 56))
def test_where_on_its_paper_a_digit_is_makes_no_difference(seed: int, top: int, left: int) -> None:
    ink = zigzag(seed)
    expected = frame(drawn(placed_on((78, 88), ink, 19, 28)))
    moved = frame(drawn(placed_on((78, 88), ink, top, left)))
    assert moved.tobytes() == expected.tobytes()


@few
@given(seed=seeds, paper=st.integers(0, 255), pen=st.integers(0, 255))
def test_neither_colour_nor_which_is_darker_makes_a_difference(
    seed: int, paper: int, pen: int
) -> None:
    ink = np.pad(zigzag(seed) > 0.5, 12)
    picture = drawn(ink, paper, pen)
    if abs(paper - pen) < 13:
        with pytest.raises(ValueError, match=r"^frame: there is no digit to be seen"):
            frame(picture)
    else:
        expected = frame(drawn(ink))
        np.testing.assert_allclose(frame(picture), expected, rtol=0, atol=1e-6)
        np.testing.assert_allclose(frame(255 - picture), expected, rtol=0, atol=1e-6)


@few
@given(seed=seeds)
def test_an_inverted_picture_is_the_same(seed: int) -> None:
    picture = drawn(np.pad(zigzag(seed), 6))
    np.testing.assert_allclose(frame(255 - picture), frame(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("times", [2, 3, 11])
@pytest.mark.parametrize("pen", [2.0, 4.0, 14.0])
def test_a_picture_of_more_pixels_is_nearly_the_same(pen: float, times: int) -> None:
    for seed in range(2):
        soft = np.pad(zigzag(seed, pen=pen), 6)
        # Above 512 pixels it is scaled down by the mean of blocks, and of soft edges it is
        # one pixel around the stroke that stays.
        for ink, most in ((soft > 0.5, 1e-6 if times < 11 else 0.02), (soft, 0.03)):
            enlarged = drawn(ink.repeat(times, axis=0).repeat(times, axis=1))
            assert apart(frame(enlarged), frame(drawn(ink))) < most


@few
@given(seed=seeds, dtype=st.sampled_from(PIXELS))
def test_equal_channels_are_grey_and_what_is_opaque_is_as_without_alpha(
    seed: int, dtype: Any
) -> None:
    grey = drawn(np.pad(zigzag(seed), 6)).astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    opaque = np.full_like(grey, np.iinfo(dtype).max)
    expected = frame(grey)
    for channels in ([grey], [grey, opaque], [grey] * 3, [*[grey] * 3, opaque]):
        image = frame(np.stack(channels, axis=2))
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6)


@few
@given(seed=seeds)
def test_sixteen_bits_are_as_eight(seed: int) -> None:
    picture = drawn(np.pad(zigzag(seed), 6))
    image = frame(picture.astype(np.uint16) * np.uint16(257))
    np.testing.assert_allclose(image, frame(picture), rtol=0, atol=1e-6)


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (220, 30, 30), (255, 230, 120)])
def test_ink_on_transparent_ground_is_as_on_paper(ink: tuple[int, int, int]) -> None:
    covered = np.pad(zigzag(1), 6)
    picture = np.zeros((*covered.shape, 4), np.uint8)
    picture[..., :3] = ink
    picture[..., 3] = np.rint(255 * covered)
    np.testing.assert_allclose(frame(picture), frame(drawn(covered)), rtol=0, atol=0.02)


@pytest.mark.slow
def test_of_mnist_itself_most_images_stay_nearly_as_they_are(mnist: mf.Dataset) -> None:
    X = np.ascontiguousarray(mnist.X_test[:, :300].T).reshape(-1, 28, 28)
    framed = np.array([frame(image) for image in X])
    farthest = np.abs(framed - X / np.float32(255)).max(axis=(1, 2))
    # The others have strokes thinner than those of nine in ten, or dirt.
    assert np.mean(farthest < 0.05) > 0.88
    assert np.abs(framed - X / np.float32(255)).mean() < 0.01
    for image, original in zip(framed[farthest < 0.05], X[farthest < 0.05], strict=True):
        np.testing.assert_allclose(centre(image), centre(original), rtol=0, atol=0.15)


@few
@given(seed=seeds, pen=st.floats(1, 9), wide=st.integers(12, 60))
def test_a_digit_is_as_long_as_the_box_and_in_the_middle(seed: int, pen: float, wide: int) -> None:
    image = frame(drawn(np.pad(zigzag(seed, width=wide, pen=pen), 9)))
    lengths = box(image)
    assert 19 <= max(lengths) <= 22
    for at, length in zip(centre(image), lengths, strict=True):
        if length <= 20:
            assert 14 - 1e-5 <= at < 15 + 1e-5


# The outer diameter is 20 in the frame, whatever it was.
RINGS = {1.0: 2.6, 1.5: 2.6, 2.2: 2.2, 3.0: 3.0, 4.4: 4.4, 6.0: 4.5, 7.5: 4.5}


@pytest.mark.parametrize("outer", [75, 200])
@pytest.mark.parametrize(("pen", "becomes"), RINGS.items())
def test_thin_and_thick_strokes_become_as_wide_as_those_of_mnist(
    pen: float, becomes: float, outer: int
) -> None:
    image = frame(drawn(ring(outer, pen * outer / 20)))
    assert image.sum() == pytest.approx(math.pi * (20 - becomes) * becomes, rel=0.09)
    assert 20 <= max(box(image)) <= 22


WIDTHS = [(1.7, 2.6), (1.9, 1.9), (4.8, 4.8), (5.3, 4.5)]


@pytest.mark.parametrize(("width", "becomes"), WIDTHS)
def test_only_strokes_that_are_too_thin_or_too_thick_are_changed(
    width: float, becomes: float
) -> None:
    ink = ring(200, width * 10) > 0.5
    measured = images._width(ink) / 10
    assert measured == pytest.approx(width, rel=0.02)
    image = frame(drawn(ink))
    assert image.sum() == pytest.approx(math.pi * (20 - becomes) * becomes, rel=0.05)


@pytest.mark.parametrize("pen", [3.0, 7.0, 20.0])
def test_the_width_of_strokes_is_measured_in_all_directions(pen: float) -> None:
    assert images._width(ring(150, pen) > 0.5) == pytest.approx(pen, rel=0.04)
    bar = np.zeros((50, 200), np.bool_)
    bar[10 : 10 + int(pen), :] = True
    assert images._width(bar) == 2 * 200 * int(pen) / (math.pi / 4 * 2 * (200 + int(pen)))


@given(height=st.integers(1, 9), width=st.integers(1, 9), filled=st.floats(0, 1), seed=seeds)
def test_pieces_are_what_a_flood_reaches(height: int, width: int, filled: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < filled
    np.testing.assert_array_equal(images._pieces(mask), flooded(mask))


def flooded(mask: np.ndarray) -> list[int]:
    """For each pixel of the mask, the first that is reached from it, by eight neighbours."""
    points = [tuple(point) for point in np.argwhere(mask).tolist()]
    first: dict[tuple[int, ...], int] = {}
    for number, start in enumerate(points):
        to_visit = [] if start in first else [start]
        while to_visit:
            y, x = to_visit.pop()
            first[y, x] = number
            around = itertools.product((y - 1, y, y + 1), (x - 1, x, x + 1))
            to_visit += [point for point in around if point in points and point not in first]
    return [first[point] for point in points]


@pytest.mark.parametrize("turn", range(4))
def test_a_spiral_is_one_piece(turn: int) -> None:
    spiral = np.zeros((41, 41), np.bool_)
    y, x, along = 20, 20, itertools.cycle([(0, 1), (1, 0), (0, -1), (-1, 0)])
    for length, (dy, dx) in zip((2 * (i // 2 + 1) for i in range(18)), along, strict=False):
        for _ in range(length):
            spiral[y, x] = True
            y, x = y + dy, x + dx
    assert not images._pieces(np.rot90(spiral, turn)).any()


@example([0, 255])
@example([0, 255, 255])
@example([0, 1, 254, 255])
@example([0, 0, 1, 2])  # the halves of mean levels decide
@example([100, 150, 250])  # what a single pixel weighs decides
@given(st.lists(st.integers(0, 255), min_size=1, max_size=40))
def test_the_threshold_is_the_first_that_sets_levels_apart_the_most(levels: list[int]) -> None:
    def between(threshold: int) -> Fraction:
        low = [level for level in levels if level <= threshold]
        high = [level for level in levels if level > threshold]
        if not (low and high):
            return Fraction(0)
        apart = Fraction(sum(low), len(low)) - Fraction(sum(high), len(high))
        return len(low) * len(high) * apart**2

    threshold = images._threshold(np.array(levels).reshape(1, -1))
    # Of candidates, only the levels themselves differ; rounding may choose among equals.
    best = max(map(between, {0, *levels}))
    assert float(between(threshold)) == pytest.approx(float(best), rel=1e-12)
    assert threshold in {0, *levels}


@given(
    start=st.floats(-3, 9),
    step=st.floats(0.05, 4),
    count=st.integers(1, 12),
    length=st.integers(1, 9),
    seed=seeds,
)
def test_means_are_integrals_over_intervals(
    start: float, step: float, count: int, length: int, seed: int
) -> None:
    values = np.random.default_rng(seed).random(length)
    integral = np.concatenate([[0], np.cumsum(values)])
    edges = start + step * np.arange(count + 1)
    at_edges = np.interp(edges, np.arange(length + 1), integral)
    means = images._means(start, step, count, length)
    assert means.shape == (count, length)
    np.testing.assert_allclose(means @ values, np.diff(at_edges) / step, rtol=0, atol=1e-12)


@example(height=13, width=12, radius=5.0, seed=0)  # its disc has (3, 4) on its edge
@example(height=13, width=12, radius=-5.0, seed=0)
@example(height=5, width=6, radius=1.0, seed=0)
@example(height=5, width=6, radius=-1.0, seed=0)
@given(height=st.integers(1, 7), width=st.integers(1, 7), radius=st.floats(-4.5, 4.5), seed=seeds)
def test_ink_is_widened_by_a_disc_and_narrowed_by_one_of_paper(
    height: int, width: int, radius: float, seed: int
) -> None:
    image = np.random.default_rng(seed).random((height, width))
    reach = range(-5, 6)
    disc = [(y, x) for y in reach for x in reach if y * y + x * x <= radius**2]
    padded = np.pad(image, 5)
    expected = np.zeros_like(image)
    for y, x in np.ndindex(image.shape):
        around = [padded[5 + y + dy, 5 + x + dx] for dy, dx in disc]
        expected[y, x] = max(around) if radius > 0 else min(around)
    np.testing.assert_array_equal(images._widened(image, radius), expected)


@few
@given(seed=seeds)
def test_paper_that_is_lit_unevenly_is_found_under_the_strokes(seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:70j, -1:1:90j]
    ay, ax, byy, byx, bxx = random.uniform(-0.12, 0.12, 5)
    surface = 0.6 + ay * y + ax * x + byy * y * y + byx * y * x + bxx * x * x
    ink = placed_on((70, 90), zigzag(seed), 15, 29)
    for strokes in (0.5, -0.35):
        grey = surface - strokes * ink
        np.testing.assert_allclose(images._paper(grey), surface, rtol=0, atol=0.004)
        lit, even = images._ink(grey), images._ink(0.6 - strokes * ink)
        assert np.mean(lit.mask != even.mask) < 0.01


def test_paper_is_found_in_spite_of_strokes_over_the_rim() -> None:
    y, x = np.mgrid[-1:1:60j, -1:1:60j]
    surface = 0.8 - 0.1 * y + 0.05 * x
    grey = surface.copy()
    grey[:, 27:33] -= 0.6
    grey[27:33, :] -= 0.6
    np.testing.assert_allclose(images._paper(grey), surface, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 1), (1, 8), (8, 8), (30, 2)])
def test_paper_of_few_pixels_has_a_solution(shape: tuple[int, int]) -> None:
    np.testing.assert_allclose(images._paper(np.full(shape, 0.3)), 0.3, rtol=0, atol=1e-6)


def looped_grey(picture: np.ndarray, block: int) -> np.ndarray:
    """The mean of blocks, on black or white, pixel by pixel."""
    height, width = picture.shape[:2]
    channels = picture.reshape(height, width, -1) / np.iinfo(picture.dtype).max
    rows, columns = math.ceil(height / block), math.ceil(width / block)
    seen, alphas = np.zeros((rows, columns)), np.zeros((rows, columns))
    for i, j in np.ndindex(rows, columns):
        part = channels[i * block : (i + 1) * block, j * block : (j + 1) * block]
        for pixel in part.reshape(-1, channels.shape[2]).tolist():
            alpha = pixel.pop() if len(pixel) in (2, 4) else 1.0
            red, green, blue = pixel if len(pixel) == 3 else pixel * 3
            seen[i, j] += (0.299 * red + 0.587 * green + 0.114 * blue) * alpha
            alphas[i, j] += alpha
        count = part.shape[0] * part.shape[1]
        seen[i, j], alphas[i, j] = seen[i, j] / count, alphas[i, j] / count
    ground = 0.0 if seen.sum() > alphas.sum() / 2 else 1.0
    return seen + ground * (1 - alphas)


@pytest.mark.parametrize(
    ("seen", "becomes"),
    [([0] * 4 + [76] + [255] * 4, 1), ([0] * 4 + [255] * 4, 1), ([0] * 4 + [128] + [255] * 4, 0)],
)
def test_what_is_transparent_is_black_where_more_than_half_of_the_rest_is_light(
    seen: list[int], becomes: int
) -> None:
    alpha = [255] * len(seen) + [0]
    picture = np.stack([[*seen, 0], alpha], axis=1)[np.newaxis].astype(np.uint8)
    assert images._grey(picture)[0, -1] == becomes


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("shape", "block"), [((9, 5), 1), ((512, 3), 1), ((7, 1030), 3), ((513, 4), 2)]
)
@pytest.mark.parametrize("darkest", [0, 40, 90, 128])
def test_grey_is_the_mean_of_blocks_of_what_is_seen(
    channels: int, shape: tuple[int, int], block: int, darkest: int
) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 256, (*shape, channels))
    if channels % 2 == 0:
        values[..., :-1] = values[..., :-1] // 2 + darkest
    for picture in (values.astype(np.uint8), values.astype(np.uint16) * np.uint16(257)):
        grey = images._grey(picture)
        np.testing.assert_allclose(grey, looped_grey(picture, block), rtol=0, atol=1e-12)


def test_specks_are_left_out_and_parts_of_a_digit_are_not() -> None:
    mask = np.zeros((100, 100), np.bool_)
    mask[10:90, 20:25] = True  # 80 pixels long, an eighth of which is 10
    clean = mask.copy()
    mask[50, 60:69] = mask[60:69, 60] = True  # 9 pixels long
    mask[70:79, 70:79] = True
    for part in (np.s_[10, 60:70], np.s_[20:30, 80]):  # 10 pixels long
        mask[part] = clean[part] = True
    mask[50:59, 60] = True
    np.testing.assert_array_equal(images._without_specks(mask), clean)


def test_the_paper_that_is_clear_of_strokes_is_white_and_soft_edges_stay() -> None:
    grey = np.full((40, 40), 1.0)
    grey[8:32, 15:25] = 1 - 51 / 255  # a pale stain around
    grey[10:30, 18:22] = 1 - 230 / 255
    ink = images._ink(grey)
    assert ink.mask[10:30, 18:22].all()
    assert ink.mask.sum() == 80
    expected = np.zeros((40, 40))
    expected[9:31, 17:23] = 51 / 230  # what touches the stroke
    expected[10:30, 18:22] = 1
    np.testing.assert_allclose(ink.values, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dark", "full"), [(10, 170), (11, 255), (50, 255)])
def test_full_ink_is_that_of_the_darkest_tenth(dark: int, full: int) -> None:
    grey = np.full((60, 60), 1.0)
    grey[20:40, 30:35] = 1 - 170 / 255
    grey.reshape(-1)[np.flatnonzero(grey < 1)[:dark]] = 0.0
    ink = images._ink(grey)
    assert ink.mask.sum() == 100
    assert ink.values[39, 34] == pytest.approx(170 / full)
    assert ink.values.max() == 1


@given(height=st.integers(1, 28), width=st.integers(1, 28), seed=seeds)
def test_the_centre_of_mass_is_in_the_middle_pixel_if_there_is_room(
    height: int, width: int, seed: int
) -> None:
    digit = np.random.default_rng(seed).random((height, width)) ** 4 + 1e-3
    image = images._placed(digit)
    assert box(image) == digit.shape
    y, x = np.nonzero(image)
    np.testing.assert_array_equal(image[y.min() : y.max() + 1, x.min() : x.max() + 1], digit)
    for axis, (at, length) in enumerate(zip(centre(image), digit.shape, strict=True)):
        first, last = int(np.nonzero(image)[axis].min()), int(np.nonzero(image)[axis].max())
        assert at >= 14 - 1e-9 or last == 27
        assert at < 15 or first == 0
        assert last - first == length - 1


SMALL: list[tuple[int, int]] = [(1, 1), (7, 7), (3, 7), (7, 1), (0, 20), (20, 0)]


def test_a_digit_with_its_mass_at_an_end_is_put_at_the_edge() -> None:
    digit = np.full((20, 20), 0.01)
    digit[-1, -1] = 100
    np.testing.assert_array_equal(images._placed(digit)[:20, :20], digit)


@pytest.mark.parametrize(("height", "width"), SMALL)
def test_too_small_a_picture_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"^frame: ") as refusal:
        frame(np.zeros((height, width), np.uint8))
    assert str(refusal.value) == (
        f"frame: the picture is {width} x {height} pixels, which is too small; "
        "it must be 8 pixels wide or high, or more"
    )


@pytest.mark.parametrize("channels", [0, 5, 9])
def test_too_many_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=r"^frame: ") as refusal:
        frame(np.zeros((20, 30, channels), np.uint8))
    assert str(refusal.value) == (
        f"frame: the picture is an array of shape (20, 30, {channels}), but it must be "
        "height x width, with 1 to 4 channels"
    )


NOTHING: list[tuple[int, Callable[[np.ndarray], np.ndarray]]] = [
    (0, lambda ink: 0 * ink + 200),
    (1, lambda ink: 200 - ink),
    (12, lambda ink: 200 - 12 * ink),
    (12, lambda ink: 100 + 12 * ink),
]


@pytest.mark.parametrize(("contrast", "picture"), NOTHING)
def test_a_picture_that_shows_nothing_is_refused(
    contrast: int, picture: Callable[[np.ndarray], np.ndarray]
) -> None:
    ink = placed_on((50, 50), np.ones((30, 6)), 10, 20)
    with pytest.raises(ValueError, match=r"^frame: ") as refusal:
        frame(picture(ink).astype(np.uint8))
    assert str(refusal.value) == (
        "frame: there is no digit to be seen: the picture's grey values differ from the "
        f"paper's by {contrast} of 255 at most, but strokes must by 13"
    )
    assert_frame(frame((200 - 13 * ink).astype(np.uint8)))


@pytest.mark.parametrize("picture", [np.zeros((20, 20)), np.zeros(20, np.uint8), [[1]]])
def test_what_is_no_picture_is_refused(picture: Any) -> None:
    with pytest.raises(TypeError, match=r"^frame: argument `picture` does not fit"):
        frame(picture)


@given(largest=st.integers(1, 40), small=st.integers(1, 40))
def test_a_speck_is_less_than_an_eighth_of_the_largest_piece(largest: int, small: int) -> None:
    small = min(small, largest)
    mask = np.zeros((5, 41), np.bool_)
    mask[0, :largest] = True
    mask[4, :small] = True
    clean = images._without_specks(mask)
    assert clean[0].sum() == largest
    assert clean[4].sum() == (small if 8 * small >= largest else 0)


def test_noise_that_is_wide_and_faint_is_not_taken_for_the_ink() -> None:
    grey = np.full((100, 100), 128.0)
    grey[20:80, 49:52] = 255
    noisy = grey - np.random.default_rng(0).integers(0, 12, grey.shape) * (grey == 128)
    expected = frame(grey.astype(np.uint8))
    assert apart(frame(noisy.astype(np.uint8)), expected) < 0.05


def slower_paper(grey: np.ndarray) -> np.ndarray:
    """The paper, pixel by pixel, by NumPy's own least squares."""
    height, width = grey.shape
    margin = max(1, min(height, width) // 14)
    at = [(2 * i / (height - 1) - 1, 2 * j / (width - 1) - 1) for i, j in np.ndindex(grey.shape)]
    to_edge = [min(i, j, height - 1 - i, width - 1 - j) for i, j in np.ndindex(grey.shape)]
    on_rim, values = np.array(to_edge) < margin, grey.ravel()
    paper = np.full(values.shape, np.median(values[on_rim]))
    for degree, only_rim in ((1, True), (1, True), (2, False), (2, False), (2, False)):
        distance = np.abs(values - paper)
        near = distance <= max(4 * np.median(distance[on_rim]), 0.02)
        if only_rim:
            near &= on_rim
        powers = [(a, b) for a in range(3) for b in range(3) if a + b <= degree]
        terms = np.array([[y**a * x**b for a, b in powers] for y, x in at])
        paper = terms @ np.linalg.lstsq(terms[near], values[near])[0]
    return paper.reshape(grey.shape)


@pytest.mark.parametrize("shape", [(13, 20), (26, 40), (31, 28), (42, 45)])
@pytest.mark.parametrize("noise", [0.003, 0.03, 0.25])
def test_the_paper_is_what_most_pixels_are_near(shape: tuple[int, int], noise: float) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    surface = 0.5 + 0.1 * y - 0.05 * x + 0.08 * y * y - 0.06 * x * y + 0.04 * x * x
    for share in (0.02, 0.2):
        grey = surface + random.laplace(scale=noise, size=shape)
        grey[random.random(shape) < share] -= 0.4
        np.testing.assert_allclose(images._paper(grey), slower_paper(grey), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(20, 20), (29, 31)])
def test_pixels_just_as_far_from_the_paper_as_is_near_belong_to_it(shape: tuple[int, int]) -> None:
    # Sixteenths are exact. Half of the pixels are one or less from the median, and others are four.
    grey = 0.5 + np.resize([-1, 4, 0, -1, 4, 0, -1, 4, 0, -1, 4], shape) / 16
    np.testing.assert_allclose(images._paper(grey), slower_paper(grey), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("dark", "ink_is_light"), [(225, True), (255, False)])
def test_the_ink_is_on_the_side_of_the_paper_where_squares_add_up_to_more(
    dark: int, ink_is_light: bool
) -> None:
    grey = np.full((80, 80), 0.5)
    grey[20:30, 20:26] += 0.4  # squared, 60 of these are as much as 240 of the others
    at = [(40 + i // 15, 20 + i % 15) for i in range(dark)]
    grey[tuple(np.transpose(at))] -= 0.2
    mask = images._ink(grey).mask
    assert mask[20:30, 20:26].all() == ink_is_light
    assert mask[41:54, 21:34].all() != ink_is_light
    assert mask.sum() == (60 if ink_is_light else dark)


def test_ink_is_never_more_than_full() -> None:
    grey = np.full((40, 40), 1.4)  # such is the paper beside a very bright spot
    grey[10:30, 18:22] = 0.0
    ink = images._ink(grey)
    assert ink.mask.sum() == 80
    assert ink.values.max() == 1


def test_dirt_beside_a_digit_makes_no_difference() -> None:
    ink = np.pad(zigzag(3), 12)
    dirty = ink.copy()
    dirty[3:5, 3:5] = dirty[60, 50] = 1
    assert apart(frame(drawn(dirty)), frame(drawn(ink))) < 0.02


@pytest.mark.parametrize("shape", [(8, 1), (1, 8), (20, 1)])
def test_a_picture_may_be_one_pixel_wide_or_high(shape: tuple[int, int]) -> None:
    assert images._grey(np.full(shape, 255, np.uint8)).tolist() == np.ones(shape).tolist()


def integral_over(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """What is between edges along the first axis, where each pixel is as long as 1."""
    sums = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])
    at_edges = [np.interp(edges, np.arange(len(sums)), column) for column in sums.T]
    return np.diff(np.transpose(at_edges), axis=0)


SIZES = [(20, 14, 3.0), (14, 20, 3.0), (40, 32, 5.0), (57, 31, 9.0), (61, 90, 12.0)]


@pytest.mark.parametrize(("height", "width", "pen"), SIZES)
@few
@given(seed=seeds)
def test_a_digit_of_usual_strokes_is_scaled_by_the_mean_of_areas(
    seed: int, height: int, width: int, pen: float
) -> None:
    page = placed_on((height + 9, width + 17), zigzag(seed, height, width, pen), 3, 12)
    spans = [np.flatnonzero(page.any(axis=axis))[[0, -1]] + [0, 1] for axis in (1, 0)]
    side = max(np.ptp(span) for span in spans) / 20  # of a pixel of the frame
    assume(1.8 <= images._width(page > 0.5) / side <= 5)
    digit = images._fitted(images._Ink(page, page > 0.5))
    sizes = [math.ceil(np.ptp(span) / side - 1e-9) for span in spans]
    assert digit.shape == tuple(sizes)
    edges = [
        span.mean() + side * (np.arange(size + 1) - size / 2)
        for span, size in zip(spans, sizes, strict=True)
    ]
    expected = integral_over(integral_over(page, edges[0]).T, edges[1]).T / side**2
    np.testing.assert_allclose(digit, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("thick", "pen"), [(4, 2.6), (30, 4.5), (40, 4.5)])
def test_a_bar_keeps_its_length_and_gets_the_width_of_a_pen(thick: int, pen: float) -> None:
    bar = np.pad(np.ones((100, thick)), 20)
    width = images._width(bar > 0)
    digit = images._fitted(images._Ink(bar, bar > 0))
    scale = (20 - pen) / (100 - width)
    assert digit.max(axis=1).sum() == pytest.approx(20, abs=0.5)
    across = digit[len(digit) // 2].sum()
    assert across == pytest.approx(pen - (width - thick) * scale, abs=0.35)
