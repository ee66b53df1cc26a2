"""What tracking adds to a step's time, whatever state the MLflow store is in.

python tests/benchmarks/tracking.py [--rounds N] [--steps N] [--tmp DIR]

The digits training on two ranks, which leaves no processor idle, with a journal alone and with an
uploader beside it: to SQLite, to a server, to one whose answers take five seconds, to none, and to
one that refuses. The cases take turns, and each is compared with the journal alone of its round.
The steps are the first ones, within which the uploader also imports MLflow. A server would be
another machine's work, so here it gets only what the training leaves.
"""

import argparse
import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).resolve().parents[2])

import psutil

from pipeline.tracking.journal import read_journal
from tests.benchmarks.record import ROOT, summary, write_result
from tests.benchmarks.training_kills import digit_shards
from tests.tracking.servers import Proxy, mlflow_server

_SLOW_S = 5.0
_NO_SERVER = "http://127.0.0.1:9"
_MOST_RATIO = 1.01
_WINDOW_STEPS = 5
# The first steps of every training are slower: buffers, caches, threads.
_WARM_UP_STEPS = 10


class Times(NamedTuple):
    """Of the steps of one training after the first ones, in milliseconds."""

    median_ms: float
    """Of windows of _WINDOW_STEPS steps."""
    mean_ms: float
    """From the first to the last: also what strikes a few steps only."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, metavar="N", default=3)
    parser.add_argument("--steps", type=int, metavar="N", default=90)
    parser.add_argument("--tmp", type=Path, metavar="DIR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.tmp) as name:
        folder = Path(name)
        shards = digit_shards(folder)
        with all_stores(folder) as stores:
            names = list(stores)
            times: dict[str, list[Times]] = {case: [] for case in names}
            for number in range(args.rounds):
                # Each round begins with another one, in case the machine slows down as it warms up.
                first = number % len(names)
                for case in names[first:] + names[:first]:
                    run = folder / "runs" / f"{case}-{number}"
                    times[case].append(train(run, shards, stores[case], args.steps))
                    print(number, case, times[case][-1], file=sys.stderr, flush=True)
    figures = {case: compared(times[case], times["journal"]) for case in names}
    about = {"steps": args.steps, "ranks": 2, "most_ratio": _MOST_RATIO}
    write_result("tracking", {**about, **figures}, ["mlflow", "torch"])


@contextlib.contextmanager
def all_stores(folder: Path) -> Iterator[dict[str, str]]:
    """``tracking.uri`` by case."""
    with mlflow_server(folder, f"sqlite:///{folder}/server.db") as server:
        for process in server.processes():
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            with contextlib.suppress(OSError):  # a kernel without autogroups
                Path(f"/proc/{process.pid}/autogroup").write_text("19")
        slow, refusing = Proxy(server.uri), Proxy(server.uri)
        slow.slow_s, slow.slow_times = _SLOW_S, sys.maxsize
        refusing.status = 403
        slow.up()
        refusing.up()
        try:
            yield {
                "journal": "journal",
                "sqlite": f"sqlite:///{folder}/mlflow.db",
                "server": server.uri,
                "slow": slow.uri,
                "down": _NO_SERVER,
                "refusing": refusing.uri,
            }
        finally:
            slow.down()
            refusing.down()


def train(run: Path, shards: Path, uri: str, steps: int) -> Times:
    """Train on two ranks, and read the steps' times from the journal."""
    settings = [
        f"name={run.name}",
        f"runs_root={run.parent}",
        f"data.root={shards}",
        f"tracking.uri={uri}",
        f"tracking.every_steps={_WINDOW_STEPS}",
        f"train.max_steps={steps}",
        "engine.dtype=fp32",
        "engine.cpu_tasks=2",
        # Neither falls within the steps.
        "evaluate.every_epochs=1000",
        "checkpoint.every_epochs=1000",
        "checkpoint.every_minutes=null",
    ]
    launch = [sys.executable, "slurm/launch.py", "--cluster", "local", "configs/digits.yaml"]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    subprocess.run([*launch, *settings], cwd=ROOT, check=True, env=environment, capture_output=True)
    end_uploaders(run)
    records = read_journal(run / "journal.jsonl").records
    moments = {r["step"]: r["t_ms"] for r in records if "train/loss" in r.get("metrics", {})}
    kept = sorted(step for step in moments if step >= _WARM_UP_STEPS)
    # The last record is written after the evaluation that ends a training.
    kept = [step for step in kept if step < steps - 1]
    windows = [
        (moments[after] - moments[before]) / (after - before)
        for before, after in itertools.pairwise(kept)
    ]
    mean_ms = (moments[kept[-1]] - moments[kept[0]]) / (kept[-1] - kept[0])
    return Times(statistics.median(windows), mean_ms)


def end_uploaders(run: Path) -> None:
    """Those that would go on trying into the next case."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "follow" in words and str(run) in words:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself just now
                process.kill()
                process.wait()


def compared(times: Sequence[Times], journal: Sequence[Times]) -> dict[str, Any]:
    """Step times of a case, and their ratio to the journal alone, round by round."""
    pairs = list(zip(times, journal, strict=True))
    return {
        "step_ms_median": summary([t.median_ms for t in times], 2),
        "step_ms_mean": summary([t.mean_ms for t in times], 2),
        "ratio_of_medians": summary([t.median_ms / j.median_ms for t, j in pairs], 4),
        "ratio_of_means": summary([t.mean_ms / j.mean_ms for t, j in pairs], 4),
    }


if __name__ == "__main__":
    main()
