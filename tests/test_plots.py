import hashlib
import os
import re
import subprocess
import sys
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps, rc_context, rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import mnist_fn as mf
from mnist_fn.effects import plots
from mnist_fn.effects.drawing import DARK, LIGHT, Theme, png, svg, words
from mnist_fn.evaluation import Calibration, EpochRecord, calibration

THEMES = pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
PNG = b"\x89PNG\r\n\x1a\n"


def record(member: int, epoch: int, *, held_out: bool) -> EpochRecord:
    held_out_values = (0.3 / epoch + member, 0.8 + 0.01 * epoch) if held_out else (np.nan, np.nan)
    return EpochRecord(
        member, epoch, 0.1 / epoch, 0.2 / epoch + member, 0.9 + 0.01 * epoch, *held_out_values, 1.0
    )


def axes_of(figure: Figure) -> list[Any]:
    """Return its axes, whose types do not say what was drawn in them."""
    return list(figure.axes)


def lines_of(axes: Any) -> list[list[float]]:
    """Return the y values of each line with a point in it, those that are numbers."""
    values = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    return [y[np.isfinite(y)].tolist() for y in values if np.isfinite(y).any()]


@THEMES
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("epochs", [1, 5, 40])
@pytest.mark.parametrize("held_out", [False, True])
def test_curves_show_the_history(theme: Theme, members: int, epochs: int, held_out: bool) -> None:
    history = [
        record(member, epoch, held_out=held_out)
        for member in range(members)
        for epoch in range(1, epochs + 1)
    ]
    figure = plots.curves(history, theme)
    losses, accuracies, rates = axes_of(figure)

    def of_members(*fields: str) -> list[list[float]]:
        return [
            [getattr(r, field) for r in history if r.member == member]
            for member in range(members)
            for field in fields
        ]

    kinds = ["training", "validation"] if held_out else ["training"]
    assert lines_of(losses) == of_members(*(f"{kind}_loss" for kind in kinds))
    assert lines_of(accuracies) == of_members(*(f"{kind}_accuracy" for kind in kinds))
    assert lines_of(rates) == of_members("learning_rate")
    legend = losses.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == kinds
    assert png([figure]).startswith(PNG)


@pytest.mark.parametrize("loss", [0.0, np.nan, np.inf, 1e-30])
def test_curves_of_any_loss_can_be_drawn(loss: float) -> None:
    history = [
        record(0, 1, held_out=False),
        record(0, 2, held_out=True)._replace(training_loss=loss),
    ]
    assert png([plots.curves(history, LIGHT)]).startswith(PNG)


def test_losses_over_decades_are_drawn_on_a_logarithmic_scale() -> None:
    for last, scale in ((0.1, "linear"), (0.001, "log")):
        history = [
            record(0, 1, held_out=False)._replace(training_loss=loss) for loss in (0.2, last)
        ]
        assert plots.curves(history, LIGHT).axes[0].get_yscale() == scale


@THEMES
def test_a_confusion_matrix_shows_each_count_in_its_cell(theme: Theme) -> None:
    confusion = np.array([[1234, 1, 0], [90, 0, 2], [0, 0, 7]])
    figure = plots.confusion_matrix(confusion, theme)
    (axes,) = axes_of(figure)
    texts = {(*text.get_position(),): text.get_text() for text in axes.texts}
    counts = {(j + 0.5, i + 0.5): f"{n}" for (i, j), n in np.ndenumerate(confusion)}
    assert texts == {k: "·" if n == "0" and k != (1.5, 1.5) else n for k, n in counts.items()}
    assert axes.get_ylim() == (3, 0)  # the first row is on top
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("truth", "prediction")
    assert png([figure]).startswith(PNG)


