"""Time limits as sbatch writes them."""

import pytest

from slurm.submit.time_limit import SHORTEST_MIN, in_words, parse_minutes, show_minutes, working_s


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("0:01", 1),
        ("24:00:00", 1440),
        ("00:10:30", 11),
        ("2-0", 2880),
        ("1-12", 2160),
        ("1-12:30", 2190),
        ("1-12:30:01", 2191),
    ],
)
def test_sbatch_forms(text: str, minutes: int) -> None:
    assert parse_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1-", "1.5", "0", "0:00:00", "1h"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time"):
        parse_minutes(text)


def test_shown_as_slurm_does() -> None:
    assert [show_minutes(n) for n in (4, 90, 1440, 1500)] == [
        "00:04:00",
        "01:30:00",
        "1-00:00:00",
        "1-01:00:00",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1:30", "1 minute 30 seconds"),
        ("1:30:00", "1 hour 30 minutes"),
        ("2-1", "2 days 1 hour"),
        ("90", "1 hour 30 minutes"),
    ],
)
def test_in_words(text: str, words: str) -> None:
    assert in_words(text) == words


def test_the_shortest_limit_leaves_time_to_work() -> None:
    assert working_s(SHORTEST_MIN) > 0 >= working_s(SHORTEST_MIN - 1)
