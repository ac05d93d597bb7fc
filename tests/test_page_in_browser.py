"""The page in a real browser: it answers as Python does."""

import base64
import io
import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from patience import PATIENCE

import mnist_fn as mf
from mnist_fn import recipes
from mnist_fn.page import page
from mnist_fn.views import (
    VIEWS,
    as_they_are,
    deslanted,
    deslanted_edges,
    standardized,
    standardized_edges,
)

pytestmark = pytest.mark.slow

CLOSE = 0.001  # so near must the page's probabilities be to Python's
PARAMS = mf.init_params(mf.key(0), hidden=3)


class Browser(NamedTuple):
    """A browser that shows pages from a folder."""

    driver: Any
    folder: Path

    def show(self, html: str) -> None:
        (self.folder / "page.html").write_text(html, encoding="utf-8")
        self.driver.get((self.folder / "page.html").as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, name: str) -> Any:
        return self.driver.find_element("id", name)

    def text(self, name: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).textContent", name))

    def settle(self) -> None:
        """Wait until what was drawn is shown."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        )

    def wait(self, condition: str, *arguments: Any) -> None:
        wait = pytest.importorskip("selenium.webdriver.support.wait", reason=NO_SELENIUM)
        wait.WebDriverWait(self.driver, PATIENCE, 0.02).until(
            lambda _: self.run(f"return {condition}", *arguments)
        )

    def drawing(self) -> bytes:
        """What is on the paper, as a PNG."""
        url = self.run("return document.getElementById('paper').toDataURL('image/png')")
        return base64.b64decode(url.split(",")[1])

    def shown(self) -> np.ndarray:
        """The probabilities that are shown."""
        return np.array(self.run("return mnist_fn.answer()?.probabilities ?? []"))

    def stroke(self, *points: tuple[float, float], touch: bool = False) -> None:
        """Draw through these points; the paper goes from 0 to 1."""
        self.begin(*points, touch=touch).release().perform()
        self.settle()

    def begin(self, *points: tuple[float, float], touch: bool = False) -> Any:
        """Return the actions that draw through these points, with the pen still down."""
        chains = pytest.importorskip("selenium.webdriver", reason=NO_SELENIUM).ActionChains
        inputs = pytest.importorskip(
            "selenium.webdriver.common.actions.pointer_input", reason=NO_SELENIUM
        )
        kind, name = ("touch", "finger") if touch else ("mouse", "hand")
        device = inputs.PointerInput(kind, name)
        actions = chains(self.driver, duration=5, devices=[device])
        paper = self.find("paper")
        side = paper.size["width"]
        at = [(round((x - 0.5) * side), round((y - 0.5) * side)) for x, y in points]
        actions.move_to_element_with_offset(paper, *at[0]).click_and_hold()
        for point in at[1:]:
            actions.move_to_element_with_offset(paper, *point)
        return actions


NO_SELENIUM = "selenium is missing: pip install selenium"
NO_PILLOW = "Pillow is missing: pip install pillow"
SEVEN = ((0.3, 0.2), (0.5, 0.21), (0.7, 0.2), (0.6, 0.45), (0.5, 0.65), (0.42, 0.85))
BAR = ((0.4, 0.5), (0.7, 0.52))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason=NO_SELENIUM)
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("chromium or chromedriver is not found on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"):
        options.add_argument(f"--{option}")
    for option in ("disable-background-networking", "disable-component-update", "disable-sync"):
        options.add_argument(f"--{option}")
    options.add_argument("--proxy-server=127.0.0.1:9")  # where nobody answers
    options.add_argument("--window-size=1000,900")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=chromedriver)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: Any, tmp_path: Path) -> Iterator[Browser]:
    yield Browser(driver, tmp_path)
    assert driver.get_log("browser") == []


@pytest.fixture(scope="module")
def trained() -> mf.Params:
    digits = mf.load_digits()
    run = mf.prepare(recipes.digits._replace(epochs=10), mf.key(0), digits.X_train, digits.Y_train)
    *_, state = mf.train_epochs(*run)
    return state.params


def opened(file: Any) -> np.ndarray:
    image = pytest.importorskip("PIL.Image", reason=NO_PILLOW)
    return np.asarray(image.open(file))


def expected(
    picture: np.ndarray, params: Any, g: mf.ActivationFunction = mf.relu
) -> tuple[np.ndarray, np.ndarray]:
    """The frame and the probabilities that Python computes."""
    members = [mf.Member(params)] if isinstance(params, mf.Params) else params
    image = mf.frame(picture)
    X = image.reshape(784, 1).astype(members[0].params.W1.dtype)
    return image.ravel(), mf.committee_probabilities(members, X, g)[:, 0]


def computed(browser: Browser, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame and the probabilities that the page computes of a picture's pixels."""
    height, width, channels = picture.shape
    rgb = picture[..., :3] if channels > 2 else picture[..., :1].repeat(3, axis=2)
    opaque = np.full((height, width, 1), 255, np.uint8)
    rgba = np.concatenate([rgb, opaque if channels % 2 else picture[..., -1:]], axis=2)
    image, probabilities = browser.run(
        """const rgba = Uint8ClampedArray.from(atob(arguments[2]), (c) => c.charCodeAt(0));
        const image = mnist_fn.frame(arguments[0], arguments[1], rgba);
        return [[...image], mnist_fn.predict(image)];""",
        width,
        height,
        base64.b64encode(rgba.tobytes()).decode(),
    )
    return np.array(image), np.array(probabilities)


