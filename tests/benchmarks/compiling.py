"""What torch.compile costs a start: cold, after a requeue on another node, and on the same one.

python tests/benchmarks/compiling.py [--device cuda|cpu] [--tmp DIR] [section.key=value ...]

A training of handwritten digits takes two steps and an evaluation, and goes on for another two
with an empty cache of PyTorch's, as on a node that has never seen the run, and once more with that
cache. On CPUs the C++ compiler runs on each node anew: only what it compiles is kept.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.benchmarks.record import ROOT, write_result
from tests.dist.small_training import small_training

STEPS = 2
STARTS = {"cold": "first-node", "on another node": "second-node", "on the same node": "second-node"}


def made_shards(folder: Path) -> Path:
    """The demo's shards."""
    for args in (
        ("data_prep/digits.py", folder / "digits"),
        ("data_prep/shard.py", folder / "digits", folder / "shards"),
    ):
        subprocess.run([sys.executable, *map(str, args)], cwd=ROOT, check=True, capture_output=True)
    return folder / "shards"


def start(folder: Path, node: str, steps: int, settings: list[str]) -> dict[str, Any]:
    """One start of the run; what its journal says of torch.compile."""
    overrides = [
        "engine.compile=true",
        "checkpoint.every_steps=1",
        "tracking.every_steps=1",
        "evaluate.batch_size=100",
        *settings,
        f"train.max_steps={steps}",
    ]
    args = small_training("compiled", folder / "runs", folder / "shards", *overrides)
    began, cpu_before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.train", *map(str, args)],
        cwd=ROOT,
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / node)},
        text=True,
        capture_output=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    seconds, cpu = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = cpu.ru_utime + cpu.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime
    lines = (folder / "runs/compiled/journal.jsonl").read_text().splitlines()
    told = [
        entry["tags"]["compiled"]
        for entry in map(json.loads, lines)
        if "compiled" in entry.get("tags", ())
    ]
    return {
        "torch.compile": told[-1],
        "start_to_end_s": round(seconds, 1),
        "cpu_s": round(cpu_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cpu")
    parser.add_argument("--tmp", type=Path, help="where files go; default: the system's")
    parser.add_argument("settings", nargs="*", metavar="section.key=value")
    args = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory(dir=args.tmp) as name:
        folder = Path(name)
        made_shards(folder)
        settings = [f"device={args.device}", *args.settings]
        starts = {
            start_of: start(folder, node, STEPS * number, settings)
            for number, (start_of, node) in enumerate(STARTS.items(), 1)
        }
        kept = sum(file.stat().st_size for file in (folder / "runs/compiled/compiled").iterdir())
    figures = {"starts": starts, "kept_mb": round(kept / 1e6, 2)}
    write_result(f"compiling-{args.device}", figures, ["torch", "triton", "deepspeed"])


if __name__ == "__main__":
    main()
