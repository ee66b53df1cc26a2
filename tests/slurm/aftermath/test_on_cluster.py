"""The batch script's last line on a real cluster, behind ranks that end at once."""

import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.tracking.run_folder import RunFolder
from slurm.records import JobRecord, note_job, read_faults, read_jobs
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 90
NOTE = """
import os, pathlib, sys
from slurm.aftermath.endings import Ending, endings_folder, note_ending
code, logs = int(sys.argv[1]), pathlib.Path(sys.argv[2])
attempt = int(os.environ.get("SLURM_RESTART_COUNT", 0))
folder = endings_folder(logs, os.environ["SLURM_JOB_ID"], attempt)
rank, node = int(os.environ["SLURM_PROCID"]), os.environ["SLURMD_NODENAME"]
note_ending(folder, Ending(rank, node, code, "what it said", is_node_unfit=code == 3))
sys.exit(code)
"""


class Runs:
    """Submits scripts that end like a training's; ``body`` is one rank's, in bash."""

    def __init__(self, cluster: Cluster, root: Path):
        self.cluster, self.root = cluster, root

    def submit(self, name: str, body: str, *options: str) -> tuple[RunFolder, str]:
        folder = RunFolder(self.root / name)
        folder.logs.mkdir(parents=True)
        note, rank = folder.path / "note.py", folder.path / "rank.sh"
        note.write_text(NOTE)
        rank.write_text(
            f'note() {{ {sys.executable} {note} "$1" {folder.logs}; exit "$1"; }}\n{body}\n'
        )
        script = folder.path / "script.sh"
        script.write_text(
            textwrap.dedent(f"""\
                #!/bin/bash
                #SBATCH --requeue --nodes=2 --ntasks-per-node=1 --open-mode=append
                #SBATCH --output={folder.logs}/%j_0_log.err --time=5
                echo "attempt ${{SLURM_RESTART_COUNT:-0}} of job $SLURM_JOB_ID"
                export PYTHONPATH={ROOT}
                srun --kill-on-bad-exit=1 bash {rank}
                exec {sys.executable} -u -m slurm.aftermath $? {folder.path}
                """)
        )
        job = self.cluster.run("sbatch", "--parsable", "--hold", *options, script)
        (folder.logs / f"{job}_submission.sh").write_bytes(script.read_bytes())
        (folder.logs / f"{job}_submitted.pkl").write_bytes(b"")
        note_job(folder, JobRecord(job, "train", time.time(), "2", 1, "launch"))
        return folder, job

    def release(self, *jobs: str) -> None:
        self.cluster.run("scontrol", "release", *jobs)

    def facts(self, job: str) -> dict[str, str]:
        shown = self.cluster.run("scontrol", "--oneliner", "show", "job", job)
        return dict(word.split("=", 1) for word in shown.split() if "=" in word)

    def log(self, folder: RunFolder) -> str:
        return "\n".join(p.read_text() for p in sorted(folder.logs.glob("*.err")))

    def until(self, folder: RunFolder, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"{self.cluster.queue()}\n{self.log(folder)}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def runs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(cluster, tmp_path_factory.mktemp("aftermath"))


AGAIN = '[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && exit 0\n'


def test_jobs_go_on_or_end(runs: Runs) -> None:
    """Side by side, since each waits for the controller."""
    saved, saved_job = runs.submit("saved", AGAIN + "note 6")
    killed, killed_job = runs.submit(
        "killed", AGAIN + '[ "$SLURM_PROCID" = 1 ] && kill -9 $$; sleep 60'
    )
    unfit, unfit_job = runs.submit("unfit", AGAIN + '[ "$SLURM_PROCID" = 1 ] && note 3; sleep 60')
    diverged, diverged_job = runs.submit("diverged", "note 5")
    broken, broken_job = runs.submit("broken", "note 1")
    jobs = (saved_job, killed_job, unfit_job, diverged_job, broken_job)
    runs.release(*jobs)

    for folder, job in ((saved, saved_job), (killed, killed_job), (unfit, unfit_job)):
        runs.until(folder, lambda job=job: runs.facts(job)["JobState"] == "COMPLETED")
        assert runs.facts(job)["Restarts"] == "1", runs.log(folder)
    for folder, job in ((diverged, diverged_job), (broken, broken_job)):
        runs.until(folder, lambda job=job: runs.facts(job)["JobState"] == "FAILED")
    assert runs.facts(diverged_job)["ExitCode"] == "5:0"
    assert runs.facts(diverged_job)["Restarts"] == "0"
    # An error is tried once more.
    assert (runs.facts(broken_job)["ExitCode"], runs.facts(broken_job)["Restarts"]) == ("1:0", "1")

    assert read_faults(saved) == []
    [fault] = read_faults(killed)
    assert (fault.kind, fault.rank, fault.action) == ("killed", 1, "requeued")
    assert str(fault.node) in runs.log(killed) and "Killed" in fault.message
    [fault] = read_faults(unfit)
    assert (fault.kind, fault.message) == ("preflight", "what it said")
    assert runs.facts(unfit_job)["ExcNodeList"] == fault.node
    assert [f.action for f in read_faults(diverged)] == ["ended"]
    assert [f.action for f in read_faults(broken)] == ["requeued", "ended"]


def test_where_requeueing_is_forbidden_a_new_job_follows(runs: Runs) -> None:
    body = f'[ -e {runs.root}/once ] && exit 0; [ "$SLURM_PROCID" = 0 ] && touch {runs.root}/once\n'
    folder, job = runs.submit("forbidden", body + "sleep 1; note 6")
    runs.cluster.run("scontrol", "update", f"JobId={job}", "Requeue=0")
    later = runs.cluster.run(
        "sbatch", "--parsable", f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes",
        "--output=/dev/null", "--wrap=true",
    )  # fmt: skip
    note_job(folder, JobRecord(later, "evaluate", time.time(), "1", 1, "launch"))
    runs.release(job)
    runs.until(folder, lambda: runs.facts(later)["JobState"] == "COMPLETED")
    [_, _, follower] = read_jobs(folder)
    assert follower.follows == job and follower.stage == "train"
    assert runs.facts(follower.job_id)["JobState"] == "COMPLETED"
    assert "submitting it anew" in runs.log(folder)
    assert (folder.logs / f"{follower.job_id}_submission.sh").is_file()
