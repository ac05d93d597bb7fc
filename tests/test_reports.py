import base64
import io
import math
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from patience import PATIENCE
from PIL import Image

import mnist_fn as mf
from mnist_fn.effects.reports import html_report, png_report
from mnist_fn.evaluation import EpochRecord, calibration, mistakes
from mnist_fn.views import both_edges, deslanted

VOID = {"meta", "link", "source", "img"}
SETTINGS = {"recipe": "quick", "hidden": "800", "distortion": "scale 0.15, rotation 15 degrees"}
HISTORY = [
    EpochRecord(0, 1, 0.1, 0.5, 0.81, 0.6, 0.79, 1.25),
    EpochRecord(0, 2, 0.05, 0.25, 0.91, 0.3125, 0.87, 1.5),
]


class Page(HTMLParser):
    """What is in a page: its tags, what they hold, and the text of its tables and paragraphs."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.paragraphs: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute of {tag} is there twice"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "p":
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "p":
            self.paragraphs[-1] += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag]

    def about(self, name: str) -> list[str]:
        (found,) = (cells for about, *cells in self.rows if about == name)
        return found


class Case(NamedTuple):
    members: list[mf.Member]
    dataset: mf.Dataset
    content: str


@pytest.fixture(scope="module")
def case(digits: mf.Dataset) -> Case:
    """A committee that is half trained, so that it makes mistakes, of the greatest usual size."""
    members = []
    for i in range(2):
        step = mf.make_step(mf.momentum(0.02))
        state = mf.init_state(mf.momentum(0.02), mf.init_params(mf.key(i), hidden=800))
        batches = mf.epoch_batches(mf.key(i), 0, digits.X_train, digits.Y_train)
        members.append(mf.Member(mf.train(step, state, batches).params))
    content = html_report(members, mf.relu, digits, HISTORY, SETTINGS)
    return Case(members, digits, content)


def small(m: int = 30, pixels: int = 6) -> tuple[list[mf.Member], mf.Dataset]:
    """A network for images that are not square: they take no time to draw."""
    random = np.random.default_rng(0)
    X, Y = random.integers(0, 256, (pixels, m), dtype=np.uint8), random.integers(0, 3, m)
    params = mf.init_params(mf.key(0), pixels=pixels, hidden=4, classes=3)
    return [mf.Member(params)], mf.Dataset("small", X, Y, X, Y)


def share(x: float) -> str:
    return "-" if math.isnan(x) else f"{100 * x:.2f} %"


def test_the_numbers_are_those_of_evaluate(case: Case) -> None:
    members, dataset, content = case
    batches = mf.ordered_batches(dataset.X_test, dataset.Y_test)
    result, page = mf.evaluate(members, batches), Page(content)
    wrong = 360 - int(result.confusion.trace())
    assert 25 < wrong < 300
    assert page.about("test accuracy") == [share(result.accuracy)]
    assert page.about("test loss") == [f"{result.loss:.4f}"]
    assert page.about("mistakes") == [f"{wrong} of 360 test images"]
    assert page.about("networks") == ["2"]
    assert page.about("shape") == ["784-800-10"]
    assert page.about("parameters") == [f"{2 * (784 * 800 + 800 + 800 * 10 + 10):,}"]
    assert page.about("training time") == ["2.8 s"]
    scores = mf.class_scores(result.confusion)
    for digit, (precision, recall) in enumerate(zip(*scores, strict=True)):
        images = int((dataset.Y_test == digit).sum())
        assert page.about(f"{digit}") == [f"{images}", share(precision), share(recall)]
    for name, value in SETTINGS.items():
        assert page.about(name) == [value]


def test_who_does_not_see_the_pictures_reads_what_they_show(case: Case) -> None:
    members, dataset, content = case
    X, Y = mf.scale(dataset.X_test), dataset.Y_test
    A2 = mf.committee_probabilities(members, X)
    curves, confused, mistaken, calibrated, weights = Page(content).attributes("img", "alt")
    assert curves == (
        "After 2 epochs: training loss 0.2500, training accuracy 91.00 %, "
        "validation loss 0.3125, validation accuracy 87.00 %"
    )
    pairs = [(int(i), int(j)) for i, j in zip(Y, A2.argmax(axis=0), strict=True) if i != j]
    most = max(pairs, key=pairs.count)
    assert f"taken for {most[1]} ({pairs.count(most)} x)" in confused
    named = [
        f"{Y[i]} taken for {A2[:, i].argmax()} ({share(A2[:, i].max())})" for i in mistakes(A2, Y)
    ]
    assert len(named) == 25
    assert mistaken.split(", ") == named
    for certain, right, n in zip(*calibration(A2, Y)[:3], strict=True):
        said = f"confidence {share(certain)}: {share(right)} of {n} right"
        assert (said in calibrated) == (n > 0)
    assert "the 100 of 800 units in the first of 2 networks" in weights


def test_a_page_is_well_formed_and_needs_nothing_else(case: Case) -> None:
    page = Page(case.content)
    assert page.open == []
    assert case.content.startswith("<!DOCTYPE html>\n<html lang=")
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "srcset", "href"):
                assert (value or "").startswith("data:"), tag
            elif name != "alt":
                assert "//" not in (value or ""), tag
    (style,) = re.findall("<style>(.*?)</style>", case.content, re.DOTALL)
    assert not re.search(r"url\(|@import", style)
    assert style.count("{") == style.count("}") > 0
    assert len(case.content.encode()) < 3_000_000


def test_each_picture_is_there_in_light_and_dark_and_needs_nothing_else(case: Case) -> None:
    page = Page(case.content)
    light, dark = page.attributes("img", "src"), page.attributes("source", "srcset")
    assert len(light) == len(dark) == 5
    assert set(page.attributes("source", "media")) == {"(prefers-color-scheme: dark)"}
    for source, background in [(s, "#ffffff") for s in light] + [(s, "#15181c") for s in dark]:
        kind, _, content = source.partition(",")
        assert kind == "data:image/svg+xml;base64"
        picture = base64.b64decode(content, validate=True).decode()
        assert f"fill: {background}" in picture
        for element in ET.fromstring(picture).iter():
            for name, value in element.attrib.items():
                if name.endswith(("href", "src")):
                    assert value.startswith(("#", "data:image/png;base64,"))
            assert not element.tag.endswith(("script", "foreignObject"))


@pytest.mark.slow
def test_the_same_network_gives_the_same_report_and_is_not_changed() -> None:
    members, dataset = small()
    pages, pictures = (
        {function(members, mf.relu, dataset, HISTORY, SETTINGS) for _ in range(2)}
        for function in (html_report, png_report)
    )
    assert len(pages) == len(pictures) == 1


NASTY = "<b>&\"'</b> {title} $x \\frac{ 日本 \udcff\x00\n"


def test_settings_and_names_are_text_whatever_they_hold() -> None:
    members, dataset = small()
    dataset = dataset._replace(name=NASTY)
    content = html_report(members, mf.relu, dataset, [], {NASTY: NASTY, "a" * 200: "b" * 2000})
    page = Page(content)
    shown = NASTY.replace("\udcff", " ").replace("\x00", " ").replace("\n", " ")
    assert page.about(shown) == [shown]
    assert "b" not in {tag for tag, _ in page.tags}
    assert page.open == []
    content.encode()
    with Image.open(
        io.BytesIO(png_report(members, mf.relu, dataset, [], {NASTY: NASTY, "a" * 200: "b" * 2000}))
    ) as picture:
        picture.load()


def test_what_there_is_not_is_said() -> None:
    members, dataset = small()
    page = Page(html_report(members, mf.relu, dataset, [], {}))
    text = "\n".join(page.paragraphs)
    assert "The model file does not say how the training went." in text
    assert "The model file does not say how it was trained." in text
    assert "Images of 6 pixels are not square, and are not shown." in text
    assert "Images of 6 pixels are not square: no weights are shown." in text
    assert len(page.attributes("img", "src")) == 2
    assert "training time" not in {row[0] for row in page.rows}


def test_a_training_without_validation_tells_of_none() -> None:
    members, dataset = small()
    without = [record._replace(validation_loss=math.nan) for record in HISTORY]
    told, not_told = (
        Page(html_report(members, mf.relu, dataset, history, {})).attributes("img", "alt")[0]
        for history in (HISTORY, without)
    )
    assert told == f"{not_told}, validation loss 0.3125, validation accuracy 87.00 %"
    assert not_told == "After 2 epochs: training loss 0.2500, training accuracy 91.00 %"


def test_a_network_without_mistakes_has_none() -> None:
    members, dataset = small()
    labels = mf.predict(members[0].params, mf.scale(dataset.X_test))
    page = Page(html_report(members, mf.relu, dataset._replace(Y_test=labels), [], {}))
    assert page.about("test accuracy") == ["100.00 %"]
    assert "There are none." in page.paragraphs
    assert page.attributes("img", "alt")[0] == "No mistakes"


def test_a_report_on_nothing_is_refused() -> None:
    members, dataset = small()
    nothing = dataset._replace(X_test=dataset.X_test[:, :0], Y_test=dataset.Y_test[:0])
    with pytest.raises(ValueError, match="there are no samples"):
        html_report(members, mf.relu, nothing, [], {})
    with pytest.raises(ValueError, match="it has no member"):
        html_report([], mf.relu, dataset, [], {})


def test_a_committee_is_said_to_be_one() -> None:
    members, dataset = small(pixels=9)
    both = [*members, mf.Member(members[0].params, deslanted)]
    history = [*HISTORY, HISTORY[0]._replace(member=1, training_loss=0.75)]
    page = Page(html_report(both, mf.relu, dataset, history, {}))
    assert page.about("images shown") == ["as they are, deslanted"]
    alts = page.attributes("img", "alt")
    assert alts[0].startswith("After 2 epochs, in the mean of 2 networks: training loss 0.5000,")
    assert "all 4 units in the first of 2 networks" in alts[-1]


def test_weights_for_two_images_at_a_time_are_not_shown() -> None:
    _, dataset = small(pixels=16)
    params = mf.init_params(mf.key(0), pixels=32, hidden=4, classes=3)
    page = Page(html_report([mf.Member(params, both_edges)], mf.relu, dataset, [], {}))
    assert "The network is shown 2 images in place of one: no weights are shown." in page.paragraphs


@pytest.mark.slow
def test_a_png_picture_shows_it_all(case: Case) -> None:
    content = png_report(case.members, mf.relu, case.dataset, HISTORY, SETTINGS)
    with Image.open(io.BytesIO(content)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.getchannel("A").getextrema() == (255, 255)
        assert picture.width == 840
        assert 4000 < picture.height < 8000
        assert picture.info.keys() <= {"dpi"}  # no date and no version
    without = png_report(case.members, mf.relu, case.dataset, [], SETTINGS)
    with Image.open(io.BytesIO(without)) as picture:
        assert picture.height < Image.open(io.BytesIO(content)).height - 800


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no Chromium with its chromedriver to open the report in")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    quiet = "disable-quic no-first-run disable-background-networking disable-component-update"
    for name in f"headless=new no-sandbox disable-gpu disable-sync {quiet}".split():
        options.add_argument(f"--{name}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    opened = webdriver.Chrome(options=options, service=service)
    opened.set_page_load_timeout(PATIENCE)
    opened.set_script_timeout(PATIENCE)
    yield opened
    opened.quit()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_opens_it_without_an_error(
    case: Case, browser: Any, theme: str, width: int, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(case.content, encoding="utf-8")
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(path.as_uri())
    pictures = browser.execute_script(
        "return Promise.all([...document.images].map(i => i.decode().then("
        "() => [i.naturalWidth, i.currentSrc])))"
    )
    page = Page(case.content)
    tag, attribute = ("img", "src") if theme == "light" else ("source", "srcset")
    assert [source for _, source in pictures] == page.attributes(tag, attribute)
    assert all(naturally > 0 for naturally, _ in pictures)
    assert browser.get_log("browser") == []
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[theme]
    # Nothing is wider than the page, on a phone, too.
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("console.error('seen')")  # what the test looks for is found
    assert len(browser.get_log("browser")) == 1
