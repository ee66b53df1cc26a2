"""A model's stages, parameters, multiply-adds and memory; or all of the paper's, checked."""

import argparse
import dataclasses
import json
import time
from pathlib import Path

from pipeline.config import load
from pipeline.errors import PipelineError, UserError, run_cli
from pipeline.log import info


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.models", description=__doc__)
    parser.add_argument("config", nargs="?", help="config file, such as configs/m48.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument(
        "--check", action="store_true", help="the paper's figures beside what is built here"
    )
    parser.add_argument(
        "--configs", type=Path, default=Path("configs"), help="for --check (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="JSON on stdout")
    args = parser.parse_intermixed_args()
    if args.check == bool(args.config):
        raise UserError("name a config file, such as configs/m48.yaml, or give --check alone")
    if args.check:
        return _check(args.configs, args.json)
    config = load(args.config, args.overrides).config
    # Late, so that --help and config errors take no time.
    from pipeline.models.describe import as_text, describe

    facts = describe(config)
    print(json.dumps(facts, indent=2) if args.json else as_text(facts))
    return 0


def _check(configs: Path, as_json: bool) -> int:
    from pipeline.models.check import as_text, rows
    from pipeline.paper import figures

    began = time.perf_counter()
    found = list(rows(figures(), configs))
    failed = [row for row in found if row.ok is False]
    if as_json:
        print(json.dumps({"ok": not failed, "rows": [dataclasses.asdict(row) for row in found]}))
    else:
        print(as_text(found))
    compared = sum(row.ok is not None for row in found)
    noted = sum(row.ok is True and row.note.startswith("timm's model has") for row in found)
    info(
        f"{compared - len(failed) - noted} of {compared} figures agree, {noted} differ as noted "
        f"(a peer's model in timm is not quite the paper's), {len(found) - compared} rows have no "
        f"model to compare with; {time.perf_counter() - began:.0f} s"
    )
    if failed:
        names = "; ".join(f"{row.group} {row.name}: {row.figure}" for row in failed[:3])
        raise PipelineError(f"{len(failed)} of {compared} figures differ from the paper: {names}")
    return 0


if __name__ == "__main__":
    run_cli(main)
