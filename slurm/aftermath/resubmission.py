"""A new job that follows the present one, where Slurm does not let it be queued again."""

import os
import shutil
import subprocess
import time
from dataclasses import replace

from pipeline.errors import PipelineError
from pipeline.log import info, warn
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.evidence import Attempt
from slurm.aftermath.patience import refusal_of
from slurm.records import JobRecord, note_job, read_jobs
from slurm.submit.submission import outside_of_jobs

_COMMAND_S = 60


def submit_anew(folder: RunFolder, attempt: Attempt, excluded: str | None) -> None:
    """Submit the job's own script again, to start when this job has ended; what waited for this
    job, waits for the new one. excluded: nodes to avoid, as Slurm writes them.

    Raises PipelineError where Slurm refuses that too.
    """
    _, is_array, index = attempt.name.partition("_")
    job = _submit(folder, attempt, index, excluded)
    name = f"{job}_{index}" if is_array else job
    logs = folder.logs
    shutil.copyfile(_script(folder, attempt), logs / f"{job}_submission.sh")
    shutil.copyfile(logs / f"{attempt.name}_submitted.pkl", logs / f"{name}_submitted.pkl")
    records = read_jobs(folder)
    [own] = [record for record in records if record.job_id == attempt.name]
    note_job(folder, replace(own, job_id=name, submitted_s=time.time(), follows=attempt.name))
    for later in records[records.index(own) + 1 :]:
        _let_wait(later, name)
    refusal = refusal_of("scontrol", "release", name)
    if refusal is not None:
        raise PipelineError(f"job {name} stays held: {refusal}; scontrol release {name}")
    info(f"job {name} follows job {attempt.name}")


def _script(folder: RunFolder, attempt: Attempt) -> str:
    return str(folder.logs / f"{attempt.name.partition('_')[0]}_submission.sh")


def _submit(folder: RunFolder, attempt: Attempt, index: str, excluded: str | None) -> str:
    command = ["sbatch", "--parsable", "--hold", f"--dependency=afterany:{attempt.name}"]
    command += [f"--array={index}"] if index else []
    command += [] if excluded is None else [f"--exclude={excluded}"]
    done = subprocess.run(
        [*command, _script(folder, attempt)],
        capture_output=True,
        text=True,
        timeout=_COMMAND_S,
        env=outside_of_jobs(os.environ),
    )
    if done.returncode:
        raise PipelineError(
            f"job {attempt.name} could not be submitted again: {done.stderr.strip()}; type the "
            "launch command again to go on"
        )
    return done.stdout.strip().partition(";")[0]


def _let_wait(later: JobRecord, name: str) -> None:
    """A stage that waited for a good end of this job would be cancelled with it."""
    refusal = refusal_of(
        "scontrol", "update", f"JobId={later.job_id}", f"Dependency=afterok:{name}"
    )
    if refusal is not None:
        warn(f"job {later.job_id} does not wait for job {name}: {refusal}")
