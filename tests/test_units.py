from datetime import timedelta

import pytest

from kept.errors import InvalidInput
from kept.units import expiry, parse_bytes, parse_span


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("7d", 7 * 86400), ("12h", 43200), (" 1.5 min ", 90), ("30 s", 30), ("2w", 14 * 86400),
        ("0s", 0), (5, 5), (0.5, 0.5), (timedelta(hours=1), 3600),
    ],
)  # fmt: skip
def test_spans(given, seconds):
    assert parse_span(given, "x").total_seconds() == seconds


@pytest.mark.parametrize(
    "given", ["", "7", "d", "7 days or so", "-1d", -1, True, None, [], float("nan"), 1e99,
              timedelta(-1), "1000000d", "9" * 400 + "w", timedelta.max],
)  # fmt: skip
def test_what_is_no_span(given):
    with pytest.raises(InvalidInput) as caught:
        parse_span(given, "grace")
    assert str(caught.value).startswith("grace is a time such as '7d'")
    assert f"Received: {given!r}" in str(caught.value)


def test_a_number_without_a_unit_is_explained():
    with pytest.raises(InvalidInput, match="Add a unit, as in '7d'"):
        parse_span("7", "ttl")


@pytest.mark.parametrize(
    ("given", "size"),
    [("50GB", 50 * 10**9), ("1.5 MB", 1_500_000), ("2 GiB", 2 << 30), ("7B", 7), (0, 0), (9, 9)],
)
def test_numbers_of_bytes(given, size):
    assert parse_bytes(given, "x") == size


@pytest.mark.parametrize("given", ["", "50", "GB", "50gb", "50 GBs", -1, 1.5, True, None])
def test_what_is_no_number_of_bytes(given):
    with pytest.raises(InvalidInput, match="bytes is a number of bytes") as caught:
        parse_bytes(given, "bytes")
    assert f"Received: {given!r}" in str(caught.value)


def test_expiry_is_from_now():
    assert expiry(None) is None
    assert expiry("1d") < expiry("2d")
    assert expiry("1d").endswith("Z")
