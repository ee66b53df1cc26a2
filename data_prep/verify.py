"""Verify a folder of shards against its manifest and by other programs' readers; repair it.

python data_prep/verify.py OUT [options]
"""

import argparse
import json
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a script: imports are absolute
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until main watches for it, just end
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data_prep.arguments import positive
from data_prep.sources.detect import LAYOUTS
from data_prep.stop_signals import Stopped, stop_signals
from data_prep.terminal import Terminal
from data_prep.verifying.findings import Problem
from data_prep.verifying.repair import RepairSource, repair
from data_prep.verifying.verification import DECODED_SAMPLES, Findings, Known, verify
from data_prep.wording import plural, printable
from data_prep.writing.work_folder import is_work_folder
from pipeline.errors import DataError, UserError, run_cli
from pipeline.log import duration, info
from pipeline.shards import FIRST_VERSION, MANIFEST, Manifest, read_manifest
from pipeline.world import cpus_at_hand

_SHOWN = 50


def main() -> int:
    """Run the command; returns the exit code."""
    args = _parser().parse_args()
    if args.layout is not None and args.repair is None:
        raise UserError(f"--layout {args.layout} is that of --repair SOURCE; say both")
    out: Path = args.out
    began = time.monotonic()
    try:
        with stop_signals():
            manifest = _manifest(out)
            before = _verified(args, manifest)
            after = _repaired(args, before) if args.repair is not None else before
    except Stopped as stop:
        kept = "" if args.repair is None else "; whole shards are kept"
        info(f"{stop}{kept}: run the same command again")
        return stop.exit_code
    mended = _mended(before, after)
    if args.json:
        print(json.dumps(as_json(after, mended, time.monotonic() - began)))
    else:
        for line in as_lines(after, mended):
            print(line)
    return DataError.exit_code if after.problems else 0


def _manifest(out: Path) -> Manifest:
    if not out.is_dir():
        raise UserError(f"OUT={printable(out)} is no folder; name the one that shard.py wrote")
    if not (out / MANIFEST).exists() and any(is_work_folder(item.name) for item in out.iterdir()):
        raise UserError(
            f"OUT={printable(out)} is not finished; run the same `python data_prep/shard.py` again"
        )
    if not (out / MANIFEST).exists():
        raise UserError(
            f"OUT={printable(out)} has no {MANIFEST}; name a folder that shard.py wrote"
        )
    return read_manifest(out, FIRST_VERSION)


def _verified(args: argparse.Namespace, manifest: Manifest, known: Known | None = None) -> Findings:
    terminal = Terminal("verifying")
    began = time.monotonic()
    try:
        workers = args.workers or cpus_at_hand()
        found = verify(args.out, manifest, args.decode, workers, terminal, known)
    finally:
        terminal.close()
    read = {key: facts for key, facts in found.shards.items() if key not in (known or {})}
    images, seconds = sum(len(facts.keys) for facts in read.values()), time.monotonic() - began
    decoded = sum(facts.decoded for facts in read.values())
    info(
        f"read {plural(images, 'image')} in {plural(len(read), 'shard')} and decoded {decoded:,} "
        f"in {duration(seconds)} ({images / max(seconds, 1e-9):,.0f} images/s)"
    )
    for note in found.notes:
        info(f"note: {note}")
    return found


def _repaired(args: argparse.Namespace, before: Findings) -> Findings:
    """The findings after a repair, for which whole shards are not read again."""
    if not any(problem.can_repair for problem in before.problems):
        return before
    for line in problem_lines(before.problems):
        info(line)
    info(f"repairing {plural(len({p.file for p in before.problems if p.can_repair}), 'file')}")
    terminal = Terminal()
    try:
        repair(before, RepairSource(args.repair, args.layout), args.workers, terminal)
    finally:
        terminal.close()
    return _verified(args, _manifest(args.out), before.sound)


def _mended(before: Findings, after: Findings) -> list[str]:
    """Files that were broken and are whole."""
    still = {problem.file for problem in after.problems}
    return sorted({problem.file for problem in before.problems} - still)


def problem_lines(problems: Sequence[Problem]) -> list[str]:
    """One line each, up to a number that a person reads."""
    lines = [str(problem) for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f"and {len(problems) - _SHOWN:,} more; --json has all of them")
    return lines


def as_lines(findings: Findings, mended: Sequence[str]) -> list[str]:
    """The result for a person; mended: names of the files that a repair made whole."""
    problems = findings.problems
    lines = [f"repaired and verified again: {printable(name)}" for name in mended]
    lines += problem_lines(problems)
    if not problems:
        splits = findings.manifest.splits.values()
        samples, shards = sum(s.samples for s in splits), sum(len(s.shards) for s in splits)
        counted = f"{plural(samples, 'sample')} in {plural(shards, 'shard')}"
        return [*lines, f"{printable(findings.out)}: {counted} are whole"]
    files = len({problem.file for problem in problems})
    counted = f"{plural(len(problems), 'problem')} in {plural(files, 'file')}"
    lasting = sum(not problem.can_repair for problem in problems)
    if lasting == len(problems):
        return [*lines, f"{counted}; no repair helps: each line says what does"]
    but = f" (not of {lasting:,}: their lines say what helps)" if lasting else ""
    return [*lines, f"{counted}; repair with: {repair_command(findings.out)}{but}"]


def repair_command(out: Path) -> str:
    """What to call with the source in the place of SOURCE."""
    return f"python data_prep/verify.py {shlex.quote(printable(out))} --repair SOURCE"


def as_json(findings: Findings, mended: Sequence[str], seconds: float) -> dict[str, Any]:
    """The same for programs, with every problem."""
    problems = findings.problems
    return {
        "out": str(findings.out),
        "dataset": findings.manifest.dataset,
        "whole": not problems,
        "splits": {
            name: {
                "samples": split.samples,
                "shards": len(split.shards),
                "decoded": sum(f.decoded for (of, _), f in findings.shards.items() if of == name),
                "digest": split.digest,
            }
            for name, split in findings.manifest.splits.items()
        },
        "problems": [
            {
                "file": problem.file,
                "sample": problem.sample,
                "found": problem.found,
                "rule": problem.rule,
                "can_repair": problem.can_repair,
            }
            for problem in problems
        ],
        "repaired": list(mended),
        "notes": findings.notes,
        "seconds": round(seconds, 3),
        "repair": (repair_command(findings.out) if any(p.can_repair for p in problems) else None),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify.py",
        allow_abbrev=False,
        description="Read every file that shard.py wrote, by its hash and through the webdataset "
        "library, and name what is broken. Writes nothing without --repair.",
    )
    add = parser.add_argument
    add("out", metavar="OUT", type=Path, help="folder with shards and their manifest.json")
    add(
        "--decode",
        choices=["sample", "all", "none"],
        default="sample",
        help=f"which images to decode: the same {DECODED_SAMPLES:,} of each split at every run, "
        "all, or none; of damaged shards all (default: sample)",
    )
    add("--workers", type=positive, metavar="N", help="processes (default: the CPUs at hand)")
    add(
        "--repair",
        metavar="SOURCE",
        type=Path,
        help="write broken files again from the images that OUT was made of; whole shards stay",
    )
    add("--layout", choices=list(LAYOUTS), help="what SOURCE is (default: what is found there)")
    add("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


if __name__ == "__main__":
    run_cli(main)
