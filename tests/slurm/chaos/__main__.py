"""Disturb trainings on a Slurm cluster in every way; they must end as if nothing had happened.

python -m tests.slurm.chaos [--seed S] [--scale X] [--only NAME] [--work DIR] [--no-record]

One training on 4 of the 8 nodes, which must end in the weights of an undisturbed one to the last
bit; and one on 7 or 8 nodes, as many as there are, whose losses and logits must be as near to the
undisturbed one's as trainings are that start an ulp apart. Writes results/chaos.json; ends with 1
where a fault has left a trace.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, run_cli
from pipeline.log import info, warn
from pipeline.tracking.run_folder import RunFolder
from tests.benchmarks.record import write_result
from tests.dist.nursery import ROOT, Nursery
from tests.slurm.chaos.disk import small_disk
from tests.slurm.chaos.faults import KINDS
from tests.slurm.chaos.findings import Cost
from tests.slurm.chaos.judgement import Judgement, judge
from tests.slurm.chaos.mlflow_server import MlflowServer
from tests.slurm.chaos.run import disturb, launch
from tests.slurm.chaos.scenario import SCENARIOS, Scenario, table
from tests.slurm.chaos.scene import ChaosError
from tests.slurm.chaos.schedule import appointments
from tests.slurm.chaos.training import Training
from tests.slurm.cluster import Cluster, how_to_install, missing_programs, running_cluster

_CHECKPOINT_STEPS = 5
_MICRO_BATCHES = 8
_NUDGES = 3
_DISK_MB = 400


def main() -> int:
    args = _parse()
    if missing := missing_programs():
        raise UserError(f"it needs a cluster, which needs {how_to_install(missing)}")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos") as folder, Nursery() as nursery:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        shards = _digit_shards(work)
        (Path(folder) / "slurm").mkdir()
        with running_cluster(Path(folder) / "slurm") as cluster:
            try:
                found = {
                    scenario.name: _run(scenario, args.seed, work, shards, cluster, nursery)
                    for scenario in _scenarios(args)
                }
            except ChaosError as error:
                info(f"error: {error}")
                return 1
    figures = {
        "seed": args.seed,
        "minutes": round((time.monotonic() - began_s) / 60, 1),
        "checkpoint_every_steps": _CHECKPOINT_STEPS,
        **found,
    }
    if not args.no_record:
        write_result("chaos", figures, ["torch", "deepspeed", "mlflow"])
    flaws = [f"{name}: {flaw}" for name, facts in found.items() for flaw in facts["flaws"]]
    for flaw in flaws:
        info(f"FAILED {flaw}")
    return 1 if flaws else 0


def _run(
    scenario: Scenario, seed: int, work: Path, shards: Path, cluster: Cluster, nursery: Nursery
) -> dict[str, Any]:
    """Of one training: figures for the record, ``flaws`` among them."""
    rng = random.Random(f"{seed} {scenario.name}")
    own = work / f"nodes-{scenario.nodes}"
    own.mkdir()
    training = Training(shards, scenario.steps, _MICRO_BATCHES, _CHECKPOINT_STEPS)
    server = MlflowServer(own / "mlflow")
    server.start()
    folder = RunFolder(own / "runs/chaos")
    try:
        with small_disk(own / "runs", _DISK_MB) as disk:
            kinds = [kind for kind in scenario.kinds if disk or kind != "disk"]
            if disk is None:
                warn("no full disk: only root can mount a small one")
            plan = appointments(rng, kinds, scenario.last_fault_step, ("mlflow",), scenario.hasty)
            server.wait()
            words = [*training.settings("chaos", own / "runs"), *scenario.words]
            began_s = time.time()
            job = launch(cluster, words, own, server.uri)
            try:
                disturbed = disturb(cluster, folder, job, plan, rng, server, disk)
            finally:
                # What is on the small disk goes with it.
                shutil.copytree(folder.path, own / "disturbed")
            seconds = time.time() - began_s
            judgement = judge(
                disturbed, training, scenario.nodes, _NUDGES, server, nursery, own / "undisturbed"
            )
    finally:
        server.kill()
    judgement.flaws.extend(scenario.flaws(disturbed.starts))
    print(
        table(f"{scenario.name}, {scenario.steps} steps, {seconds:.0f} s", judgement.costs, began_s)
    )
    return _figures(scenario, judgement, seconds, began_s)


def _figures(
    scenario: Scenario, judgement: Judgement, seconds: float, began_s: float
) -> dict[str, Any]:
    costs = judgement.costs
    return {
        "steps": scenario.steps,
        "seconds": round(seconds),
        "faults": len(costs),
        "seconds_lost": round(sum(cost.seconds_lost for cost in costs), 1),
        "steps_repeated": sum(cost.steps_repeated for cost in costs),
        "kinds": {kind.title: _of_kind(name, costs) for name, kind in KINDS.items()},
        "bit_equal_until_step": judgement.bit_equal_until,
        "apart": {name: asdict(drift) for name, drift in judgement.drift.items()},
        "flaws": judgement.flaws,
        "log": [
            {
                "after_s": round(cost.fault.at_s - began_s, 1),
                "step": cost.fault.step,
                "fault": cost.fault.title,
                "victim": cost.fault.victim,
                "seconds_lost": cost.seconds_lost,
                "steps_repeated": cost.steps_repeated,
                "ranks_then": cost.ranks,
            }
            for cost in costs
        ],
    }


def _of_kind(name: str, costs: Sequence[Cost]) -> dict[str, Any]:
    mine = [cost for cost in costs if cost.fault.kind == name]
    return {
        "faults": len(mine),
        "seconds_lost": [cost.seconds_lost for cost in mine],
        "steps_repeated": [cost.steps_repeated for cost in mine],
    }


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    chosen = [scenario for scenario in SCENARIOS if args.only in scenario.name]
    if not chosen:
        names = ", ".join(scenario.name for scenario in SCENARIOS)
        raise UserError(f"--only {args.only}: there is no such training, but {names}")
    return [_scaled(scenario, args.scale) for scenario in chosen]


def _scaled(scenario: Scenario, scale: float) -> Scenario:
    """With a part of the faults, but one of each kind at least, and as much less to train."""
    most = max(len(set(scenario.kinds)), round(len(scenario.kinds) * scale))
    kinds = (*dict.fromkeys(scenario.kinds), *scenario.kinds)[: max(most, 1)]
    steps = round(scenario.steps * len(kinds) / len(scenario.kinds))
    return scenario if scale == 1 else replace(scenario, kinds=kinds, steps=steps)


def _digit_shards(folder: Path) -> Path:
    for words in (
        ("digits.py", folder / "digits"),
        ("shard.py", folder / "digits", folder / "shards", "--workers", "1"),
    ):
        command = [sys.executable, str(ROOT / "data_prep" / words[0]), *map(str, words[1:])]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder / "shards"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of order, times, victims")
    parser.add_argument("--scale", type=float, default=1, metavar="X", help="part of the faults")
    parser.add_argument("--only", default="", metavar="NAME", help="trainings of this name alone")
    parser.add_argument("--work", type=Path, metavar="DIR", help="files stay there")
    parser.add_argument("--no-record", action="store_true", help="leave results/chaos.json alone")
    return parser.parse_args()


if __name__ == "__main__":
    run_cli(main)
