"""The journal keeps the first write of a step through any sequence of restarts and kills."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UserError
from pipeline.tracking import journal as journal_module
from pipeline.tracking.journal import Journal, metric_values, read_journal

KEYS = ("train/loss", "val/top1", "perf/img_per_s")
WRITES = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 30), st.floats(width=32)), max_size=12
)


class Clock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        self.ms += 7
        return self.ms


def written(path: Path) -> list[tuple[str, int, float]]:
    return [
        (key, record["step"], value)
        for record in read_journal(path).records
        for key, value in metric_values(record).items()
    ]


@settings(max_examples=60, deadline=None)
@given(launches=st.lists(st.tuples(WRITES, st.binary(max_size=40)), min_size=1, max_size=4))
def test_first_write_wins_over_restarts(tmp_path_factory, launches):
    path = tmp_path_factory.mktemp("run") / "journal.jsonl"
    expected: list[tuple[str, int, float]] = []
    last: dict[str, int] = {}
    for writes, torn in launches:
        journal = Journal(path, Clock())
        for key, step, value in writes:
            journal.metrics({key: value}, step)
            if step > last.get(key, -1):
                expected.append((key, step, value))
                last[key] = step
        journal.close()
        # What a kill leaves: the beginning of a line, without its end.
        with path.open("ab") as file:
            file.write(torn.replace(b"\n", b""))
    assert repr(written(path)) == repr(expected)
    for key in KEYS:
        steps = [step for name, step, _ in written(path) if name == key]
        assert steps == sorted(set(steps))


def test_a_half_written_line_is_cut_off_and_the_step_written_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.metrics({"train/loss": 1.0}, 10)
    journal.metrics({"train/loss": 2.0}, 20)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    journal = Journal(path)
    assert path.read_bytes() == whole[: whole.index(b"\n") + 1]
    journal.metrics({"train/loss": 2.5}, 20)
    journal.close()
    assert written(path) == [("train/loss", 10, 1.0), ("train/loss", 20, 2.5)]


def test_a_half_line_longer_than_the_block_that_is_searched(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "_TAIL_BLOCK_BYTES", 16)
    path = tmp_path / "journal.jsonl"
    Journal(path).close()
    path.write_bytes(b'{"kind":"end"}\n' + b"x" * 100)
    Journal(path).close()
    assert path.read_bytes() == b'{"kind":"end"}\n'
    path.write_bytes(b"y" * 100)
    Journal(path).close()
    assert path.read_bytes() == b""


def test_killed_in_the_middle_of_writing_it_loses_no_whole_record(tmp_path):
    path = tmp_path / "journal.jsonl"
    program = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.tracking.journal import Journal\n"
        f"journal = Journal(Path({str(path)!r}))\n"
        "for step in range(10**9):\n"
        "    journal.metrics({'train/loss': step}, step)\n"
        "    if step == 200: print('far enough', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"far enough\n"
        process.kill()
    journal = Journal(path)
    assert journal.unreadable == 0
    assert journal.last_step >= 200
    journal.close()
    assert [step for _, step, _ in written(path)] == list(range(journal.last_step + 1))


def test_nan_and_infinity_survive_and_the_file_is_strict_json(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.metrics({"a": math.nan, "b": math.inf, "c": -math.inf, "d": 0.1}, 1)
    journal.close()
    with path.open() as file:
        for line in file:
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    values = metric_values(read_journal(path).records[0])
    assert math.isnan(values.pop("a"))
    assert values == {"b": math.inf, "c": -math.inf, "d": 0.1}


def test_reading_accepts_the_nan_of_pythons_json(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('{"kind":"metrics","t_ms":1,"step":1,"metrics":{"a":NaN,"b":-Infinity}}\n')
    values = metric_values(read_journal(path).records[0])
    assert math.isnan(values["a"])
    assert values["b"] == -math.inf


def test_damaged_lines_are_counted_and_the_others_read(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(
        b'{"kind":"end","t_ms":1}\n\0\0\0\n[1]\n{"kind":"start","t_ms":2,"step":0}\n{"kind"'
    )
    chunk = read_journal(path)
    assert [record["kind"] for record in chunk.records] == ["end", "start"]
    assert chunk.unreadable == 2
    assert chunk.end == path.stat().st_size - len(b'{"kind"')


def test_system_samples_are_of_a_moment_so_a_step_may_have_several(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", Clock())
    journal.system({"system/n/cpu_pct": 1.0}, 5)
    journal.system({"system/n/cpu_pct": 2.0}, 5)
    journal.close()
    records = read_journal(tmp_path / "journal.jsonl").records
    assert [record["metrics"]["system/n/cpu_pct"] for record in records] == [1.0, 2.0]
    assert len({record["t_ms"] for record in records}) == 2


def test_settings_that_change_between_launches_become_tags(tmp_path):
    path = tmp_path / "journal.jsonl"
    for value in ("1", "1", "2", "2", "1"):
        journal = Journal(path)
        journal.settings({"engine.zero_stage": value, "seed": "42"})
        journal.close()
    records = read_journal(path).records
    assert [(r["kind"], r.get("params") or r.get("tags")) for r in records] == [
        ("params", {"engine.zero_stage": "1", "seed": "42"}),
        ("tags", {"latest.engine.zero_stage": "2"}),
        ("tags", {"latest.engine.zero_stage": "1"}),
    ]


def test_one_process_at_a_time_writes_a_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "_LOCK_WAIT_S", 0.1)
    path = tmp_path / "digits" / "journal.jsonl"
    journal = Journal(path)
    with pytest.raises(UserError, match="run digits: another process trains"):
        Journal(path)
    process = {"pid": 345, "host": "n3", "started_s": 1.0}
    journal.start({"attempt": 0, "process": process, "job_id": "12"})
    with pytest.raises(UserError, match=r"run digits: job 12 \(pid 345 on n3\) trains"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_best_checkpoint_is_recorded_once_with_what_was_journaled_at_its_step(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    journal.metrics({"train/loss": 2.0, "progress/epoch": 0.5}, 4)
    journal.metrics({"val/top1": 40.0, "val/loss": math.nan, "progress/epoch": 1.0}, 8)
    journal.metrics({"val/top1": 50.0, "progress/epoch": 2.0}, 16)
    journal.close()
    for step, folder in ((8, "checkpoints/step-00000008"), (16, "checkpoints/step-00000016")):
        journal = Journal(path)
        journal.model(8, "checkpoints/step-00000008", "digits-validation")
        journal.model(step, folder, "digits-validation")
        journal.close()
    models = [r for r in read_journal(path).records if r["kind"] == "model"]
    assert [(record["step"], record["model"]) for record in models] == [
        (
            8,
            {
                "folder": "checkpoints/step-00000008",
                "epoch": 1.0,
                "metrics": {"val/top1": 40.0, "val/loss": "NaN"},
                "dataset": "digits-validation",
            },
        ),
        (
            16,
            {
                "folder": "checkpoints/step-00000016",
                "epoch": 2.0,
                "metrics": {"val/top1": 50.0},
                "dataset": "digits-validation",
            },
        ),
    ]
