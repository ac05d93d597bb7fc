"""A network as one HTML page, to draw digits on: no server, no network, nothing to install.

The page prepares a drawing as ``images.frame`` does and shows it to the networks by their
views, in the browser: its script (``page_template``) is that code again, in JavaScript.
"""

import base64
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .activation_functions import ActivationFunction, relu, relu_in_place, sigmoid, tanh
from .committees import Member, image_pixels
from .contracts import checked
from .network import Params
from .page_template import PAGE, SCRIPT, STYLE
from .views import VIEWS

_PIXELS, _CLASSES = 784, 10
_ACTIVATION_FUNCTIONS = (relu, relu_in_place, tanh, sigmoid)
_MOST = 32767  # of 16 bits, with a sign


@checked
def page(params: Params | Sequence[Member], g: ActivationFunction = relu) -> str:
    """Return an HTML page on which one draws a digit and sees what the network makes of it.

    All is in this one text: write it to a file and open that in a browser. With each stroke
    it shows the ten probabilities and the frame as the network sees it; pictures can be
    opened, dropped or pasted. ``W1`` is in it in 16 bits, each weight off by at most 1/65534
    of the largest one of its hidden unit, and the rest in float32: that moves a probability by
    less than 0.001 where weights are of a usual size.

    Args:
        params: those of a network 784 -> hidden -> 10, or the members of a committee.
        g: the hidden activation function: ``relu``, ``tanh`` or ``sigmoid``.

    Raises:
        ValueError: there is no network, one has another number of pixels or classes or a
            weight that is not finite, or the page does not know its view or ``g``.

    >>> from mnist_fn import init_params, key
    >>> html = page(init_params(key(0), hidden=800))
    >>> "784-800-10" in html, len(html) < 2_000_000
    (True, True)

    """
    members = [Member(params)] if isinstance(params, Params) else list(params)
    _check(members, g)
    # Only base64, numbers and names known here come into the page: nothing to be escaped.
    networks = ",\n".join(map(_network, members))
    parts = {
        "sizes": _sizes(members),
        "about": _about(members, g),
        "style": STYLE,
        "script": SCRIPT,
        "network": f'{{"g": "{g.name}", "members": [\n{networks}]}}',
    }
    text = PAGE
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def _check(members: list[Member], g: ActivationFunction) -> None:
    if not members:
        raise ValueError(
            "page: there is no network: params is empty, but must be Params, or one Member or more"
        )
    # A function of one's own may have the name of another one.
    if g not in _ACTIVATION_FUNCTIONS:
        raise ValueError(
            f"page: g is {g.name}, which the page cannot compute; it must be mnist_fn's relu, "
            "tanh or sigmoid, and the network trained with it"
        )
    for i, (params, view) in enumerate(members):
        classes, pixels = len(params.W2), image_pixels(members[i])
        if pixels != _PIXELS:
            raise ValueError(
                f"page: network {i} is for images of {pixels} pixels, but the page makes "
                f"28 x 28 = {_PIXELS} of a drawing; train one on images of that size"
            )
        if classes != _CLASSES:
            raise ValueError(
                f"page: network {i} answers with {classes} classes, but the page shows the "
                f"{_CLASSES} digits; train one with classes={_CLASSES}"
            )
        if VIEWS.get(view.name) != view:
            raise ValueError(
                f"page: network {i} sees images by the view {view.name}, which the page cannot "
                f"compute; it must be one of mnist_fn's: {', '.join(VIEWS)}"
            )
        with np.errstate(over="ignore"):
            finite = all(np.isfinite(array.astype(np.float32)).all() for array in params)
        if not finite:
            raise ValueError(
                f"page: network {i} has a weight or bias that is not a finite float32 number; "
                "train it anew, with a smaller learning rate"
            )


def _network(member: Member) -> str:
    _, b1, W2, b2 = member.params
    W1 = member.params.W1.astype(np.float64)  # so that both precisions round alike
    scales = (np.abs(W1).max(axis=1) / _MOST).astype("<f4")
    steps = W1 / np.maximum(scales, np.finfo(np.float32).smallest_subnormal)[:, np.newaxis]
    levels = np.rint(steps).clip(-_MOST, _MOST).astype("<i2")
    # All units' weights of a pixel lie together, so that those of a blank one can be skipped.
    parts = {"W1": levels.T, "scales": scales}
    parts |= {"b1": b1.astype("<f4"), "W2": W2.astype("<f4"), "b2": b2.astype("<f4")}
    fields = {"view": member.view.name}
    fields |= {name: base64.b64encode(part.tobytes()).decode() for name, part in parts.items()}
    return "{" + ", ".join(f'"{name}": "{text}"' for name, text in fields.items()) + "}"


def _sizes(members: list[Member]) -> str:
    """Return the numbers of units, such as ``784-800-10`` or ``3 x 784-800-10``."""
    counts = Counter(member.params.W1.shape for member in members)
    return ", ".join(
        (f"{count} x " if members[1:] else "") + f"{inputs}-{hidden}-{_CLASSES}"
        for (hidden, inputs), count in counts.items()
    )


def _about(members: list[Member], g: ActivationFunction) -> str:
    numbers = sum(array.size for member in members for array in member.params)
    what = f"a committee of {len(members)} networks" if members[1:] else "a network"
    views = dict.fromkeys(member.view.name for member in members)
    seen = f", shown images {' and '.join(views)}"
    return f"{what}, {_sizes(members)} with {g.name}{seen}, {numbers:,} weights and biases"
