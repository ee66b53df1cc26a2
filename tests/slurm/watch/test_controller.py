"""Asking Slurm about jobs: recorded output, the shared answers, a silent controller, a cluster."""

import json
import os
import time
from datetime import datetime
from pathlib import Path

import pytest

from pipeline.errors import UserError
from slurm.watch import answers, controller
from slurm.watch.controller import ControllerSilent, ask, cancel, job_states, signal
from slurm.watch.job_state import JobState, parse_sacct, parse_squeue, parse_time_left
from slurm.watch.waiting import why_it_waits
from tests.slurm.cluster import Cluster, wait_until

# Slurm 22.05.8, without the blanks that fill up its cells.
SQUEUE = """\
5|5|N/A|COMPLETED|0|0:57|2026-11-27T12:04:39|n1|(null)|None|(null)|
4|4|N/A|FAILED|0|365-00:00:00|2026-11-27T12:04:39|n1|(null)|NonZeroExitCode|(null)|
2|2|3|PENDING|0|UNLIMITED|N/A||(null)|JobArrayTaskLimit|/x y/a|b|
3|3|N/A|PENDING|2|UNLIMITED|N/A||afterok:1(unfulfilled)|Dependency|(null)|
1|1|N/A|RUNNING|1|1-23:59:57|2026-11-27T12:04:39|n[1-2]|(null)|None|/runs/a|
6|2|0|RUNNING|0|364-23:59:57|2026-11-27T12:04:39|n1|(null)|None|/x|
slurm_load_jobs: a line of another kind
"""
SACCT = """\
1|1|RUNNING|n[1-2]|2026-11-27T12:04:39
3|3|PENDING|None assigned|Unknown
4|4|FAILED|n1|2026-11-27T12:04:39
2_0|6|CANCELLED by 1000|n1|2026-11-27T12:04:39
11|11|REQUEUED|n1|2026-11-27T12:04:39
"""


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/imagenet-pipeline/slurm"


@pytest.fixture
def fake(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A command of Slurm that does as it is told; ``calls`` says how often it was."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    (tmp_path / "slurm.conf").touch()
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))

    def install(name: str, script: str) -> Path:
        calls = folder / f"{name}.calls"
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script}\n')
        path.chmod(0o755)
        calls.write_text("")
        return calls

    for name in ("squeue", "sacct", "scancel"):
        install(name, "exit 0")
    return install


def test_squeue_as_recorded() -> None:
    found = {job.job_id: job for job in parse_squeue(SQUEUE)}
    assert list(found) == ["5", "4", "2_3", "3", "1", "2_0"]
    started_s = datetime(2026, 11, 27, 12, 4, 39).timestamp()
    assert found["1"] == JobState(
        job_id="1",
        raw_id="1",
        state="RUNNING",
        nodes="n[1-2]",
        time_left_s=2 * 86400 - 3,
        restarts=1,
        started_s=started_s,
        run_folder="/runs/a",
    )
    assert (found["2_0"].raw_id, found["2_3"].raw_id) == ("6", "2")
    assert found["2_3"].run_folder == "/x y/a|b/3"
    assert found["3"].dependency == "afterok:1(unfulfilled)"
    assert (found["3"].started_s, found["3"].nodes, found["3"].restarts) == (None, "", 2)
    assert (found["4"].reason, found["4"].time_left_s) == ("NonZeroExitCode", None)
    assert [job.is_active for job in found.values()] == [False, False, True, True, True, True]


def test_sacct_as_recorded() -> None:
    found = {job.job_id: job for job in parse_sacct(SACCT)}
    assert list(found) == ["1", "3", "4", "2_0"]  # a REQUEUED row says nothing of the next attempt
    assert (found["2_0"].state, found["2_0"].reason) == ("CANCELLED", "by 1000")
    assert (found["2_0"].raw_id, found["3"].nodes, found["3"].started_s) == ("6", "", None)
    assert found["1"].restarts is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3:04", 184),
        ("2:03:04", 7384),
        ("1-02:03:04", 93784),
        ("UNLIMITED", None),
        ("NOT_SET", None),
    ],
)
def test_time_left(text: str, seconds: int | None) -> None:
    assert parse_time_left(text) == seconds


