"""What runs in each task of a job: picklable, and light until it is called."""

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.config import Config
from pipeline.errors import NodeUnfitError, PipelineError
from pipeline.preempt import StopRequest
from pipeline.tracking.claim import run_folder_of
from pipeline.tracking.run_folder import RunFolder, read_run_info
from slurm.aftermath.endings import Ending, endings_folder, note_ending
from slurm.aftermath.evidence import Attempt
from slurm.submit import submission

if TYPE_CHECKING:
    from pipeline.world import World


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    exit_code: int
    message: str = ""
    at_s: float = field(default_factory=time.time)
    """Seconds since the epoch: the first failure is the cause of the others."""
    is_node_unfit: bool = False


@dataclass(frozen=True)
class TrainJob:
    """Trains in this task as one rank of the job.

    On Slurm it leaves its ending in the run folder, and ``slurm.aftermath`` decides what
    follows: a rank that queued the job again itself would be killed together with the others.
    """

    config: Config
    cluster: Literal["local", "slurm"]
    resume_command: str
    facts: Mapping[str, str]
    """Tags of the run that only the launcher knows, such as its command."""

    def __call__(self) -> Outcome:
        folder, is_slurm = run_folder_of(self.config), self.cluster == "slurm"
        # Signals first: importing torch takes seconds in which one may come.
        stop = StopRequest(lambda: is_slurm and is_queued_again(folder)).install()
        # submitit would write of each one into the log.
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        submission.export_world()
        from pipeline.world import from_environment

        world = from_environment()
        outcome = self._train(world, stop)
        if is_slurm and outcome.exit_code:
            is_asked_for = outcome.exit_code == stop.exit_code
            prefix = "" if is_asked_for else "error: "
            print(f"{prefix}{outcome.message}", file=sys.stderr, flush=True)
            leave(folder, world.rank, outcome)
            sys.exit(outcome.exit_code)
        return outcome

    def _train(self, world: "World", stop: StopRequest) -> Outcome:
        try:
            if self.cluster == "slurm":
                from slurm.aftermath.looking_back import look_back
                from slurm.doctor.preflight import preflight

                preflight(self.config, world)
                if world.is_main:
                    look_back(run_folder_of(self.config), Attempt.of(os.environ))
            from pipeline.train.loop import train

            result = train(self.config, world, stop, self.resume_command, self.facts)
        except PipelineError as error:
            is_unfit = isinstance(error, NodeUnfitError)
            return Outcome(error.exit_code, str(error), is_node_unfit=is_unfit)
        except Exception as error:  # noqa: BLE001 (an outcome names it; a task never just dies)
            # A bug, or another rank's end: the whole of it goes to this task's .out log.
            traceback.print_exc(file=sys.stdout)
            # gloo goes on with advice, and wishes luck.
            reason = str(error).strip().split("\n")[0].partition(". This is typically caused")[0]
            return Outcome(
                1, f"rank {world.rank} on {world.node_name}: {type(error).__name__}: {reason}"
            )
        if result.is_complete:
            return Outcome(0)
        cause = "on another rank's word" if stop.cause is None else f"by {stop.cause.name}"
        return Outcome(stop.exit_code, f"stopped {cause}, and a checkpoint is saved")


def is_queued_again(folder: RunFolder) -> bool:
    """In a task that was asked to stop: whether its job goes on later, or a person cancelled it."""
    return read_run_info(folder.path).get("cancelled_job") != submission.job_name()


def leave(folder: RunFolder, rank: int, outcome: Outcome) -> None:
    """Leave a task's end where ``slurm.aftermath`` reads it."""
    attempt = Attempt.of(os.environ)
    ending = Ending(
        rank,
        os.environ["SLURMD_NODENAME"],
        outcome.exit_code,
        outcome.message,
        outcome.is_node_unfit,
        outcome.at_s,
    )
    # A full disk must not turn a diverged training into one that seems to have crashed.
    with contextlib.suppress(OSError):
        note_ending(endings_folder(folder.logs, attempt.raw_id, attempt.number), ending)
