"""What all launches of a run come to: jobs, nodes, worlds, and hours times ranks."""

from pipeline.tracking.journal import Journal
from pipeline.tracking.launches import gpu_hours, launch_tags, read_launches, world_sizes

HOUR_MS = 3_600_000


def start(t_ms, step=0, **facts):
    return {"kind": "start", "t_ms": t_ms, "step": step, "attempt": 0, "job_id": None, **facts}


def resumed(t_ms, step):
    return {"kind": "tags", "t_ms": t_ms, "step": 0, "tags": {"resumed_from_step": str(step)}}


def metrics(t_ms, step):
    return {"kind": "metrics", "t_ms": t_ms, "step": step, "metrics": {"train/loss": 1.0}}


def on_slurm(t_ms, step, job, attempt, size, *nodes):
    return start(
        t_ms, step, job_id=job, attempt=attempt, world_size=size, nodes=list(nodes), device="cuda"
    )


def test_hours_of_a_run_without_its_queues():
    records = [
        on_slurm(0, 0, "812", 0, 8, "n1", "n2"),
        resumed(1, 0),
        metrics(HOUR_MS, 1200),
        {"kind": "end", "t_ms": 2 * HOUR_MS, "step": 1200, "status": "REQUEUED"},
        # A day in the queue; killed half an hour after its start, without an end.
        on_slurm(26 * HOUR_MS, 1200, "812", 1, 4, "n2"),
        resumed(26 * HOUR_MS, 1150),
        {"kind": "system", "t_ms": 26 * HOUR_MS + HOUR_MS // 2, "step": 1200, "metrics": {}},
        on_slurm(30 * HOUR_MS, 1200, "815", 0, 4, "n3"),
    ]
    launches = read_launches(records)
    assert gpu_hours(launches) == 2 * 8 + 0.5 * 4
    assert launch_tags(launches) == {
        "launches": "3",
        "job_ids": "812, 815",
        "node_list": "n1, n2, n3",
        "requeues": "1",
    }
    # The last launch has not come to train.
    assert world_sizes(launches) == "8 from step 0, 4 from step 1150"


def test_a_job_may_have_been_requeued_before_it_came_to_train():
    launches = read_launches([on_slurm(0, 0, "7", 2, 1, "n1"), on_slurm(9, 5, "7", 3, 1, "n1")])
    assert launch_tags(launches)["requeues"] == "3"


def worlds(*launches):
    """Of ``(step that it went on from, size)``."""
    records = [
        record
        for step, size in launches
        for record in (on_slurm(0, 0, "1", 0, size, "n"), resumed(0, step))
    ]
    return world_sizes(read_launches(records))


def test_of_steps_that_were_made_again_only_the_last_world_counts():
    assert worlds((0, 8), (0, 4), (10, 4), (10, 2), (10, 4), (30, 8)) == (
        "4 from step 0, 8 from step 30"
    )
    # The checkpoint of step 30 was damaged.
    assert worlds((0, 8), (30, 4), (20, 2)) == "8 from step 0, 2 from step 20"
    assert worlds((0, 8), (30, 4), (20, 8)) == "8 from step 0"
    assert worlds() == ""


def test_without_slurm_there_are_no_jobs():
    tags = launch_tags(read_launches([start(0, world_size=1, nodes=["laptop"])]))
    assert "job_ids" not in tags
    assert (tags["node_list"], tags["requeues"]) == ("laptop", "0")


def test_journals_of_earlier_versions_have_the_world_in_a_tag_that_is_not_repeated():
    process = {"pid": 1, "host": "n7", "started_s": 0.0}
    records = [
        {"kind": "tags", "t_ms": 0, "step": 0, "tags": {"world_size": "9"}},  # of no launch
        start(0, process=process),
        {"kind": "tags", "t_ms": 0, "step": 0, "tags": {"world_size": "4"}},
        metrics(HOUR_MS, 5),
        start(2 * HOUR_MS, 5, process=process),
        metrics(3 * HOUR_MS, 9),
    ]
    launches = read_launches(records)
    assert [one.world_size for one in launches] == [4, 4]
    assert gpu_hours(launches) == 8.0
    assert world_sizes(launches) == "4 from step 0"
    assert launches[0].nodes == ("n7",)


def test_a_journal_knows_the_launches_before(tmp_path):
    path = tmp_path / "journal.jsonl"
    times = iter([0, 1000, 5000, 9000, 9500])
    past = []
    for size in (2, 3, 4):
        journal = Journal(path, lambda: next(times))
        past = [(one.world_size, one.began_ms, one.ended_ms) for one in journal.past]
        journal.start({"world_size": size, "nodes": ["n"], "job_id": None, "attempt": 0})
        journal.metrics({"train/loss": float(size)}, size // 3)
        journal.close()
    # Step 1 came twice, and its second value is not written.
    assert past == [(2, 0, 1000), (3, 5000, 9000)]
