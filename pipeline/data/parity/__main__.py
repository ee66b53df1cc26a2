"""Compare the input pipeline with timm, torchvision and PIL: pixels, draws and arithmetic."""

import argparse
import json
from pathlib import Path

from pipeline.config import Config, load
from pipeline.errors import DataError, UserError, run_cli
from pipeline.log import ProgressLine, info


def main() -> int:
    args = _arguments()
    if not args.out.parent.is_dir():
        raise UserError(f"--out {args.out}: there is no folder {args.out.parent}")
    config = load(args.config, []).config if args.config else Config()
    augment, evaluate = config.augment, config.evaluate
    # Late, so that --help takes no time.
    from pipeline.data.parity.images import photographs_in, shipped_photographs
    from pipeline.data.parity.proof import LEGEND, parts, peers
    from pipeline.data.parity.rows import Row, as_json, table
    from pipeline.data.parity.sheet import draw_sheet

    photographs = photographs_in(args.images) if args.images else shipped_photographs()
    rows: list[Row] = []
    found = parts(photographs, augment, evaluate)
    progress = ProgressLine("compared", total=len(found))
    for done, (part, part_rows) in enumerate(found.items()):
        progress.update(done, {"now": part})
        rows += part_rows
    progress.close()
    failed = [row for row in rows if not row.ok]
    if args.json:
        facts = {"ok": not failed, "photographs": len(photographs), "peers": peers()}
        print(json.dumps({**facts, "rows": as_json(rows)}, indent=2, allow_nan=False))
    else:
        print(f"{len(photographs)} photographs; {peers()}.\n{LEGEND}\n\n{table(rows)}")
    try:
        draw_sheet(photographs, augment, evaluate).save(args.out)
    except (OSError, ValueError) as error:
        raise UserError(f"--out {args.out}: {error}") from None
    info(f"wrote {args.out}")
    if failed:
        names = "; ".join(f"{row.section}: {row.what}" for row in failed[:3])
        raise DataError(f"{len(failed)} of {len(rows)} rows miss their bounds: {names} ...")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.data.parity", description=__doc__)
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="JPEGs (default: two of scikit-learn's)"
    )
    parser.add_argument("--config", metavar="FILE", help="config file (default: the schema's)")
    parser.add_argument(
        "--out", type=Path, default=Path("parity.png"), help="pictures (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    return parser.parse_args()


if __name__ == "__main__":
    run_cli(main)
