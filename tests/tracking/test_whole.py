"""What of a journal readers may rely on: a record is whole, or it is skipped and counted."""

import json

import pytest

from pipeline.tracking.journal import Journal, read_journal
from pipeline.tracking.whole import is_whole

PROCESS = {"pid": 1, "host": "n1", "started_s": 1.0}
START = {"kind": "start", "t_ms": 1, "step": 0, "process": PROCESS, "world_size": 2}
METRICS = {"kind": "metrics", "t_ms": 1, "step": 1, "metrics": {"a": 1, "b": "NaN"}}
DATASET = {"name": "digits", "split": "train", "digest": "ab", "samples": 3}
MODEL = {"folder": "checkpoints/step-1", "epoch": None, "metrics": {"val/top1": 5.0}}


@pytest.mark.parametrize(
    "record",
    [
        START,
        START | {"process": None, "nodes": ["n1"], "job_id": None},
        METRICS,
        {"kind": "system", "t_ms": 1, "step": 1, "metrics": {}},
        {"kind": "tags", "t_ms": 1, "tags": {"resumed_from_step": "4"}},
        {"kind": "dataset", "t_ms": 1, "dataset": DATASET},
        {"kind": "model", "t_ms": 1, "step": 1, "model": MODEL},
        {"kind": "end", "t_ms": 1, "status": "FINISHED"},
        {"kind": "of a later version", "t_ms": 1},
    ],
)
def test_whole_records(record):
    assert is_whole(record)


@pytest.mark.parametrize(
    "record",
    [
        None,
        [1],
        {"t_ms": 1},
        {"kind": ["start"], "t_ms": 1},
        {"kind": "of a later version"},
        {"kind": "start", "step": 0},
        {"kind": "start", "t_ms": 1},
        START | {"t_ms": "1"},
        START | {"t_ms": 1e300},
        START | {"t_ms": 10**30},
        START | {"step": True},
        START | {"world_size": "two"},
        START | {"nodes": "n1"},
        START | {"attempt": None},
        START | {"job_id": 12},
        START | {"process": "1"},
        START | {"process": {"host": "n1"}},
        START | {"process": PROCESS | {"pid": -1}},
        START | {"process": PROCESS | {"pid": 10**12}},
        START | {"process": PROCESS | {"started_s": "?"}},
        {"kind": "metrics", "t_ms": 1, "metrics": {}},
        METRICS | {"metrics": {"a": None}},
        METRICS | {"metrics": {"a": 10**400}},
        METRICS | {"metrics": [1.0]},
        {"kind": "params", "t_ms": 1, "params": "x"},
        {"kind": "tags", "t_ms": 1, "tags": {"resumed_from_step": "x"}},
        {"kind": "tags", "t_ms": 1, "tags": ["world_size"]},
        {"kind": "dataset", "t_ms": 1, "dataset": DATASET | {"samples": "x"}},
        {"kind": "model", "t_ms": 1, "step": 1, "model": MODEL | {"epoch": "x"}},
        {"kind": "model", "t_ms": 1, "step": 1, "model": {"folder": "x"}},
        {"kind": "end", "t_ms": 1, "summary": "x"},
    ],
)
def test_damaged_records(record):
    assert not is_whole(record)


def test_a_run_goes_on_over_damaged_records(tmp_path):
    path = tmp_path / "journal.jsonl"
    damaged = [{"kind": "start", "step": 0}, {"kind": "tags", "t_ms": 1}, START | {"process": {}}]
    path.write_text("".join(json.dumps(record) + "\n" for record in [*damaged, START, METRICS]))
    journal = Journal(path)
    assert (journal.unreadable, len(journal.past), journal.last_step) == (3, 1, 1)
    journal.close()


def test_the_first_record_is_found_behind_damaged_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(f"\0\0\0\n[1]\n{json.dumps(START)}\n{json.dumps(METRICS)}\n")
    chunk = read_journal(path, max_bytes=1)
    assert (chunk.records, chunk.unreadable) == ([START], 2)