def test_reasons_are_words() -> None:
    def why(reason: str | None, state: str = "PENDING") -> str:
        return why_it_waits(JobState("12", "12", state, reason))

    assert why("Resources") == "waits for free nodes"
    assert why(None) == "Slurm has not looked at it yet"
    assert (
        why("ReqNodeNotAvail, UnavailableNodes:n3") == "nodes that it asks for are down or reserved"
    )
    assert "scontrol release 12" in why("JobHeldUser")
    assert "scontrol release 12" in why("launch_failed_requeued_held", "REQUEUE_HOLD")
    assert why("QOSMaxJobsPerUserLimit").endswith("(QOSMaxJobsPerUserLimit)")
    assert why("SomethingNew") == "SomethingNew"


def test_one_question_for_all_and_its_answer_is_shared(fake) -> None:
    squeue = fake("squeue", f"cat <<'END'\n{SQUEUE}END")
    sacct = fake("sacct", f"cat <<'END'\n{SACCT.replace('4|4', '9|9')}END")
    for _ in range(3):
        found = ask(["1", "2_0", "9", "77"])
        assert sorted(found.states) == ["1", "2_0", "9"] and found.problem is None
    assert ask(["5"]).states["5"].state == "COMPLETED"
    assert len(squeue.read_text().splitlines()) == 1
    assert f"--user={os.getuid()}" in squeue.read_text()
    [asked] = sacct.read_text().splitlines()
    assert "--jobs=77,9 " in asked  # those that squeue does not know, and no others
    ask(["1"], kept_s=0.0)
    assert len(squeue.read_text().splitlines()) == 2


