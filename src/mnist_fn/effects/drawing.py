"""Figures in a light and a dark theme, and the SVG and PNG that become of them.

Only this file and the plots import matplotlib. Figures are made without pyplot, which would
remember them, and in matplotlib's own style, whatever the user's is: the same numbers give
the same picture.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib import rc_context, style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

_WIDTH = 5.6  # inches, of every picture: 11 points can still be read at a phone's width
_DPI = 150


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


def words(title: str, lines: Sequence[str], theme: Theme, *, size: float = 8) -> Figure:
    """Draw a title, and lines of text in letters of one width."""
    line = 1.25 * size / 72  # inches
    height = line * (len(lines) + 1 + (3 if title else 0))
    with drawing(theme, height) as figure:
        figure.set_layout_engine("none")  # there are no axes to lay out
        # No line is mathematics: a name may have a $ in it.
        about: dict[str, Any] = {"x": 0.03, "va": "baseline", "parse_math": False}
        if title:
            figure.text(y=1 - 2.2 * line / height, s=title, fontweight="bold", fontsize=13, **about)
        for i, text in enumerate(reversed(lines)):
            y = (i + 0.75) * line / height
            figure.text(y=y, s=text, family="monospace", fontsize=size, **about)
    return figure


@contextlib.contextmanager
def drawing(theme: Theme, height: float) -> Iterator[Figure]:
    """Make a figure, so many inches high, and have the theme's settings to draw in it."""
    with _settings(theme):
        yield Figure(figsize=(_WIDTH, height), layout="constrained")


@contextlib.contextmanager
def _settings(theme: Theme | None = None) -> Iterator[None]:
    """Have matplotlib's own settings for a while: what the user's are is put back."""
    # Names in an SVG file are hashes, salted with random numbers if not with this.
    settings: dict[Any, Any] = {"svg.hashsalt": "mnist-fn"}
    if theme:
        settings |= {
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
    with style.context("default"), rc_context(settings):
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
            canvas: Any = FigureCanvasAgg(figure)  # in part without types
            canvas.draw()
            parts.append(np.asarray(canvas.buffer_rgba()))
        file, about = io.BytesIO(), cast(dict[str, str], {"Software": None})
        imsave(file, np.concatenate(parts), format="png", metadata=about)
    return file.getvalue()