@THEMES
@pytest.mark.parametrize("most", [0, 1, 3, 1000])
def test_counts_can_be_read_on_the_colour_of_their_cells(theme: Theme, most: int) -> None:
    confusion = np.diag([5, 5, 5])
    confusion[0, 1:] = most // 3, most
    (axes,) = axes_of(plots.confusion_matrix(confusion, theme))
    cells = axes.collections[0]
    faces = np.asarray(cells.to_rgba(cells.get_array())).reshape(9, 4)
    for text, face in zip(axes.texts, faces, strict=True):
        behind = face[:3] if face[3] else to_rgb(theme.background)
        assert contrast(text.get_color(), behind) >= 3, text.get_text()


@THEMES
@pytest.mark.parametrize("n", [1, 5, 7])
def test_mistakes_are_shown_with_truth_prediction_and_probability(theme: Theme, n: int) -> None:
    random = np.random.default_rng(0)
    X = random.integers(0, 256, (9, 20), dtype=np.uint8)
    Y, probabilities = random.integers(0, 3, 20), random.dirichlet(np.ones(3), 20).T
    which = random.permutation(20)[:n]
    figure = plots.mistaken_images(X, Y, probabilities, which, theme)
    (axes,) = axes_of(figure)
    assert len(axes.images) == len(axes.texts) == n
    for i, image, text in zip(which, axes.images, axes.texts, strict=True):
        np.testing.assert_array_equal(image.get_array(), X[:, i].reshape(3, 3))
        certain, predicted = max((p, c) for c, p in enumerate(probabilities[:, i]))
        assert text.get_text() == f"{Y[i]} → {predicted}\n{100 * certain:.2f} %"
        left, right, bottom, top = image.get_extent()
        assert left < text.get_position()[0] < right
        assert text.get_position()[1] < top < bottom  # above it: y grows downwards
    assert png([figure]).startswith(PNG)


@THEMES
@pytest.mark.parametrize("hidden", [1, 7, 100, 130])
def test_weights_are_those_of_the_most_influential_units(theme: Theme, hidden: int) -> None:
    params = mf.init_params(mf.key(0), pixels=9, hidden=hidden, classes=3)
    influence = [
        float(np.sqrt((params.W1[i] ** 2).sum() * (params.W2[:, i] ** 2).sum()))
        for i in range(hidden)
    ]
    units = sorted(range(hidden), key=lambda i: -influence[i])[:100]
    assert plots.influential_units(params).tolist() == units
    figure = plots.hidden_weights(params, theme)
    image = axes_of(figure)[0].images[0]
    mosaic = np.ma.filled(image.get_array(), np.nan)
    columns = (mosaic.shape[1] + 1) // 4
    assert columns == {1: 1, 7: 3, 100: 10, 130: 10}[hidden]
    for place, unit in enumerate(units):
        y, x = (4 * i for i in divmod(place, columns))
        np.testing.assert_array_equal(mosaic[y : y + 3, x : x + 3], params.W1[unit].reshape(3, 3))
    assert np.isfinite(mosaic).sum() == 9 * len(units)
    assert png([figure]).startswith(PNG)


@THEMES
def test_no_weight_is_the_colour_of_the_background(theme: Theme) -> None:
    params = mf.init_params(mf.key(0), pixels=9, hidden=4, classes=3)
    for W1 in (params.W1, params.W1 + 1, 0 * params.W1):
        image = axes_of(plots.hidden_weights(params._replace(W1=W1), theme))[0].images[0]
        low, high = image.get_clim()
        assert low == -high
        np.testing.assert_allclose(
            image.to_rgba(0.0)[:3], np.array(to_rgb(theme.background)), atol=0.02
        )


@THEMES
def test_reliability_shows_the_calibration(theme: Theme) -> None:
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.full(3, 0.3), 200).T
    result = calibration(probabilities, random.integers(0, 3, 200))
    there = result.samples > 0
    assert not there.all()
    figure = plots.reliability(result, theme)
    right, number = axes_of(figure)
    points = right.get_lines()[1]
    np.testing.assert_array_equal(points.get_xdata(), result.confidence[there])
    np.testing.assert_array_equal(points.get_ydata(), result.accuracy[there])
    assert [text.get_text() for text in number.texts] == [f"{n}" for n in result.samples[there]]
    assert [bar.get_height() for bar in number.patches] == result.samples[there].tolist()
    centres = [bar.get_x() + bar.get_width() / 2 for bar in number.patches]
    np.testing.assert_allclose(centres, (np.flatnonzero(there) + 0.5) / 10)
    assert png([figure]).startswith(PNG)


