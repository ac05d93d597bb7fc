"""What a network makes of pictures, as lines for people and as JSON for programs."""

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..committees import committee_probabilities, image_pixels
from ..images import frame
from .models import Model
from .pictures import PictureError, find_pictures, read_picture
from .terminal import CommandError, percent, printable

_SHADES = " .:-=+*#%@"
_TOO_LARGE = (
    "the network's weights are so large that it gives no digit a probability; train one with a "
    "smaller --learning-rate"
)


class Answer(NamedTuple):
    """What came of one picture: a frame and its probabilities, or an error."""

    file: str
    image: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    error: str = ""


def check_pixels(model: Model, name: str) -> None:
    """Refuse a network that is not for the digits of MNIST."""
    pixels, classes = image_pixels(model.members[0]), len(model.members[0].params.W2)
    if pixels != 784 or classes != 10:
        raise CommandError(
            f"{name} is for images of {pixels} pixels and tells {classes} "
            "classes apart, but pictures become images of 784 pixels, of ten digits"
        )


def answers(model: Model, names: Sequence[str]) -> Iterator[Answer]:
    """Yield what the network makes of each picture; one that is no good does not end it."""
    dtype = model.members[0].params.W1.dtype
    for name in find_pictures(names):
        try:
            image = frame(read_picture(name))
        except (PictureError, ValueError) as error:
            yield Answer(name, error=str(error).removeprefix("frame: "))
        else:
            X = image.reshape(784, 1).astype(dtype)
            probabilities = committee_probabilities(model.members, X, model.g)[:, 0]
            if np.isnan(probabilities).any():
                yield Answer(name, error=_TOO_LARGE)
            else:
                yield Answer(name, image, probabilities)


def line_of(answer: Answer) -> str:
    """Return the answer for people: the digit, how probable it is, and the next two."""
    if answer.probabilities is None:
        return f"{printable(answer.file)}: {printable(answer.error)}"
    first, *others = np.argsort(-answer.probabilities, kind="stable")[:3]
    share = answer.probabilities
    rest = ", ".join(f"{digit} {percent(float(share[digit]))}" for digit in others)
    return f"{printable(answer.file)}: {first}  {percent(float(share[first]))}  (then {rest})"


def json_of(all_answers: Sequence[Answer]) -> str:
    """Return the answers for programs: an array of objects."""

    def record(answer: Answer) -> dict[str, object]:
        if answer.probabilities is None:
            return {"file": answer.file, "error": answer.error}
        probabilities = answer.probabilities.tolist()
        return {
            "file": answer.file,
            "digit": int(answer.probabilities.argmax()),
            "probabilities": probabilities,
        }

    return json.dumps([record(answer) for answer in all_answers], indent=2)


def shown(image: np.ndarray) -> str:
    """Return an image as text, two characters a pixel, so that it is about square."""
    levels = np.minimum((image * len(_SHADES)).astype(int), len(_SHADES) - 1)
    lines = ("".join(2 * _SHADES[level] for level in row).rstrip() for row in levels)
    return "\n".join(f"    |{line}" for line in lines)
