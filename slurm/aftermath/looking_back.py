"""The loss of a node that ended the batch script too: noted by the attempt that follows."""

import time

from pipeline.log import info
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.evidence import Attempt, first_deaths, read_log, steps_done
from slurm.records import FaultRecord, note_fault, read_faults


def look_back(folder: RunFolder, attempt: Attempt) -> None:
    """Note why Slurm started this job again, if a node was the reason and nobody could say so."""
    before = attempt.number - 1
    noted = {(fault.job_id, fault.attempt) for fault in read_faults(folder)}
    if before < 0 or (attempt.name, before) in noted:
        return
    for death in first_deaths(read_log(folder, attempt), attempts_ago=1):
        if death.rank is not None:
            continue
        message = f"{death.node}: {death.how}"
        info(f"the attempt before: {message}")
        note_fault(
            folder,
            FaultRecord(
                at_s=time.time(),
                job_id=attempt.name,
                attempt=before,
                kind="node",
                message=message,
                step=steps_done(folder),  # still those of the attempt before
                saved_step=folder.saved_step,
                action="requeued",
                node=death.node,
            ),
        )
