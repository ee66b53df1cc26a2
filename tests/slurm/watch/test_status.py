"""What state runs are in: by folders that a training has left, and by what Slurm says of jobs."""

import json
import os
import re
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.tracking.journal import Journal
from pipeline.tracking.lifecycle import Process
from pipeline.tracking.run_folder import RunFolder, update_run_info, write_json
from slurm.records import FaultRecord, JobRecord, note_fault, note_job, read_faults, read_jobs
from slurm.watch.background_sync import is_behind, sync_root_in_background
from slurm.watch.controller import Answer
from slurm.watch.job_state import JobState
from slurm.watch.run_facts import RunFacts, first_settings, read_facts, read_journal_end
from slurm.watch.run_rows import Row, rows_of
from slurm.watch.settling import settle
from slurm.watch.status import status, unsettled_jobs, watch

NOW_S = time.time()
STARTED_S = NOW_S - 3600
SETTINGS = {"tracking.uri": "null", "engine.collective_timeout_s": "600"}
JOB = JobRecord("12", "train", STARTED_S - 60, "2", 4, "python slurm/launch.py configs/a.yaml")
RUNNING = JobState("12", "12", "RUNNING", None, "n[1-2]", 7200.0, 0, STARTED_S)
PENDING = JobState("12", "12", "PENDING", "Resources", restarts=0)
FAULT = FaultRecord(NOW_S - 90, "12", 0, "killed", "Killed", 70, 60, "requeued", "n2", 5)
NO_SLURM = Answer({}, "there is no squeue on this machine")


class Made:
    """A run folder, with a journal as trainings write it."""

    def __init__(self, path: Path):
        self.folder = RunFolder(path)
        path.mkdir(parents=True)
        self.journal_s = NOW_S

    def trained(
        self, end: str | None, *, job_id: str | None = "12", process=None, at_s=None
    ) -> "Made":
        """A training that began at STARTED_S, or at_s, made a few steps and ended, or goes on."""
        began_s = STARTED_S if at_s is None else at_s
        clock_ms = [int(began_s * 1000)]
        journal = Journal(self.folder.journal, lambda: clock_ms[0])
        process = process or {"pid": 1, "host": "n1", "started_s": began_s}
        journal.start({"attempt": 0, "process": process, "job_id": job_id})
        journal.settings(SETTINGS)
        journal.metrics({"train/loss": 2.0, "val/top1": 61.5}, 70)
        clock_ms[0] += 1000
        journal.metrics({"train/loss": 1.5}, 71)
        if end is not None:
            journal.end(end, {})
        journal.close()
        shown = {"step": 75, "start": 0, "total": 200, "seconds_per_step": 2.0, "at_s": NOW_S - 10}
        facts = {"epoch": "3/8", "img/s": "1234", "top1": "61.50"}
        write_json(self.folder.progress, shown | {"facts": facts})
        return self

    def silent_for(self, journal_s: float, progress_s: float) -> "Made":
        os.utime(self.folder.journal, (NOW_S - journal_s,) * 2)
        os.utime(self.folder.progress, (NOW_S - progress_s,) * 2)
        return self

    def with_job(self, *jobs: JobRecord) -> "Made":
        for job in jobs or (JOB,):
            note_job(self.folder, job)
        return self

    @property
    def facts(self) -> RunFacts:
        return read_facts(self.folder.path)

    def row(self, *states: JobState, problem: str | None = None) -> Row:
        [row] = rows_of(self.facts, Answer({s.job_id: s for s in states}, problem), NOW_S)
        return row

    def words(self, *states: JobState) -> dict[str, str]:
        rows = rows_of(self.facts, Answer({s.job_id: s for s in states}), NOW_S)
        return {row.stage: f"{row.state} {row.detail}".strip() for row in rows}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "runs/a")


def test_a_running_job_in_numbers(made: Made) -> None:
    row = made.with_job().trained(None).row(RUNNING)
    assert asdict(row) == {
        "run": "a",
        "stage": "train",
        "job_id": "12",
        "state": "running",
        "detail": "",
        "step": 75,
        "total_steps": 200,
        "epoch": "3/8",
        "img_per_s": 1234.0,
        "top1": 61.5,
        "eta_s": pytest.approx(125 * 2.0 - 10),
        "time_left_s": 7200.0,
        "nodes": "n[1-2]",
        "restarts": 0,
        "last_error": None,
        "last_error_s": None,
        "is_error_over": False,
        "sign_of_life_s": pytest.approx(time.time(), abs=60),
        "run_folder": str(made.folder.path),
    }


