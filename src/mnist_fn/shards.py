"""Gradients over shards: what one machine or one moment cannot hold, as a map and a reduction.

The loss is a mean over the samples. Hence its gradient is the mean of the gradients of the
shards, each weighted with its number of samples, and who computes them makes no difference.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .activation_functions import ActivationFunction, relu
from .arrays import freeze
from .batches import Batch
from .contracts import checked
from .hints import Map
from .network import Gradients, Params, backward, forward


@checked
def sharded_gradients(
    params: Params,
    shards: Iterable[Batch],
    g: ActivationFunction = relu,
    label_smoothing: float = 0.0,
    *,
    map: Map = map,
) -> Gradients:
    """Compute the derivatives of ``loss`` over all the samples of all the shards.

    They are those that ``backward`` computes of the whole, to rounding. The sum is taken in
    float64 and in the order of the shards, so that every ``map`` gives the same bits, as far as
    BLAS has the same kernel and number of threads wherever it runs.

    Args:
        params: where the derivatives are taken.
        shards: the samples, in parts of any size. Some may be empty. With the built-in ``map``,
            they are taken from an iterator one by one, and only one is held at a time.
        g: the hidden activation function. To reach other processes it must pickle: its
            functions must be found by name in a module.
        label_smoothing: as in ``loss``.
        map: the built-in, or that of an executor, which takes all the shards at once:
            ``ProcessPoolExecutor().map`` or, for a list of shards, Dask's
            ``Client.get_executor().map``.

    Raises:
        ValueError: there is no sample, or what ``backward`` refuses.
        TypeError: ``map`` returns something else than results, such as futures.

    >>> from mnist_fn import init_params, key
    >>> params = init_params(key(0))
    >>> shards = (Batch(np.ones((784, m), np.float32), np.zeros(m, np.uint8)) for m in (2, 0, 3))
    >>> sharded_gradients(params, shards).dW1.shape
    (128, 784)

    """
    # Images that lie in memory as after a pickle are multiplied in the same way everywhere.
    laid = (Batch(np.asfortranarray(X), Y) for X, Y in shards if X.size or Y.size)
    all_or_next = list(laid) if isinstance(shards, Sequence) else laid
    parts = map(functools.partial(gradients_of_shard, params, g, label_smoothing), all_or_next)
    nothing = [np.zeros_like(p, np.float64) for p in params]
    m, sums = functools.reduce(_add, parts, (0, nothing))
    if m == 0:
        raise ValueError(
            "sharded_gradients: there is no sample, and a mean needs one; an iterator of shards "
            "can be gone through only once"
        )
    dtype = params.W1.dtype
    return freeze(Gradients(*((dp / m).astype(dtype) for dp in sums)))


@checked
def gradients_of_shard(
    params: Params, g: ActivationFunction, label_smoothing: float, shard: Batch
) -> tuple[int, Gradients]:
    """Return how many samples a shard has, and the derivatives of the loss over them.

    It is found by its name in every process that can import it.

    >>> from mnist_fn import init_params, key
    >>> shard = Batch(np.ones((784, 2), np.float32), np.array([3, 8]))
    >>> gradients_of_shard(init_params(key(0)), relu, 0.0, shard)[0]
    2
    """
    X, Y = shard
    activations = forward(params, X, g)
    return len(Y), backward(params, activations, X, Y, g, label_smoothing)


def _add(total: tuple[int, list[np.ndarray]], part: Any) -> tuple[int, list[np.ndarray]]:
    if not (isinstance(part, tuple) and len(part) == 2):
        raise TypeError(
            f"sharded_gradients: map returned a {type(part).__name__}, but it must return the "
            "results; give it the map of an executor, for Dask client.get_executor().map"
        )
    (m, sums), (samples, gradients) = total, part
    weight = np.float64(samples)  # which makes the products float64, too
    return m + samples, [s + weight * dp for s, dp in zip(sums, gradients, strict=True)]
