"""Writing into journals how runs ended that nobody could write any more: a person's scancel."""

import os
from collections.abc import Sequence

from pipeline.errors import UserError
from pipeline.log import info, warn
from pipeline.tracking.journal import Journal
from pipeline.tracking.lifecycle import EndStatus
from pipeline.tracking.locks import lock
from pipeline.tracking.run_folder import RunFolder
from slurm.watch.controller import Answer
from slurm.watch.job_state import JobState
from slurm.watch.run_facts import RunFacts, read_facts
from slurm.watch.run_rows import slurm_state, stages_of

_SILENT_S = 30.0
"""For how long a training has written nothing whose journal another process may end."""


def settle(runs: Sequence[RunFacts], answer: Answer, now_s: float) -> None:
    """End the journals of runs whose job is over by Slurm's word, but goes on by the journal's."""
    for facts in runs:
        job = stages_of(facts).get("train")
        slurm = None if job is None else slurm_state(facts, job, answer)
        status = None if slurm is None else end_to_write(facts, slurm)
        if status is None or not _is_left(facts, now_s):
            continue
        try:
            end_journal(facts.folder, status)
        except (UserError, OSError) as error:
            warn(f"{facts.folder.journal} has no end: {error}")


def end_to_write(facts: RunFacts, slurm: JobState) -> EndStatus | None:
    """How the training ended, where its journal does not tell it; None where there is no need."""
    last = facts.lifecycle.last
    if slurm.is_active or last is None:
        return None
    status: EndStatus = "KILLED" if slurm.state == "CANCELLED" else "FAILED"
    if last["kind"] == "end":
        return status if last.get("status") == "REQUEUED" else None
    return status if last.get("job_id") == slurm.raw_id else None


def end_journal(folder: RunFolder, status: EndStatus) -> None:
    """Append the end. Raises UserError where another process writes the journal."""
    journal = Journal(folder.journal)
    try:
        # Somebody may have been quicker.
        last = read_facts(folder.path).lifecycle.last
        if last is not None and (last["kind"] == "start" or last.get("status") == "REQUEUED"):
            journal.end(status, {})
            how = "was cancelled" if status == "KILLED" else "has failed"
            info(f"{folder.path.name} {how}; noted in its journal, so that MLflow will know")
    finally:
        journal.close()


def _is_left(facts: RunFacts, now_s: float) -> bool:
    """Whether nobody writes the journal any more, and we may."""
    path = facts.folder.journal
    is_silent = now_s - (facts.sign_of_life_s or 0.0) > _SILENT_S
    if not (is_silent or facts.lifecycle.ended) or not os.access(path, os.W_OK):
        return False
    with path.open("rb") as file:
        return lock(file.fileno(), wait_s=0.0)
