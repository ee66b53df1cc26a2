"""One disturbed training, from its submission to its end."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.tracking.run_folder import RunFolder
from tests.dist.nursery import ROOT
from tests.slurm.chaos.disk import Disk
from tests.slurm.chaos.faults import KINDS
from tests.slurm.chaos.mlflow_server import MlflowServer
from tests.slurm.chaos.scene import ChaosError, JournalView, Scene, Start, read_starts
from tests.slurm.chaos.schedule import Appointment
from tests.slurm.cluster import Cluster

_STANDSTILL_S = 240
"""Without a new step for so long, nothing will come any more."""


@dataclass(frozen=True)
class Injected:
    """A fault that happened."""

    kind: str
    victim: str
    at_s: float
    """Seconds since the epoch."""
    step: int
    """Steps done."""
    attempt: int
    """The one that it ended, if its kind ends one."""
    is_hasty: bool
    """The job was still starting after the one before."""

    @property
    def title(self) -> str:
        """What a person calls it."""
        return KINDS[self.kind].title + (", while it starts" if self.is_hasty else "")


@dataclass(frozen=True)
class Disturbed:
    """A training that came to its end."""

    folder: RunFolder
    faults: list[Injected]
    journal: JournalView
    starts: list[Start]


def launch(cluster: Cluster, words: Sequence[str], home: Path, mlflow: str = "") -> str:
    """Type ``slurm/launch.py configs/digits.yaml WORDS``; returns the job's id.

    home: where site profiles are looked for. mlflow: the server's address, if there is one.
    """
    environment = {"XDG_CONFIG_HOME": str(home), "MLFLOW_TRACKING_URI": mlflow}
    done = subprocess.run(
        [sys.executable, "slurm/launch.py", "configs/digits.yaml", "--json", *words],
        cwd=ROOT,
        env=os.environ | cluster.environment | environment,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise ChaosError(f"launch.py exited with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)["job_id"]


def disturb(
    cluster: Cluster,
    folder: RunFolder,
    job: str,
    plan: Sequence[Appointment],
    rng: random.Random,
    server: MlflowServer | None = None,
    disk: Disk | None = None,
) -> Disturbed:
    """Let the faults happen to a submitted job, and wait for its end.

    Raises ChaosError, with the logs, if that is any other than a finished training.
    """
    scene = Scene(cluster, folder, job, rng, server, disk)
    faults: list[Injected] = []
    try:
        for appointment in plan:
            _wait(scene, appointment, faults)
            kind = KINDS[appointment.kind]
            # Before it happens: what it sets off may be quick.
            at_s, step = time.time(), scene.journal.step
            is_hasty = not _goes_on(scene, faults)
            victim = kind.inject(scene)
            faults.append(
                Injected(appointment.kind, victim, at_s, step, scene.hit_attempt, is_hasty)
            )
            _say(f"step {step}: {faults[-1].title}: {victim}")
        _wait_for_end(scene)
    finally:
        scene.mend_all()
        if job in cluster.queue():
            cluster.run("scancel", job)
            cluster.wait(job)
    if scene.journal.update().end != "FINISHED":
        raise ChaosError(f"the training ended as {scene.journal.end}\n{scene.logs()}")
    log = (folder.logs / f"{job}_0_log.err").read_text(errors="replace")
    return Disturbed(folder, faults, scene.journal, read_starts(log))


def _goes_on(scene: Scene, faults: Sequence[Injected]) -> bool:
    """Whether the job has done a new step since the last fault that it started again after."""
    ended = [fault.attempt for fault in faults if KINDS[fault.kind].ends_attempt]
    return not ended or scene.journal.goes_on_after(ended[-1])


def _wait(scene: Scene, appointment: Appointment, faults: Sequence[Injected]) -> None:
    if appointment.step is not None:
        watch = _Standstill(scene)
        while scene.journal.step < appointment.step or not _goes_on(scene, faults):
            _look(scene, appointment)
            watch.check()
    until_s = time.monotonic() + appointment.delay_s
    while time.monotonic() < until_s:
        _look(scene, appointment)


def _look(scene: Scene, appointment: Appointment) -> None:
    if not scene.look() or scene.journal.end == "FINISHED":
        raise ChaosError(f"the job ended before {appointment}\n{scene.logs()}")


def _wait_for_end(scene: Scene) -> None:
    watch = _Standstill(scene)
    while scene.look():
        watch.check()


class _Standstill:
    """Notices that a training does not go on."""

    def __init__(self, scene: Scene):
        self._scene, self._step, self._since_s = scene, scene.journal.step, time.monotonic()

    def check(self) -> None:
        now_s = time.monotonic()
        if self._scene.journal.step != self._step:
            self._step, self._since_s = self._scene.journal.step, now_s
        if now_s - self._since_s > _STANDSTILL_S:
            raise ChaosError(f"no step for {_STANDSTILL_S} s\n{self._scene.logs()}")


def _say(text: str) -> None:
    print(f"{time.strftime('%T')} {text}", file=sys.stderr, flush=True)