def picture_of(seed: int, height: int, width: int, pen: float, kind: str) -> np.ndarray:
    """A crooked stroke on paper, and what photos and paint programs make of it."""
    random = np.random.default_rng(seed)
    size = np.array([height, width])
    points = random.uniform(0.2, 0.8, (4, 2)) * size
    at = np.moveaxis(np.mgrid[:height, :width], 0, -1) + 0.5
    distance = np.full((height, width), np.inf)
    for a, b in itertools.pairwise(points):
        along = np.clip((at - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[..., np.newaxis]
        distance = np.minimum(distance, np.linalg.norm(at - a - along * (b - a), axis=-1))
    ink = np.clip(pen / 2 - distance + 0.5, 0, 1)
    if kind == "transparent":
        shade = np.full((height, width, 1), 30.0)
        return np.dstack([shade, shade, shade, 255 * ink]).astype(np.uint8)
    paper, pencil = (30, 220) if kind == "light" else (235, 40)
    grey = paper + (pencil - paper) * ink
    if kind == "photo":
        grey = grey - 60 * (at @ (1 / size)) + random.normal(0, 3, grey.shape)
    if kind == "dirty":
        speck = max(height // 40, 1)
        grey[height // 9 : height // 9 + speck, width // 9 : width // 9 + speck] = pencil
    tints = random.uniform(0.8, 1, 3) if kind == "coloured" else np.ones(3)
    return (grey[..., np.newaxis] * tints).round().clip(0, 255).astype(np.uint8)


PICTURES = {
    "paint": picture_of(1, 28, 28, 2, "plain"),
    "thin": picture_of(2, 200, 160, 3, "plain"),
    "thick": picture_of(3, 120, 150, 40, "plain"),
    "light": picture_of(4, 100, 90, 9, "light"),
    "coloured": picture_of(5, 90, 70, 8, "coloured"),
    "transparent": picture_of(6, 140, 100, 12, "transparent"),
    "photo": picture_of(7, 300, 260, 26, "photo"),
    "dirty": picture_of(8, 150, 200, 15, "dirty"),
    "large": picture_of(9, 1100, 701, 80, "plain"),
    "large photo": picture_of(10, 601, 1300, 30, "photo"),
    "strip": picture_of(11, 8, 90, 2, "plain"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_framed_as_in_python(browser: Browser, name: str, trained: mf.Params) -> None:
    browser.show(page(trained))
    image, probabilities = computed(browser, PICTURES[name])
    expected_image, expected_probabilities = expected(PICTURES[name], trained)
    np.testing.assert_allclose(image, expected_image, atol=CLOSE)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=CLOSE)


def test_the_drawings_get_the_digits_and_probabilities_that_python_gives(
    browser: Browser, trained: mf.Params, drawings: dict[Path, int]
) -> None:
    browser.show(page(trained))
    right = []
    for file, label in drawings.items():
        picture = opened(file)
        image, probabilities = computed(browser, picture)
        expected_image, expected_probabilities = expected(picture, trained)
        np.testing.assert_allclose(image, expected_image, atol=CLOSE, err_msg=file.name)
        np.testing.assert_allclose(
            probabilities, expected_probabilities, atol=CLOSE, err_msg=file.name
        )
        assert probabilities.argmax() == expected_probabilities.argmax(), file.name
        right.append(probabilities.argmax() == label)
    assert len(right) == 67
    assert np.mean(right) > 0.5  # it was trained on 1437 images of 8 x 8, for a moment


def biased(seed: int, hidden: int, dtype: type = np.float32) -> mf.Params:
    """A network of no meaning whose biases are not 0."""
    W1, b1, W2, b2 = mf.init_params(mf.key(seed), hidden=hidden)
    random = np.random.default_rng(seed)
    b1, b2 = (b + random.normal(0, 0.7, b.shape) for b in (b1, b2))
    return mf.Params(*(p.astype(dtype) for p in (W1, b1, W2, b2)))


MODELS: dict[str, tuple[Any, mf.ActivationFunction]] = {
    "deslanted": ([mf.Member(biased(0, 60), deslanted)], mf.relu),
    "standardized": ([mf.Member(biased(1, 60), standardized)], mf.relu),
    "edges": ([mf.Member(biased(9, 60), deslanted_edges)], mf.relu),
    "two in one": (
        mf.assemble(
            mf.recipes.best,
            [
                mf.Member(biased(10, 9), deslanted_edges),
                mf.Member(biased(11, 7), standardized_edges),
            ],
        ),
        mf.relu,
    ),
    "tanh": (biased(2, 60), mf.tanh),
    "sigmoid": (biased(3, 60), mf.sigmoid),
    "float64": (biased(4, 60, np.float64), mf.relu),
    "committee": (
        [
            mf.Member(biased(5, 60)),
            mf.Member(biased(6, 33), deslanted),
            mf.Member(biased(7, 20), standardized),
            mf.Member(biased(8, 9), deslanted),
        ],
        mf.tanh,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_views_committees_and_activation_functions_are_those_of_python(
    browser: Browser, name: str
) -> None:
    params, g = MODELS[name]
    browser.show(page(params, g))
    for which in ("paint", "thin", "light", "photo", "strip"):
        _, probabilities = computed(browser, PICTURES[which])
        _, expected_probabilities = expected(PICTURES[which], params, g)
        np.testing.assert_allclose(probabilities, expected_probabilities, atol=CLOSE)
    figures = browser.driver.find_elements("css selector", "#frames canvas")
    members = [mf.Member(params)] if isinstance(params, mf.Params) else params
    assert len(figures) == len({member.view.name for member in members})


def test_the_views_are_those_of_python_pixel_by_pixel(browser: Browser) -> None:
    browser.show(page(PARAMS))
    assert browser.run("return Object.keys(mnist_fn.views)") == list(VIEWS)
    random = np.random.default_rng(0)
    images = [mf.frame(picture).ravel().astype(np.float64) for picture in PICTURES.values()]
    images += [np.zeros(784), np.eye(784)[399], np.ones(784), random.random(784)]
    for image in images:
        for name, view in VIEWS.items():
            script = "return [...mnist_fn.views[arguments[0]](Float64Array.from(arguments[1]))]"
            seen = np.array(browser.run(script, name, image.tolist()))
            np.testing.assert_allclose(
                seen, view.function(image[:, np.newaxis])[:, 0], atol=1e-9, err_msg=name
            )


@pytest.mark.parametrize("touch", [False, True])
def test_a_drawing_is_answered_as_python_answers_it(
    browser: Browser, trained: mf.Params, touch: bool
) -> None:
    browser.show(page(trained))
    assert browser.shown().size == 0
    browser.stroke(*SEVEN, touch=touch)
    browser.stroke(*BAR, touch=touch)
    picture = opened(io.BytesIO(browser.drawing()))
    assert (picture[[56, 112, 280], [56, 168, 336]] < 128).any(axis=1).tolist() == [
        False,
        True,
        True,
    ]
    _, probabilities = expected(picture, trained)
    np.testing.assert_allclose(browser.shown(), probabilities, atol=CLOSE)
    digit = int(probabilities.argmax())
    assert browser.text("digit") == str(digit)
    bars = [bar.text.split("\n") for bar in browser.driver.find_elements("css selector", "li")]
    assert [bar[0] for bar in bars] == [*"0123456789"]
    shown = [float(bar[1].removesuffix("\N{NO-BREAK SPACE}%").strip("% ")) for bar in bars]
    np.testing.assert_allclose(shown, 100 * probabilities, atol=0.06 + 100 * CLOSE)


def test_it_answers_while_one_draws_and_announces_it_after_the_stroke(browser: Browser) -> None:
    browser.show(page(PARAMS))
    before = browser.text("status")
    assert before.startswith("Draw a digit from 0 to 9")
    actions = browser.begin(*SEVEN)
    actions.perform()
    browser.wait("mnist_fn.answer() !== null")
    assert browser.text("digit") in "0123456789"
    assert browser.text("status") == before
    actions.w3c_actions.pointer_action.release()
    actions.w3c_actions.perform()
    browser.settle()
    assert browser.text("status") == browser.text("says") != before


def test_undo_and_clear_work_by_mouse_and_by_keys(browser: Browser) -> None:
    browser.show(page(PARAMS))
    keys = pytest.importorskip("selenium.webdriver.common.keys", reason=NO_SELENIUM).Keys

    def press(*names: str) -> Callable[[], None]:
        chains = pytest.importorskip("selenium.webdriver", reason=NO_SELENIUM).ActionChains

        def pressed() -> None:
            actions = chains(browser.driver)
            for name in names:
                actions.key_down(name)
            for name in reversed(names):
                actions.key_up(name)
            actions.perform()

        return pressed

    undos = [browser.find("undo").click, press(keys.CONTROL, "z")]
    undos += [lambda: browser.find("undo").send_keys(keys.ENTER)]
    clears = [browser.find("clear").click, press(keys.ESCAPE), press(keys.DELETE)]
    clears += [lambda: browser.find("clear").send_keys(keys.SPACE)]
    blank = browser.drawing()
    for undo in undos:
        browser.stroke(*SEVEN)
        one = browser.drawing()
        assert one != blank
        browser.stroke(*BAR)
        assert browser.drawing() not in (one, blank)
        undo()
        assert browser.drawing() == one
        undo()
        assert browser.drawing() == blank
        assert browser.shown().size == 0
        undo()
        assert browser.text("status").startswith("Draw a digit")
    for clear in clears:
        browser.stroke(*SEVEN)
        browser.stroke(*BAR)
        two = browser.drawing()
        clear()
        assert browser.drawing() == blank
        assert browser.shown().size == 0
        clear()
        undos[0]()
        assert browser.drawing() == two  # what is cleared comes back
        clear()


WAYS = {
    "drop": "const event = new DragEvent('drop', {dataTransfer: files, cancelable: true});",
    "paste": "const event = new ClipboardEvent('paste', {clipboardData: files});",
}


@pytest.mark.parametrize("way", ["input", *WAYS])
def test_a_picture_is_read_at_its_own_size(
    browser: Browser, trained: mf.Params, tmp_path: Path, way: str
) -> None:
    image = pytest.importorskip("PIL.Image", reason=NO_PILLOW)
    browser.show(page(trained))
    for name in ("paint", "light", "coloured", "transparent", "large"):
        file = tmp_path / f"{name}.png"
        image.fromarray(PICTURES[name]).save(file)
        if way == "input":
            browser.find("file").send_keys(str(file))
        else:
            content = base64.b64encode(file.read_bytes()).decode()
            browser.run(
                "const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));"
                "const files = new DataTransfer();"
                "files.items.add(new File([bytes], 'a.png', {type: 'image/png'}));"
                f"{WAYS[way]} document.dispatchEvent(event);",
                content,
            )
        browser.wait("mnist_fn.answer() !== null")
        _, probabilities = expected(PICTURES[name], trained)
        # Browsers keep colours multiplied by their alpha, in 8 bits.
        np.testing.assert_allclose(browser.shown(), probabilities, atol=CLOSE)
        browser.find("clear").click()


def test_one_draws_on_new_paper_and_not_on_a_picture(browser: Browser, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason=NO_PILLOW)
    browser.show(page(PARAMS))
    browser.stroke(*BAR)
    stroke = browser.drawing()
    image.fromarray(PICTURES["light"]).save(tmp_path / "light.png")
    browser.find("file").send_keys(str(tmp_path / "light.png"))
    browser.wait(
        "!document.getElementById('paper').toDataURL().endsWith(arguments[0])",
        base64.b64encode(stroke).decode(),
    )
    picture = browser.drawing()
    browser.stroke(*BAR)
    assert browser.drawing() == stroke
    browser.find("undo").click()
    assert browser.drawing() == picture
    browser.find("undo").click()
    assert browser.drawing() == stroke


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("<b>notes</b>.txt", None, "“<b>notes<b>.txt” is no picture that this browser can read."),
        ("blank.png", np.full((50, 40, 3), 200, np.uint8), "There is no digit to be seen: the pi"),
        ("tiny.png", np.zeros((3, 5, 3), np.uint8), "The picture is 5 x 3 pixels, which is too"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(
    browser: Browser, tmp_path: Path, name: str, content: np.ndarray | None, words: str
) -> None:
    browser.show(page(PARAMS))
    file = tmp_path / name.replace("/", "")
    if content is None:
        file.write_text("no picture")
    else:
        pytest.importorskip("PIL.Image", reason=NO_PILLOW).fromarray(content).save(file)
    browser.stroke(*BAR)
    browser.find("file").send_keys(str(file))
    browser.wait("mnist_fn.answer() === null")
    assert words in browser.text("status")
    assert re.search(
        r"(or draw a digit|Draw a digit, or open another picture)\.$", browser.text("says")
    )
    assert browser.text("digit") == "?"
    browser.find("undo").click()
    assert browser.shown().size == 10


def test_it_loads_nothing_and_logs_nothing(browser: Browser, drawings: dict[Path, int]) -> None:
    browser.show(page(mf.init_params(mf.key(0), hidden=800)))
    browser.stroke(*SEVEN)
    browser.find("file").send_keys(str(next(iter(drawings))))
    browser.find("clear").click()
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.driver.get_log("browser") == []


def test_it_fits_a_narrow_phone(browser: Browser) -> None:
    members = [mf.Member(PARAMS, view) for view in (as_they_are, deslanted, standardized)]
    metrics = {"width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.show(page(members))
        browser.stroke(*SEVEN, touch=True)
        assert browser.shown().size == 10
        assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [320] * 2
        sizes = browser.run(
            """return [...document.body.querySelectorAll("*")].map((element) =>
            element.getBoundingClientRect()).map(({left, right}) => [left, right])"""
        )
        assert np.min(sizes) >= 0
        assert np.max(sizes) <= 320
        for control in browser.driver.find_elements("css selector", "button, .open"):
            assert control.size["height"] >= 44
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_has_a_name_for_those_who_do_not_see_it(browser: Browser) -> None:
    browser.show(page(PARAMS))
    names = {
        element.accessible_name
        for element in browser.driver.find_elements(
            "css selector", "button, input, canvas, section, ol"
        )
    }
    assert {"Undo", "Clear", "Open a picture", "How probable each digit is"} <= names
    assert "" not in names
    keys = pytest.importorskip("selenium.webdriver.common.keys", reason=NO_SELENIUM).Keys
    chains = pytest.importorskip("selenium.webdriver", reason=NO_SELENIUM).ActionChains
    for name in ("undo", "clear", "file"):
        chains(browser.driver).send_keys(keys.TAB).perform()
        assert browser.run("return document.activeElement.id") == name
        focused = browser.run(
            "return getComputedStyle(document.activeElement.closest('button, label')).outlineStyle"
        )
        assert focused == "solid"
