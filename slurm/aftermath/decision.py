"""What becomes of a job whose ranks have ended: a pure function of what they left behind."""

from dataclasses import dataclass

from pipeline.errors import REQUEUED_EXIT_CODE, STOPPED_EXIT_CODE, PreflightError
from slurm.aftermath.evidence import Death, Evidence
from slurm.records import FaultKind, FaultRecord

_FINAL_CODES = (2, 4, 5, STOPPED_EXIT_CODE)
"""What another start cannot mend: the user's mistake, bad data, a diverged training."""
_MOST_IN_PLACE = 4
"""Faults in a row without a new checkpoint between them after which a job is given up."""
_MOST_ERRORS_IN_PLACE = 2
"""The same where ranks raised an error: most are bugs, and some are a network's."""
_STUCK_BEFORE_EXCLUDED = 2
"""Faults of a stuck rank on one node after which the job avoids it."""


@dataclass(frozen=True)
class Fault:
    """What went wrong on one rank; see FaultRecord."""

    kind: FaultKind
    message: str
    node: str | None = None
    rank: int | None = None


@dataclass(frozen=True)
class Decision:
    """What becomes of the job."""

    exit_code: int
    faults: tuple[Fault, ...] = ()
    is_requeued: bool = False
    excluded: tuple[str, ...] = ()
    """Further nodes that the job is to avoid."""


def decide(evidence: Evidence, history: list[FaultRecord]) -> Decision:
    """history: the faults of the earlier attempts, oldest first."""
    codes = [ending.exit_code for ending in evidence.endings]
    if evidence.srun_code == 0:
        return Decision(0)
    if REQUEUED_EXIT_CODE in codes:
        # It is saved: what killed other ranks afterwards is no matter.
        return Decision(REQUEUED_EXIT_CODE, is_requeued=True)
    faults = _faults(evidence)
    code = codes[0] if codes and faults[0].kind in ("error", "preflight") else evidence.srun_code
    if code in _FINAL_CODES or (code == PreflightError.exit_code and faults[0].node is None):
        return Decision(code, faults)
    most = _MOST_ERRORS_IN_PLACE if faults[0].kind == "error" else _MOST_IN_PLACE
    in_place = _attempts_in_place(history, evidence.saved_step)
    is_hopeless = in_place + 1 >= most
    return Decision(code, faults, not is_hopeless, _to_exclude(faults, history))


def _faults(evidence: Evidence) -> tuple[Fault, ...]:
    """The causes, of which there is at least one; the ranks that fell with others are left out."""
    if evidence.verdict is not None and evidence.verdict.culprits:
        culprits, text = evidence.verdict.culprits, evidence.verdict.text
        return tuple(
            Fault("stuck", text if len(culprits) == 1 else f"{c}: {c.why}", c.node, c.rank)
            for c in culprits
        )
    if evidence.deaths:
        return tuple(map(_death, evidence.deaths))
    if evidence.verdict is not None:
        return (Fault("stuck", evidence.verdict.text),)
    if evidence.endings:
        first = evidence.endings[0]
        if first.exit_code == PreflightError.exit_code:
            node = first.node if first.is_node_unfit else None
            return (Fault("preflight", first.message, node, first.rank),)
        return (Fault("error", first.message, first.node, first.rank),)
    return (Fault("killed", f"srun ended with {evidence.srun_code}, and no rank said why"),)


def _death(death: Death) -> Fault:
    if death.rank is None:
        return Fault("node", f"{death.node}: {death.how}", death.node)
    return Fault(
        "killed", f"rank {death.rank} on {death.node}: {death.how}", death.node, death.rank
    )


def _attempts_in_place(history: list[FaultRecord], saved_step: int) -> int:
    """Attempts at the end of the history that have left no newer checkpoint than this one has."""
    attempts = {(f.job_id, f.attempt) for f in history if f.saved_step >= saved_step}
    return len(attempts)


def _to_exclude(faults: tuple[Fault, ...], history: list[FaultRecord]) -> tuple[str, ...]:
    """A node that the preflight calls unfit, and one whose ranks were stuck twice."""
    nodes: dict[str, None] = {}
    for fault in faults:
        if fault.node is None:
            continue
        before = sum(past.kind == "stuck" and past.node == fault.node for past in history)
        is_stuck = fault.kind == "stuck" and before + 1 >= _STUCK_BEFORE_EXCLUDED
        if is_stuck or fault.kind == "preflight":
            nodes[fault.node] = None
    return tuple(nodes)
