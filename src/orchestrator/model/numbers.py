"""Numbers as documents write them, and those that can't be kept."""

from typing import NamedTuple

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**64 - 1


class BadNumber(NamedTuple):
    """Stands in a tree of data where a number is written that can't be kept; becomes a fault with its place."""

    written: str
    reason: str


def read_float(written: str) -> float | BadNumber:
    """The number that a text with a point or an exponent means."""
    number = float(written)
    if number in (float("inf"), float("-inf")):
        return BadNumber(written, "is larger than any number that can be kept")
    return number


def read_integer(written: str) -> int | BadNumber:
    """The number that a text of digits means."""
    if len(written) <= 20:
        number = int(written)
        if INTEGER_MIN <= number <= INTEGER_MAX:
            return number
    return BadNumber(written, "has more than 64 bits")
