"""Trainings that are killed and started again until they are done, beside one that nobody kills."""

import json
import random
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.checkpoint import folder as on_disk
from tests.dist.nursery import Ended, Nursery

PHASES = ("step", "evaluation", "saving")
_VICTIM = "tests.dist.victim"
Arguments = Callable[[str], Sequence[object]]


@dataclass(frozen=True)
class Kill:
    """SIGKILL, ``after_s`` seconds into the ``occurrence``-th entry into a phase of one launch."""

    phase: str
    occurrence: int
    after_s: float
    rank: int
    """The one that notices, and dies."""
    whole_job: bool
    """All the others with it."""


@dataclass
class Rounds:
    """What came of the kills."""

    hits: Counter[str] = field(default_factory=Counter)
    """What the victims were at, as they noted it themselves."""
    resumed_after: list[int] = field(default_factory=list)
    """Steps that the launches after a kill went on from."""
    finished: int = 0
    """Runs that came to their end, all of them after at least one kill."""
    differences: list[str] = field(default_factory=list)
    """From the unbroken run."""


def draw(rng: random.Random, durations: dict[str, float], world: int, number: int) -> Kill:
    """Phases take turns; what else there is to a kill is random."""
    phase = PHASES[number % len(PHASES)]
    return Kill(
        phase,
        1 if phase == "evaluation" else rng.randint(1, 3),
        round(rng.uniform(0, 0.9) * durations[phase], 4),
        rng.randrange(world),
        rng.random() < 0.4,
    )


def unbroken(nursery: Nursery, world: int, args: Sequence[object], log: Path) -> dict[str, float]:
    """Train to the end; the median seconds of every phase, on rank 0."""
    nursery.results(world, _VICTIM, *args, env={"DURATIONS": str(log)})
    found: dict[str, list[float]] = json.loads(log.read_text())
    return {phase: statistics.median(seconds) for phase, seconds in found.items()}


def kill_rounds(
    nursery: Nursery,
    world: int,
    arguments: Arguments,
    runs: Path,
    reference: Path,
    durations: dict[str, float],
    rng: random.Random,
    kills: int,
) -> Rounds:
    """Kill trainings that many times; each one, once it is done, is compared with ``reference``.

    arguments: the command line of a run of a given name, whose folder is ``runs/NAME``.
    """
    rounds, done = Rounds(), 0
    while done < kills:
        run = runs / f"{reference.name}-killed-{rounds.finished}"
        is_killed = False
        while True:
            kill = draw(rng, durations, world, done) if done < kills else None
            ended = launch(nursery, world, arguments(run.name), run, kill, rounds, is_killed)
            if all(rank.code == 0 for rank in ended):
                break
            assert -9 in [rank.code for rank in ended], ended[0].stderr[-3000:]
            is_killed = True
            done += 1
        if is_killed:
            rounds.finished += 1
            rounds.differences += differences(run, reference)
    return rounds


def launch(
    nursery: Nursery,
    world: int,
    args: Sequence[object],
    run: Path,
    kill: Kill | None,
    rounds: Rounds,
    is_killed: bool,
) -> list[Ended]:
    """Start the training once; it must go on from the newest checkpoint, and all must be whole."""
    folders = on_disk.step_folders(run / "checkpoints") if (run / "checkpoints").is_dir() else []
    assert [on_disk.problem(folder) for folder in folders] == [None] * len(folders)
    newest = on_disk.step_of(folders[-1]) if folders else 0
    env, log = {}, run.with_name(f"{run.name}.kill")
    log.unlink(missing_ok=True)
    if kill is not None:
        env = {"KILL": json.dumps(asdict(kill)), "KILL_LOG": str(log)}
    ended = nursery.run(world, _VICTIM, *args, env=env)
    said = ended[0].stderr
    if newest and "images\n" in said:
        assert f"resuming after step {newest}\n" in said or "finished before" in said, said
    if is_killed:
        rounds.resumed_after.append(newest)
    if kill is not None and log.is_file():
        rounds.hits[log.read_text().split()[0]] += 1
    return ended


def differences(run: Path, reference: Path) -> list[str]:
    """Names of tensors, points of the curve and facts that are not the same to the last bit."""
    ours, theirs = final_state(run), final_state(reference)
    found = sorted(ours.keys() ^ theirs.keys())
    found += [k for k in sorted(ours.keys() & theirs.keys()) if not torch.equal(ours[k], theirs[k])]
    if final_progress(run) != final_progress(reference):
        found.append("progress.json")
    if curve(run) != curve(reference):
        found.append("journal.jsonl")
    return [f"{run.name}: {name}" for name in found]


def final_folder(run: Path) -> Path:
    folder = on_disk.step_folders(run / "checkpoints")[-1]
    reason = on_disk.problem(folder)
    assert reason is None, reason
    return folder


def final_state(run: Path) -> dict[str, torch.Tensor]:
    """Masters, moments, averages and buffers of the newest checkpoint."""
    return state_of(final_folder(run))


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """The same of any checkpoint."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def final_progress(run: Path) -> dict[str, object]:
    return json.loads((final_folder(run) / "progress.json").read_text())


def curve(run: Path) -> dict[str, dict[int, float]]:
    """Each key's values by step, without those that measure time. No point may come twice."""
    found: dict[str, dict[int, float]] = {}
    for line in (run / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["kind"] == "metrics":
            for key, value in record["metrics"].items():
                if not key.startswith(("perf/", "progress/gpu_hours")):
                    assert record["step"] not in found.setdefault(key, {}), "a point came twice"
                    found[key][record["step"]] = value
    return found
