"""Trainings on a GPU, timed: this project's in every form beside timm's, and the device's limits.

python -m tests.benchmarks.gpu [--budget-s S] [--photos DIR] [--out DIR] [--device cpu --smoke]

PoolFormer-M48 at 224 px in bf16, in steps of 128 images, through the project's own engine, and
timm's model under timm's parts, in turn; then other sizes and batches, training on decoded JPEGs
beside the same on ready ones, and what compiling costs. Writes gpu-training.json and
gpu-predictions.json after every part; what does not fit into the budget is left out and named.
The default has room for the ladder and decoded JPEGs, and for the rest as far as compiling leaves
it; all parts, the sweep of batches and max-autotune with them: --budget-s 560.
Exits with 1 where a rung of the ladder fails that is not timm's.
--smoke shrinks everything to see that all lines work, and measures nothing.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.gpu import predictions, report
from tests.benchmarks.gpu.device import PACKAGES, gpu_facts
from tests.benchmarks.gpu.findings import Findings
from tests.benchmarks.gpu.photographs import photo_folder, roomy_folder
from tests.benchmarks.gpu.run import IMAGES, Run
from tests.benchmarks.gpu.rungs import LADDER
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.workers import Team
from tests.benchmarks.record import RESULTS, write_result


def main() -> int:
    args = _arguments()
    facts = gpu_facts()
    if args.device == "cuda" and not facts:
        print(
            "error: --device cuda, but NVML finds no GPU; check the driver (nvidia-smi), or see "
            "that the code works with --device cpu --smoke",
            file=sys.stderr,
        )
        return 2
    findings = Findings(Scale(args.device, args.smoke), facts.get("gpu"))

    def save() -> None:
        options = {"device": facts, "folder": args.out, "is_printed": False}
        write_result(report.NAME, findings.figures(), PACKAGES, **options)
        measured = (findings.speeds(), findings.megabytes_per_image())
        table = predictions.figures(findings.limits, *measured, _reasons(args.out))
        write_result(predictions.NAME, table, PACKAGES, **options)

    compiling = sum(rung.compile_mode is not None for rung in LADDER)
    with (
        # Shards in memory: a disk's speed is another benchmark's subject. What is compiled lies
        # elsewhere: memory that is mounted as a folder may be barred from running programs.
        tempfile.TemporaryDirectory(dir=args.tmp) as folder,
        tempfile.TemporaryDirectory() as caches,
        Team(findings.scale, Path(caches), compiling) as team,
    ):
        Run(findings, team, Path(folder), args.budget_s, save, args.photos).all()
    print(report.text(findings))
    # A peer that fails, or a batch that does not fit into memory, is a finding.
    return 1 if findings.faults() else 0


def _reasons(folder: Path) -> dict[str, str | None]:
    """What somebody has written about earlier measurements."""
    path = folder / f"{predictions.NAME}.json"
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text())["figures"]["rungs"]
    return {row["rung"]: row["reason"] for row in rows}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny models, nothing measured")
    parser.add_argument("--budget-s", type=float, default=210.0, metavar="S", help="(default 210)")
    parser.add_argument("--photos", type=photo_folder, metavar="DIR", help="class folders of JPEGs")
    parser.add_argument("--out", type=Path, default=None, metavar="DIR", help="for the results")
    parser.add_argument("--tmp", type=Path, metavar="DIR", help="for shards (default: memory)")
    args = parser.parse_args()
    if args.budget_s <= 0:
        parser.error(f"--budget-s {args.budget_s:g} must be more than 0")
    if args.device == "cpu" and not args.smoke:
        parser.error("--device cpu needs --smoke: M48 on a CPU says nothing about a GPU")
    if args.smoke and args.out is None:
        parser.error("--smoke needs --out DIR: its figures are no results")
    args.out = args.out or RESULTS
    args.tmp = args.tmp or roomy_folder(IMAGES)
    for name in ("out", "tmp"):
        path = getattr(args, name)
        if path is not None and not path.is_dir():
            parser.error(f"--{name} {path} is no folder; make it, or name another")
    return args


if __name__ == "__main__":
    sys.exit(main())
