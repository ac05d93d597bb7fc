"""A report on a network: one HTML file that needs nothing else, or one PNG picture."""

import base64
import html
import itertools
import textwrap
from collections.abc import Mapping, Sequence

from ..activation_functions import ActivationFunction
from ..batches import Dataset
from ..committees import Member
from ..evaluation import EpochRecord
from .drawing import DARK, LIGHT, Theme, png, svg, words
from .findings import Panel, Table, report_on
from .terminal import printable

_LETTERS = 74  # in a line of the PNG picture

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root {{ {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; background: var(--background); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif }}
main {{ max-width: 40rem; margin: 0 auto; padding: 1rem }}
h1 {{ font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere }}
h2 {{ font-size: 1.2rem; margin: 2.5rem 0 .5rem }}
p {{ margin: 0 0 1rem }}
img {{ display: block; width: 100%; height: auto }}
table {{ width: 100%; table-layout: fixed; border-collapse: collapse;
  font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem 0; border-bottom: 1px solid var(--faint); text-align: left;
  vertical-align: top; overflow-wrap: anywhere }}
th {{ font-weight: 600; width: 9.5rem }}
table.numbers {{ table-layout: auto }}
table.numbers :is(th, td) {{ text-align: right; width: auto; overflow-wrap: normal }}
"""


def html_report(
    members: Sequence[Member],
    g: ActivationFunction,
    dataset: Dataset,
    history: Sequence[EpochRecord],
    settings: Mapping[str, str],
) -> str:
    """Return a web page on how well a network or a committee does on the test images.

    It needs no other file, no network and no script. It is light or dark as the reader's
    browser is.

    Args:
        members: the network, or those of a committee.
        g: their activation function.
        dataset: the test images are those that count.
        history: how the training went; without it there are no curves.
        settings: those of the training, by name, as text.

    Raises:
        ValueError: there is no test image, no member, or a label is not one of the classes.

    """
    report = report_on(members, g, dataset, history, settings)
    parts = [f"<h1>{_escaped(report.title)}</h1>", *map(_section, report.parts)]
    return _PAGE.format(title=_escaped(report.title), style=_style(), body="\n".join(parts))


def png_report(
    members: Sequence[Member],
    g: ActivationFunction,
    dataset: Dataset,
    history: Sequence[EpochRecord],
    settings: Mapping[str, str],
) -> bytes:
    """Return the same as ``html_report``, as one tall PNG picture in light colours."""
    report = report_on(members, g, dataset, history, settings)
    figures = [words("", _wrapped(report.title, 42), LIGHT, size=14)]
    for part in report.parts:
        lines = _table_lines(part) if isinstance(part, Table) else _wrapped(part.text)
        figures.append(words(part.title, lines, LIGHT))
        if isinstance(part, Panel) and part.draw:
            figures.append(part.draw(LIGHT))
    return png(figures)


def _style() -> str:
    def variables(theme: Theme) -> str:
        return "".join(f"--{name}: {getattr(theme, name)};" for name in _VARIABLES)

    return _STYLE.format(light=variables(LIGHT), dark=variables(DARK))


_VARIABLES = ("background", "text", "faint")


def _section(part: Panel | Table) -> str:
    content = _table(part) if isinstance(part, Table) else _panel(part)
    return f"<section>\n<h2>{_escaped(part.title)}</h2>\n{content}\n</section>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_escaped(cell)}</th>' for cell in table.head)
    lines = ['<table class="numbers">', f"<tr>{head}</tr>"] if head else ["<table>"]
    for about, *cells in table.rows:
        columns = "".join(f"<td>{_escaped(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{_escaped(about)}</th>{columns}</tr>')
    return "\n".join([*lines, "</table>"])


def _panel(panel: Panel) -> str:
    text = f"<p>{_escaped(panel.text)}</p>"
    if panel.draw is None:
        return text
    light, dark = panel.draw(LIGHT), panel.draw(DARK)
    width, height = (round(96 * inches) for inches in light.get_size_inches())
    return f"""{text}
<picture>
<source media="(prefers-color-scheme: dark)" srcset="{_data(svg(dark))}">
<img src="{_data(svg(light))}" width="{width}" height="{height}" alt="{_escaped(panel.numbers)}">
</picture>"""


def _data(picture: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _wrapped(text: str, letters: int = _LETTERS) -> list[str]:
    return textwrap.wrap(printable(text), letters)


def _table_lines(table: Table) -> list[str]:
    """Return a table as lines of letters of one width."""
    if table.head:
        return ["".join(f"{cell:>12}" for cell in row) for row in (table.head, *table.rows)]
    width = 2 + min(30, max(len(about) for about, _ in table.rows))
    lines = (
        textwrap.wrap(
            printable(f"{about:<{width}}{value}"), _LETTERS, subsequent_indent=" " * width
        )
        for about, value in table.rows
    )
    return list(itertools.chain(*lines))