# The job's state, the end in its journal (None: it goes on; "": it never began), and the words.
BY_SLURM = [
    (PENDING, "", "queued (waits for free nodes)"),
    (RUNNING, "", "starting"),
    (RUNNING, None, "running"),
    (replace(RUNNING, restarts=None), None, "running"),  # of another user, by accounting
    (RUNNING, "FINISHED", "finished"),
    (RUNNING, "REQUEUED", "requeued (about to be queued again)"),
    (replace(RUNNING, state="COMPLETING", started_s=NOW_S), "REQUEUED", "requeued (about"),
    (replace(RUNNING, state="COMPLETING"), None, "ending (its job ends; Slurm decides"),
    (replace(RUNNING, state="COMPLETING"), "FAILED", "ending (its job ends; Slurm decides"),
    (RUNNING, "KILLED", "cancelled (its job is ending)"),
    # Another attempt than the one that the journal knows.
    (replace(RUNNING, restarts=1, started_s=NOW_S), None, "starting"),
    (replace(RUNNING, restarts=1, started_s=NOW_S), "REQUEUED", "starting"),
    (replace(PENDING, reason="BeginTime"), "REQUEUED", "requeued (waits until Slurm lets it"),
    (PENDING, None, "requeued (waits for free nodes)"),  # its node was lost
    (PENDING, "FAILED", "requeued (waits for free nodes)"),
    (replace(PENDING, restarts=1), "", "requeued (waits for free nodes)"),
    (replace(PENDING, state="REQUEUE_HOLD"), None, "requeued (held; let it go with: scontrol"),
    (replace(RUNNING, state="SUSPENDED"), None, "stuck (suspended by Slurm)"),
    (replace(RUNNING, state="COMPLETED"), "FINISHED", "finished"),
    (replace(RUNNING, state="COMPLETED"), None, "failed (its job ended before the training did)"),
    (replace(RUNNING, state="CANCELLED"), None, "cancelled"),
    (replace(RUNNING, state="CANCELLED"), "REQUEUED", "cancelled"),
    (replace(RUNNING, state="CANCELLED"), "", "cancelled"),
    (replace(RUNNING, state="FAILED"), "FAILED", "failed"),
    (replace(RUNNING, state="FAILED"), "KILLED", "cancelled"),
    (replace(RUNNING, state="TIMEOUT"), None, "failed (its time limit was over)"),
    (replace(RUNNING, state="NODE_FAIL"), None, "failed (its node failed)"),
]


@pytest.mark.parametrize(("slurm", "end", "words"), BY_SLURM)
def test_words_by_slurm(slurm: JobState, end: str | None, words: str, made: Made) -> None:
    made.with_job()
    if end != "":
        made.trained(end)
    row = made.row(slurm)
    shown = f"{row.state} ({row.detail})" if row.detail else row.state
    assert shown.startswith(words)
    assert words.endswith(")") or "(" in words or shown == words


# The end in the journal, its silence and that of progress.json, and the words.
BY_FOLDER = [
    ("FINISHED", 9e4, 9e4, "finished", "finished"),
    ("FAILED", 9e4, 9e4, "failed", "failed"),
    ("KILLED", 9e4, 9e4, "cancelled", "cancelled"),
    ("REQUEUED", 60, 60, "unknown", "lost"),
    (None, 5, 5, "running", "running"),
    (None, 5, 700, "stuck", "stuck"),
    (None, 5, 400, "running", "running"),
    (None, 130, 130, "unknown", "lost"),
    ("", 0, 0, "unknown", "lost"),
]


@pytest.mark.parametrize(("end", "journal_s", "progress_s", "unasked", "forgotten"), BY_FOLDER)
def test_words_by_the_folder_alone(
    end: str | None, journal_s: float, progress_s: float, unasked: str, forgotten: str, made: Made
) -> None:
    """Without Slurm, and where Slurm has forgotten the job and has no accounting."""
    made.with_job()
    if end != "":
        made.trained(end).silent_for(journal_s, progress_s)
    row = made.row(problem=NO_SLURM.problem)
    assert row.state == unasked
    assert ("Slurm does not answer" in row.detail) == (unasked == "unknown")
    assert made.row().state == forgotten