def test_old_answers_and_those_of_another_cluster_do_not_count(
    fake, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squeue = fake("squeue", f"cat <<'END'\n{SQUEUE}END")
    ask(["1"])
    [kept] = own_cache.glob("*.json")
    for age_s in (controller.SQUEUE_KEPT_S + 1, -3600):
        answer = json.loads(kept.read_text())
        kept.write_text(json.dumps(answer | {"at_s": time.time() - age_s}))
        ask(["1"])
    kept.write_text("{")
    ask(["1"])
    assert len(squeue.read_text().splitlines()) == 4
    monkeypatch.setenv("SLURM_CONF", "/elsewhere/slurm.conf")
    ask(["1"])
    assert len(squeue.read_text().splitlines()) == 5


def test_answers_of_an_hour_ago_are_deleted(own_cache: Path) -> None:
    answers.recall("old", lambda: 1, 10.0)
    [old] = own_cache.glob("*.json")
    os.utime(old, (time.time() - 7200,) * 2)
    answers.recall("new", lambda: 2, 10.0)
    assert not old.exists() and len(list(own_cache.glob("*.json"))) == 1


def test_without_a_place_for_answers_each_command_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    asked: list[int] = []
    for _ in range(2):
        assert answers.recall("q", lambda: asked.append(1) or len(asked), 60.0) == len(asked)
    assert len(asked) == 2


def test_a_silent_controller_is_asked_again_and_then_left_alone(
    fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_PAUSE_S", 0.01)
    silence = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    calls = fake("squeue", f"echo '{silence}' >&2; exit 1")
    answer = ask(["1"], patience_s=0.3)
    assert answer.states == {} and answer.problem is not None and not answer.is_sure
    assert "controller does not answer" in answer.problem
    tries = len(calls.read_text().splitlines())
    assert tries > 1
    assert ask(["2"]).problem == answer.problem
    assert len(calls.read_text().splitlines()) == tries
    # It is back before the patience is over.
    calls = fake(
        "squeue",
        f"[ -e {tmp_path}/up ] && exit 0; touch {tmp_path}/up; echo '{silence}' >&2; exit 1",
    )
    assert ask(["2"], kept_s=0.0).problem is None


def test_a_controller_that_hangs_does_not_hold_a_table_up(fake) -> None:
    calls = fake("squeue", "exec sleep 60")
    began_s = time.monotonic()
    answer = ask(["1"], patience_s=1.0)
    assert time.monotonic() - began_s < 5 and answer.problem is not None
    assert "squeue has no answer within 1 s" in answer.problem
    assert ask(["1"]) == answer and len(calls.read_text().splitlines()) == 1


def test_a_site_without_accounting_or_slurm(fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("squeue", "true")
    fake("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert ask(["1"]) == controller.Answer({}) and ask(["1"]).is_sure
    fake("sacct", "echo 'sacct: error: Problem talking to the database' >&2; exit 1")
    assert ask(["2"]) == controller.Answer({}, is_complete=False) and not ask(["2"]).is_sure
    assert job_states([]) == {}
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no squeue on this machine" in (ask(["1"]).problem or "")


def test_a_refusal_is_told_at_once_and_silence_is_outlasted(
    fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(
        "scancel",
        "echo 'scancel: error: Kill job error on job id 5: Access/permission denied' >&2; exit 1",
    )
    with pytest.raises(UserError, match="scancel: Kill job error on job id 5: Access/permission"):
        cancel(["5"])
    monkeypatch.setattr(controller, "_PAUSE_S", 0.01)
    monkeypatch.setattr(controller, "_PATIENCE_S", 0.1)
    calls = fake("scancel", "echo 'Socket timed out on send/recv operation' >&2; exit 1")
    with pytest.raises(ControllerSilent):
        signal("5", "USR2")
    lines = calls.read_text().splitlines()
    assert len(lines) > 1 and set(lines) == {"--signal=USR2 5"}


@pytest.mark.slurm
def test_jobs_of_a_cluster(
    cluster: Cluster, own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)

    def submit(*options: str, script: str = "sleep 300") -> str:
        quiet = ("--parsable", "--output=/dev/null", f"--chdir={tmp_path}")
        return cluster.run("sbatch", *quiet, *options, f"--wrap={script}")

    first = submit("--nodes=2", f"--comment={tmp_path}", "--time=10")
    second = submit(f"--dependency=afterok:{first}")
    array = submit("--array=0-1%1")
    failed = submit(script="exit 3")
    jobs = [first, second, f"{array}_0", f"{array}_1", failed]

    def seen() -> dict[str, str]:
        return {job: state.state for job, state in ask(jobs, kept_s=0.0).states.items()}

    running = dict(zip(jobs, ("RUNNING", "PENDING", "RUNNING", "PENDING", "FAILED"), strict=True))
    wait_until(lambda: seen() == running, 30, lambda: str(seen()))
    states = job_states(jobs)
    assert states[first].nodes == "n[1-2]" and states[first].run_folder == str(tmp_path)
    assert 540 < (states[first].time_left_s or 0) <= 600 and states[first].restarts == 0
    assert states[second].dependency == f"afterok:{first}(unfulfilled)"
    assert states[f"{array}_0"].raw_id != states[f"{array}_1"].raw_id == array

    cancel([first, array])
    ended = {**running, first: "CANCELLED", f"{array}_0": "CANCELLED", f"{array}_1": "CANCELLED"}
    wait_until(lambda: seen() == ended, 30, lambda: str(seen()))
    wait_until(
        lambda: (
            job_states([second])[second].reason == "DependencyNeverSatisfied"
            or not ask([second], 0.0)
        ),
        20,
        lambda: str(ask([second], 0.0)),
    )
    cancel([second])
    # Accounting has the same to say of them, once it has heard of it.
    wait_until(
        lambda: (
            {s.job_id: s.state for s in controller._sacct([first, failed])}
            == {first: "CANCELLED", failed: "FAILED"}
        ),
        20,
        lambda: str(controller._sacct([first, failed])),
    )
