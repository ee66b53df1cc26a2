"""Steps, micro-batches per rank, idle slots; with --nodes, step times on many nodes."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from pipeline.config import load
from pipeline.errors import UserError, run_cli
from pipeline.plan.counts import make_plan, open_splits, useful_worlds
from pipeline.plan.scaling_command import add_arguments, refuse_without_nodes, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.plan", description=__doc__)
    parser.add_argument("config", help="config file, such as configs/m48.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--world", type=int, help="ranks (default 1)")
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    add_arguments(parser)
    args = parser.parse_intermixed_args()
    if args.nodes is not None:
        facts, text = report(args)
        print(json.dumps(facts) if args.json else text)
        return 0
    refuse_without_nodes(args)
    facts = _counts(args)
    if args.json:
        print(json.dumps(facts))
        return 0
    for name, value in facts.items():
        print(f"{name:<26} {value}")
    return 0


def _counts(args: argparse.Namespace) -> dict[str, Any]:
    world = 1 if args.world is None else args.world
    if world < 1:
        raise UserError(f"--world {world} must be at least 1")
    config = load(args.config, args.overrides).config
    plan = make_plan(config, world, *map(len, open_splits(config)))
    return asdict(plan) | {
        "idle_slots": plan.idle_slots,
        "worlds_without_idle_slots": useful_worlds(plan.micro_batches),
    }


if __name__ == "__main__":
    run_cli(main)