# Slurm's word after a cancellation (None: it has forgotten the job), the journal's, and ours.
AFTER_CANCELLING = [
    (RUNNING, None, "cancelling its job is ending"),
    (RUNNING, "", "cancelling its job is ending"),
    (RUNNING, "REQUEUED", "cancelled its job is ending"),
    (replace(RUNNING, state="COMPLETING"), "FAILED", "cancelled its job is ending"),
    (PENDING, "", "cancelled its job is ending"),
    (RUNNING, "FINISHED", "finished"),
    (None, "", "cancelled"),
    (None, None, "cancelled"),
    (None, "FINISHED", "finished"),
]


@pytest.mark.parametrize(("slurm", "end", "words"), AFTER_CANCELLING)
def test_a_cancellation_is_remembered(
    slurm: JobState | None, end: str | None, words: str, made: Made
) -> None:
    made.with_job()
    if end != "":
        made.trained(end)
    update_run_info(made.folder.path, cancelled_jobs={"12": STARTED_S + 5})
    assert made.words(*([] if slurm is None else [slurm])) == {"train": words}
    if slurm is None:
        assert made.row(problem=NO_SLURM.problem).state == words
    # The job of an earlier cluster had the same number.
    update_run_info(made.folder.path, cancelled_jobs={"12": JOB.submitted_s - 1})
    assert made.words(*([] if slurm is None else [slurm])) != {"train": words} or end == "FINISHED"


def test_the_speed_of_an_earlier_attempt_is_not_shown(made: Made) -> None:
    made.with_job().trained(None)
    assert made.row(RUNNING).img_per_s == 1234
    assert made.row(PENDING).img_per_s is None
    assert made.row(replace(RUNNING, restarts=1)).img_per_s is None  # starting
    os.utime(made.folder.progress, (STARTED_S - 60,) * 2)
    assert made.row(RUNNING).img_per_s is None  # it runs, and has made no step yet


