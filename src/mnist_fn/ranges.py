"""Numbers that must be in a range, and messages for those that are not."""


def number_in(name: str, number: float, least: float = 0, below: float = 1) -> float:
    """Return the number as Python's own: np.float64 would turn float32 into float64.

    >>> number_in("adam: beta1", 1.5)
    Traceback (most recent call last):
    ValueError: adam: beta1 is 1.5, but it must be at least 0 and less than 1
    """
    if not least <= number < below:
        raise ValueError(
            f"{name} is {number}, but it must be at least {least:g} and less than {below:g}"
        )
    return float(number)
