"""What follows when a job's ranks have ended: the batch script's last line runs this.

Queue the job again, on other nodes where one is bad, or let it end with its exit code. Where
Slurm itself ends a job (scancel, the time limit, a lost first node) the script is ended too,
and Slurm's own rule decides.
"""

import os
import sys
import time
from pathlib import Path

from pipeline.errors import REQUEUED_EXIT_CODE, run_cli
from pipeline.log import info
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.closing import close_journal
from slurm.aftermath.decision import Fault, decide
from slurm.aftermath.evidence import Attempt, Evidence, gather
from slurm.aftermath.requeue import queue_again
from slurm.records import Action, FaultRecord, faults_of, note_fault


def main() -> int:
    """Decide, tell and act; returns the exit code of the batch script."""
    srun_code, folder = int(sys.argv[1]), RunFolder(Path(sys.argv[2]))
    attempt = Attempt.of(os.environ)
    evidence = gather(folder, attempt, srun_code)
    decision = decide(evidence, faults_of(folder, attempt.name))
    action: Action = "requeued" if decision.is_requeued else "ended"
    for fault in decision.faults:
        _tell_and_note(folder, attempt, evidence, fault, action)
    if decision.exit_code:
        close_journal(folder, attempt, "REQUEUED" if decision.is_requeued else "FAILED")
    if not decision.is_requeued:
        return decision.exit_code
    queue_again(folder, attempt, decision.excluded)
    return REQUEUED_EXIT_CODE


def _tell_and_note(
    folder: RunFolder, attempt: Attempt, evidence: Evidence, fault: Fault, action: Action
) -> None:
    info(f"fault ({fault.kind}): {fault.message}")
    record = FaultRecord(
        at_s=time.time(),
        job_id=attempt.name,
        attempt=attempt.number,
        kind=fault.kind,
        message=fault.message,
        step=evidence.step,
        saved_step=evidence.saved_step,
        action=action,
        node=fault.node,
        rank=fault.rank,
    )
    note_fault(folder, record)


if __name__ == "__main__":
    run_cli(main)
