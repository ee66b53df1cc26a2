"""Telling the controller something from inside a job: it may just be starting anew."""

import signal
import subprocess
import time

from slurm.watch.lost_controller import is_silent

_PATIENCE_S = 1800
_POLL_S = 5
_COMMAND_S = 60


def refusal_of(*command: str) -> str | None:
    """Run a command until the controller answers; returns its refusal, or None where it obeys."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        done = ask(*command)
        if done.returncode == 0:
            return None
        if done.returncode == -signal.SIGTERM:
            # Slurm's, to all processes of a job that it queues again: it comes once.
            continue
        refusal = done.stderr.strip() or f"exit code {done.returncode}"
        if not is_silent(refusal) or time.monotonic() > deadline:
            return refusal
        time.sleep(_POLL_S)


def ask(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a command once; a controller that does not answer in time is an error of its own."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} timed out")
