"""What a finished attempt of a job left behind: who died first, who was stuck, how far it came."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import DataError
from pipeline.tracking.run_folder import RunFolder, read_json
from pipeline.watchdog import Verdict, read_verdict, stuck_folder
from slurm.aftermath.endings import Ending, endings_folder, read_endings

ATTEMPT_LINE = "attempt "
"""What the batch script writes into its log before srun: what stands above it is older."""
_DEATH = re.compile(
    r"^srun: error: (?P<node>\S+): tasks? (?P<ranks>[\d,-]+): "
    r"(?P<how>[A-Z].*?)(?: \(core dumped\))?$"
)
_NODE_FAILURE = re.compile(r"Node failure on (?P<node>[\w.-]+)")
_OUT_OF_MEMORY = re.compile(r"oom[-_ ]kill|Out Of Memory", re.IGNORECASE)
_ABORTED = ("Terminating StepId", "Job step aborted", "forcing job termination")


@dataclass(frozen=True)
class Attempt:
    """One start of a job, as its batch script sees it."""

    name: str
    """``12``, or ``12_3`` for a task of an array."""
    raw_id: str
    """Slurm's own number, which tasks of arrays have as well."""
    number: int
    """How often Slurm had restarted it before."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Attempt":
        """From a batch script's variables."""
        raw_id = environment["SLURM_JOB_ID"]
        array, index = (environment.get(f"SLURM_ARRAY_{n}_ID") for n in ("JOB", "TASK"))
        name = raw_id if array is None else f"{array}_{index}"
        return cls(name, raw_id, int(environment.get("SLURM_RESTART_COUNT", 0)))


@dataclass(frozen=True)
class Death:
    """A rank that was ended by a signal, or a whole node (rank=None)."""

    node: str
    rank: int | None
    how: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of the end of an attempt."""

    srun_code: int
    endings: list[Ending]
    deaths: list[Death]
    """Those before srun ended the others."""
    verdict: Verdict | None
    """Of the watchdogs, where ranks waited in vain."""
    step: int
    saved_step: int


def gather(folder: RunFolder, attempt: Attempt, srun_code: int) -> Evidence:
    """Read what the attempt left in its run folder."""
    return Evidence(
        srun_code=srun_code,
        endings=read_endings(endings_folder(folder.logs, attempt.raw_id, attempt.number)),
        deaths=first_deaths(read_log(folder, attempt)),
        verdict=read_verdict(stuck_folder(folder.logs, attempt.raw_id, attempt.number)),
        step=steps_done(folder),
        saved_step=folder.saved_step,
    )


def steps_done(folder: RunFolder) -> int:
    """Optimizer steps, as far as the run folder knows."""
    saved_step = folder.saved_step
    try:
        # Written twice a second, and so without a promise: a node that is lost may damage it.
        return max(int(read_json(folder.progress).get("step", 0)), saved_step)
    except DataError:
        return saved_step


def read_log(folder: RunFolder, attempt: Attempt) -> str:
    """What the batch script and rank 0 wrote, in all attempts of the job."""
    log = folder.logs / f"{attempt.name}_0_log.err"
    return log.read_text(errors="replace") if log.is_file() else ""


def first_deaths(log: str, attempts_ago: int = 0) -> list[Death]:
    """What srun said of ranks before it ended the others; log: the batch script's, whole."""
    lines = log.splitlines()
    begins = [number for number, line in enumerate(lines) if line.startswith(ATTEMPT_LINE)]
    bounds = [0, *begins[1:], len(lines)]
    lines = lines[bounds[-2 - attempts_ago] : bounds[-1 - attempts_ago]]
    deaths: list[Death] = []
    for line in lines:
        if failure := _NODE_FAILURE.search(line):
            # Said of a node whenever Slurm gives it up, which may be long after.
            deaths = [Death(failure["node"], None, "its node failed")]
            break
        if deaths and any(words in line for words in _ABORTED):
            break
        death = _DEATH.match(line)
        if death and not death["how"].startswith(("Exited with", "Terminated")):
            deaths += [Death(death["node"], rank, death["how"]) for rank in _ranks(death["ranks"])]
    if deaths and any(map(_OUT_OF_MEMORY.search, lines)):
        deaths = [Death(d.node, d.rank, f"{d.how} (out of memory)") for d in deaths]
    return deaths


def _ranks(text: str) -> list[int]:
    """``0-2,5`` as numbers."""
    ranks: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        ranks += range(int(first), int(last or first) + 1)
    return ranks
