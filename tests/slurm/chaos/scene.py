"""A training on the cluster as its disturber sees it: its processes, its nodes, its journal."""

import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from pipeline.tracking.journal import read_journal
from pipeline.tracking.run_folder import RunFolder
from tests.slurm.chaos.disk import Disk
from tests.slurm.chaos.mlflow_server import MlflowServer
from tests.slurm.cluster import Cluster, ClusterError
from tests.slurm.cluster.processes import owned

_RANK_S = 120
_QUEUE_EVERY_S = 2
_POLL_S = 0.02


class ChaosError(AssertionError):
    """The training did not get over a fault."""


@dataclass(frozen=True)
class Rank:
    """One process of the job."""

    number: int
    node: str
    process: psutil.Process
    attempt: int
    """How often the job had been started before."""

    def __str__(self) -> str:
        return f"rank {self.number} on {self.node}"


@dataclass
class JournalView:
    """What the journal says so far; grows by ``update``."""

    folder: RunFolder
    points: list[tuple[int, float]] = field(default_factory=list)
    """Step and seconds since the epoch of every step, when it was first done."""
    starts: list[tuple[int, int, float]] = field(default_factory=list)
    """Attempt, last step done by those before, and seconds since the epoch."""
    end: str | None = None
    """How it ended, if nobody started it again since."""
    _offset: int = 0

    def update(self) -> "JournalView":
        if self.folder.journal.is_file():
            chunk = read_journal(self.folder.journal, self._offset)
            self._offset = chunk.end
            for record in chunk.records:
                self._learn(record)
        return self

    @property
    def step(self) -> int:
        return self.points[-1][0] if self.points else 0

    def goes_on_after(self, attempt: int) -> bool:
        """Whether a later attempt than this has done a step that none had done before."""
        starts = [at_s for number, _, at_s in self.starts if number > attempt]
        return bool(starts and self.points and self.points[-1][1] > starts[-1])

    def _learn(self, record: dict) -> None:
        at_s = record["t_ms"] / 1000
        if record["kind"] == "metrics" and "train/loss" in record["metrics"]:
            self.points.append((record["step"], at_s))
        elif record["kind"] == "start":
            self.starts.append((record["attempt"], record["step"], at_s))
            self.end = None
        elif record["kind"] == "end":
            self.end = record["status"]


@dataclass
class Scene:
    """Where faults happen."""

    cluster: Cluster
    folder: RunFolder
    job: str
    rng: random.Random
    server: MlflowServer | None = None
    disk: Disk | None = None
    journal: JournalView = field(init=False)
    hit_attempt: int = -1
    """The attempt that ``any_rank`` has found last."""
    _mends: list[tuple[Callable[[], bool], Callable[[], None]]] = field(default_factory=list)
    _asked_s: float = 0.0

    def __post_init__(self) -> None:
        self.journal = JournalView(self.folder)

    def any_rank(self) -> Rank:
        """One of those that are there; waits for them."""
        deadline = time.monotonic() + _RANK_S
        while not (ranks := self._ranks()):
            self.look()
            if time.monotonic() > deadline:
                raise ChaosError(f"no rank is there after {_RANK_S} s\n{self.logs()}")
        self.hit_attempt = max(rank.attempt for rank in ranks)
        return self.rng.choice([rank for rank in ranks if rank.attempt == self.hit_attempt])

    def any_node(self) -> str:
        """One of the job's; waits until it has some."""
        self.any_rank()
        return self.rng.choice(self.nodes())

    def nodes(self) -> list[str]:
        """Where the job runs."""
        names = self.cluster.run("squeue", "--noheader", f"--jobs={self.job}", "--format=%N")
        return self.cluster.run("scontrol", "show", "hostnames", names).split()

    def mend_later(self, is_due: Callable[[], bool], mend: Callable[[], None]) -> None:
        """Call ``mend`` once it is due."""
        self._mends.append((is_due, mend))

    def mend_all(self) -> None:
        """At the end, due or not."""
        while self._mends:
            # The job may be gone that one of them is about.
            with suppress(ClusterError):
                self._mends.pop()[1]()

    def look(self, pause_s: float = _POLL_S) -> bool:
        """Read the journal, mend what is due by it; false once the job has left the queue."""
        time.sleep(pause_s)
        # In this order: who waits for the journal to go on finds all mended that waited too.
        self.journal.update()
        for is_due, mend in list(self._mends):
            if is_due():
                mend()
                self._mends.remove((is_due, mend))
        if time.monotonic() - self._asked_s > _QUEUE_EVERY_S:
            self._asked_s = time.monotonic()
            return self.job in self.cluster.queue()
        return True

    def logs(self, lines: int = 60) -> str:
        """What a person would look at."""
        ends = []
        for path in sorted(self.folder.logs.glob("*_log.err")):
            text = path.read_text(errors="replace").splitlines()
            ends += [f"--- {path.name}", *text[-lines:]]
        with suppress(ClusterError):
            ends += ["--- queue", str(self.cluster.queue()), str(self.cluster.node_states())]
        return "\n".join(ends)

    def _ranks(self) -> list[Rank]:
        found: list[Rank] = []
        for process, node in owned(self.cluster.folder).items():
            with suppress(psutil.Error):
                words = process.cmdline()
                # Not srun, which has the same words behind its own.
                if "submitit.core._submit" not in words or "python" not in words[0]:
                    continue
                variables = process.environ()
                if variables.get("SLURM_JOB_ID") == self.job:
                    number, attempt = (
                        int(variables.get(name, 0))
                        for name in ("SLURM_PROCID", "SLURM_RESTART_COUNT")
                    )
                    found.append(Rank(number, node, process, attempt))
        return sorted(found, key=lambda rank: rank.number)


@dataclass(frozen=True)
class Start:
    """One attempt of the job, by its log."""

    attempt: int
    nodes: str
    """As Slurm writes them."""
    ranks: int | None
    """None where it ended before it trained."""
    resumed_after: int | None
    """Step of the checkpoint that it went on from; None where it did not train."""


def read_starts(log: str) -> list[Start]:
    """All attempts; log: what the batch script and rank 0 wrote."""
    parts = re.split(r"^attempt (\d+) of job \d+ on (\S+)\n", log, flags=re.MULTILINE)
    starts: list[Start] = []
    for attempt, nodes, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        ranks = re.search(r", (\d+) rank\(s\) on cpu", text)
        resumed = re.search(r"resuming after step (\d+)", text)
        count = None if ranks is None else int(ranks[1])
        is_training = count is not None and "finished before" not in text
        after = (int(resumed[1]) if resumed else 0) if is_training else None
        starts.append(Start(int(attempt), nodes, count, after))
    return starts
