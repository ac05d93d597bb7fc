"""Random numbers as values: a key goes in, and the same key gives the same bits.

A key is never used up. New, independent keys are derived from it by ``split`` and
``fold_in``, in the manner of JAX (https://docs.jax.dev/en/latest/jep/263-prng.html),
with NumPy's ``SeedSequence`` as the hash.
"""

from typing import NamedTuple

import numpy as np

from .contracts import checked


class Key(NamedTuple):
    """128 bits from which random numbers are drawn, as four 32-bit words."""

    words: tuple[int, int, int, int]


# What `split` and `fold_in` derive from one key must differ.
_SPLIT, _FOLD_IN = 0, 1


@checked
def key(seed: int) -> Key:
    """Return the key of a seed, a whole number from 0 on of any size.

    Raises:
        ValueError: the seed is negative.

    >>> key(0) == key(0), key(0) == key(1)
    (True, False)

    """
    if seed < 0:
        raise ValueError(f"key: the seed is {seed}, but it must be 0 or more")
    return _key_of(np.random.SeedSequence(seed))


@checked
def split(key: Key, n: int = 2) -> tuple[Key, ...]:
    """Return ``n`` keys that are independent of each other and of ``key``.

    Raises:
        ValueError: ``n`` is negative.

    >>> weights, order = split(key(0))
    >>> weights == order
    False

    """
    if n < 0:
        raise ValueError(f"split: n is {n}, but it must be 0 or more")
    return tuple(_derive(key, _SPLIT, i) for i in range(n))


@checked
def fold_in(key: Key, i: int) -> Key:
    """Return the key number ``i`` of those that belong to ``key``.

    Raises:
        ValueError: ``i`` is negative.

    >>> epoch_keys = [fold_in(key(0), epoch) for epoch in range(3)]
    >>> len(set(epoch_keys))
    3

    """
    if i < 0:
        raise ValueError(f"fold_in: i is {i}, but it must be 0 or more")
    return _derive(key, _FOLD_IN, i)


@checked
def generator(key: Key) -> np.random.Generator:
    """Return a new NumPy generator that starts at ``key``.

    >>> float(generator(key(0)).random()) == float(generator(key(0)).random())
    True
    """
    return np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(key.words)))


def _derive(key: Key, domain: int, i: int) -> Key:
    return _key_of(np.random.SeedSequence(key.words, spawn_key=(domain, i)))


def _key_of(sequence: np.random.SeedSequence) -> Key:
    a, b, c, d = sequence.generate_state(4).tolist()
    return Key((a, b, c, d))
