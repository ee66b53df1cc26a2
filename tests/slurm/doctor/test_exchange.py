"""All-reduces between real processes, two at a time."""

import json

from tests.dist.nursery import Nursery

RANK = "tests.slurm.doctor.exchanging_rank"


def test_of_three_each_two_exchange(nursery: Nursery) -> None:
    rates = [json.loads(text) for text in nursery.results(3, RANK)]
    assert [set(row) for row in rates] == [{"1", "2"}, {"0", "2"}, {"0", "1"}]
    assert all(isinstance(rate, float) and rate > 0 for row in rates for rate in row.values())


def test_one_who_never_comes_is_passed_over(nursery: Nursery) -> None:
    here, also, nothing = nursery.results(3, RANK, "absent=2")
    assert nothing == ""
    for text, other in ((here, "1"), (also, "0")):
        row = json.loads(text)
        assert row["2"] == "it does not take part"
        assert isinstance(row[other], float)
