"""Queueing a job again from inside it, and without nodes that are bad."""

import re
import signal
import threading
from collections.abc import Sequence

from pipeline.log import info, warn
from pipeline.tracking.run_folder import RunFolder
from slurm.aftermath.evidence import Attempt
from slurm.aftermath.patience import ask, refusal_of
from slurm.aftermath.resubmission import submit_anew

_ENDED_WITHIN_S = 120
_QUEUED_ALREADY = "Job is pending execution"
"""Slurm has done so itself, for a lost node; or its answer to an earlier try got lost."""


def queue_again(folder: RunFolder, attempt: Attempt, avoided: Sequence[str]) -> None:
    """Queue the job under its own id; without some nodes, if ``avoided``.

    Raises PipelineError where Slurm refuses that and a new submission too.
    """
    # Slurm ends this script as soon as it has queued the job; the nodes are named after that,
    # since those of a running job cannot be changed.
    is_ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: is_ended.set())
    excluded = _joined(attempt, avoided) if avoided else None
    info(f"queueing job {attempt.name} again" + (f", without {excluded}" if excluded else ""))
    refusal = refusal_of("scontrol", "requeue", attempt.name)
    is_queued_already = refusal is not None and _QUEUED_ALREADY in refusal
    if refusal is not None and not is_queued_already:
        warn(f"Slurm does not queue job {attempt.name} again ({refusal}): submitting it anew")
        submit_anew(folder, attempt, excluded)
        return
    if excluded is not None:
        refusal = refusal_of(
            "scontrol", "update", f"JobId={attempt.name}", f"ExcNodeList={excluded}"
        )
        if refusal is not None:
            warn(f"Slurm does not exclude {excluded} from job {attempt.name}: {refusal}")
    # Slurm ends this script; an end of its own could be taken for the job's.
    if not is_queued_already:
        is_ended.wait(_ENDED_WITHIN_S)


def _joined(attempt: Attempt, avoided: Sequence[str]) -> str:
    """These nodes and those that the job avoids already."""
    shown = ask("scontrol", "--oneliner", "show", "job", attempt.name)
    known = re.search(r"ExcNodeList=(\S+)", shown.stdout)
    before = [] if known is None or known[1] == "(null)" else [known[1]]
    return ",".join([*before, *avoided])
