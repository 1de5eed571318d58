import pytest

from viewer.text import counted, day


@pytest.mark.parametrize(
    ("timestamp", "words"),
    [("2026-01-07T09:30:00Z", "7 January 2026"), ("2025-12-31T23:59:59Z", "31 December 2025")],
)
def test_day(timestamp, words):
    assert day(timestamp) == words


def test_day_refuses_what_is_no_timestamp():
    with pytest.raises(ValueError):
        day("yesterday")


@pytest.mark.parametrize(("number", "words"), [(0, "0 comments"), (1, "1 comment"), (2, "2 comments")])
def test_counted(number, words):
    assert counted(number, "comment") == words
