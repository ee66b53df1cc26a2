"""The command as people type it: on run folders alone, and on a real cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.tracking.journal import Journal
from pipeline.tracking.lifecycle import Process
from pipeline.tracking.run_folder import RunFolder, read_run_info, update_run_info, write_json
from slurm.records import JobRecord, note_job
from slurm.watch import run_logs
from slurm.watch.run_logs import follow_log, last_job
from tests.slurm.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "slurm/jobs.py"
COMMAND = "python slurm/launch.py configs/digits.yaml --dry-run"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def jobs(command: Command, tmp_path: Path, root: Path) -> Command:
    """``jobs.py VERB ...`` on ``root``, without Slurm unless ``PATH`` is given."""

    def run(*words: object, **env: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": "/nowhere", "XDG_CACHE_HOME": str(tmp_path / "cache"), **env}
        has_root = words and words[0] not in ("init", "doctor", "--help")
        return command(
            JOBS, *words, *(["--runs-root", root] if has_root else []), cwd=tmp_path, **env
        )

    return run


@pytest.fixture
def make(root: Path) -> Callable[..., RunFolder]:
    """A run of a job, or of this process, with its journal and its first rank's log."""

    def make(
        name: str, job_id: str | None, end: str | None, log: str = "", uri: str = "journal"
    ) -> RunFolder:
        folder = RunFolder(root / name)
        folder.logs.mkdir(parents=True)
        if job_id is not None:
            note_job(folder, JobRecord(job_id, "train", time.time() - 60, "1", 1, COMMAND))
        here = Process.of(os.getpid())
        assert here is not None
        journal = Journal(folder.journal)
        journal.start({"attempt": 0, "process": here.as_json(), "job_id": job_id})
        journal.settings({"tracking.uri": uri})
        journal.tags({"launch_command": COMMAND})
        if end is not None:
            journal.end(end, {})
        journal.close()
        facts = {"run_key": name, "name": name, "experiment": "tests"}
        update_run_info(folder.path, created_ms=1_700_000_000_000, **facts)
        write_json(folder.progress, {"step": 5, "start": 0, "total": 9, "facts": {}})
        (folder.logs / f"{job_id or 4242}_0_log.err").write_text(log)
        return folder

    return make


