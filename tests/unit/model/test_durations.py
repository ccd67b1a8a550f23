"""Lengths of time as people write them."""

import pytest

from orchestrator.model.durations import parse_duration, to_microseconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (30, 30),
        (1.5, 1.5),
        (0, 0),
        ("45", 45),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("250ms", 0.25),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1.5h", 5400),
        ("PT5M", 300),
        ("P1DT2H", 93600),
        ("PT0.5S", 0.5),
        ("P2W", 1209600),
    ],
)
def test_a_duration_is_read(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        True,
        None,
        [],
        "",
        " ",
        "x",
        "5 parsecs",
        "-5s",
        -1,
        "P",
        "PT",
        "1M2",
        "5m5",
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        "9" * 200 + "s",
        "999999999w",
        "٣s",
    ],
)
def test_what_is_no_duration_is_refused_with_the_forms(written: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(written)


def test_microseconds_are_whole() -> None:
    assert to_microseconds(0.1) == 100_000
    assert to_microseconds(1e-7) == 0
