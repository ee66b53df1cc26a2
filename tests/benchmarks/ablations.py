"""Record what `make ablations` came to: the paper's Table 5 in small, as figures and picture.

python tests/benchmarks/ablations.py
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from pipeline.compare.paper import fill
from pipeline.compare.reading.load import load_runs
from pipeline.errors import UserError, run_cli
from pipeline.tracking.run_folder import list_runs
from tests.benchmarks.record import RESULTS, write_result

BASE = Path("configs/miniature.yaml")


def main() -> int:
    table = fill("table5", load_runs(list_runs(Path("runs"))), BASE)
    if lacking := [row.paper.name for row in table.rows if not row.is_complete]:
        raise UserError(f"not all rows are done ({', '.join(lacking)}); `make ablations` does them")
    seconds = [run.wall_s for row in table.rows for run in row.counted if run.wall_s is not None]
    figures = table.as_json() | {"minutes_at_work": round(sum(seconds) / 60, 1)}
    (RESULTS / "ablations.svg").write_text(table.svg(), encoding="utf-8")
    write_result("ablations", figures, ["torch", "deepspeed", "timm"])
    return 0


if __name__ == "__main__":
    run_cli(main)
