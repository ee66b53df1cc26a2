"""Forecasts of steps beside measured ones, and formulas of traffic beside counted bytes.

    python tests/benchmarks/scaling/contest.py [--rounds N] [--steps N]

One and two ranks of one thread train in turn. The forecast for two knows what one rank computes
alone, and how fast two processes exchange here. Four ranks are counted, not timed: two cores have
no room for them.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from pipeline.plan import make_plan
from pipeline.plan.network import Link, Network
from pipeline.plan.scaling import Machine, forecast_step
from pipeline.plan.traffic import exchange_of
from tests.benchmarks.record import write_result
from tests.benchmarks.scaling.cases import (
    MICRO_BATCH,
    SIDE_PIXELS,
    TIMED,
    Case,
    config_of,
    counted_cases,
)

_TIMEOUT_S = 900
Measured = dict[str, dict[str, Any]]
"""By case: parameters, step_s, sent_bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="timed, per case and round")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("error: two ranks want two CPUs of their own")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        rates: list[float] = []
        hops: list[float] = []
        loads: list[float] = []
        alone: list[Measured] = []
        paired: list[Measured] = []
        for _ in range(args.rounds):
            rates.append(_run(out, 2, ["rate"]))
            hops.append(_run(out, 2, ["hop"]))
            loads.append(round(os.getloadavg()[0], 2))
            alone.append(_train(out, 1, TIMED, args.steps))
            paired.append(_train(out, 2, TIMED, args.steps))
        counted = {
            world: _train(out, world, [c for c in counted_cases() if c.micro_batches >= world], 0)
            for world in (2, 4)
        }
    link = Link(median(rates), median(hops))
    steps = [_step_row(case, link, alone, paired) for case in TIMED]
    traffic = [
        _traffic_row(case, world, found)
        for world, found in counted.items()
        for case in counted_cases()
        if case.name in found
    ]
    figures = {
        "model": f"PoolFormer-S12, {SIDE_PIXELS} px, micro-batches of {MICRO_BATCH}, 1 thread",
        "rounds": args.rounds,
        "steps_of_a_round": args.steps,
        "load_average_at_start_of_rounds": loads,
        "link_between_two_processes": {
            "megabytes_per_second": round(link.bytes_per_second / 1e6),
            "microseconds_per_hop": round(link.hop_s * 1e6, 1),
            "megabytes_per_second_by_round": [round(rate / 1e6) for rate in rates],
        },
        "step_of_two_ranks": steps,
        "sent_per_rank_and_step": traffic,
        "not_measured": "GPUs, several nodes, NCCL, reductions that overlap the backward pass",
    }
    write_result("scaling", figures, ["torch", "deepspeed"])


def _step_row(
    case: Case, link: Link, alone: Sequence[Measured], paired: Sequence[Measured]
) -> dict[str, Any]:
    """Least times: others on the machine only ever add to them."""
    config = config_of(case)
    one_s, two_s = (min(_steps_of(case, rounds)) for rounds in (alone, paired))
    plan = make_plan(config, 2, 100_000, 10)
    rate = case.micro_batches * MICRO_BATCH / one_s
    exchange = exchange_of(config, plan, alone[0][case.name]["parameters"])
    machine = Machine(rate, Network(link, link), 2, memory_bytes_per_second=None)
    forecast = forecast_step(config, plan, exchange, machine)
    return {
        "case": case.name,
        "slots": plan.slots,
        "one_rank_ms": round(one_s * 1e3, 1),
        "one_rank_median_ms": round(median(_steps_of(case, alone)) * 1e3, 1),
        "two_ranks_ms": round(two_s * 1e3, 1),
        "two_ranks_median_ms": round(median(_steps_of(case, paired)) * 1e3, 1),
        "forecast_ms": round(forecast.step_s * 1e3, 1),
        "of_it_exchange_ms": round(forecast.exchange_s * 1e3, 1),
        "error_pct": round((forecast.step_s / two_s - 1) * 100, 1),
    }


def _steps_of(case: Case, rounds: Sequence[Measured]) -> list[float]:
    return [seconds for found in rounds for seconds in found[case.name]["step_s"]]


def _traffic_row(case: Case, world: int, found: Measured) -> dict[str, Any]:
    config, measured = config_of(case), found[case.name]
    plan = make_plan(config, world, 100_000, 10)
    formula = exchange_of(config, plan, measured["parameters"]).sent_bytes(world)
    return {
        "case": case.name,
        "ranks": world,
        "slots": plan.slots,
        "counted_mb": round(measured["sent_bytes"] / 1e6, 2),
        "formula_mb": round(formula / 1e6, 2),
        "formula_over_counted": round(formula / measured["sent_bytes"], 4),
    }


def _train(out: Path, world: int, chosen: Iterable[Case], steps: int) -> Measured:
    return _run(out, world, [json.dumps([asdict(case) for case in chosen]), steps])


def _run(out: Path, world: int, words: Sequence[object]) -> Any:
    """Start the ranks and wait for them; what rank 0 has written."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [_start([out, *words], rank, world, port) for rank in range(world)]
    errors = [process.communicate(timeout=_TIMEOUT_S)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        if process.returncode:
            raise RuntimeError(f"a rank ended with {process.returncode}:\n{error[-4000:]}")
    return json.loads(out.read_text())


def _start(words: Sequence[object], rank: int, world: int, port: int) -> "subprocess.Popen[str]":
    place = {
        "PYTHONPATH": ROOT,
        "OMP_NUM_THREADS": 1,
        "DS_ACCELERATOR": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": world,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.scaling.rank", *map(str, words)],
        cwd=ROOT,
        env=os.environ | {name: str(value) for name, value in place.items()},
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


if __name__ == "__main__":
    main()
