"""The quick checks on every node before a training starts, so that a bad node is known by name.

No network yet: the ranks are not connected. Whether a fault is the node's own shows when other
nodes do not have it, and those that fail tell each other by files in the run folder.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.durable import write_file
from pipeline.errors import NodeUnfitError, PreflightError
from pipeline.log import info
from pipeline.tracking.claim import run_folder_of
from pipeline.tracking.run_folder import read_run_info
from pipeline.world import World
from slurm.doctor.checks import PREFLIGHT
from slurm.doctor.examining import Check, examine
from slurm.doctor.finding import Finding, Verdict
from slurm.doctor.storage import runs_room
from slurm.doctor.subject import Subject


@dataclass(frozen=True)
class Patience:
    """How long a node waits before it gives up, in seconds."""

    others_s: float = 15.0
    """For other nodes that fail too."""
    space_s: float = 120.0
    """For room in the folder of runs, which all jobs share: it may be full for a moment."""
    poll_s: float = 0.2


def preflight(
    config: Config,
    world: World,
    checks: Sequence[Check] = PREFLIGHT,
    patience: Patience = Patience(),
) -> None:
    """Return where this node can train; one rank per node looks, the others return at once.

    Raises NodeUnfitError where the fault is this node's own, PreflightError where all nodes have
    it, or as far as one can tell: a lone node is to blame if the run has been trained before.
    """
    if world.local_rank:
        return
    subject = Subject(config, world.node_name, world.nodes, world.local_size, is_in_job=True)
    failing = next((f for f in examine(subject, checks) if f.state == "fail"), None)
    if failing is not None:
        text = f"{world.node_name}: {failing.check}: {failing.reason}; {failing.remedy}"
        is_own = _is_nodes_own(config, world, failing, patience)
        raise NodeUnfitError(text) if is_own else PreflightError(text)
    _await_space(subject, runs_room, patience)


def _is_nodes_own(config: Config, world: World, failing: Finding, patience: Patience) -> bool:
    folder = run_folder_of(config)
    if world.nodes == 1:
        return "datasets" in read_run_info(folder.path)
    attempt = f"{world.job_id or 'local'}-{world.attempt}"
    shared = folder.logs / "preflight" / attempt
    try:
        shared.mkdir(parents=True, exist_ok=True)
        write_file(shared / world.node_name, failing.check.encode(), survives_power_loss=False)
    except OSError:
        return True  # the job was submitted from this folder, and its log is in it
    return not _all_fail(shared, failing.check, world.nodes, patience)


def _all_fail(shared: Path, check: str, nodes: int, patience: Patience) -> bool:
    deadline_s = time.monotonic() + patience.others_s
    while True:
        files = [path for path in shared.iterdir() if not path.name.startswith(".")]
        if sum(path.read_text() == check for path in files) == nodes:
            return True
        if time.monotonic() > deadline_s:
            return False
        time.sleep(patience.poll_s)


def _await_space(
    subject: Subject, examine_space: Callable[[Subject], Verdict], patience: Patience
) -> None:
    deadline_s = time.monotonic() + patience.space_s
    is_told = False
    while (verdict := examine_space(subject)).state == "fail":
        if time.monotonic() > deadline_s:
            raise PreflightError(f"{subject.node}: {verdict.reason}; {verdict.remedy}")
        if not is_told:
            info(f"{subject.node}: {verdict.reason}; waiting {patience.space_s:g} s for room")
            is_told = True
        time.sleep(patience.poll_s)
