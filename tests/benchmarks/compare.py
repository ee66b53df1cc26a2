"""How long it takes to compare many long runs, and how large the page is that shows them.

python tests/benchmarks/compare.py [--runs N] [--records N] [--rounds N] [--tmp DIR]

Journals as training writes them, of RECORDS journaled steps with nine metrics each, an evaluation
every hundredth of the run, and three seeds of each setting. They are read, compared and put on a
page in this process, and as a user does it: ``python -m pipeline.compare --html``. The limits are
10 s and 3 MB. Others' processes on the machine (its load average at the start) make it slower.
"""

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

sys.path[0] = str(Path(__file__).resolve().parents[2])

from pipeline.compare import Comparison, compare_runs, load_runs
from pipeline.compare.page import html_page
from pipeline.tracking.journal import Journal
from pipeline.tracking.run_folder import RunFolder
from tests.benchmarks.record import ROOT, summary, write_result

_LIMIT_S, _LIMIT_MB = 10, 3
_SEEDS = 3
_STEP_MS = 3_400
_WORLD_SIZE, _GLOBAL_BATCH, _STEPS_PER_EPOCH = 8, 4096, 312
_EVERY_STEPS = 10

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, metavar="N", default=100)
    parser.add_argument("--records", type=int, metavar="N", default=10_000)
    parser.add_argument("--rounds", type=int, metavar="N", default=3)
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="needs 300 MB (default: /tmp)")
    args = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=args.tmp) as folder:
        root = Path(folder)
        names = [write_run(root, number, args.records) for number in range(args.runs)]
        journal_mb = sum(path.stat().st_size for path in root.glob("*/journal.jsonl")) / 1e6
        rounds = [one_round(root, names) for _ in range(args.rounds)]
    figures = {
        "runs": args.runs,
        "records_per_run": args.records,
        "journals_mb": round(journal_mb),
        "seconds": {key: summary([one[key] for one in rounds], 2) for key in rounds[0]},
        "limit_s": _LIMIT_S,
        "limit_mb": _LIMIT_MB,
        "processes_of_others": round(busy, 1),
    }
    figures["page_mb"] = figures["seconds"].pop("page_mb")["median"]
    write_result("compare", figures, ["numpy", "scipy"])


def one_round(root: Path, names: list[str]) -> dict[str, float]:
    load_s, runs = timed(lambda: load_runs([root / name for name in names]))
    compare_s, comparison = timed(lambda: compare_runs(runs))
    page_s, page = timed(lambda: page_of(comparison))
    command = [sys.executable, "-m", "pipeline.compare", *names, "--runs-root", str(root)]
    command += ["--html", str(root / "page.html")]
    command_s, _ = timed(lambda: run(command))
    found = {
        "load": load_s,
        "compare": compare_s,
        "page": page_s,
        "command": command_s,
        "page_mb": len(page.encode()) / 1e6,
    }
    print(found, file=sys.stderr)
    return found


def page_of(comparison: Comparison) -> str:
    return html_page(comparison, datetime.now(UTC))


def run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def timed(action: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = action()
    return time.perf_counter() - began, result


def write_run(root: Path, number: int, records: int) -> str:
    """A run folder with its journal; returns its name."""
    setting, seed = divmod(number, _SEEDS)
    name = f"s12-lr{setting}-seed{seed}"
    clock = [1_700_000_000_000]
    journal = Journal(RunFolder(root / name).journal, lambda: clock[0])
    journal.start({"world_size": _WORLD_SIZE, "nodes": ["node"], "device": "cuda"})
    journal.settings(
        {
            "name": name,
            "seed": str(seed),
            "train.epochs": "300",
            "train.global_batch": str(_GLOBAL_BATCH),
            "optim.lr_base": f"{1e-3 * (1 + setting):g}",
        }
    )
    journal.tags({"git_commit": "0123456789abcdef", "git_dirty": "false"})
    journal.dataset("imagenet1k", "train", "ab" * 32, 1_281_167)
    rng = random.Random(number)
    for record in range(1, records + 1):
        step = record * _EVERY_STEPS
        clock[0] += _STEP_MS * _EVERY_STEPS
        journal.metrics(metrics(rng, step, record / records, setting), step)
        if record % max(1, records // 100) == 0:
            journal.metrics(scores(rng, record / records, setting), step)
    journal.end("FINISHED", {})
    journal.close()
    return name


def metrics(rng: random.Random, step: int, share: float, setting: int) -> dict[str, float]:
    noise = rng.gauss(0, 0.15)
    return {
        "train/loss": 6.9 * math.exp(-4 * share) + 1.6 + 0.01 * setting + noise,
        "train/lr": 2e-3 * (1 + math.cos(math.pi * share)),
        "train/grad_norm": 1 + rng.gammavariate(2, 0.3),
        "perf/img_per_s": rng.gauss(12_000, 150),
        "perf/data_wait_pct": rng.expovariate(2),
        "perf/mfu": rng.gauss(0.42, 0.005),
        "progress/epoch": step / _STEPS_PER_EPOCH,
        "progress/images": step * float(_GLOBAL_BATCH),
        "progress/gpu_hours": step * _STEP_MS * _WORLD_SIZE / 3_600_000,
    }


def scores(rng: random.Random, share: float, setting: int) -> dict[str, float]:
    top1 = (77 - 0.05 * setting) * (1 - math.exp(-5 * share)) + rng.gauss(0, 0.2)
    return {"val/top1": top1, "val/top5": min(99.9, top1 + 18), "val/loss": 5.2 - 0.055 * top1}


if __name__ == "__main__":
    main()