def test_mistakes_get_one_message(jobs: Command, make: Callable[..., RunFolder]) -> None:
    make("digits", "12", "FINISHED", "a line\n")
    for words, part in (
        (("status", "digit"), "did you mean digits?"),
        (("logs", "99"), "their last ones are 12 (digits)"),
        (("logs", "digits", "--rank", "3"), "job 12 has no log of rank 3; there are 0"),
        (("logs", "digits", "--lines", "-1"), "'-1' is no whole number"),
        (("cancel", "digits"), "nobody knows of the jobs of digits: there is no squeue"),
        (("cancel", "nothing"), "no run folder of this name"),
        (("status", "--watch"), "--watch needs a terminal"),
        (("status", "--watch", "--json"), "not allowed with argument --watch"),
    ):
        done = jobs(*words)
        code = 1 if "nobody knows" in part else 2
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert part in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["status", "--help"], ["status"], ["list"], ["logs", "a"]]
)
def test_answers_are_light(words: list[str], root: Path, make: Callable[..., RunFolder]) -> None:
    """No package that takes seconds to import."""
    make("a", None, None, "a line\n")
    code = f"""
import runpy, sys
try:
    runpy.run_path({str(JOBS)!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code
heavy = {{"torch", "mlflow", "deepspeed", "nvidia.dali", "timm", "submitit"}} & set(sys.modules)
assert not heavy, heavy
"""
    words = words if "--help" in words else [*words, "--runs-root", str(root)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:" in done.stdout or words != ["--help"]


def test_status_and_list_as_json(jobs: Command, make: Callable[..., RunFolder]) -> None:
    make("a", "12", "FINISHED")
    make("b", None, None)
    done = jobs("status", "--json")
    rows = {row["run"]: row for row in json.loads(done.stdout)}
    assert (rows["a"]["state"], rows["a"]["job_id"], rows["a"]["stage"]) == (
        "finished",
        "12",
        "train",
    )
    assert (rows["b"]["state"], rows["b"]["job_id"], rows["b"]["step"]) == ("running", None, 5)
    assert done.stderr == ""  # both are told by their folders: Slurm is not missed
    [one] = json.loads(jobs("status", "12", "--json").stdout)
    assert one["run"] == "a"
    listed = json.loads(jobs("list", "--json").stdout)
    assert [(run["run"], run["jobs"]) for run in listed] == [("a", ["12"]), ("b", [])]
    assert listed[0]["created_s"] == 1_700_000_000
    text = jobs("list").stdout
    assert "5/9" in text and "local" in text and "2023-11-1" in text


def test_status_brings_journals_to_mlflow_in_the_background(
    jobs: Command, make: Callable[..., RunFolder], tmp_path: Path
) -> None:
    folder = make("a", "12", "FINISHED", uri="null")
    began_s = time.monotonic()
    assert jobs("status", MLFLOW_TRACKING_URI="").returncode == 0
    answered_s = time.monotonic() - began_s
    log = tmp_path / "cache/imagenet-pipeline/sync.log"
    started_s = log.stat().st_mtime
    jobs("status", MLFLOW_TRACKING_URI="")
    assert log.stat().st_mtime == started_s  # one a minute, and one at a time
    wait_until(folder.cursor.is_file, 60, log.read_text)
    wait_until(lambda: "points to sqlite" in log.read_text(), 60, log.read_text)
    assert time.monotonic() - began_s > answered_s
    assert read_run_info(folder.path)["mlflow_run_id"]


def test_nothing_to_show(jobs: Command, root: Path) -> None:
    for verb in ("status", "list", "logs"):
        done = jobs(verb, *(["a"] if verb == "logs" else []))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--runs-root {root}: there is no such folder" in done.stderr
    root.mkdir()
    for verb, part in (("status", "no run is queued"), ("list", "no runs under")):
        done = jobs(verb)
        assert (done.returncode, done.stdout) == (0, "") and part in done.stderr


def test_logs_are_of_the_right_attempt(jobs: Command, make: Callable[..., RunFolder]) -> None:
    folder = make("a", "12", "KILLED", "old\n")
    lines = "".join(f"line {number}\n" for number in range(200))
    (folder.logs / "13_0_log.err").write_text(lines)
    (folder.logs / "13_1_log.err").write_text("rank 1\n")
    (folder.logs / "13_1_log.out").write_text("Traceback (most recent call last):\n  ...\n")
    note_job(folder, JobRecord("13", "train", time.time(), "1", 2, COMMAND))
    assert jobs("logs", "a").stdout == "".join(lines.splitlines(keepends=True)[-50:])
    assert jobs("logs", "a", "--lines", "2").stdout == "line 198\nline 199\n"
    assert jobs("logs", "12").stdout == "old\n"
    other = jobs("logs", "a", "--rank", "1")
    assert other.stdout == "rank 1\n" and "13_1_log.out" in other.stderr
    files = json.loads(jobs("logs", "a", "--json").stdout)
    assert [(file["rank"], Path(file["log"]).name) for file in files] == [
        (0, "13_0_log.err"),
        (1, "13_1_log.err"),
    ]
    # A job that has not begun has no log; the one before it is what there is to read.
    note_job(folder, JobRecord("14", "train", time.time(), "1", 1, COMMAND))
    assert last_job(folder) == "13"
    assert "-f waits for it" in jobs("logs", "14").stderr
    # A later run on this machine, whose number is its process's.
    time.sleep(0.05)
    (folder.logs / "777_0_log.err").write_text("here\n")
    os.utime(folder.logs / "777_0_log.err", (time.time() + 5,) * 2)
    assert jobs("logs", "a").stdout == "here\n"


def test_logs_follow_a_run_through_its_jobs_to_its_end(
    make: Callable[..., RunFolder],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run_logs, "_POLL_S", 0.02)
    monkeypatch.setattr(run_logs, "_QUIET_S", 0.1)
    folder = make("a", "12", None, "0\n1\n2\n")
    first, second = (folder.logs / f"{job}_0_log.err" for job in (12, 13))
    text = first.read_text()
    first.unlink()

    def act() -> Iterator[str | None]:
        """What happens each time that nothing has been written for a while."""
        first.write_text(text)  # waited for until now
        yield None
        with first.open("a") as file:
            file.write("a requeue appends\n")
        yield None
        note_job(folder, JobRecord("13", "train", time.time(), "1", 1, COMMAND))
        second.write_text("".join(f"anew {number}\n" for number in range(5)))
        yield None
        yield "run a is over"

    steps = act()
    follow_log(folder, "12", 0, 2, lambda: next(steps))
    said = capfd.readouterr()
    assert said.out == "1\n2\na requeue appends\n" + "".join(f"anew {n}\n" for n in range(5))
    assert said.err == (
        "job 12 has not written 12_0_log.err yet; waiting for it\n"
        "job 12 is followed by job 13\nrun a is over\n"
    )


def test_logs_of_chains_and_arrays(jobs: Command, make: Callable[..., RunFolder]) -> None:
    folder = make("chain", "12", "FINISHED", "trains\n")
    note_job(folder, JobRecord("13", "evaluate", time.time(), "1", 1, COMMAND))
    (folder.logs / "13_0_log.err").write_text("evaluates\n")
    last = jobs("logs", "chain")
    assert last.stdout == "evaluates\n"
    assert last.stderr == "job 13 (evaluate); with --stage: train (12)\n"
    train = jobs("logs", "chain", "--stage", "train")
    assert (train.stdout, train.returncode) == ("trains\n", 0)
    assert "job 12 (train); with --stage: evaluate (13)" in train.stderr
    none = jobs("logs", "chain", "--stage", "prep")
    assert none.returncode == 2 and "has no stage prep" in none.stderr
    (folder.logs / "12_3_log.err").touch()
    silent = jobs("logs", "12", "--rank", "3")
    assert silent.returncode == 0 and silent.stdout == ""
    assert "rank 3 has written nothing yet; its file is " in silent.stderr
    assert f"{folder.logs}/12_3_log.err" in silent.stderr

    make("seed1", "7_0", "FINISHED", "attempt 0 of job 8 on n1\nseed 1\n")
    make("seed2", "7_1", "FINISHED", "attempt 0 of job 7 on n2\nseed 2\n")
    assert jobs("logs", "8", "--lines", "1").stdout == "seed 1\n"
    array = jobs("logs", "7")
    assert array.returncode == 2 and "its tasks: 7_0 (seed1), 7_1 (seed2)" in array.stderr


def test_an_array_of_which_something_is_alive_is_cancelled(
    jobs: Command, make: Callable[..., RunFolder], tmp_path: Path
) -> None:
    for task, end in (("7_0", "FINISHED"), ("7_1", "FAILED"), ("7_2", None)):
        make(f"seed{task[-1]}", task, end)
    folder = tmp_path / "slurm_bin"
    folder.mkdir()
    alive = "7|7|2|RUNNING|0|1:00|2026-11-27T12:04:39|n1|(null)|None|(null)|"
    for name, script in (
        ("squeue", f"echo '{alive}'"),
        ("sacct", ":"),
        ("scancel", f"echo $* >> {tmp_path}/cancelled"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    env = {"PATH": f"{folder}:/usr/bin:/bin"}
    done = jobs("cancel", "7", "--json", **env)
    assert done.returncode == 0, done.stderr
    assert [run["cancelled"] for run in json.loads(done.stdout)] == [["7_2"]]
    assert (tmp_path / "cancelled").read_text() == "7_2\n"
    assert "job 7_0 of run seed0 is over already; the run is finished" in done.stderr
    # Slurm forgets it at once, and nobody calls it lost.
    (folder / "squeue").write_text("#!/bin/sh\n")
    [row] = json.loads(jobs("status", "seed2", "--json", **env).stdout)
    assert row["state"] == "cancelled"
    again = jobs("cancel", "7", **env)
    assert (
        again.returncode == 2
        and "job 7_2 of run seed2 is over already; the run is cancelled" in again.stderr
    )


def test_ctrl_c_ends_following_quietly(
    make: Callable[..., RunFolder], root: Path, tmp_path: Path
) -> None:
    make("a", None, None, "hello\n")
    following = subprocess.Popen(
        [sys.executable, str(JOBS), "logs", "a", "-f", "--runs-root", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    assert following.stdout is not None
    assert following.stdout.readline() == "hello\n"
    following.send_signal(signal.SIGINT)
    assert following.communicate(timeout=20) == ("", "") and following.returncode == 0


def test_resume_without_slurm(jobs: Command, make: Callable[..., RunFolder]) -> None:
    make("done", "12", "FINISHED")
    finished = jobs("resume", "done")
    assert finished.returncode == 0 and "is finished (5 steps): nothing to do" in finished.stderr
    assert json.loads(jobs("resume", "done", "--json").stdout)["state"] == "finished"
    make("here", None, None)
    busy = jobs("resume", "here")
    assert busy.returncode == 2 and f"at work already: process {os.getpid()} on" in busy.stderr
    stop = jobs("cancel", "here")
    assert stop.returncode == 2 and "has no Slurm job, but is at work" in stop.stderr
    # What was stopped is launched by its own command, here one that only shows what it would do.
    make("stopped", None, "KILLED")
    again = jobs("resume", "stopped")
    assert "python slurm/launch.py configs/digits.yaml --dry-run" in again.stderr
    assert "# resolved config" in again.stdout or "data.root" in again.stderr


def test_init_drafts_a_profile_once(command: Command, tmp_path: Path, sinfo: Path) -> None:
    env = {"PATH": f"{sinfo}:/usr/bin:/bin", "XDG_CONFIG_HOME": str(tmp_path)}
    done = command(JOBS, "init", **env)
    path = tmp_path / "imagenet-pipeline/site.yaml"
    assert done.returncode == 0, done.stderr
    assert path.read_text() == done.stdout and "partition: gpu" in done.stdout
    assert f"wrote {path}" in done.stderr
    path.write_text("mine")
    again = command(JOBS, "init", **env)
    assert again.returncode == 2 and "--force replaces it" in again.stderr
    assert path.read_text() == "mine"
    assert command(JOBS, "init", "--force", **env).returncode == 0
    assert path.read_text() == done.stdout
    other = tmp_path / "other.yaml"
    as_json = json.loads(command(JOBS, "init", "--out", other, "--json", **env).stdout)
    assert as_json == {"file": str(other), "profile": other.read_text()}
    silent = command(JOBS, "init", "--force", PATH="/nowhere", XDG_CONFIG_HOME=str(tmp_path))
    assert silent.returncode == 3 and path.read_text() == done.stdout


@pytest.fixture
def sinfo(tmp_path: Path) -> Path:
    """A folder with commands that answer as those of a cluster with GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    line = "gpu*|up|1-00:00:00|1-infinite|4/4/0/8|96|1024000|gpu:a100:8|(null)|n[1-8]"
    for name, text in (("sinfo", line), ("sacctmgr", "research")):
        (folder / name).write_text(f"#!/bin/sh\necho '{text}'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slurm
def test_cancelling_on_a_cluster(
    cluster: Cluster, jobs: Command, make: Callable[..., RunFolder], root: Path
) -> None:
    """A chain whose training runs and whose evaluation waits, and a training queued again."""
    env = {"PATH": os.environ["PATH"], **cluster.environment}

    def submit(name: str, *options: str) -> str:
        quiet = ("--parsable", "--output=/dev/null", f"--comment={root / name}")
        return cluster.run("sbatch", *quiet, *options, "--wrap=sleep 300")

    train = submit("chain")
    evaluate = submit("chain", f"--dependency=afterok:{train}")
    requeued = submit("requeued", "--hold")
    make("chain", train, None)
    then = JobRecord(evaluate, "evaluate", time.time(), "1", 1, COMMAND)
    note_job(RunFolder(root / "chain"), then)
    make("requeued", requeued, "REQUEUED")

    def states() -> dict[str, str]:
        rows = json.loads(jobs("status", "--json", **env).stdout)
        return {row["job_id"]: row["state"] for row in rows}

    wait_until(
        lambda: cluster.queue().get(train, "").startswith("RUNNING"), 30, lambda: cluster.queue()
    )
    assert states() == {train: "running", evaluate: "waits", requeued: "requeued"}
    busy = jobs("resume", "chain", **env)
    assert busy.returncode == 2 and f"its job {train} runs on n1" in busy.stderr

    done = jobs("cancel", "chain", requeued, "--json", **env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        {"run": "chain", "cancelled": [train, evaluate], "saved_step": 0},
        {"run": "requeued", "cancelled": [requeued], "saved_step": 0},
    ]
    assert "it has no checkpoint yet" in done.stderr and "to go on: python slurm" in done.stderr
    for name, job in (("chain", train), ("requeued", requeued)):
        assert read_run_info(root / name)["cancelled_job"] == job
    # Nobody else could have written it.
    last = (root / "requeued/journal.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["status"] == "KILLED"
    wait_until(
        lambda: not {train, evaluate, requeued} & cluster.queue().keys(), 30, cluster.log_ends
    )
    again = jobs("cancel", "chain", **env)
    assert again.returncode == 2 and "nothing of it is queued or running" in again.stderr
    assert states()[requeued] == "cancelled"
