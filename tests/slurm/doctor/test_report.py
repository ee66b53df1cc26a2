"""The table as a newcomer reads it."""

import json

from slurm.doctor.finding import Finding
from slurm.doctor.report import as_json, summary, table

FINDINGS = [
    Finding("python", "ok", "3.11.7", "", "n1"),
    Finding("shards", "ok", "1 MB at 900 MB/s", "", "n1"),
    Finding("python", "ok", "3.11.7", "", "n2"),
    Finding("shards", "fail", "no manifest.json there", "mount the file system on n2", "n2"),
]


def test_equal_nodes_share_a_line_and_the_worst_stands_first() -> None:
    assert table(FINDINGS, 80).splitlines() == [
        "STATE  CHECK   NODE   WHAT IS FOUND",
        "ok     python  n1,n2  3.11.7",
        "fail   shards  n2     no manifest.json there",
        "                      remedy: mount the file system on n2",
        "ok     shards  n1     1 MB at 900 MB/s",
    ]


def test_many_equal_nodes_are_counted() -> None:
    many = [Finding("python", "ok", "3.11.7", "", f"n{number}") for number in range(1, 9)]
    assert "n1 and 7 more  3.11.7" in table(many, 80)


def test_one_machine_needs_no_column_of_nodes() -> None:
    assert table(FINDINGS[:2], 80).splitlines()[0] == "STATE  CHECK   WHAT IS FOUND"


def test_lines_keep_to_the_terminal() -> None:
    long = [Finding("disk", "warn", "word " * 60, "more words " * 20, "n1")]
    assert max(map(len, table(long, 70).splitlines())) <= 70


def test_the_last_line_names_the_nodes() -> None:
    assert summary(FINDINGS) == "4 checks: 1 failed, on n2"
    assert summary(FINDINGS[:3]) == "3 checks: none failed"
    assert summary([Finding("a", "warn", "b", "c", "n1")]) == "1 check: none failed; 1 warning"


def test_json_has_it_all() -> None:
    pairs = [{"nodes": ["n1", "n2"], "mb_per_s": 900.0}]
    report = json.loads(json.dumps(as_json(FINDINGS, pairs, 3)))
    assert report["exit_code"] == 3 and report["all_reduce"] == pairs
    assert [Finding(**finding) for finding in report["findings"]] == FINDINGS
