"""What can happen to a training, each as a function that does it and says to whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.slurm.chaos.scene import ChaosError, Scene

_NODE_AWAY_S = 150
"""The most that a node is away; sooner when the job has found a way without it."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    title: str
    inject: Callable[[Scene], str]
    """Returns the victim."""
    ends_attempt: bool = True
    """The job starts again after it."""
    may_repeat_steps: bool = False
    """At most those since the last checkpoint are done twice; else none."""


def _kill_rank(scene: Scene) -> str:
    rank = scene.any_rank()
    rank.process.kill()
    return str(rank)


def _stop_rank(scene: Scene) -> str:
    rank = scene.any_rank()
    rank.process.suspend()
    return str(rank)


def _kill_node(scene: Scene) -> str:
    node, attempt, back_s = scene.any_node(), scene.hit_attempt, time.time() + _NODE_AWAY_S
    scene.cluster.kill_node(node)

    def is_due() -> bool:
        return time.time() > back_s or scene.journal.goes_on_after(attempt)

    scene.mend_later(is_due, lambda: scene.cluster.start_node(node))
    return node


def _restart_controller(scene: Scene) -> str:
    scene.cluster.restart_controller()
    return "slurmctld"


def _requeue(scene: Scene) -> str:
    scene.any_rank()
    scene.cluster.run("scontrol", "requeue", scene.job)
    return f"job {scene.job}"


def _signal(scene: Scene) -> str:
    scene.any_rank()
    scene.cluster.run("scancel", "--signal=USR2", scene.job)
    return f"job {scene.job}"


def _preempt(scene: Scene) -> str:
    node = scene.any_node()
    wanted = ["--partition=urgent", f"--nodelist={node}", "--exclusive"]
    sleep = f"--wrap=sleep {scene.rng.randint(1, 5)}"
    scene.cluster.run("sbatch", *wanted, "--output=/dev/null", sleep)
    return node


def _run_out_of_time(scene: Scene) -> str:
    """Shorten the time limit so that Slurm warns of its end when it looks next."""
    attempt = scene.any_rank().attempt
    used = scene.cluster.run("squeue", "--noheader", f"--jobs={scene.job}", "--format=%M")
    used_s = sum(int(part) * 60**place for place, part in enumerate(reversed(used.split(":"))))

    def limit(minutes: int) -> None:
        scene.cluster.run("scontrol", "update", f"JobId={scene.job}", f"TimeLimit={minutes}")

    # Slurm looks every 30 s, and warns of an end that is at most two and a half minutes away.
    limit(-(-(used_s + 90) // 60))
    scene.mend_later(lambda: scene.journal.goes_on_after(attempt), lambda: limit(24 * 60))
    return f"job {scene.job}"


def _fill_disk(scene: Scene) -> str:
    assert scene.disk is not None
    scene.disk.fill()
    time.sleep(scene.rng.uniform(1, 4))
    scene.disk.free()
    # A checkpoint that could not be written counts for none: the next fault waits for one.
    step = scene.journal.update().step
    while scene.folder.saved_step < step:
        if not scene.look():
            raise ChaosError(f"no checkpoint after the disk was full\n{scene.logs()}")
    return "the run folder's disk"


def _stop_mlflow(scene: Scene) -> str:
    assert scene.server is not None
    server, back_s = scene.server, time.time() + scene.rng.uniform(3, 15)
    server.kill()
    scene.mend_later(lambda: time.time() > back_s, server.start)
    return "the server"


KINDS = {
    "kill": Kind("kill -9 a rank", _kill_rank, may_repeat_steps=True),
    "node": Kind("kill a node, its slurmd too", _kill_node, may_repeat_steps=True),
    "stop": Kind("SIGSTOP a rank", _stop_rank, may_repeat_steps=True),
    "requeue": Kind("scontrol requeue", _requeue),
    "signal": Kind("scancel --signal=USR2", _signal),
    "limit": Kind("time limit", _run_out_of_time),
    "preempt": Kind("a job that preempts it", _preempt),
    "controller": Kind("restart slurmctld", _restart_controller, ends_attempt=False),
    "disk": Kind("disk full for 1 to 4 s", _fill_disk, ends_attempt=False),
    "mlflow": Kind("stop MLflow for 3 to 15 s", _stop_mlflow, ends_attempt=False),
}
