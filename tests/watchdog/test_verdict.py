"""Who is named, from what is known of every rank."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.watchdog import Verdict, newest_verdict, read_verdict, stuck_folder
from pipeline.watchdog.board import Board
from pipeline.watchdog.stack import frames, main_thread, place
from pipeline.watchdog.verdict import Report, verdict

TORCH = "/venv/site-packages/torch/distributed/distributed_c10d.py"
LOADER = "/runs/a/code/pipeline/data/loader.py"
NODES = ["n1", "n1", "n2", "n2"]


def dump(*lines: tuple[str, int, str]) -> tuple[str, ...]:
    """What faulthandler prints of a process whose main thread is there, innermost first."""
    return (
        "Thread 0x00007fe5057fa6c0 (most recent call first):",
        '  File "/lib/threading.py", line 982 in run',
        "",
        "Current thread 0x00007fe63d463b80 (most recent call first):",
        *(f'  File "{file}", line {line} in {function}' for file, line, function in lines),
    )


EXCHANGING = dump((TORCH, 39, "all_reduce"), ("/code/pipeline/engine/engine.py", 82, "train_step"))
READING = dump(("/usr/lib/queue.py", 171, "get"), (LOADER, 88, "next_batch"))


def waiting(count: int = 4) -> list[Report]:
    """Ranks that all wait in one exchange."""
    report = Report(
        rank=0,
        node="n1",
        pid=100,
        exchanges=40,
        moment="gradients, step 12",
        is_waiting=True,
        since_s=57.3,
        state="S",
        cpu_pct=0.0,
        blocked=(),
        stack=EXCHANGING,
    )
    return [replace(report, rank=rank, node=NODES[rank], pid=100 + rank) for rank in range(count)]


def judged(reports: list[Report], world_size: int = 4) -> Verdict:
    return verdict(reports, NODES[:world_size], world_size, 60)


def changed(rank: int, **facts: object) -> list[Report]:
    reports = waiting()
    reports[rank] = replace(reports[rank], **facts)
    return reports


def test_a_stopped_rank_is_named_with_its_node_and_place() -> None:
    found = judged(changed(3, state="T", stack=READING, exchanges=39, is_waiting=False))
    assert found.text == (
        "rank 3 on n2 kept 3 ranks waiting for 57 s (engine.collective_timeout_s=60) in "
        '"gradients, step 12": it was stopped (state T) at usr/lib/queue.py:171 get, called from '
        "pipeline/data/loader.py:88 next_batch"
    )
    (culprit,) = found.culprits
    assert (culprit.rank, culprit.node, culprit.stack[1:]) == (3, "n2", READING[4:])


def test_a_rank_without_a_report_is_named_with_the_node_it_had() -> None:
    found = judged(waiting(3))
    assert [(c.rank, c.node, c.stack) for c in found.culprits] == [(3, "n2", ())]
    assert "rank 3 on n2 kept 3 ranks waiting for 57 s" in found.text
    assert "nothing was heard of it" in found.text


def test_a_rank_that_never_came_has_no_node() -> None:
    found = verdict(waiting(3), [], 4, 60)
    assert found.text.startswith("rank 3 on an unknown node kept 3 ranks waiting")


def test_a_lost_node_is_all_of_its_ranks() -> None:
    found = judged(waiting(2))
    assert [(c.rank, c.node) for c in found.culprits] == [(2, "n2"), (3, "n2")]
    assert found.text.startswith("2 ranks kept 2 ranks waiting for 57 s")
    assert "rank 2 on n2: nothing was heard" in found.text


def test_a_rank_at_work_is_named_before_those_that_wait_behind_it() -> None:
    reports = changed(
        1, exchanges=39, moment="agreement, step 11", is_waiting=False, state="R", cpu_pct=99.0
    )
    reports[2] = replace(reports[2], exchanges=39, moment="agreement, step 11")
    found = judged(reports)
    assert [c.rank for c in found.culprits] == [1]
    assert found.text.endswith(
        'it has not come there in the 57 s since "agreement, step 11"; it was running (state R, '
        "99 % of a CPU) at torch/distributed/distributed_c10d.py:39 all_reduce, called from "
        "pipeline/engine/engine.py:82 train_step"
    )


def test_a_rank_that_stays_in_an_exchange_which_the_others_left() -> None:
    found = judged(changed(2, exchanges=39, moment="forward pass, step 12"))
    assert [c.rank for c in found.culprits] == [2]
    assert 'for 57 s it has not left "forward pass, step 12"' in found.text


def test_a_rank_on_another_way_through_the_program() -> None:
    found = judged(changed(0, moment="news from rank 0"))
    assert [c.rank for c in found.culprits] == [0]
    assert 'another exchange, "news from rank 0"' in found.text


def test_a_rank_in_the_kernel() -> None:
    blocked = ("thread python is in nfs_wait_bit_killable",)
    found = judged(changed(1, state="D", blocked=blocked))
    assert [c.rank for c in found.culprits] == [1]
    assert "in an uninterruptible wait (state D)" in found.text
    assert found.text.endswith("thread python is in nfs_wait_bit_killable")


@pytest.mark.parametrize("size", [2, 4])
def test_a_rank_that_is_elsewhere_than_in_torch(size: int) -> None:
    reports = changed(1, stack=READING)[:size]
    assert [c.rank for c in judged(reports, size).culprits] == [1]


def test_a_rank_that_is_in_another_line_than_most() -> None:
    """On GPUs nobody waits in torch.distributed, but where a result is read."""
    at = dump(("/code/pipeline/engine/engine.py", 88, "train_step"))
    reports = [replace(report, stack=READING if report.rank == 2 else at) for report in waiting()]
    assert [c.rank for c in judged(reports).culprits] == [2]


def test_nobody_is_blamed_where_all_wait_alike() -> None:
    found = judged(waiting())
    assert found.culprits == ()
    assert found.text.startswith(
        "all 4 ranks have waited for each other for 57 s (engine.collective_timeout_s=60) in "
        '"gradients, step 12": the network between them, or a GPU, does not answer; '
        "rank 0 on n1: sleeping (state S) at torch/distributed/distributed_c10d.py:39 all_reduce"
    )


def test_a_rank_whose_stack_is_unknown_is_not_blamed_for_it() -> None:
    assert judged(changed(1, stack=())).culprits == ()


def test_of_many_only_the_first_are_listed() -> None:
    reports = [replace(waiting(1)[0], rank=rank) for rank in range(20)]
    text = verdict(reports, [], 32, 60).text
    assert text.startswith("12 ranks kept 20 ranks waiting")
    assert text.endswith("; and 4 more")


def test_the_main_thread_is_the_last() -> None:
    assert main_thread(READING) == list(READING[3:])
    assert [str(frame) for frame in frames(READING)] == [
        "usr/lib/queue.py:171 get",
        "pipeline/data/loader.py:88 next_batch",
    ]
    assert place(()) == ""
    assert main_thread((*READING, "", "Extension modules: numpy")) == list(READING[3:])


def test_reports_and_verdict_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = stuck_folder(tmp_path / "logs", "12", 1)
    board = Board(folder)
    assert board.names() == set() and read_verdict(folder) is None
    assert newest_verdict(tmp_path / "logs", 0.0) is None
    reports = changed(1, state="T")
    for report in reversed(reports):
        board.post(report)
    assert board.reports() == reports
    found = judged(reports)
    board.post_verdict(found)
    assert board.names() == {"0", "1", "2", "3", "verdict"}
    assert read_verdict(folder) == found == newest_verdict(tmp_path / "logs", 0.0)
    at_s = (folder / "verdict.json").stat().st_mtime
    assert newest_verdict(tmp_path / "logs", at_s + 1) is None
    board.clear()
    assert board.names() == set()
