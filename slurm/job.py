"""What runs in each task of a job: picklable, and light until it is called."""

import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pipeline.config import Config
from pipeline.errors import PipelineError
from pipeline.preempt import StopRequest
from slurm import submission

_REQUEUE_WAIT_S = 60
"""How long the other ranks of a preempted job wait to be ended by the requeue."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    exit_code: int
    message: str = ""
    at_s: float = field(default_factory=time.time)
    """Seconds since the epoch: the first failure is the cause of the others."""


@dataclass(frozen=True)
class TrainJob:
    """Trains in this task as one rank of the job."""

    config: Config
    cluster: Literal["local", "slurm"]
    resume_command: str
    facts: Mapping[str, str]
    """Tags of the run that only the launcher knows, such as the commit."""

    def __call__(self) -> Outcome:
        # Signals first: importing torch takes seconds in which one may come.
        stop = StopRequest(requeues=self.cluster == "slurm").install()
        submission.export_world()
        outcome = self._train(stop)
        if self.cluster == "slurm" and outcome.exit_code:
            print(f"error: {outcome.message}", file=sys.stderr, flush=True)
            sys.exit(outcome.exit_code)
        return outcome

    def _train(self, stop: StopRequest) -> Outcome:
        from pipeline.train.loop import train
        from pipeline.world import from_environment

        world = from_environment()
        try:
            result = train(self.config, world, stop, self.resume_command, self.facts)
        except PipelineError as error:
            return Outcome(error.exit_code, str(error))
        except Exception as error:  # noqa: BLE001 (an outcome names it; a task never just dies)
            # A bug, or another rank's end: the whole of it goes to this task's .out log.
            traceback.print_exc(file=sys.stdout)
            reason = str(error).strip().split("\n")[0]
            return Outcome(1, f"rank {world.rank}: {type(error).__name__}: {reason}")
        if result.is_complete:
            return Outcome(0)
        if stop.requeues and world.is_main:
            submission.requeue()
        elif stop.requeues:
            # An exit here would make srun kill the main rank before it has requeued.
            time.sleep(_REQUEUE_WAIT_S)
        return Outcome(stop.exit_code, "stopped, and a checkpoint is saved")
