"""Queueing a job again from inside it; by a new submission where Slurm forbids that."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

from pipeline.errors import PipelineError
from pipeline.log import info, warn
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.evidence import Attempt
from slurm.records import note_job, read_jobs
from slurm.submission import outside_of_jobs

_PATIENCE_S = 1800
"""How long a controller that does not answer is asked again: it may be starting anew."""
_POLL_S = 5
_COMMAND_S = 60
_ENDED_WITHIN_S = 120
_NO_ANSWER = ("Unable to contact", "Socket timed out", "Connection refused", "Zero Bytes")


def queue_again(folder: RunFolder, attempt: Attempt, avoided: Sequence[str]) -> None:
    """Queue the job under its own id; without some nodes, if ``avoided``.

    Raises PipelineError where Slurm refuses that and a new submission too.
    """
    # Slurm ends this script as soon as it has queued the job; the nodes are named after that,
    # since those of a running job cannot be changed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    excluded = _joined(attempt, avoided) if avoided else None
    info(f"queueing job {attempt.name} again" + (f", without {excluded}" if excluded else ""))
    refusal = _patiently("scontrol", "requeue", attempt.name)
    if refusal is not None:
        warn(f"Slurm does not queue job {attempt.name} again ({refusal}): submitting it anew")
        _submit_anew(folder, attempt, excluded)
        return
    if excluded is not None:
        refusal = _patiently(
            "scontrol", "update", f"JobId={attempt.name}", f"ExcNodeList={excluded}"
        )
        if refusal is not None:
            warn(f"Slurm does not exclude {excluded} from job {attempt.name}: {refusal}")
    # Slurm ends this script; an end of its own could be taken for the job's.
    time.sleep(_ENDED_WITHIN_S)


def _submit_anew(folder: RunFolder, attempt: Attempt, excluded: str | None) -> None:
    logs = folder.logs
    [script] = logs.glob(f"{attempt.name.partition('_')[0]}_submission.sh")
    command = ["sbatch", "--parsable", f"--dependency=afterany:{attempt.name}"]
    _, is_array, index = attempt.name.partition("_")
    command += [f"--array={index}"] if is_array else []
    command += [] if excluded is None else [f"--exclude={excluded}"]
    done = subprocess.run(
        [*command, "--hold", str(script)],
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
    job = done.stdout.strip().partition(";")[0]
    name = f"{job}_{index}" if is_array else job
    shutil.copyfile(logs / f"{attempt.name}_submitted.pkl", logs / f"{name}_submitted.pkl")
    for record in read_jobs(folder):
        if record.job_id == attempt.name:
            note_job(folder, replace(record, job_id=name, submitted_s=time.time()))
            break
    refusal = _patiently("scontrol", "release", name)
    if refusal is not None:
        raise PipelineError(f"job {name} stays held: {refusal}; scontrol release {name}")
    info(f"job {name} follows job {attempt.name}")


def _joined(attempt: Attempt, avoided: Sequence[str]) -> str:
    """These nodes and those that the job avoids already."""
    shown = _ask("scontrol", "--oneliner", "show", "job", attempt.name)
    known = re.search(r"ExcNodeList=(\S+)", shown.stdout)
    before = [] if known is None or known[1] == "(null)" else [known[1]]
    return ",".join([*before, *avoided])


def _patiently(*command: str) -> str | None:
    """Run a command until the controller answers; returns its refusal, or None where it obeys."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        done = _ask(*command)
        if done.returncode == 0:
            return None
        refusal = done.stderr.strip() or f"exit code {done.returncode}"
        if not any(words in refusal for words in _NO_ANSWER) or time.monotonic() > deadline:
            return refusal
        time.sleep(_POLL_S)


def _ask(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{_NO_ANSWER[1]}: {command[0]}")
