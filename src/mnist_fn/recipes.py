"""Named, complete settings of a training run."""

from typing import Literal, NamedTuple

from .activation_functions import ActivationFunction, relu
from .augment import Distortion
from .views import View, as_they_are, deslanted, deslanted_edges, standardized_edges


class Recipe(NamedTuple):
    """The settings of a training run; ``_replace`` makes variations of it.

    ``name`` is what it is chosen by, ``hidden`` and ``g`` are what the network has, ``epochs``
    how often each image is seen. ``learning_rate``, ``schedule``, ``momentum`` and ``nesterov``
    are those of the optimizer; ``pixel_dropout`` and ``hidden_dropout`` those of ``Dropout``.
    """

    name: str
    hidden: int
    epochs: int
    batch_size: int | None
    """None is the whole training set."""
    learning_rate: float
    warm_up: int = 0
    """The epochs in which the learning rate rises from 0, before its schedule begins.

    The last epoch is never one of them.
    """
    schedule: Literal["constant", "cosine"] = "constant"
    momentum: float = 0.0
    nesterov: bool = False
    pixel_dropout: float = 0.0
    hidden_dropout: float = 0.0
    distortion: Distortion | None = None
    """Each batch is distorted anew, by at most this, in the first epoch."""
    distortion_end: float = 1.0
    """By at most so much of that in the last epoch, and in between by a share that falls evenly."""
    views: tuple[View, ...] = (as_they_are,)
    """How the network is shown the images. More than one is a committee with as many members."""
    joined: bool = False
    """Whether these networks become one, as wide as all together, that sees by all their views."""
    about: str = ""
    """What it is good for, to choose by."""
    init: Literal["he", "uniform"] = "he"
    """``he`` is ``init_params``; ``uniform`` draws weights and biases from [-0.5, 0.5)."""
    g: ActivationFunction = relu


quick: Recipe = Recipe(
    "quick",
    hidden=256,
    epochs=8,
    batch_size=64,
    learning_rate=0.1,
    schedule="cosine",
    momentum=0.9,
    distortion=Distortion(displacement=10),
    about="784-256-10 on distorted images: 98.8 % of MNIST in 11 seconds",
)

digits: Recipe = quick._replace(
    name="digits",
    hidden=128,
    epochs=100,
    distortion=None,
    about="784-128-10 on the built-in digits: 96.6 % in 1 second",
)

plain: Recipe = Recipe(
    "plain",
    hidden=800,
    epochs=100,
    batch_size=128,
    learning_rate=0.1,
    warm_up=1,
    schedule="cosine",
    momentum=0.9,
    nesterov=True,
    pixel_dropout=0.2,
    hidden_dropout=0.5,
    views=(deslanted,),
    about="784-800-10 with dropout, deslanted images: 99.0 % of MNIST in 5 minutes",
)

elastic: Recipe = plain._replace(
    name="elastic",
    epochs=100,
    pixel_dropout=0.0,
    hidden_dropout=0.0,
    distortion=Distortion(24, 4, rotation=12, scaling=0.12, shear=0.12, shift=1.2),
    distortion_end=0.4,
    views=(deslanted_edges,),
    about="784-800-10 on the edges of distorted, deslanted images: 99.5 % of MNIST in 4 minutes",
)

best: Recipe = elastic._replace(
    name="best",
    views=(deslanted_edges, standardized_edges),
    joined=True,
    about="1568-1600-10, two like elastic with two views, joined: 99.7 % of MNIST in 8 minutes",
)

committee: Recipe = elastic._replace(
    name="committee",
    views=(deslanted_edges, standardized_edges),
    about="two like elastic with two views, by their mean: 99.7 % of MNIST in 8 minutes",
)

seed: Recipe = Recipe(
    "seed",
    hidden=10,
    epochs=500,
    batch_size=None,
    learning_rate=0.1,
    init="uniform",
    about="784-10-10, 500 steps of plain gradient descent: 85 % of MNIST in 1 minute",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (quick, digits, plain, elastic, best, committee, seed)
}
"""Every recipe by its name."""
