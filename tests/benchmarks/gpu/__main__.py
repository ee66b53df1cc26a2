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

import json
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.gpu import predictions, report
from tests.benchmarks.gpu.command import parsed, parser_of
from tests.benchmarks.gpu.device import PACKAGES
from tests.benchmarks.gpu.findings import Findings
from tests.benchmarks.gpu.photographs import roomy_folder
from tests.benchmarks.gpu.run import IMAGES, Run
from tests.benchmarks.gpu.rungs import LADDER
from tests.benchmarks.gpu.scale import Scale
from tests.benchmarks.gpu.workers import Team
from tests.benchmarks.record import write_result


def main() -> int:
    args = parsed(parser_of("python -m tests.benchmarks.gpu", __doc__, budget_s=210.0))
    facts = args.gpu
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
        tempfile.TemporaryDirectory(dir=args.tmp or roomy_folder(IMAGES)) as folder,
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


if __name__ == "__main__":
    sys.exit(main())