def test_an_error_is_over_when_the_run_has_got_further(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.with_job().trained(None)
    old = replace(FAULT, at_s=NOW_S - 3600)
    note_fault(made.folder, old)
    assert not made.row(RUNNING).is_error_over
    step = made.folder.checkpoints / "step-00000070"
    step.mkdir(parents=True)
    (step / "COMMITTED").touch()
    assert made.row(RUNNING).is_error_over and made.row(RUNNING).last_error
    status([made.facts], Answer({"12": RUNNING}), are_named=False, as_json=False)
    assert "last error" not in capsys.readouterr().out
    note_fault(made.folder, replace(old, at_s=NOW_S - 5))  # of just now
    assert not made.row(RUNNING).is_error_over
    made.trained("FINISHED")
    assert made.row(replace(RUNNING, state="COMPLETED")).is_error_over


def test_a_silent_job_is_stuck(made: Made) -> None:
    made.with_job().trained(None).silent_for(130, 130)
    row = made.row(RUNNING)
    assert (row.state, row.detail, row.eta_s) == ("stuck", "no sign of life for 2:10", None)
    made.silent_for(3, 601)
    assert made.row(RUNNING).detail == "no step for 10:01"


def test_runs_of_this_machine(made: Made) -> None:
    me = Process.of(os.getpid())
    assert me is not None
    made.trained(None, job_id=None, process=me.as_json())
    row = made.row()
    assert (row.state, row.job_id, row.nodes) == ("running", None, "")
    gone = replace(me, started_s=1.0).as_json()
    made.trained(None, job_id=None, process=gone)
    row = made.row()
    assert (row.state, row.detail) == ("lost", f"process {os.getpid()} is gone")


def test_a_later_run_on_this_machine_counts_more_than_an_old_job(made: Made) -> None:
    me = Process.of(os.getpid())
    assert me is not None
    made.with_job().trained("KILLED").trained(None, job_id=None, process=me.as_json(), at_s=NOW_S)
    row = made.row(replace(RUNNING, state="CANCELLED"))
    assert (row.state, row.job_id) == ("running", None)


def test_a_job_of_that_number_on_another_cluster_is_not_ours(made: Made, tmp_path: Path) -> None:
    made.with_job().trained("KILLED")
    assert made.row(replace(RUNNING, run_folder=str(tmp_path / "other"))).state == "cancelled"
    link = tmp_path / "link"
    link.symlink_to(made.folder.path)
    assert made.row(replace(RUNNING, restarts=1, run_folder=str(link))).nodes == "n[1-2]"


def test_the_last_error_is_told_with_its_rank_once(made: Made) -> None:
    made.with_job().trained(None)
    note_fault(made.folder, FAULT)
    row = made.row(RUNNING)
    assert (row.last_error, row.last_error_s) == ("rank 5 on n2: Killed (requeued)", FAULT.at_s)
    note_fault(made.folder, replace(FAULT, message="rank 5 on n2 hangs", action="ended"))
    assert made.row(RUNNING).last_error == "rank 5 on n2 hangs (ended)"
    assert made.row().state == "failed"  # Slurm has forgotten it, the folder has not


PREP, TRAIN, EVALUATE = (
    replace(JOB, job_id=job_id, stage=stage)
    for job_id, stage in (("11", "prep"), ("12", "train"), ("13", "evaluate"))
)


def of_chain(job: JobRecord, state: str, **facts) -> JobState:
    return JobState(job.job_id, job.job_id, state, **facts)


def waits(job: JobRecord, for_job: JobRecord) -> JobState:
    return of_chain(
        job, "PENDING", reason="Dependency", dependency=f"afterok:{for_job.job_id}(unfulfilled)"
    )


def test_stages_wait_for_each_other(made: Made) -> None:
    made.with_job(PREP, TRAIN, EVALUATE)
    prep = of_chain(PREP, "RUNNING", nodes="n1", started_s=STARTED_S)
    states = [prep, waits(TRAIN, PREP), waits(EVALUATE, TRAIN)]
    assert made.words(*states) == {
        "prep": "running",
        "train": "waits for prep",
        "evaluate": "waits for train",
    }
    # Minutes later Slurm has forgotten the first.
    assert made.trained(None).words(RUNNING, waits(EVALUATE, TRAIN)) == {
        "prep": "finished",
        "train": "running",
        "evaluate": "waits for train",
    }


def test_a_failed_stage_and_those_that_never_start(made: Made) -> None:
    made.with_job(PREP, TRAIN, EVALUATE)
    failed = of_chain(PREP, "FAILED", nodes="n1", started_s=STARTED_S)
    never = [
        of_chain(job, "CANCELLED", reason="DependencyNeverSatisfied") for job in (TRAIN, EVALUATE)
    ]
    told = {
        "prep": "failed",
        "train": "never starts prep failed",
        "evaluate": "never starts prep failed",
    }
    assert made.words(failed, *never) == told
    # As long as Slurm has not removed them.
    pending = [
        of_chain(job, "PENDING", reason="DependencyNeverSatisfied") for job in (TRAIN, EVALUATE)
    ]
    assert made.words(failed, *pending) == told
    # By the folder alone.
    note_fault(made.folder, replace(FAULT, job_id="11", action="ended"))
    assert made.words() == told


def test_a_training_that_was_cancelled_takes_its_evaluation_with_it(made: Made) -> None:
    made.with_job(TRAIN, EVALUATE).trained("KILLED")
    cancelled = of_chain(TRAIN, "CANCELLED", nodes="n1", started_s=STARTED_S)
    words = made.words(cancelled, of_chain(EVALUATE, "CANCELLED"))
    assert words == {"train": "cancelled", "evaluate": "never starts train cancelled"}


def test_an_evaluation_is_known_by_its_result(made: Made) -> None:
    made.with_job(TRAIN, EVALUATE).trained("FINISHED")
    assert made.words()["evaluate"].startswith("unknown")
    (made.folder.path / "evaluation.json").write_text('{"top1": 76.125}')
    rows = {row.stage: row for row in rows_of(made.facts, Answer({}), NOW_S)}
    assert rows["evaluate"].top1 == 76.125
    assert made.words() == {"train": "finished", "evaluate": "finished"}


def test_only_jobs_that_are_not_over_are_asked_about(tmp_path: Path) -> None:
    ended = Made(tmp_path / "ended").with_job().trained("FINISHED")
    again = (
        Made(tmp_path / "again")
        .trained("FINISHED")
        .with_job(replace(JOB, job_id="14", submitted_s=NOW_S))
    )
    going = Made(tmp_path / "going").with_job(PREP, replace(TRAIN, job_id="15")).trained("FAILED")
    queued = Made(tmp_path / "queued").with_job(replace(JOB, job_id="16"))
    old = Made(tmp_path / "old").with_job(replace(JOB, submitted_s=NOW_S - 40 * 86400))
    cancelled = Made(tmp_path / "cancelled").with_job(replace(JOB, job_id="17"))
    update_run_info(cancelled.folder.path, cancelled_jobs={"17": STARTED_S - 30})
    ending = Made(tmp_path / "ending").with_job(replace(JOB, job_id="18"))
    update_run_info(ending.folder.path, cancelled_jobs={"18": NOW_S - 30})
    runs = [one.facts for one in (ended, again, going, queued, old, cancelled, ending)]
    assert unsettled_jobs(runs, NOW_S) == ["14", "15", "16", "18"]


def test_journals_are_read_from_their_end(made: Made) -> None:
    journal = Journal(made.folder.journal)
    journal.start({"attempt": 3, "process": None, "job_id": "12"})
    journal.settings(SETTINGS)
    journal.metrics({"val/top1": 60.0}, 1)
    journal.metrics({"val/top1": 50.0}, 2)
    journal.model(1, "checkpoints/step-00000001", "digits-validation")
    for step in range(3, 40_000):  # some blocks of the reader
        journal.metrics({"train/loss": 1.0, "perf/img_per_s": 100.0}, step)
    journal.close()
    assert made.folder.journal.stat().st_size > 3 << 20
    lifecycle, top1 = read_journal_end(made.folder.journal)
    assert lifecycle.last is not None
    assert (lifecycle.last["attempt"], top1) == (3, 50.0)
    assert first_settings(made.folder.journal) == SETTINGS
    with made.folder.journal.open("a") as file:
        file.write('{"kind":"end","t_ms":1,"step":9,"status":"FINISHED"')
    assert read_journal_end(made.folder.journal)[0].status == "RUNNING"
    with made.folder.journal.open("a") as file:
        file.write('}\n{"kind":"end",damaged\n')
    assert read_journal_end(made.folder.journal)[0].status == "FINISHED"
    assert read_journal_end(made.folder.path / "none")[0].status == "NEW"


def test_slurms_word_ends_a_journal_that_nobody_can(made: Made) -> None:
    cancelled = replace(RUNNING, state="CANCELLED")
    made.with_job().trained("REQUEUED")

    def settled(state: JobState) -> str:
        settle([made.facts], Answer({"12": state}), NOW_S)
        return made.facts.lifecycle.status

    assert settled(PENDING) == "REQUEUED"
    held = Journal(made.folder.journal)
    assert settled(cancelled) == "REQUEUED"  # somebody writes it
    held.close()
    assert settled(cancelled) == "KILLED"
    lines = made.folder.journal.read_bytes()
    assert settled(cancelled) == "KILLED" and made.folder.journal.read_bytes() == lines


@pytest.mark.parametrize(
    ("state", "job_id", "silent_s", "status"),
    [
        ("TIMEOUT", "12", 60, "FAILED"),
        ("CANCELLED", "12", 60, "KILLED"),
        ("CANCELLED", "12", 5, "RUNNING"),  # its ranks may still be saving
        ("CANCELLED", "99", 60, "RUNNING"),  # another job trains there
        ("COMPLETING", "12", 60, "RUNNING"),
    ],
)
def test_a_job_that_was_killed_while_it_trained(
    state: str, job_id: str, silent_s: float, status: str, made: Made
) -> None:
    made.with_job().trained(None, job_id=job_id).silent_for(silent_s, silent_s)
    settle([made.facts], Answer({"12": replace(RUNNING, state=state)}), NOW_S)
    assert made.facts.lifecycle.status == status


def test_what_mlflow_lacks(made: Made) -> None:
    assert not is_behind(made.facts)
    made.trained(None)
    assert not is_behind(made.facts)  # of this machine: it has an uploader
    made.with_job()
    assert is_behind(made.facts)
    update_run_info(made.folder.path, tracking_uri="http://server:5000")
    assert not is_behind(made.facts)  # the job itself sees to it
    made.trained("FINISHED")
    assert is_behind(made.facts)
    write_json(made.folder.cursor, {"offset": made.folder.journal.stat().st_size})
    assert not is_behind(made.facts)
    made.folder.cursor.unlink()
    text = made.folder.journal.read_text().replace(
        '"tracking.uri":"null"', '"tracking.uri":"journal"'
    )
    made.folder.journal.write_text(text)
    assert not is_behind(made.facts)


def test_the_table(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.with_job().trained(None)
    note_fault(made.folder, replace(FAULT, message="no [stem] here"))
    status([made.facts], Answer({"12": RUNNING}), are_named=False, as_json=False)
    out = capsys.readouterr().out
    for part in ("running", "75/200", "3/8", "1,234", "61.50", "2:00:00", "12", "n[1-2]"):
        assert part in out, part
    assert re.search(
        r"a, last error, \d+:\d\d ago: rank 5 on n2: no \[stem] here \(requeued\)", out
    )
    assert "stage" not in out


def test_the_table_has_a_line_per_run_in_100_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"digits-lr_base-1e-{n}-weight_decay-0.05-seed4{n}" for n in range(6)]
    runs: list[RunFacts] = []
    states: dict[str, JobState] = {}
    for number, name in enumerate(names):
        job = replace(JOB, job_id=f"1234567_{number}")
        made = Made(tmp_path / name).with_job(job)
        states[job.job_id] = replace(PENDING, job_id=job.job_id, reason="JobArrayTaskLimit")
        if number < 2:
            made.trained(None, job_id=str(number))
            states[job.job_id] = replace(
                RUNNING, job_id=job.job_id, raw_id=str(number), nodes="n[1-2,5,9-11,17,33-40]"
            )
        runs.append(made.facts)
    status(runs, Answer(states), are_named=False, as_json=False)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100, out
    for number in range(6):
        [line] = [line for line in lines if f"1234567_{number}" in line]
        assert line.startswith("digits-") and f"seed4{number}" in line
        assert ("running" if number < 2 else "queued") in line
    told = " ".join(out.split())
    assert f"{names[2]}, {names[3]}, {names[4]} and 1 more: queued (waits for other" in told


def test_columns_that_say_nothing_are_left_out(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.with_job()
    status([made.facts], Answer({"12": PENDING}), are_named=False, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "state", "job"]
    assert lines[-1] == "a: queued (waits for free nodes)"


def test_old_ends_are_left_out_unless_named(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    old_s = NOW_S - 3 * 86400
    made.trained("FINISHED", at_s=old_s).silent_for(3 * 86400, 3 * 86400)
    status([made.facts], NO_SLURM, are_named=False, as_json=False)
    said = capsys.readouterr()
    assert said.out == "" and "1 more ended earlier" in said.err
    assert "Slurm was not asked (there is no squeue" in said.err
    status([made.facts], Answer({}), are_named=True, as_json=True)
    said = capsys.readouterr()
    [row] = json.loads(said.out)
    assert (row["run"], row["state"], said.err) == ("a", "finished", "")


def test_watching_needs_a_terminal() -> None:
    with pytest.raises(UserError, match="--watch needs a terminal"):
        watch(list, False, print)


def test_a_silent_run_is_not_seen_to_by_its_job_any_more(made: Made) -> None:
    made.with_job().trained(None)
    update_run_info(made.folder.path, tracking_uri="http://server:5000")
    assert not is_behind(made.facts)
    assert is_behind(made.silent_for(1000, 1000).facts)


@pytest.mark.parametrize("name", ["run.json", "tracking.cursor.json"])
@pytest.mark.parametrize("content", [b"{", b"\xff", b"[1]"])
def test_a_neighbour_whose_files_are_damaged_is_left_out(
    name: str, content: bytes, made: Made
) -> None:
    made.with_job().trained(None)
    (made.folder.path / name).write_bytes(content)
    assert not is_behind(made.facts)
    (made.folder.path / name).unlink()
    (made.folder.path / name).mkdir()  # not to be read, by root either
    assert not is_behind(made.facts)


def test_a_damaged_start_is_not_the_last(made: Made) -> None:
    made.trained(None)
    with made.folder.journal.open("a") as file:
        file.write('{"kind":"start","step":0}\n')
    assert made.facts.last_record_s == pytest.approx(STARTED_S, abs=1)


def test_records_of_jobs_hold_no_password(tmp_path):
    folder = RunFolder(tmp_path)
    note_fault(folder, replace(FAULT, message="no answer from http://me:pw@host/x"))
    note_job(folder, replace(JOB, command="python slurm/launch.py a.yaml x=http://me:pw@host/x"))
    assert read_faults(folder)[0].message == "no answer from http://host/x"
    assert read_jobs(folder)[0].command == "python slurm/launch.py a.yaml x=http://host/x"


def test_a_journal_that_cannot_be_read_stops_no_launch(made: Made) -> None:
    made.folder.journal.mkdir()
    sync_root_in_background(str(made.folder.path.parent))
    with pytest.raises(OSError):
        read_facts(made.folder.path)
