"""The pictures of a report, drawn with matplotlib: from numbers to figures, SVG and PNG.

Nothing else imports matplotlib. Figures are made without pyplot, which would remember
them, and in matplotlib's own style, whatever the user's is: the same numbers give the
same picture.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from ..evaluation import Calibration, EpochRecord
from ..network import Params

MOST_UNITS = 100
"""How many hidden units are shown at most."""

_WIDTH = 6.4  # inches, of every picture: 11 points can still be read at a phone's width
_DPI = 150
_COLUMNS = 5  # of mistakes


class Theme(NamedTuple):
    """Colours, which colour-blind people can tell apart (after Okabe and Ito, 2008)."""

    name: str
    background: str
    text: str
    faint: str
    first: str
    second: str
    third: str
    diverging: tuple[str, ...]
    """From the most negative through 0, which is close to the background, to the largest."""
    ink: str
    """The name of the colour map for grey values."""


_COLD_TO_WARM = ("#56B4E9", "#0072B2", "#D55E00", "#E69F00")

LIGHT: Theme = Theme(
    name="light",
    background="#FFFFFF",
    text="#1C1E21",
    faint="#C9CDD2",
    first="#0072B2",
    second="#D55E00",
    third="#009E73",
    diverging=("#003A5C", "#0072B2", "#9CCBEA", "#FFFFFF", "#F3B98F", "#D55E00", "#6B2C00"),
    ink="gray_r",
)
DARK: Theme = Theme(
    name="dark",
    background="#15181C",
    text="#E4E6E9",
    faint="#454A52",
    first="#56B4E9",
    second="#E69F00",
    third="#2CC295",
    diverging=("#BFE4FA", "#56B4E9", "#0A4F78", "#15181C", "#7A3A08", "#E69F00", "#FBE3AE"),
    ink="gray",
)


def curves(history: Sequence[EpochRecord], theme: Theme) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs, each member a line."""
    with _drawing(theme, 6.8) as figure:
        losses, accuracies, rates = figure.subplots(
            3, sharex=True, gridspec_kw={"height_ratios": [3, 3, 1]}
        )
        records = np.array([record[:-1] for record in history], dtype=float)
        number = len(np.unique(records[:, 0]))
        look = {"marker": "." if len(history) <= 30 * number else "", "alpha": 1 / number**0.4}
        for i, member in enumerate(np.unique(records[:, 0])):
            _, epoch, rate, loss, accuracy, held_loss, held_accuracy = records[
                records[:, 0] == member
            ].T
            for axes, values, held in (
                (losses, loss, held_loss),
                (accuracies, accuracy, held_accuracy),
            ):
                axes.plot(epoch, values, "-", color=theme.first, **look)
                if np.isfinite(held).any():
                    axes.plot(epoch, held, "--", color=theme.second, **look)
            rates.plot(epoch, rate, color=theme.third, **look)
            if i == 0:  # the legend shows the colours as they are, not as thin as the lines
                names = ("training", "validation")[: len(losses.get_lines())]
                legend = losses.legend(names, loc="upper right")
                for handle in legend.get_lines():
                    handle.set_alpha(1)
        losses.set_ylabel("loss")
        _scale_losses(losses, records[:, [3, 5]])
        accuracies.set_ylabel("accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        rates.set(ylabel="learning\nrate", xlabel="epoch")
        rates.yaxis.set_major_locator(MaxNLocator(2))
        rates.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (losses, accuracies, rates):
            axes.grid(visible=True)
        figure.align_ylabels()
    return figure


def _scale_losses(axes: Axes, losses: np.ndarray) -> None:
    positive = losses[np.isfinite(losses) & (losses > 0)]
    if positive.size and positive.max() > 10 * positive.min():
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def confusion_matrix(confusion: np.ndarray, theme: Theme) -> Figure:
    """Draw what was taken for what; the colour says how many of the mistakes it is."""
    classes = len(confusion)
    wrong = np.where(np.eye(classes, dtype=bool), 0, confusion)
    norm = LogNorm(0.7, max(3, int(wrong.max())))  # one mistake is to be seen, too
    colours = LinearSegmentedColormap.from_list("mistakes", [theme.background, theme.first])
    with _drawing(theme, 6.0) as figure:
        axes = figure.subplots()
        axes.pcolormesh(
            np.ma.masked_equal(wrong, 0),  # type: ignore[no-untyped-call]  # NumPy's, untyped
            cmap=colours,
            norm=norm,
            edgecolors=theme.faint,
            linewidth=0.5,
        )
        for (i, j), count in np.ndenumerate(confusion):
            on_diagonal = i == j
            axes.text(
                j + 0.5,
                i + 0.5,
                f"{count}" if count or on_diagonal else "·",
                color=_readable_on(colours(norm(count)), theme) if wrong[i, j] else theme.text,
                ha="center",
                va="center",
                fontsize=min(11, 110 / classes),
                fontweight="bold" if on_diagonal else "normal",
            )
        middles = np.arange(classes) + 0.5
        axes.set(
            xticks=middles,
            xticklabels=range(classes),
            yticks=middles,
            yticklabels=range(classes),
            xlabel="taken for",
            ylabel="is",
            aspect="equal",
        )
        axes.invert_yaxis()
        axes.tick_params(length=0)
    return figure


def _readable_on(colour: tuple[float, float, float, float], theme: Theme) -> str:
    red, green, blue, _ = colour
    is_dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
    return max(theme.text, theme.background) if is_dark else min(theme.text, theme.background)


def mistaken_images(
    X: np.ndarray, Y: np.ndarray, probabilities: np.ndarray, which: np.ndarray, theme: Theme
) -> Figure:
    """Draw square images, each with its label, what it is taken for, and how certainly.

    Args:
        X: images, one per column.
        Y: their labels.
        probabilities: what a network makes of them.
        which: those to draw, counted from 0.
        theme: the colours.

    """
    side = math.isqrt(len(X))
    rows = -(-len(which) // _COLUMNS)
    with _drawing(theme, 1.6 * rows) as figure:
        places = figure.subplots(rows, _COLUMNS, squeeze=False)
        for axes in places.flat:
            axes.set_axis_off()
        for axes, i in zip(places.flat, which, strict=False):
            axes.imshow(X[:, i].reshape(side, side), cmap=theme.ink, interpolation="none")
            taken_for = probabilities[:, i].argmax()
            axes.set_title(
                f"{Y[i]} → {taken_for}\n{100 * probabilities[taken_for, i]:.1f} %",
                fontsize=11,
            )
    return figure


def hidden_weights(params: Params, theme: Theme) -> Figure:
    """Draw what hidden units look for, as square images: those of the largest influence."""
    units = influential_units(params)
    side = math.isqrt(params.W1.shape[1])
    columns = math.ceil(math.sqrt(len(units)))
    rows = -(-len(units) // columns)
    tiles = np.full((rows * columns, side + 1, side + 1), np.nan)
    tiles[: len(units), :side, :side] = params.W1[units].reshape(-1, side, side)
    mosaic = tiles.reshape(rows, columns, side + 1, side + 1).swapaxes(1, 2)
    mosaic = mosaic.reshape(rows * (side + 1), -1)[:-1, :-1]
    # A few very large weights would leave the others without a colour.
    limit = float(np.quantile(np.abs(params.W1[units]), 0.998)) or 1.0
    colours = LinearSegmentedColormap.from_list("weights", theme.diverging)
    colours.set_bad(theme.faint)
    with _drawing(theme, 0.9 + 6.2 * rows / columns) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        image = axes.imshow(mosaic, cmap=colours, vmin=-limit, vmax=limit, interpolation="none")
        figure.colorbar(
            image, label="weight", orientation="horizontal", extend="both", aspect=40, pad=0.02
        )
    return figure


def influential_units(params: Params) -> np.ndarray:
    """Return the hidden units of the largest influence, that of the largest first.

    It is the norm of the weights into a unit, times that of those out of it. With relu,
    how much of the product is in either says nothing.
    """
    influence = np.linalg.norm(params.W1, axis=1) * np.linalg.norm(params.W2, axis=0)
    return np.argsort(-influence, kind="stable")[:MOST_UNITS]


def reliability(calibration: Calibration, theme: Theme) -> Figure:
    """Draw how often predictions are right against how certain they are, and their number."""
    bins = len(calibration.count)
    there = calibration.count > 0
    confidence, accuracy, count = (values[there] for values in calibration[:3])
    with _drawing(theme, 6.4) as figure:
        right, number = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        right.plot([0, 1], [0, 1], "--", color=theme.text, linewidth=1)
        below, above = _interval(accuracy, count)
        right.errorbar(
            confidence,
            accuracy,
            [accuracy - below, above - accuracy],
            fmt="o",
            color=theme.first,
            capsize=4,
            markersize=7,
        )
        right.set(ylabel="accuracy", ylim=(-0.04, 1.04), xlim=(0, 1))
        right.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        number.bar(
            (np.flatnonzero(there) + 0.5) / bins, count, 0.9 / bins, color=theme.first, bottom=0
        )
        number.set_yscale("log")
        number.set_ylim(0.5, 12 * count.max())
        for i, n in zip(np.flatnonzero(there), count, strict=True):
            number.text((i + 0.5) / bins, 1.3 * n, f"{n}", ha="center", fontsize=10)
        number.set(ylabel="images", xlabel="confidence")
        number.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        number.yaxis.set_major_locator(NullLocator())
        number.yaxis.set_minor_locator(NullLocator())
        right.grid(visible=True)
        figure.align_ylabels()
    return figure


def _interval(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % interval of a share of ``n`` (Wilson, 1927), with the share in it."""
    z2 = 1.96**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
    return np.minimum(middle - half, share), np.maximum(middle + half, share)


def words(lines: Sequence[str], theme: Theme, *, size: float = 9.5) -> Figure:
    """Draw lines of text in letters of one width."""
    height = (len(lines) + 1) * size * 1.35 / 72
    with _drawing(theme, height) as figure:
        figure.text(
            0.03,
            0.5,
            "\n".join(lines),
            family="monospace",
            fontsize=size,
            va="center",
            linespacing=1.2,
            parse_math=False,  # a name may have a $ in it
        )
    return figure


@contextlib.contextmanager
def _drawing(theme: Theme, height: float) -> Iterator[Figure]:
    with _settings(theme):
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


@contextlib.contextmanager
def _settings(theme: Theme | None = None) -> Iterator[None]:
    """Have matplotlib's own settings for a while: what the user's are is put back."""
    colours = theme and {
        "figure.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "text.color": theme.text,
        "axes.labelcolor": theme.text,
        "axes.edgecolor": theme.faint,
        "xtick.color": theme.text,
        "ytick.color": theme.text,
        "grid.color": theme.faint,
        "grid.linewidth": 0.6,
        "legend.facecolor": theme.background,
        "legend.edgecolor": theme.faint,
        "axes.titlecolor": theme.text,
        "font.size": 11,
    }
    # Names in an SVG file are hashes, salted with random numbers if not with this.
    with style.context("default"), rc_context({**(colours or {}), "svg.hashsalt": "mnist-fn"}):
        yield


def svg(figure: Figure) -> str:
    """Return a figure as SVG that does not depend on the date or on fonts that are there."""
    file = io.StringIO()
    with _settings():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def png(figures: Sequence[Figure]) -> bytes:
    """Return figures, one below the other, as one PNG picture."""
    with _settings(), warnings.catch_warnings():
        # A letter that matplotlib's font lacks is drawn as a box; that is warning enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        parts = []
        for figure in figures:
            figure.set_dpi(_DPI)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            parts.append(np.asarray(canvas.buffer_rgba())[:, :, :3])
        file = io.BytesIO()
        imsave(file, np.concatenate(parts), format="png", metadata={"Software": None})
    return file.getvalue()
