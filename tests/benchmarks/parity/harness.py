"""Is training under DeepSpeed that in plain PyTorch, under every ZeRO stage, on any ranks?

python tests/benchmarks/parity/harness.py [--work DIR]

Handwritten digits through the pipeline's own loader, with mixup, cutmix, erasing and drop path,
train a small PoolFormer on gloo ranks of this machine, one thread each.

fp32. From three states of the plain training (torch.optim.AdamW, one process) one step must give
the losses of all micro-batches and the averaged gradients, and a training of 100 steps must stay
as close to the plain one as `judge` says. Every world must give the same losses to the last bit.
bf16. The final scores of five seeds on 1, 2, 4 and 8 ranks beside fp32's; the same with gradients
reduced in bf16, and not reduced at all, which is what DeepSpeed's issue 3979 came from.
Besides: dtypes of all states, memory per rank beside ZeRO's formula, bytes sent per step.

Writes results/parity.json and results/parity-bf16.svg; ends with 1 where a check fails.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[3])

from tests.benchmarks.parity.cases import ROOT, Case, Task, stage_cases, world_cases
from tests.benchmarks.parity.chart import draw
from tests.benchmarks.parity.judge import Check, checks, ulp_bound
from tests.benchmarks.parity.launch import run_reference, run_tasks
from tests.benchmarks.parity.results import Outcome, is_there, read
from tests.benchmarks.parity.seeds import findings, seed_cases, seed_checks
from tests.benchmarks.parity.weight import memory_checks, table
from tests.benchmarks.record import RESULTS, write_result

_STEPS = 100
_STATES = (0, 50, 100)
_NUDGES = 5
_ROWS = ("pooling", "uneven", "batch_norm")
_STAGE_WORLDS = (1, 2, 4)
_ROW_WORLDS = (1, 2, 3, 4)
_WORLDS = (1, 2, 3, 4, 8)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="outcomes stay there; those found there are kept"
    )
    kept = parser.parse_args().work
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = kept or Path(folder)
        shards = make_shards(work)
        rows = [row for row in _ROWS if not is_there(work, f"{row}-plain")]
        if rows:
            run_reference(work, shards, _STEPS, _STATES, _NUDGES, rows)
        tell(began, "plain training and its nudges")
        for world in _WORLDS:
            tasks = [task for task in tasks_of(world) if not is_there(work, task.case.name)]
            if tasks:
                run_tasks(work, shards, world, tasks)
            tell(began, f"{world} ranks")
        figures, found = judged(work)
        draw(outcomes_of(work, seeds_of_all()), RESULTS / "parity-bf16.svg")
    if kept is None:
        figures["minutes"] = round((time.monotonic() - began) / 60, 1)
    write_result("parity", figures, ["torch", "deepspeed", "timm"])
    failed = [check for check in found if not check.holds]
    for check in failed:
        print(f"FAILED {check.kind}, {check.case}: {check.value} > {check.most}", file=sys.stderr)
    print(f"{len(found) - len(failed)} of {len(found)} checks hold", file=sys.stderr)
    return 1 if failed else 0


def make_shards(work: Path) -> Path:
    """The demo's digits."""
    work.mkdir(parents=True, exist_ok=True)
    for words in (("digits.py", work / "digits"), ("shard.py", work / "digits", work / "shards")):
        command = [sys.executable, str(ROOT / "data_prep" / words[0]), *map(str, words[1:])]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return work / "shards"


def parity_cases(world: int) -> list[Case]:
    """Those that start from the plain training's states."""
    found: dict[Case, None] = {}
    if world in _STAGE_WORLDS:
        found |= dict.fromkeys(stage_cases([world]))
    if world in _ROW_WORLDS:
        found |= dict.fromkeys(world_cases(_ROWS, [world]))
    return list(found)


def weighed_cases(world: int) -> list[Case]:
    """Larger, so that nothing but the parameters counts."""
    return [replace(case, row="large") for case in stage_cases({world} & {*_STAGE_WORLDS})]


def tasks_of(world: int) -> list[Task]:
    """Everything for one group of ranks; what shares its batches comes together."""
    states = dict.fromkeys(parity_cases(world), _STATES)
    scored = set(seed_cases(world))
    tasks = [
        Task(case, _STEPS, states.get(case, ()), evaluates=case in scored)
        for case in dict.fromkeys([*states, *seed_cases(world)])
    ]
    tasks.sort(key=lambda t: (t.case.row, t.case.seed, t.case.dtype, t.case.accumulates))
    return [*tasks, *(Task(case, 1, weighs=True) for case in weighed_cases(world))]


def seeds_of_all() -> list[Case]:
    return [case for world in _WORLDS for case in seed_cases(world)]


def outcomes_of(work: Path, cases: Iterable[Case]) -> dict[Case, Outcome]:
    return {case: read(work / case.name) for case in cases}


def judged(work: Path) -> tuple[dict[str, Any], list[Check]]:
    """Figures for the record, and all checks."""
    plain = {row: read(work / f"{row}-plain") for row in _ROWS}
    outcomes = outcomes_of(work, [case for world in _WORLDS for case in parity_cases(world)])
    weights = outcomes_of(work, [case for world in _WORLDS for case in weighed_cases(world)])
    seeds = outcomes_of(work, seeds_of_all())
    found = [*checks(outcomes, plain, _STATES), *seed_checks(seeds), *memory_checks(weights)]
    figures = {
        "steps": _STEPS,
        "states_at_steps": _STATES,
        "curves_may_lie_apart": {row: ulp_bound(outcome) for row, outcome in plain.items()},
        "checks": summarised(found),
        "failed": [asdict(check) for check in found if not check.holds],
        "bf16": findings(seeds),
        "bytes_per_parameter": table(weights),
    }
    return figures, found


def summarised(found: Iterable[Check]) -> dict[str, Mapping[str, Any]]:
    """Per kind of check: how many, the largest value, and the bound it is nearest to."""
    kinds: dict[str, list[Check]] = {}
    for check in found:
        kinds.setdefault(check.kind, []).append(check)
    return {
        kind: {
            "count": len(group),
            "largest": max(check.value for check in group),
            "at_most": max(group, key=lambda c: c.value).most,
            "hold": all(check.holds for check in group),
        }
        for kind, group in kinds.items()
    }


def tell(began: float, what: str) -> None:
    print(f"{(time.monotonic() - began) / 60:.1f} min: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
