"""The pictures of a report: functions from numbers to matplotlib figures."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from ..evaluation import Calibration, EpochRecord
from ..network import Params
from .drawing import Theme, drawing

MOST_UNITS = 100
"""How many hidden units are shown at most."""

_COLUMNS = 5  # of mistakes


def curves(history: Sequence[EpochRecord], theme: Theme) -> Figure:
    """Draw loss, accuracy and learning rate over the epochs, each member a line."""
    with drawing(theme, 6.4) as figure:
        losses, accuracies, rates = figure.subplots(
            3, sharex=True, gridspec_kw={"height_ratios": [3, 3, 1]}
        )
        records = np.array([record[:-1] for record in history], dtype=float)
        members = np.unique(records[:, 0])
        marker = "." if len(history) <= 30 * len(members) else ""  # one epoch has no line
        alpha = len(members) ** -0.4
        for member in members:
            of_member = records[records[:, 0] == member]
            _, epoch, rate, loss, accuracy, held_out_loss, held_out_accuracy = of_member.T
            for axes, values, held_out in (
                (losses, loss, held_out_loss),
                (accuracies, accuracy, held_out_accuracy),
            ):
                axes.plot(epoch, values, f"{marker}-", color=theme.first, alpha=alpha)
                axes.plot(epoch, held_out, f"{marker}--", color=theme.second, alpha=alpha)
            rates.plot(epoch, rate, f"{marker}-", color=theme.third, alpha=alpha)
        # The legend shows the colours as they are, not as thin as the lines of many members.
        losses.plot([], [], "-", color=theme.first, label="training")
        if np.isfinite(records[:, 5]).any():
            losses.plot([], [], "--", color=theme.second, label="validation")
        losses.legend(loc="upper right")
        losses.set_ylabel("loss")
        _scale_losses(losses, records[:, [3, 5]])
        accuracies.set_ylabel("accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        rates.set(ylabel="learning\nrate", xlabel="epoch")
        rates.set_ylim(bottom=0)
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
    with drawing(theme, 5.3) as figure:
        axes = figure.subplots()
        axes.pcolormesh(
            np.where(wrong, wrong, np.nan),
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
            xlabel="prediction",
            ylabel="truth",
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
    with drawing(theme, 1.55 * rows) as figure:
        axes = figure.subplots()  # one for all of them, which is much faster than one for each
        axes.set_axis_off()
        for place, i in enumerate(which):
            y, x = divmod(place, _COLUMNS)
            box = (x, x + 0.9, 1.4 * y + 0.9, 1.4 * y)
            image = X[:, i].reshape(side, side)
            axes.imshow(image, extent=box, cmap=theme.ink, interpolation="none")
            edges = ([x, x + 0.9, x + 0.9, x, x], [*box[2:3] * 2, *box[3:] * 2, box[2]])
            axes.plot(*edges, color=theme.faint, linewidth=0.8)
            taken_for = probabilities[:, i].argmax()
            says = f"{Y[i]} → {taken_for}\n{100 * probabilities[taken_for, i]:.2f} %"
            axes.text(x + 0.45, 1.4 * y - 0.05, says, ha="center")
        axes.set(xlim=(-0.02, _COLUMNS - 0.08), ylim=(1.4 * rows - 0.48, -0.45))
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
    with_gaps = colours.with_extremes(bad=theme.faint)
    with drawing(theme, 0.8 + 5.5 * rows / columns) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        image = axes.imshow(mosaic, cmap=with_gaps, vmin=-limit, vmax=limit, interpolation="none")
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
    bins = len(calibration.samples)
    there = calibration.samples > 0
    confidence, accuracy, count = (values[there] for values in calibration[:3])
    with drawing(theme, 5.8) as figure:
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
            clip_on=False,
            zorder=3,
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
