"""The page: what is in its text."""

import base64
import json
import re
from typing import Any

import numpy as np
import pytest

import mnist_fn as mf
from mnist_fn.activation_functions import relu_in_place
from mnist_fn.page import page
from mnist_fn.page_template import STYLE
from mnist_fn.views import deslanted, standardized


def network_in(html: str) -> Any:
    found = re.search(r'<script id="network" type="application/json">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_it_is_all_in_one_text_of_less_than_two_megabytes() -> None:
    html = page(mf.init_params(mf.key(0), hidden=800))
    assert len(html.encode()) < 2_000_000
    assert html.startswith("<!DOCTYPE html>")
    assert html.endswith("</html>\n")
    assert "784-800-10" in html
    assert "636,010 weights" in html
    assert not re.search(r"https?:|//cdn|\bsrc\s*=|@import|url\(|{{|}}", html)
    assert set(re.findall(r'href="(.*?)"', html)) == {"data:,"}
    assert "default-src 'none'" in html


def test_the_same_numbers_give_the_same_text() -> None:
    params = mf.init_params(mf.key(0), hidden=7)
    html = page(params)
    doubles = mf.Params(*(np.asfortranarray(p.astype(np.float64)) for p in params))
    assert page(params) == html
    assert page(doubles) == html
    assert page([mf.Member(params)]) == html
    assert page(params, relu_in_place) == html
    assert page(mf.init_params(mf.key(1), hidden=7)) != html
    assert page(params, mf.tanh) != html


def test_the_weights_in_it_are_as_near_as_it_says() -> None:
    params = mf.init_params(mf.key(3), hidden=9)
    W1 = params.W1 * np.logspace(-30, 3, 9, dtype=np.float32)[:, np.newaxis]
    W1[4] = 0
    params = mf.Params(W1, params.b1 + np.float32(0.1), params.W2, params.b2 - np.float32(0.3))
    (member,) = network_in(page(params, mf.sigmoid))["members"]

    def array(name: str, dtype: str) -> np.ndarray:
        return np.frombuffer(base64.b64decode(member[name]), dtype).astype(np.float64)

    decoded = (array("W1", "<i2").reshape(784, 9) * array("scales", "<f4")).T
    largest = np.abs(W1).max(axis=1, keepdims=True)
    assert (np.abs(decoded - W1) <= largest * (1 / 65534 + 1e-7)).all()
    levels = np.abs(array("W1", "<i2")).reshape(784, 9).max(axis=0)
    assert levels.tolist() == [32767 * (unit != 4) for unit in range(9)]
    np.testing.assert_array_equal(array("b1", "<f4"), params.b1.ravel())
    np.testing.assert_array_equal(array("W2", "<f4"), params.W2.ravel())
    np.testing.assert_array_equal(array("b2", "<f4"), params.b2.ravel())


def test_it_tells_what_the_network_is() -> None:
    small, large = (mf.init_params(mf.key(0), hidden=n) for n in (5, 12))
    members = [mf.Member(small), mf.Member(large, deslanted), mf.Member(small, standardized)]
    html = page(members, mf.tanh)
    views = [member["view"] for member in network_in(html)["members"]]
    assert views == ["as they are", "deslanted", "standardized"]
    assert "a committee of 3 networks, 2 x 784-5-10, 1 x 784-12-10 with tanh, shown" in html
    assert "deslanted and standardized, 17," in html
    says = r"\ba network, 784-5-10 with relu, shown images as they are, 3,985 weights"
    assert re.search(says, page(small))


def test_two_networks_are_a_committee() -> None:
    members = [mf.Member(mf.init_params(mf.key(i), hidden=5)) for i in range(2)]
    says = "2 networks, 2 x 784-5-10 with relu, shown images as they are, 7,970 weights"
    assert says in page(members)


PARAMS = mf.init_params(mf.key(0), hidden=3)
OWN_VIEW = mf.View("</script>", lambda X: X)
OWN_G = mf.relu._replace(function=np.tanh)


@pytest.mark.parametrize(
    ("params", "g", "message"),
    [
        ([], mf.relu, "page: there is no network: params is empty, but must be"),
        (
            mf.init_params(mf.key(0), pixels=64, hidden=3),
            mf.relu,
            "page: network 0 is for images of 64 pixels, but the page makes 28 x 28 = 784",
        ),
        (
            mf.init_params(mf.key(0), pixels=1024, hidden=3),
            mf.relu,
            "page: network 0 is for images of 1024 pixels, but the page makes 28 x 28 = 784",
        ),
        (
            mf.init_params(mf.key(0), hidden=3, classes=9),
            mf.relu,
            "page: network 0 answers with 9 classes, but the page shows the 10 digits; train",
        ),
        (
            [mf.Member(PARAMS), mf.Member(mf.init_params(mf.key(0), hidden=3, classes=26))],
            mf.relu,
            "page: network 1 answers with 26 classes, but the page shows the 10 digits; train",
        ),
        ([mf.Member(PARAMS, OWN_VIEW)], mf.relu, "it must be one of mnist_fn's: as they are, des"),
        (
            [mf.Member(PARAMS, OWN_VIEW._replace(name="deslanted"))],
            mf.relu,
            "page: network 0 sees images by the view deslanted, which the page cannot compute",
        ),
        (PARAMS, mf.tanh._replace(name="mine"), "page: g is mine, which the page cannot compute"),
        (PARAMS, OWN_G, "it must be mnist_fn's relu, tanh or sigmoid"),
        (
            PARAMS._replace(b1=np.full((3, 1), np.nan, np.float32)),
            mf.relu,
            "page: network 0 has a weight or bias that is not a finite float32 number",
        ),
        (
            mf.Params(*(p.astype(np.float64) * 1e300 + 1e300 for p in PARAMS)),
            mf.relu,
            "not a finite float32 number; train it anew, with a smaller learning rate",
        ),
    ],
)
def test_what_the_page_cannot_show_is_refused(
    params: Any, g: mf.ActivationFunction, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        page(params, g)


def test_the_text_can_be_read_on_its_ground() -> None:
    """Contrasts of at least 4.5 for text and 3 for edges: level AA of WCAG 2.2."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        rgb = np.array(list(bytes.fromhex(digits))) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    schemes = re.findall(r":root \{(.*?)\}", STYLE, re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for name, least in {"text": 4.5, "muted": 4.5, "accent": 4.5, "edge": 3.0}.items():
            for ground in ("ground", "raised"):
                pair = sorted(luminance(colours[which]) for which in (name, ground))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= least, (name, ground)