def test_intervals_are_those_of_scipy() -> None:
    stats: Any = pytest.importorskip("scipy.stats")  # which has no types
    cases = [(k, n) for n in (1, 2, 5, 40) for k in range(n + 1)]
    accuracy = np.array([k / n for k, n in cases])
    samples = np.array([n for _, n in cases])
    result = Calibration(np.linspace(0.01, 1, len(cases)), accuracy, samples, 0.0)
    bars = axes_of(plots.reliability(result, LIGHT))[0].collections[0]
    for (k, n), segment in zip(cases, bars.get_segments(), strict=True):
        expected = stats.binomtest(k, n).proportion_ci(method="wilson")
        np.testing.assert_allclose(segment[:, 1], [expected.low, expected.high], atol=1e-4)


def linear(colour: Any) -> np.ndarray:
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a: Any, b: Any) -> float:
    """WCAG 2.2's."""
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (a, b))
    return high / low


# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color
# Vision Deficiency", 2009: what the colour-blind see of linear RGB.
SIGHTS = {
    "protan": "0.152286 1.052583 -0.204868 0.114503 0.786281 0.099216 -0.003882 -0.048116 1.051998",
    "deutan": "0.367322 0.860646 -0.227968 0.280085 0.672501 0.047413 -0.011820 0.042940 0.968881",
    "tritan": "1.255528 -0.076749 -0.178779 -0.078411 0.930809 0.147602 0.004733 0.691367 0.303900",
}


@THEMES
@pytest.mark.parametrize("sight", SIGHTS)
def test_colour_blind_people_can_tell_the_colours_apart(theme: Theme, sight: str) -> None:
    matrix = np.array(SIGHTS[sight].split(), float).reshape(3, 3)
    of_lines = (theme.first, theme.second)
    of_weights = (theme.diverging[1], theme.diverging[-2])
    for pair in (of_lines, of_weights):
        for a, b in combinations(pair, 2):
            seen = [np.clip(matrix @ linear(c), 0, 1) ** (1 / 2.2) for c in (a, b)]
            assert np.linalg.norm(seen[0] - seen[1]) > 0.4


@THEMES
def test_text_and_lines_stand_out_from_the_background(theme: Theme) -> None:
    assert contrast(theme.text, theme.background) > 7
    for colour in (theme.first, theme.second, theme.third):
        assert contrast(colour, theme.background) > 3
    paper = colormaps[theme.ink](0.0)  # what is not drawn on in an image of a digit
    assert contrast(paper[:3], theme.background) < 1.3


def test_words_are_drawn_as_they_are() -> None:
    lines = ["$\\frac{1$", "日本", "<b> & {x}", ""]
    figure = words("A title of $5", lines, LIGHT)
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["A title of $5", *reversed(lines)]
    assert png([figure]).startswith(PNG)


PROGRAM = """
import sys, hashlib
from mnist_fn.effects import plots
from mnist_fn.effects.drawing import LIGHT, svg
import numpy as np
print(hashlib.sha256(svg(plots.confusion_matrix(np.eye(3, dtype=int), LIGHT)).encode()).hexdigest())
print("matplotlib.pyplot" in sys.modules)
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_pictures_do_not_depend_on_the_process_the_day_or_the_users_settings(seed: str) -> None:
    before = dict(rcParams)
    with rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "none"}):
        picture = svg(plots.confusion_matrix(np.eye(3, dtype=int), LIGHT))
    assert dict(rcParams) == before
    assert not re.search(r"20\d\d-\d\d-\d\d|dc:date", picture)
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.stdout.split() == [hashlib.sha256(picture.encode()).hexdigest(), "False"]
